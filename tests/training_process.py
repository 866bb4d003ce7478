"""`python -m ssl_jax.train` as a process that tests can slow down, shoot or bring to a full disk;
with EVALUATE=1 `python -m ssl_jax.evaluate`.

Environment: PAUSE=SECONDS a step; DIE_AT=STEP, SIGKILL to itself once this step is dispatched;
FULL_AT=STEP,STEP,... no file can grow beyond 4 KiB while these steps are saved; BLIND_TO=STEP, its
checkpoint cannot be read; REFRESH=1, `tiny.shifted` is what the method does between steps.
"""

import os
import resource
import signal
import time

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
    if "REFRESH" in os.environ:
        tiny.MeanColour.refresh = tiny.shifted
    if "EVALUATE" in os.environ:
        command.run(evaluate.main, "evaluate")
    else:
        command.run(train.main, "train")
