"""Feed: batches in order on the devices, errors at their place, the wait for data as a share."""

import time

import jax
import numpy as np
import pytest

from ssl_jax.data.failures import Failures
from ssl_jax.data.pipeline import TrainBatches
from ssl_jax.data.record import MediaError
from ssl_jax.devices.sharding import Sharding
from ssl_jax.training.feed import AHEAD, Feed


class Batches(TrainBatches):
    """Counts up; each takes `seconds`; the batch number `last` is broken."""

    def __init__(self, seconds=0.0, last=1000):
        self.seconds, self.last, self.made, self.closed = seconds, last, 0, False
        self.failures = Failures(0.5)

    def __next__(self):
        time.sleep(self.seconds)
        if self.made == self.last:
            raise MediaError("film.mp4: is broken")
        self.made += 1
        return {"n": np.full(8, self.made - 1)}

    def close(self):
        self.closed = True


@pytest.fixture(scope="module")
def mesh():
    return Sharding(devices=4).mesh()


def test_batches_come_in_order_and_an_error_in_the_place_of_its_batch(mesh):
    batches = Batches(last=5)
    feed = Feed(batches, mesh)
    for number in range(5):
        fed = feed.next(None)
        assert fed.host["n"].tolist() == [number] * 8
        assert len(fed.placed["n"].sharding.device_set) == 4
        assert jax.device_get(fed.placed["n"]).tolist() == [number] * 8
    with pytest.raises(MediaError, match=r"film\.mp4"):
        feed.next(None)
    feed.close()
    assert batches.closed


def test_few_batches_lie_ready_and_closing_ends_the_thread(mesh):
    batches = Batches()
    feed = Feed(batches, mesh)
    feed.next(None)
    deadline = time.monotonic() + 30
    while batches.made < AHEAD + 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    assert batches.made <= AHEAD + 2  # one handed out, AHEAD in the queue, one in the hand
    feed.close()
    assert not feed._thread.is_alive()


def test_the_wait_for_data_is_told_as_a_share_of_the_time(mesh):
    slow = Feed(Batches(seconds=0.1), mesh)
    for _ in range(6):
        slow.next(None)  # a step that takes no time
    assert slow.numbers()["wait"] > 0.6
    slow.close()
    fast = Feed(Batches(), mesh)
    fast.next(None)
    fast.numbers()
    for _ in range(6):
        time.sleep(0.1)  # a step that takes long
        fast.next(None)
    assert fast.numbers()["wait"] < 0.4
    fast.close()


def test_waiting_while_the_devices_work_does_not_count(mesh):
    feed = Feed(Batches(seconds=0.1), mesh)
    for _ in range(4):
        feed.next(lambda: False)
    assert feed.numbers() == {"wait": 0.0, "failed": 0.0}
    feed.close()
