"""TensorBoard's events of a run that was killed: every step has one value, the one that counts."""

import collections
import dataclasses
import json
import os
import shutil
import struct

import numpy as np
import pytest
import tiny
from tensorboardX.proto.event_pb2 import Event, SessionLog

from ssl_jax import train
from ssl_jax.config import call
from ssl_jax.experiment import Checkpoints


@dataclasses.dataclass(frozen=True)
class Grey:
    """An evaluator that only draws."""

    every: int = 0

    def run(self, frozen):
        yield "page", np.full((4, 4, 3), 127, np.uint8)


def events(path) -> list[Event]:
    """The whole events of a file, as TFRecord has them: length, checksum, bytes, checksum."""
    data, at, found = path.read_bytes(), 0, []
    while at + 12 <= len(data):
        (size,) = struct.unpack_from("<Q", data, at)
        if at + size + 16 > len(data):
            break  # cut
        found.append(Event.FromString(data[at + 12 : at + 12 + size]))
        at += size + 16
    return found


def shown(folder) -> dict[str, dict[int, list]]:
    """Tag -> step -> values, as TensorBoard shows them.

    It reads files in the order of their names; at a START (in files of version 2) it drops what it
    has of that step and of later ones.
    """
    seen = collections.defaultdict(lambda: collections.defaultdict(list))
    for path in sorted(folder.iterdir()):
        first, *others = events(path)
        assert first.file_version == "brain.Event:2"
        for event in others:
            if event.session_log.status == SessionLog.START:
                for steps in seen.values():
                    for step in [step for step in steps if step >= event.step]:
                        del steps[step]
            for value in event.summary.value:
                seen[value.tag][event.step].append(value)
    return seen


def experiment(**changes):
    evaluators = {"ridge": tiny.ridge(every=1), "grey": call(Grey, every=1)}
    saving = call(Checkpoints, every_steps=2)
    return tiny.experiment(log_every=1, evaluators=evaluators, checkpoints=saving, **changes)


def kill(run, checkpoint: int):
    """Leaves the run as a kill would have that came long after this checkpoint."""
    for step in os.listdir(run / "checkpoints"):
        if int(step) > checkpoint:
            shutil.rmtree(run / "checkpoints" / step)


@pytest.fixture
def run(tmp_path):
    train.fit(experiment(), tmp_path)
    return tmp_path


@pytest.mark.parametrize("cut", [0, 9])
def test_every_step_has_one_value_however_often_it_was_killed(run, cut):
    for checkpoint in (4, 2, 0):
        kill(run, checkpoint)
        newest = max((run / "tensorboard").iterdir())
        os.truncate(newest, newest.stat().st_size - cut)
        train.fit(experiment(), run)
    assert len(list((run / "tensorboard").iterdir())) == 4
    seen = shown(run / "tensorboard")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {"train/loss", "train/learning_rate", "ridge/pool", "puzzles", "grey_page"} <= set(seen)
    for tag, steps in seen.items():
        assert [step for step, values in steps.items() if len(values) != 1] == [], tag
        numbers = {line["step"]: line[tag] for line in lines if tag in line}
        if numbers:
            assert {s: v[0].simple_value for s, v in steps.items()} == pytest.approx(numbers)
    for tag in ("puzzles", "grey_page"):
        assert all(values[0].HasField("image") for values in seen[tag].values())


def test_a_run_that_was_stopped_loses_nothing(tmp_path):
    train.fit(experiment(steps=3), tmp_path)
    train.fit(experiment(steps=6), tmp_path)
    losses = shown(tmp_path / "tensorboard")["train/loss"]
    assert sorted(losses) == [1, 2, 3, 4, 5, 6]
