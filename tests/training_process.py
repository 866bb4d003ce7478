"""`python -m ssl_jax.train` as a process that tests can slow down, shoot or bring to a full disk;
with EVALUATE=1 `python -m ssl_jax.evaluate`.

Environment: PAUSE=SECONDS a step; DIE_AT=STEP, SIGKILL to itself once this step is dispatched;
DIE_AFTER=STEP, SIGKILL once the next one is, and a checkpoint is there;
FULL_AT=STEP,STEP,... no file can grow beyond 4 KiB while these steps are saved; BLIND_TO=STEP, its
checkpoint cannot be read; REFRESH=FOLDER, `tiny.shifted` is what the method does between steps, and
the numbers of the records that process P decodes for it become lines of FOLDER/P.
"""

import dataclasses
import json
import os
import resource
import signal
import time

import jax
import tiny

from ssl_jax import command, evaluate, train

DIE_AT, PAUSE = int(os.environ.get("DIE_AT", "0")), float(os.environ.get("PAUSE", "0"))
BLIND_TO = int(os.environ.get("BLIND_TO", "0"))
FULL_AT = [int(step) for step in os.environ.get("FULL_AT", "0").split(",")]


def advance(log, step, running):
    time.sleep(PAUSE)
    if step == DIE_AT:
        os.kill(os.getpid(), signal.SIGKILL)


def save(saver, state, step, original=train.Saver.save):
    if step not in FULL_AT:
        return original(saver, state, step)
    saver._settle()  # the save before this one finds room
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    original(saver, state, step)
    while saver._manager.is_saving_in_progress():
        time.sleep(0.01)
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def verify(saver, step, original=train.Saver._verify):
    if step == BLIND_TO:
        raise OSError("Input/output error")
    original(saver, step)


class Watched:
    """A source that notes the records whose frames are decoded."""

    def __init__(self, source):
        self.source, self.decoded = source, []

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        record = self.source[index]

        def frames(numbers):
            self.decoded.append(index)
            return record.frames(numbers)

        return dataclasses.replace(record, frames=frames)


def refresh(method, frozen, source, key):
    watched = Watched(source)
    refreshed = tiny.shifted(method, frozen, watched, key)
    with open(os.path.join(os.environ["REFRESH"], str(jax.process_index())), "a") as file:
        print(json.dumps(watched.decoded), file=file)
    return refreshed


def die_after(step):
    """SIGKILL once this step and what follows it (a refresh) are done, and the next one begun.

    Waits for a save of an earlier step, which is under way.
    """
    original = train.Log.advance

    def advance(log, now, running):
        if now > step:
            while not any(n.isdigit() for n in os.listdir(f"{log.workdir}/checkpoints")):
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        original(log, now, running)

    train.Log.advance = advance


if __name__ == "__main__":
    train.Log.advance, train.Saver.save, train.Saver._verify = advance, save, verify
    if "DIE_AFTER" in os.environ:
        die_after(int(os.environ["DIE_AFTER"]))
    if "REFRESH" in os.environ:
        tiny.MeanColour.refresh = refresh
    if "EVALUATE" in os.environ:
        command.run(evaluate.main, "evaluate")
    else:
        command.run(train.main, "train")
