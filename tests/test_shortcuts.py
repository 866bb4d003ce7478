"""The audit's statistics, its small network, and an audit of networks that were trained."""

import dataclasses

import jax
import numpy as np
import pytest

from ssl_jax.config import ConfigError, build, call
from ssl_jax.cues import Bars, Resampling
from ssl_jax.cues.alone import partners_found, probe_accuracy
from ssl_jax.cues.small_network import small_network_accuracy
from ssl_jax.data.annotations import overlays_of
from ssl_jax.data.record import MediaError, Record
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.devices.sharding import Sharding
from ssl_jax.evals.shortcuts import Shortcuts
from ssl_jax.frozen import Frozen
from ssl_jax.methods.image.rotation import Rotation
from ssl_jax.models.nin import NIN
from ssl_jax.optim import Optimizer
from ssl_jax.scores.paired import holm, paired_difference
from ssl_jax.train import fit


def test_paired_difference_is_students():
    # By hand: differences .3 .1 .3 .3, t(.975, 3) = 3.182446.
    found = paired_difference([0.9, 0.8, 1.0, 0.9], [0.6, 0.7, 0.7, 0.6])
    assert found.mean == pytest.approx(0.25)
    assert found.high - found.mean == pytest.approx(0.159122, abs=1e-6)
    assert found.mean - found.low == pytest.approx(0.159122, abs=1e-6)
    assert found.p == pytest.approx(0.01539, abs=1e-4)  # two-sided, t = 5 of 3 degrees
    assert paired_difference([1.0, 1.0], [1.0, 1.0]) == (0.0, 0.0, 0.0, 1.0)
    assert paired_difference([1.0], [0.5])[1:] == (-np.inf, np.inf, 1.0)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        right = rng.random((12, 16)) < 0.7  # of 12 batches of 16
        flips = rng.random((12, 16)) < 0.1
        changed = np.where(flips, ~right, right)
        found = paired_difference(right.mean(1), changed.mean(1))
        covered += found.low <= 0.1 * (0.7 - 0.3) <= found.high
    assert 0.93 < covered / 2000 < 0.97


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.5, 0.9]), [1.0, 1.0])
    assert len(holm([])) == 0


def test_how_far_a_statistic_goes_alone():
    rng = np.random.default_rng(0)
    targets = rng.integers(3, size=200)
    told = np.eye(3)[targets] + rng.normal(0, 0.1, (200, 3))
    assert probe_accuracy(told, targets)[0] > 0.95
    alone, chance = probe_accuracy(rng.normal(size=(200, 3)), targets)
    assert abs(alone - 1 / 3) < 0.12
    assert abs(chance - 1 / 3) < 0.12
    first = rng.normal(size=(6, 4))
    assert partners_found(first, first + 0.01) == 1
    assert partners_found(np.ones((6, 4)), np.ones((6, 4))) == pytest.approx(1 / 6)


def test_a_small_network_sees_what_two_convolutions_can_see():
    rng = np.random.default_rng(0)

    def batches(count):
        for _ in range(count):
            target = rng.integers(2, size=16)
            images = rng.random((16, 12, 12, 3)).astype(np.float32)
            images[target == 1, :3] = 0  # a bar
            yield {"vision": images, "target": target}

    train, test = list(batches(4)), list(batches(3))
    assert small_network_accuracy(train, test, ("vision",), 2, 40, 0) > 0.95
    noise = [{**b, "vision": rng.random((16, 12, 12, 3)).astype(np.float32)} for b in test]
    assert abs(small_network_accuracy(train, noise, ("vision",), 2, 40, 0) - 0.5) < 0.25


@dataclasses.dataclass(frozen=True)
class Textures:
    """Noise in which nothing is upright; with a bar above, if `barred`."""

    size: int = 64
    barred: bool = True
    seed: int = 0

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        pixels = np.random.default_rng([self.seed, index]).integers(40, 216, (1, 16, 16, 3))
        record = Record(
            name=f"texture {index}", index=index, num_frames=1, fps=1.0, duration=1.0,
            frames=lambda numbers: np.repeat(pixels.astype(np.uint8), len(numbers), axis=0),
        )  # fmt: skip
        return Bars().plant(record, np.random.default_rng(0)) if self.barred else record


@pytest.mark.slow
@pytest.mark.parametrize("trained_on", ["bars", "nothing", "shuffled"])
def test_a_network_that_learnt_from_bars_is_told_from_one_that_did_not(trained_on, tmp_path):
    from ssl_jax.experiment import Experiment

    barred = trained_on != "nothing"
    config = call(
        Experiment,
        source=call(Textures, barred=barred),
        method=call(Rotation, vision=call(NIN, blocks=3, width=0.1), size=16, padding=0),
        optimizer=call(Optimizer, name="adam", learning_rate=3e-3),
        steps=200,
        batch_size=32,
        control=("target",) if trained_on == "shuffled" else (),
        sharding=call(Sharding, devices=1),
    )
    state = fit(config, str(tmp_path))
    variables = {"params": state.params, **state.state}
    frozen = Frozen.of(build(config), Sharding(devices=1).mesh(), jax.device_get(variables))
    # Four kinds of input: what a shuffled network guesses for each is right by luck, so there the
    # loss counts.
    metric = "-loss" if trained_on == "shuffled" else "accuracy"
    audit = Shortcuts(Textures(size=128, barred=barred, seed=1), (Bars(),), metric=metric)
    found = dict(audit.run(frozen))
    if trained_on == "shuffled":
        assert abs(found["bars/excess"]) < 0.1
        assert found["bars/as_is"] < -np.log(4) + 0.2  # one that learnt them is above -0.1
    elif trained_on == "bars":
        assert found["bars/as_is"] > 0.9
        assert found["bars/excess"] >= 0.3
        assert found["bars/excess_low"] > 0
        assert found["bars/cue_only"] > 0.9
        assert found["bars/p"] < 0.01
    else:
        assert found["bars/excess_low"] <= 0 <= found["bars/excess_high"]
        assert found["bars/found"] == 0
        assert abs(found["bars/cue_only"] - 0.25) < 3 * np.sqrt(0.25 * 0.75 / 128)


def test_bad_knobs_and_sources_are_named():
    with pytest.raises(ConfigError, match="batch_size"):
        Shortcuts(SyntheticSource(size=4), batch_size=1)
    with pytest.raises(ConfigError, match="two batches of 16"):
        Shortcuts(SyntheticSource(size=31)).check(None)
    few = Shortcuts(SyntheticSource(size=64), train=SyntheticSource(size=8))
    with pytest.raises(ConfigError, match="8 records do not fill a batch of 16"):
        few.check(None)
    images = SyntheticSource(size=16, frames=1)
    with pytest.raises(ConfigError, match="metric=acuracy: the method has accuracy, loss"):
        _audit_of_images(Shortcuts(images, batch_size=8, metric="acuracy"))
    with pytest.raises(ConfigError, match="darkest"):
        Bars(darkest=300.0)
    with pytest.raises(ConfigError, match="none of the cues"):
        _audit_of_images(Shortcuts(SyntheticSource(size=8, frames=1), (_Nowhere(),), batch_size=4))


class _Nowhere(Resampling):
    applies = staticmethod(lambda method, record, batch: False)


def _audit_of_images(audit):
    method = Rotation(vision=NIN(blocks=3, width=0.05), size=16, padding=2)
    views = method.views(audit.source[0], np.random.default_rng(0))
    rows = {k: np.stack([v, v]) for k, v in views.items()}
    variables = method.init(jax.random.key(0), jax.tree.map(jax.numpy.asarray, rows), 8)
    return list(audit.run(Frozen(method, variables, Sharding().mesh(), 4)))


def test_overlays_are_boxes_in_shares():
    def of(value):
        record = Record(name="a.mp4", index=0, num_frames=2, fps=1.0, extra={"overlays": value})
        return overlays_of(record)

    assert of([[0, 0, 0.1, 1]]) == ((0.0, 0.0, 0.1, 1.0),)
    assert of("0 0 .1 1; .9 0 1 1") == ((0.0, 0.0, 0.1, 1.0), (0.9, 0.0, 1.0, 1.0))
    assert of(()) == ()
    assert overlays_of(Record(name="a", index=0, num_frames=1, fps=1.0)) is None
    for bad in ("a b c d", "0 0 1", [[0, 0, 2, 1]], [[0.5, 0, 0.5, 1]]):
        with pytest.raises(MediaError, match=r"a\.mp4.*overlays"):
            of(bad)
