"""The block `run` of results.json: what a run was and what it cost."""

import dataclasses
import json
import pathlib
import subprocess

import jax
import pytest
import tiny

from ssl_jax import train
from ssl_jax.config import ConfigError, call
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.evaluate import evaluate
from ssl_jax.experiment import Checkpoints
from ssl_jax.training.checkout import commit_and_dirty, is_ancestor
from ssl_jax.training.run_record import read_record, record_from
from ssl_jax.training.stop import Stop

ROOT = pathlib.Path(__file__).parent.parent


def git(folder, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    done = subprocess.run(["git", "-C", folder, *identity, *arguments], capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().strip()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    state = train.fit(tiny.experiment(evaluators={"ridge": tiny.ridge(every=2)}), str(workdir))
    return workdir, state


def test_a_finished_run_says_what_it_was(finished):
    workdir, state = finished
    run = read_record(workdir / "results.json")
    assert run.method == "tiny:MeanColour"
    assert (run.seed, run.steps, run.records_seen) == (0, 6, 6 * 8)
    assert run.data.name == "SyntheticSource"
    assert run.data.records == 24
    assert run.params == sum(leaf.size for leaf in jax.tree.leaves(state.params))
    assert run.system.devices == jax.device_count()
    assert run.system.jax == jax.__version__
    assert run.seconds.train > 0 < run.seconds.evaluate
    assert 0 <= run.seconds.wait_for_data <= run.seconds.train
    assert run.examples_per_second > 0 < run.gflops_per_example
    assert run.peak_memory_bytes > 2**20
    assert run.started <= run.finished
    assert run.device_hours == pytest.approx(
        (run.seconds.train + run.seconds.evaluate) * jax.device_count() / 3600
    )
    assert len((workdir / "results.json").read_bytes()) < 5000


def test_the_file_round_trips_and_keeps_its_table(finished):
    parts = json.loads((finished[0] / "results.json").read_text())
    assert "ridge/pool" in parts["trained"]
    run = record_from(parts["run"], "here")
    assert json.loads(json.dumps(dataclasses.asdict(run))) == parts["run"]


def test_evaluation_leaves_the_record_as_it_was(finished):
    before = read_record(finished[0] / "results.json")
    evaluate(tiny.experiment(evaluators={"ridge": tiny.ridge()}), finished[0])
    assert read_record(finished[0] / "results.json") == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run: run.update(colour="red"), "results.json: run.colour is unknown"),
        (lambda run: run.pop("seed"), "results.json: run.seed is missing"),
        (lambda run: run["system"].update(gpu=1), "results.json: run.system.gpu is unknown"),
        (lambda run: run.update(data=3), "results.json: run.data should be a group"),
        (lambda run: run.update(schema=2), "run.schema is 2, this version of ssl_jax reads 1"),
    ],
)
def test_a_block_of_another_shape_is_one_line(finished, change, message):
    run = json.loads((finished[0] / "results.json").read_text())["run"]
    change(run)
    with pytest.raises(ConfigError, match=message) as error:
        record_from(run, "results.json")
    assert "\n" not in str(error.value)


def test_a_run_that_stops_and_resumes_is_one_run(tmp_path, monkeypatch):
    class AtThree(Stop):
        @property
        def wished(self):
            return read_record(tmp_path / "results.json") and len(losses()) >= 1

    def losses():
        lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
        return [line for line in lines if "train/loss" in line]

    saving = call(Checkpoints, every_steps=2)
    config = tiny.experiment(checkpoints=saving)
    monkeypatch.setattr(train, "Stop", AtThree)
    with pytest.raises(train.Interrupted):
        train.fit(config, tmp_path)
    stopped = read_record(tmp_path / "results.json")
    assert stopped.finished is None
    steps = stopped.records_seen // 8
    assert 2 <= steps < 6
    monkeypatch.undo()
    train.fit(config, tmp_path)
    run = read_record(tmp_path / "results.json")
    assert (run.records_seen, run.started) == (48, stopped.started)
    assert run.seconds.train > stopped.seconds.train > 0
    assert run.finished


def test_a_run_that_is_killed_has_left_what_was_known(tmp_path, monkeypatch):
    def killed(*_):
        raise SystemExit

    monkeypatch.setattr(train, "Feed", killed)  # after the start, before the first step
    with pytest.raises(SystemExit):
        train.fit(tiny.experiment(), tmp_path)
    run = read_record(tmp_path / "results.json")
    assert (run.finished, run.records_seen, run.steps) == (None, 0, 6)


def test_where_trunks_came_from_is_told_with_a_checksum(finished, tmp_path):
    config = tiny.experiment(steps=1, init_from=str(finished[0]), seed=1)
    train.fit(config, tmp_path)
    run = read_record(tmp_path / "results.json")
    origin, checksum = run.init_from["*"].rsplit(", ", 1)
    assert origin == f"{finished[0]} at step 6"
    assert int(checksum, 16) < 2**32
    assert run.examples_per_second is None  # the only step was compiled


def test_the_data_are_told_apart_by_their_knobs(finished, tmp_path):
    other = call(SyntheticSource, size=24, frames=2, height=32, width=32, seed=5)
    train.fit(tiny.experiment(steps=1, source=other), tmp_path)
    one, two = (read_record(w / "results.json").data for w in (finished[0], tmp_path))
    assert (one.name, one.records) == (two.name, two.records)
    assert one.sha256 != two.sha256


def test_the_commit_is_that_of_the_package_own_checkout(tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    assert commit_and_dirty(str(package)) == ("", False)  # no repository
    git(tmp_path, "init", "-q")
    (tmp_path / "other.py").write_text("")
    git(tmp_path, "add", "other.py")
    git(tmp_path, "commit", "-q", "-m", "one")
    assert commit_and_dirty(str(package)) == ("", False)  # somebody else's
    git(tmp_path, "add", "package")
    git(tmp_path, "commit", "-q", "-m", "two")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert commit_and_dirty(str(package)) == (commit, False)
    (package / "__init__.py").write_text("changed")
    assert commit_and_dirty(str(package)) == (commit, True)
    first = git(tmp_path, "rev-parse", "HEAD~1")
    assert is_ancestor(first, commit, str(package)) is True
    assert is_ancestor(commit, first, str(package)) is False
    assert is_ancestor("0" * 40, package=str(package)) is False
    assert is_ancestor(commit, package="/") is None


def test_without_git_there_is_no_commit(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert commit_and_dirty(str(ROOT / "ssl_jax")) == ("", False)
