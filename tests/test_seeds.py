"""Several runs of one config as one table."""

import json

import pytest

from ssl_jax import seeds


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
    assert seeds.main(runs) == 0
    out = capsys.readouterr().out
    assert "over 3 runs" in out
    assert "0.600 ± 0.100  0.100 ± 0.000" in out  # not the 0.9 over the draws of a single run
    assert "differs" not in out


def test_runs_that_differ_in_more_than_the_seed_are_told_apart(tmp_path, capsys):
    runs = [run(tmp_path / "a", 0, 0.5), run(tmp_path / "b", 1, 0.6, learning_rate=0.2)]
    results = json.loads((tmp_path / "b" / "results.json").read_text())
    del results["trained"]["linear/chance"]
    (tmp_path / "b" / "results.json").write_text(json.dumps(results))
    assert seeds.main(runs) == 0
    out = capsys.readouterr().out
    assert out.endswith("Not only the seed differs, but also: optimizer.learning_rate\n")
    assert "chance" not in out


def test_a_knob_that_only_one_run_has_is_told(tmp_path, capsys):
    runs = [run(tmp_path / "a", 0, 0.5), run(tmp_path / "b", 1, 0.6, warmup=None)]
    assert seeds.main(runs) == 0
    assert capsys.readouterr().out.endswith("differs, but also: optimizer.warmup\n")


def test_the_same_run_twice_is_refused(tmp_path, capsys):
    runs = [run(tmp_path / "a", 0, 0.5), run(tmp_path / "b", 0, 0.5)]
    assert seeds.main(runs) == 2
    assert "seeds [0, 0]: some are the same run twice" in capsys.readouterr().err
    assert seeds.main([runs[0], runs[0] + "/"]) == 2
    assert "named twice" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "message"),
    [(("a",), "takes two runs or more"), (("a", "none"), "none/results.json is not there")],
)
def test_mistakes_are_one_line(tmp_path, capsys, names, message):
    run(tmp_path / "a", 0, 0.5)
    assert seeds.main([str(tmp_path / name) for name in names]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
