"""Killed twenty times at random moments, half of them in the middle of a save: the same bits."""

import os
import random
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import pytest
import tiny

from ssl_jax import train
from ssl_jax.config import call
from ssl_jax.experiment import Checkpoints
from ssl_jax.training.checkpoint import Saver

HERE = os.path.dirname(__file__)
STEPS, KILLS = 400, 20

# Starts the run again and again, each time in a fork, so that JAX is imported only once. For every
# line of stdin, the steps between saves, it writes the number of a new process and how that ended.
NURSERY = """
import os, sys
sys.path.insert(0, sys.argv[1])
import conftest, tiny, orbax.checkpoint, tensorboardX, warnings
from ssl_jax import train
from ssl_jax.experiment import Checkpoints
from ssl_jax.config import call
warnings.simplefilter('ignore')
for line in sys.stdin:
    child = os.fork()
    if not child:
        saving = call(Checkpoints, every_steps=int(line), every_minutes=0)
        train.fit(tiny.experiment(steps=int(sys.argv[3]), checkpoints=saving), sys.argv[2])
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Nursery:
    def __init__(self, workdir):
        self.process = subprocess.Popen(
            [sys.executable, "-c", NURSERY, HERE, str(workdir), str(STEPS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"},
            text=True,
        )

    def start(self, every_steps) -> int:
        self.process.stdin.write(f"{every_steps}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def end(self) -> int:
        return int(self.process.stdout.readline())

    def close(self):
        self.process.kill()
        self.process.communicate()


def under_way(folder) -> set[str]:
    """Saves that are being written."""
    return {n for n in os.listdir(folder) if "tmp" in n} if folder.is_dir() else set()


def without_key(state):
    return state.replace(key=jnp.zeros(()))


@pytest.mark.slow
def test_twenty_kills_change_no_bit(tmp_path):
    never = call(Checkpoints, every_steps=0, every_minutes=0)
    straight = train.fit(tiny.experiment(steps=STEPS, checkpoints=never), str(tmp_path / "whole"))
    folder = tmp_path / "killed" / "checkpoints"
    nursery, chance, in_mid_save = Nursery(tmp_path / "killed"), random.Random(0), 0
    try:
        for kill in range(KILLS):
            left_over = under_way(folder)
            child = nursery.start(every_steps=2)
            deadline = time.monotonic() + 120
            while not under_way(folder) - left_over and time.monotonic() < deadline:
                time.sleep(0.001)  # starting up; any moment after that will do
            # Every second one within the first save, the others anywhere.
            time.sleep(chance.uniform(0, 0.05 if kill % 2 else 0.3))
            os.kill(child, signal.SIGKILL)
            assert nursery.end() == -signal.SIGKILL, f"the run was over before kill {kill}"
            in_mid_save += bool(under_way(folder))
        nursery.start(every_steps=0)
        assert nursery.end() == 0
    finally:
        nursery.close()
    assert in_mid_save >= KILLS // 4
    like = straight.abstract(jax.tree.map(lambda leaf: leaf.sharding, straight))
    with Saver(tmp_path / "killed") as saver:
        state = saver.restore(like)
    assert int(state.step) == STEPS
    assert tiny.distance(without_key(state), without_key(straight)) == 0.0
    assert not under_way(folder)
