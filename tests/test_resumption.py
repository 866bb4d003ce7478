"""Resuming with other knobs: told, or refused with every file as it was."""

import hashlib
import json
import os
import shutil

import pytest
import tiny

from ssl_jax import config as configs
from ssl_jax import train
from ssl_jax.config import ConfigError, call
from ssl_jax.data.sources.mix import Mix
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.experiment import Checkpoints
from ssl_jax.optim import Optimizer
from ssl_jax.training.changed_knobs import changed_knobs
from ssl_jax.training.schedules import Cosine

LOSS = {"ridge": tiny.ridge(every=2)}


def experiment(**changes):
    saving = call(Checkpoints, every_steps=2, keep_best="ridge/pool")
    cosine = call(Optimizer, name="sgd", learning_rate=0.05, schedule=call(Cosine))
    known = {"steps": 4, "evaluators": LOSS, "checkpoints": saving, "optimizer": cosine}
    return tiny.experiment(**known | changes)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished run of four steps, with checkpoints of two and four."""
    workdir = tmp_path_factory.mktemp("done")
    train.fit(experiment(), workdir)
    return workdir


@pytest.fixture
def run(done, tmp_path):
    """A copy of it that may be changed."""
    return shutil.copytree(done, tmp_path / "run")


def digests(folder) -> dict[str, str]:
    """Every file below the folder and what is in it."""
    paths = [os.path.join(where, name) for where, _, names in os.walk(folder) for name in names]
    found = {}
    for path in paths:
        with open(path, "rb") as file:
            found[os.path.relpath(path, folder)] = hashlib.sha256(file.read()).hexdigest()
    return found


def told(capsys) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if "ssl_jax:" in line]


@pytest.mark.parametrize("steps", [0, 2, 3])
def test_fewer_steps_than_were_done_change_no_file(run, tmp_path, steps):
    before = digests(run)
    message = f"is at step 4: steps={steps} leaves nothing to train"
    with pytest.raises(ConfigError, match=f"workdir .* {message}"):
        train.fit(experiment(steps=steps), run)
    assert digests(run) == before
    with pytest.raises(ConfigError, match=f"resume=.* {message}"):
        train.fit(experiment(steps=steps, resume=str(run)), tmp_path / "new")
    assert digests(run) == before
    assert digests(tmp_path / "new") == {}


def test_as_many_steps_as_were_done_make_the_table_again(run, capsys, caplog):
    scores = (run / "scores.json").read_text()
    (run / "results.json").unlink()
    train.fit(experiment(), run)
    assert "ridge/pool" in json.loads((run / "results.json").read_text())["trained"]
    assert (run / "scores.json").read_text() == scores
    assert told(capsys) == []
    assert caplog.text == ""


def test_a_finished_run_is_not_said_to_have_had_other_knobs(run):
    before = digests(run)
    faster = call(Optimizer, name="sgd", learning_rate=0.1, schedule=call(Cosine))
    message = r"leaves nothing to train with other knobs: optimizer.learning_rate 0.05 -> 0.1;"
    with pytest.raises(ConfigError, match=message):
        train.fit(experiment(optimizer=faster), run)
    assert digests(run) == before
    shutil.rmtree(run / "checkpoints" / "4")  # of a run that was stopped at step 2, and shall be
    train.fit(experiment(steps=2, log_every=1), run)
    assert configs.read(run / "config.json").steps == 2
    assert configs.read(run / "config_until_2.json").steps == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 16}, "batch_size 8 -> 16"),
        ({"seed": 3}, "seed 0 -> 3"),
        ({"seed": 3, "batch_size": 4}, "batch_size 8 -> 4, seed 0 -> 3|seed 0 -> 3, batch_size"),
        ({"control": ("target",)}, r"control \(\) -> \('target',\)"),
    ],
)
def test_what_a_run_keeps_to_its_end_is_refused_by_name(run, tmp_path, changes, message):
    before = digests(run)
    with pytest.raises(ConfigError, match=message):
        train.fit(experiment(steps=6, **changes), run)
    with pytest.raises(ConfigError, match=message):
        train.fit(experiment(steps=6, resume=str(run), **changes), tmp_path / "new")
    assert digests(run) == before
    assert digests(tmp_path / "new") == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": call(Optimizer, name="adam")}, "optimizer.name 'sgd' -> 'adam'"),
        (
            {"method": call(tiny.MeanColour, vision=call(tiny.TinyTrunk, width=8))},
            "method.vision.width 16 -> 8",
        ),
    ],
)
def test_arrays_that_do_not_fit_name_the_knob(run, tmp_path, changes, message, caplog):
    before = digests(run)
    with pytest.raises(ConfigError, match=rf"checkpoints/4 has .*{message}"):
        train.fit(experiment(steps=6, **changes), run)
    with pytest.raises(ConfigError, match=rf"checkpoints/4 has .*{message}"):
        train.fit(experiment(steps=6, resume=str(run), **changes), tmp_path / "new")
    assert digests(run) == before
    assert "cannot read checkpoint" not in caplog.text


def test_other_knobs_are_told_in_one_line_and_what_was_stays_readable(run, capsys):
    first = (run / "config.json").read_text()
    method = call(tiny.MeanColour, vision=call(tiny.TinyTrunk), noise=0.5)
    faster = call(Optimizer, name="sgd", learning_rate=0.1, schedule=call(Cosine))
    source = call(SyntheticSource, size=32, frames=2, height=32, width=32)
    train.fit(experiment(steps=8, method=method, optimizer=faster, source=source), run)
    (line,) = told(capsys)
    for knob in (
        "steps 4 -> 8",
        "method.noise 0.1 -> 0.5",
        "optimizer.learning_rate 0.05 -> 0.1",
        "source.size 24 -> 32",
    ):
        assert knob in line
    # A cosine of four steps, in its last: 0.05 (1 + cos(3 pi / 4)) / 2; of eight, half way: 0.1 / 2
    assert "resumes at step 4" in line
    assert "the learning rate goes from 0.007322 to 0.05" in line
    assert (run / "config_until_4.json").read_text() == first
    assert configs.read(run / "config.json").steps == 8
    train.fit(experiment(steps=8, method=method, optimizer=faster, source=source), run)
    assert told(capsys) == []


def test_the_same_of_another_run(run, tmp_path, capsys):
    before = digests(run)
    train.fit(experiment(steps=6, resume=str(run)), tmp_path / "new")
    (line,) = told(capsys)
    assert f"{run} resumes at step 4" in line
    assert "steps 4 -> 6" in line
    assert digests(run) == before
    assert not (tmp_path / "new" / "config_until_4.json").exists()


def test_evaluators_and_where_the_host_reads_change_in_peace(run, capsys):
    more = {"ridge": tiny.ridge(every=2), "second": tiny.ridge()}
    train.fit(experiment(evaluators=more, eval_batch_size=4), run)
    assert told(capsys) == []
    assert not (run / "config_until_4.json").exists()


def test_without_the_old_config_there_is_nothing_to_compare(run, capsys):
    (run / "config.json").unlink()
    train.fit(experiment(steps=5), run)
    assert told(capsys) == []
    (run / "config.json").write_text('{"steps": 4, ')
    with pytest.raises(ConfigError, match=r"config\.json cannot be read"):
        train.fit(experiment(steps=6), run)


def test_every_kind_of_difference_has_its_words():
    few, more = (call(SyntheticSource, size=n, frames=1) for n in (4, 5))
    before = tiny.experiment(source=call(Mix, sources=(few, few)), init_from="runs/a")
    now = tiny.experiment(
        source=call(Mix, sources=(few, more)),
        optimizer=call(Optimizer, name="sgd", learning_rate=0.05, schedule=call(Cosine)),
    )
    assert changed_knobs(before, now) == {
        "source.sources.1.size": "4 -> 5",
        "optimizer.schedule": "Constant -> Cosine",
        "init_from": "'runs/a' -> ''",
    }
    assert changed_knobs(now, now) == {}


def test_a_run_of_an_earlier_version_lacks_knobs_and_has_others():
    before = tiny.experiment()
    del before["init_from"], before["optimizer"]["clip_norm"]
    assert changed_knobs(before, tiny.experiment()) == {}
    assert changed_knobs(before, tiny.experiment(init_from="runs/a")) == {
        "init_from": "'' -> 'runs/a'"
    }
    before.optimizer.warmup_steps = 3
    assert changed_knobs(before, tiny.experiment()) == {
        "optimizer.warmup_steps": "3 -> (not there)",
        "optimizer.clip_norm": "(not there) -> 0.0",
    }
    before.method.call = "ssl_jax.methods.gone:Gone"
    assert changed_knobs(before, tiny.experiment())["method"] == "Gone -> MeanColour"
