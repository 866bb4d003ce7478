"""Several runs of one config as one table."""

import json

import pytest

from ssl_jax import seeds
from ssl_jax.config import ConfigError


def run(folder, seed, trained, fresh=0.1, **knobs):
    folder.mkdir()
    results = {
        "trained": {"linear/pool": trained, "linear/pool/std": 0.9, "linear/chance": 0.1},
        "random_init": {"linear/pool": fresh},
        "settings": {"linear": "clips=1"},
    }
    config = {"seed": seed, "optimizer": {"learning_rate": 0.1, **knobs}}
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def test_means_and_sample_deviations_over_seeds(tmp_path, capsys):
    runs = [run(tmp_path / str(i), i, value) for i, value in enumerate((0.5, 0.6, 0.7))]
    seeds.main(runs)
    out = capsys.readouterr().out
    assert "over 3 runs" in out
    assert "0.600 ± 0.100  0.100 ± 0.000" in out  # not the 0.9 over the draws of a single run
    assert "differs" not in out


def test_runs_that_differ_in_more_than_the_seed_are_told_apart(tmp_path, capsys):
    runs = [run(tmp_path / "a", 0, 0.5), run(tmp_path / "b", 1, 0.6, learning_rate=0.2)]
    results = json.loads((tmp_path / "b" / "results.json").read_text())
    del results["trained"]["linear/chance"]
    (tmp_path / "b" / "results.json").write_text(json.dumps(results))
    seeds.main(runs)
    out = capsys.readouterr().out
    assert out.endswith("Not only the seed differs, but also: optimizer.learning_rate\n")
    assert "chance" not in out


def test_a_knob_that_only_one_run_has_is_told(tmp_path, capsys):
    runs = [run(tmp_path / "a", 0, 0.5), run(tmp_path / "b", 1, 0.6, warmup=None)]
    seeds.main(runs)
    assert capsys.readouterr().out.endswith("differs, but also: optimizer.warmup\n")


def test_the_same_run_twice_is_refused(tmp_path):
    runs = [run(tmp_path / "a", 0, 0.5), run(tmp_path / "b", 0, 0.5)]
    with pytest.raises(ConfigError, match=r"seeds \[0, 0\]: some are the same run twice"):
        seeds.main(runs)
    with pytest.raises(ConfigError, match="named twice"):
        seeds.main([runs[0], runs[0] + "/"])


@pytest.mark.parametrize(
    ("names", "message"),
    [(("a",), "takes two runs or more"), (("a", "none"), "none/results.json is missing")],
)
def test_mistakes_are_one_line(tmp_path, names, message):
    run(tmp_path / "a", 0, 0.5)
    with pytest.raises(ConfigError, match=message) as error:
        seeds.main([str(tmp_path / name) for name in names])
    assert "\n" not in str(error.value)
