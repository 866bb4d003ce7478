"""Claims of papers: verdicts by hand, the page, and what is kept in the repository."""

import json
import pathlib
import shutil
import subprocess
import sys
import types

import pytest
import tiny

from ssl_jax import results, train
from ssl_jax.claims.claim import read_claim, read_claims
from ssl_jax.claims.judged import check_calls, judged
from ssl_jax.claims.kept import LARGEST, has_results, kept_runs, read_kept
from ssl_jax.claims.trying import command_line
from ssl_jax.claims.verdict import kendall, paired, verdict_of
from ssl_jax.config import ConfigError

ROOT = pathlib.Path(__file__).parent.parent
TINY = f"{ROOT}/tests/tiny_config.py:small"
A, B, C = [0.80, 0.82, 0.81], [0.75, 0.78, 0.74], [0.79, 0.83, 0.80]

CLAIM = f"""
says: Big beats small.
paper: {{title: On size, year: 2001, table: table 1, mark: read, numbers: {{big: 3, small: 1.5}}}}
order: [big, small]
metric: ridge/pool
command: python -m ssl_jax.train --config={TINY}
arms:
  big:
  small: --config.method.noise=0.2
seeds: [0, 1, 2]
differs: nothing is learnt.
"""


@pytest.mark.parametrize(
    ("better", "worse", "mean", "low", "high", "verdict"),
    [
        (A, B, 0.053333, 0.015388, 0.091279, "reproduced"),
        (B, A, -0.053333, -0.091279, -0.015388, "contradicted"),
        (A, C, 0.003333, -0.025351, 0.032018, "undecided"),
    ],
)
def test_two_arms_are_compared_seed_by_seed(better, worse, mean, low, high, verdict):
    pair = paired("a", "b", better, worse)
    assert (pair.mean, pair.low, pair.high) == pytest.approx((mean, low, high), abs=1e-6)
    assert pair.verdict == verdict


def test_one_contradicted_pair_contradicts_and_one_undecided_leaves_open():
    good, bad, open_ = paired("a", "b", A, B), paired("b", "a", B, A), paired("a", "c", A, C)
    assert verdict_of([good, good]) == "reproduced"
    assert verdict_of([good, open_]) == "undecided"
    assert verdict_of([good, open_, bad]) == "contradicted"


def test_a_single_seed_decides_nothing():
    assert paired("a", "b", [0.9], [0.1]).verdict == "undecided"


def test_kendall_of_one_swap_and_of_the_reverse():
    four = dict(zip("abcd", range(4), strict=True))
    ours = dict(zip("abcd", (0.9, 0.7, 0.8, 0.6), strict=True))
    assert kendall(four, ours) == pytest.approx(0.666667, abs=1e-6)
    three = dict(zip("abc", range(3), strict=True))
    assert kendall(three, dict(zip("abc", (1.0, 2.0, 3.0), strict=True))) == pytest.approx(-1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run, whose results stand for those of every arm and seed."""
    workdir = tmp_path_factory.mktemp("finished")
    train.fit(tiny.experiment(steps=1, evaluators={"ridge": tiny.ridge()}), workdir)
    return workdir


@pytest.fixture
def claims(tmp_path):
    folder = tmp_path / "claims"
    folder.mkdir()
    (folder / "size.yaml").write_text(CLAIM)
    return folder


def place(finished, workdir, value, seed, noise=0.1):
    """A run's workdir, with this number as its result."""
    workdir.mkdir(parents=True)
    found = json.loads((finished / "results.json").read_text())
    found["trained"]["ridge/pool"] = value
    found["run"]["seed"] = seed
    found["run"]["dirty"] = False
    # A copy of the code without its git history, as CI's, knows no commit of its own.
    found["run"]["commit"] = found["run"]["commit"] or "0" * 40
    (workdir / "results.json").write_text(json.dumps(found))
    config = json.loads((finished / "config.json").read_text())
    config["seed"], config["steps"] = seed, 6
    config["method"]["noise"] = noise
    (workdir / "config.json").write_text(json.dumps(config))


def place_all(finished, folder, big=A, small=B):
    for seed in range(3):
        place(finished, folder / "size" / f"big_{seed}", big[seed], seed)
        place(finished, folder / "size" / f"small_{seed}", small[seed], seed, noise=0.2)


def test_a_claim_is_tried_kept_and_stands_on_the_page(finished, claims, tmp_path, capsys):
    place_all(finished, tmp_path / "runs")
    folder, runs = f"--claims={claims}", f"--workdir={tmp_path}/runs"
    results.main([folder, "--claim=size", runs, "--keep"])
    told = capsys.readouterr().out
    assert "big − small = 0.0533, from 0.0154 to 0.0913: reproduced" in told
    assert "size: reproduced, Kendall's tau 1.00" in told
    results.main([folder, f"--output={tmp_path}/page.md"])
    page = (tmp_path / "page.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith("| [size]"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:4] == [
        "**reproduced**",
        "big 3 > small 1.5 (read)",
        "big 0.810 ± 0.010; small 0.757 ± 0.021",
    ]
    assert "python -m ssl_jax.results --claim=size --workdir=runs/claims" in page
    kept = sorted((claims / "results" / "size").iterdir())
    names = [f"{arm}_{seed}.json" for arm in ("big", "small") for seed in "012"]
    assert [path.name for path in kept] == names
    assert max(path.stat().st_size for path in kept) <= LARGEST


def test_contradicted_claims_stand_first_and_stale_ones_last(finished, claims, tmp_path):
    for name, says in (("a_good", "one"), ("b_bad", "two"), ("c_old", "three")):
        (claims / f"{name}.yaml").write_text(CLAIM.replace("Big beats small.", says))
    for name, big, small in (
        ("size", A, C),
        ("a_good", A, B),
        ("b_bad", B, A),
        ("c_old", B, A),
    ):
        place_all(finished, tmp_path / name, big, small)
        (tmp_path / name / "size").rename(tmp_path / name / name)
        results.try_claim(claims, name, str(tmp_path / name), keep=True)
    path = claims / "results" / "c_old" / "big_0.json"
    path.write_text(path.read_text().replace("tiny:MeanColour", "tiny:Forgotten"))
    page = results.claims_page(claims)
    rows = [line.split("]")[0] for line in page.splitlines() if line.startswith("| [")]
    assert rows == ["| [b_bad", "| [a_good", "| [size", "| [c_old"]
    assert "1 contradicted, 1 reproduced, 1 undecided, 1 stale." in page
    assert "Stale: its config no longer loads (" in page
    assert "stale (was contradicted)" in page


def test_a_command_that_trains_something_else_now_makes_results_stale(finished, claims, tmp_path):
    place_all(finished, tmp_path / "runs")
    results.try_claim(claims, "size", str(tmp_path / "runs"), keep=True)
    text = CLAIM.replace("noise=0.2", "noise=0.3")
    (claims / "size.yaml").write_text(text)
    claim = read_claim(claims / "size.yaml")
    row = judged(claim, kept_runs(claims, claim))
    assert row.stale == "its command now has other knobs: method.noise 0.2 -> 0.3"


def test_less_is_better_after_a_minus_and_arms_of_the_same_knobs_share_runs(
    finished, claims, tmp_path
):
    shared = CLAIM.replace("metric: ridge/pool", "metric: {big: -ridge/pool, small: ridge/hidden}")
    shared = shared.replace("  small: --config.method.noise=0.2", "  small:")
    (claims / "size.yaml").write_text(shared)
    for seed in range(3):
        place(finished, tmp_path / "runs" / "size" / f"big_{seed}", A[seed], seed)
    row = results.try_claim(claims, "size", str(tmp_path / "runs"))
    assert row.values["big"] == A
    hidden = json.loads((finished / "results.json").read_text())["trained"]["ridge/hidden"]
    assert row.pairs[0].mean == pytest.approx(-sum(A) / 3 - hidden)


def test_what_is_not_finished_is_trained_by_its_command(finished, claims, tmp_path, monkeypatch):
    place_all(finished, tmp_path / "runs")
    shutil.rmtree(tmp_path / "runs" / "size" / "small_1")
    started = []

    def run(command, **_):
        if command[0] == "git":
            raise FileNotFoundError
        started.append(command)
        place(finished, tmp_path / "runs" / "size" / "small_1", B[1], 1, noise=0.2)
        return types.SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
    results.try_claim(claims, "size", str(tmp_path / "runs"))
    workdir = f"--workdir={tmp_path}/runs/size/small_1"
    changes = ["--config.method.noise=0.2", "--config.seed=1", workdir]
    assert started[0] == [sys.executable, "-m", "ssl_jax.train", f"--config={TINY}", *changes]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config=a.py:b", "--config.layers=('x', 'y')", "--workdir=a b"],
        ["--config.path=it's", '--config.x="$HOME"', "--config.y=`a`\\!"],
    ],
)
def test_a_shell_reads_the_command_of_the_page_as_it_was_meant(arguments):
    line = command_line(arguments)
    echo = f"{sys.executable} -c 'import sys; print(sys.argv[1:])' "
    done = subprocess.run(
        ["bash", "-c", line.replace("python -m ssl_jax.train ", echo)], capture_output=True
    )
    assert done.stdout.decode().strip() == str(arguments)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("says:", "sais:", "size.yaml: 'sais' is unknown"),
        ("differs: nothing is learnt.", "", "size.yaml: 'differs' is missing"),
        ("order: [big, small]", "order: [big, tall]", "must name the same arms"),
        ("mark: read", "mark: guessed", "paper.mark is one of read, secondary"),
        ("python -m ssl_jax.train", "rm", "command should begin with python -m ssl_jax.train"),
        (f"--config={TINY}", "", "command should name its config as --config=NAME"),
        ("[0, 1, 2]", "[0, 1]", "three seeds or more"),
        ("{big: 3, small: 1.5}", "{tall: 3}", "paper.numbers names others than the arms"),
        ("says:", "says: [", "size.yaml cannot be read"),
    ],
)
def test_mistakes_in_a_claim_are_one_line(claims, old, new, message):
    (claims / "size.yaml").write_text(CLAIM.replace(old, new))
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")) as error:
        read_claims(claims)
    assert "\n" not in str(error.value)


def test_a_result_that_is_missing_is_named(claims, finished, tmp_path):
    assert "## Not tried yet\n\n- size: Big beats small." in results.claims_page(claims)
    (claims / "results" / "size").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"results/size/big_0.json cannot be read"):
        results.claims_page(claims)
    place_all(finished, tmp_path / "runs")
    (claims / "size.yaml").write_text(CLAIM.replace("ridge/pool", "knn/pool"))
    with pytest.raises(ConfigError, match=r"big_0 has no result knn/pool; it has ridge/"):
        results.try_claim(claims, "size", str(tmp_path / "runs"))
    shutil.rmtree(claims / "results")
    (claims / "size.yaml").write_text(CLAIM)
    results.try_claim(claims, "size", str(tmp_path / "runs"), keep=True)
    (claims / "size.yaml").write_text(CLAIM.replace("ridge/pool", "knn/pool"))
    with pytest.raises(ConfigError, match=r"size: what is kept of big, seed 0, has no knn/pool"):
        results.claims_page(claims)
    with pytest.raises(ConfigError, match="say where, --workdir=runs/claims"):
        results.main([f"--claims={claims}", "--claim=size"])


def test_every_kept_result_loads_with_its_config_and_is_small():
    folder = ROOT / "docs" / "claims"
    kept = sorted((folder / "results").rglob("*.json"))
    known = set()
    tried = [claim for claim in read_claims(folder) if has_results(folder, claim)]
    for claim in tried:
        for (arm, seed), one in kept_runs(folder, claim).items():
            known.add(f"{claim.name}/{claim.runs[arm]}_{seed}.json")
            assert one.run.seed == one.config.seed == seed
            assert one.run.finished
            assert claim.metric[arm].removeprefix("-") in one.trained
    assert {path.relative_to(folder / "results").as_posix() for path in kept} == known
    for path in kept:
        assert path.stat().st_size <= LARGEST
        check_calls(read_kept(path).config)


def test_a_config_whose_call_or_knob_is_gone_does_not_load(finished):
    from ssl_jax import config as configs

    config = configs.read(finished / "config.json")
    check_calls(config)
    config.optimizer.call = "ssl_jax.optim:Forgotten"
    with pytest.raises(ConfigError, match="Forgotten"):
        check_calls(config)
