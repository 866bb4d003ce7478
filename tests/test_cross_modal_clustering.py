"""XDC and its siblings: which labels feed which head; clusters by record, and when they change."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from sklearn.cluster import KMeans
from tiny import TinyTrunk

from ssl_jax.config import ConfigError
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.methods.audio.cross_modal_clustering import CrossModalClustering, heads
from ssl_jax.methods.control import Control
from ssl_jax.models.audio_resnet import AudioResNet
from ssl_jax.ops.vmz_log_mel import vmz_log_mel

TRAIN = SyntheticSource(size=12, height=8, width=8)
KEY = jax.random.key(0)


def method(**knobs) -> CrossModalClustering:
    small = {"clusters": 3, "frames": 2, "rate": 16.0, "short_side": 8, "crop": 8, "seconds": 0.5}
    return CrossModalClustering(TinyTrunk(), TinyTrunk(), **{**small, "sample_rate": 8000, **knobs})


def test_log_mel_of_a_wave_is_that_of_sums_over_its_frames():
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 32000)
    wave[16000:] *= 1e-6  # so quiet that the scale is straight
    found = vmz_log_mel(jnp.asarray(wave, jnp.float32))
    assert found.shape == (100, 40)
    hertz = 700 * (np.exp(np.linspace(0, 1127 * np.log(1 + 8000 / 700), 42) / 1127) - 1)
    start, middle, end = hertz[12:15] / (8000 / 129)
    up, down, bins = max(1, middle - start), end - middle, np.arange(129)
    triangle = 1 - np.where(bins < middle, (middle - bins) / up, (bins - middle) / down)
    triangle = triangle.clip(0)
    window = scipy.signal.windows.hann(256, sym=True)
    for frame in (0, 7, 99):
        part = wave[320 * frame : 320 * frame + 256]
        power = np.abs(np.fft.rfft(part * window)) ** 2
        x = 1080674186.3482928 * power @ triangle / triangle.sum()
        expected = np.log(x) if x > np.e else x / np.e
        assert found[frame, 12] == pytest.approx(expected, rel=1e-4)
    assert expected < 1
    silence = jax.grad(lambda x: vmz_log_mel(x).sum())(jnp.zeros(640))
    assert np.isfinite(silence).all()


def test_log_mel_refuses_a_wave_without_a_frame_and_bands_without_a_bin():
    with pytest.raises(ConfigError, match="holds no window of 256"):
        vmz_log_mel(jnp.zeros(255))
    # At least a bin wide to either side, every band holds one.
    assert vmz_log_mel(jnp.zeros(512), bands=200).shape == (1, 200)


def test_audio_network_has_the_published_maps():
    net, x = AudioResNet(), jnp.zeros((1, 100, 40))
    made = jax.eval_shape(lambda: net.init_with_output(jax.random.key(0), x, False))
    maps = {name: layer.shape[1:] for name, layer in made[0].items()}
    assert maps == {
        "stem": (100, 40, 16),
        "stage0": (50, 20, 32),
        "stage1": (25, 10, 64),
        "stage2": (13, 5, 128),
        "stage3": (7, 3, 256),
        "stage4": (4, 2, 512),
        "pool": (512,),
    }
    # Convolutions without biases but the first, two norms a block, shortcuts where widths change.
    widths = [(16, 32), (32, 32), (32, 32)]
    for out in (64, 128, 256, 512):
        widths += [(out // 2, out), (out, out)]
    blocks = sum(9 * i * o + 9 * o * o + 4 * o + (i != o) * (i * o + 2 * o) for i, o in widths)
    count = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(made[1]["params"]))
    assert count == 16 * 9 + 16 + blocks


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("sdc", {("vision", "vision"), ("audio", "audio")}),
        (
            "mdc",
            {("vision", "vision"), ("vision", "audio"), ("audio", "audio"), ("audio", "vision")},
        ),
        ("cdc", {("vision", "both"), ("audio", "both")}),
        ("xdc", {("vision", "audio"), ("audio", "vision")}),
    ],
)
def test_which_labels_feed_which_head(mode, expected):
    own = method(mode=mode)
    assert set(heads(mode).values()) == expected
    batch = {
        "vision": jnp.zeros((2, 2, 8, 8, 3), jnp.uint8),
        "audio": jnp.zeros((2, 4000)),
        "record": jnp.array([3, 0]),
    }
    labels = {"vision": jnp.arange(12), "audio": 20 + jnp.arange(12), "both": 40 + jnp.arange(12)}
    state = {"clusters": {"of_record": labels, "number": jnp.int32(1)}}
    augmented = own.augment(batch, state, KEY)
    for head, (_, of) in heads(mode).items():
        first = {"vision": 0, "audio": 20, "both": 40}[of]
        np.testing.assert_array_equal(augmented[f"{head}/target"], [first + 3, first])


def test_the_loss_is_the_sum_over_heads_and_depends_on_whose_labels_are_whose():
    rng = np.random.default_rng(0)
    logits = {head: jnp.asarray(rng.normal(size=(5, 3)), jnp.float32) for head in heads("xdc")}
    targets = {head: jnp.asarray(rng.integers(0, 3, 5)) for head in heads("xdc")}
    loss = _loss(logits, targets)
    expected = 0.0
    for head, values in logits.items():
        shares = np.exp(values) / np.exp(values).sum(1, keepdims=True)
        expected -= np.log(shares[np.arange(5), targets[head]]).mean()
    assert loss == pytest.approx(expected, rel=1e-5)
    first, second = targets
    swapped = {first: targets[second], second: targets[first]}
    assert abs(_loss(logits, swapped) - loss) > 0.01
    # Of heads that say nothing yet, for 128 clusters.
    nothing = {head: jnp.zeros((5, 128)) for head in heads("xdc")}
    assert _loss(nothing, targets) == pytest.approx(2 * 4.8520, abs=1e-3)


def _loss(logits, targets) -> float:
    batch = {f"{head}/target": t for head, t in targets.items()} | {"clusterings": jnp.int32(1)}
    return float(method().objective(logits, batch)[0])


def test_control_moves_the_other_modalitys_labels_of_every_row():
    own = method(mode="mdc", clusters=64)
    control = Control(own, ("vision_from_audio/target", "audio_from_vision/target"))
    batch = {
        "vision": jnp.zeros((8, 2, 8, 8, 3), jnp.uint8),
        "audio": jnp.zeros((8, 4000)),
        "record": jnp.arange(8),
    }
    labels = {"vision": jnp.arange(8), "audio": 10 + jnp.arange(8)}
    state = {"clusters": {"of_record": labels, "number": jnp.int32(1)}}
    shuffled, whole = control.augment(batch, state, KEY), own.augment(batch, state, KEY)
    for head, (encoder, of) in heads("mdc").items():
        same = shuffled[f"{head}/target"] == whole[f"{head}/target"]
        assert same.all() if encoder == of else not same.any()


class Seen:
    """A frozen network whose features of every record are given, and k-means by scikit-learn."""

    def __init__(self, own, variables, rows):
        self.method, self.variables, self._rows = own, variables, rows

    def features(self, source, stream, layers):
        asked = [source[number].index for number in range(len(source))]
        there = np.isin(READABLE, asked)
        rows = self._rows[stream][there]
        return types.SimpleNamespace(layers={layers[0]: rows}, indices=READABLE[there])

    def k_means(self, x, clusters, key):
        found = KMeans(clusters, n_init=3, random_state=0).fit(x)
        return found.labels_.astype(np.int64), found.cluster_centers_, found.inertia_


GROUPS = {"vision": lambda number: number % 3, "audio": lambda number: number // 3 % 3}
READABLE = np.array([n for n in range(12) if n != 5])


def seen(own, **state):
    """Records in three groups of each modality, which are others."""
    rng, rows = np.random.default_rng(0), {}
    for stream, group in GROUPS.items():
        x = rng.normal(0, 0.01, (len(READABLE), 16))
        x[np.arange(len(READABLE)), group(READABLE)] += 5
        rows[stream] = x.astype(np.float32)
    batch = {k: jnp.asarray(v)[None] for k, v in own.views(TRAIN[0], rng).items()}
    variables = own.init(KEY, batch, len(TRAIN))
    kept = {**variables["clusters"], **state}
    return Seen(own, {**variables, "clusters": kept}, rows)


@pytest.mark.parametrize("mode", ["xdc", "cdc"])
def test_clusters_are_of_records_by_their_numbers_and_heads_begin_anew(mode):
    own = method(mode=mode, held_out=4, components=8 if mode == "cdc" else 0)
    frozen = seen(own)
    new = own.refresh(frozen, TRAIN, KEY)
    state = new.state["clusters"]
    assert {len(labels) for labels in state["of_record"].values()} == {12}
    if mode == "xdc":
        for of, group in GROUPS.items():  # held-out records are clustered with the others
            labels = state["of_record"][of]
            assert len({(labels[n], group(n)) for n in READABLE.tolist()}) == 3
            assert labels[5] == -1  # it could not be read
    assert state["number"] == 1
    # Heads, whole, and no trunk.
    assert set(new.params) == set(heads(mode))
    for head, fresh in new.params.items():
        assert fresh["kernel"].shape == (16, 3)
        assert 0.005 < np.std(fresh["kernel"]) < 0.02
        assert not fresh["bias"].any()
        assert not np.allclose(fresh["kernel"], frozen.variables["params"][head]["kernel"])
    again = own.refresh(frozen, TRAIN, KEY)
    jax.tree.map(np.testing.assert_array_equal, again.state, new.state)


def test_without_held_out_records_each_call_clusters_anew():
    own = method()
    assert own.refresh(seen(own, stalled=0, number=7), TRAIN, KEY).state["clusters"]["number"] == 8


def test_clusters_stay_while_the_held_out_loss_falls():
    own = method(held_out=4, patience=2)
    frozen = seen(own, stalled=jnp.int32(0), number=jnp.int32(1))
    loss = own.held_out_loss(frozen, TRAIN)
    # Small heads say nothing yet.
    assert loss == pytest.approx(2 * np.log(3), abs=0.2)
    fell = own.refresh(frozen, TRAIN, KEY)
    assert not fell.params
    assert fell.state["clusters"] == {"best": pytest.approx(loss), "stalled": 0}
    frozen = seen(own, stalled=jnp.int32(0), number=jnp.int32(1), best=jnp.float32(loss - 0.1))
    waits = own.refresh(frozen, TRAIN, KEY).state["clusters"]
    assert waits == {"best": pytest.approx(loss - 0.1), "stalled": 1}
    frozen = seen(own, stalled=jnp.int32(1), number=jnp.int32(1), best=jnp.float32(loss - 0.1))
    stalled = own.refresh(frozen, TRAIN, KEY)
    assert stalled.state["clusters"]["number"] == 2
    assert np.isinf(stalled.state["clusters"]["best"])
    assert set(stalled.params) == set(heads("xdc"))


def test_held_out_records_are_not_trained_on():
    own = method(held_out=4)
    batch = {
        "vision": jnp.zeros((4, 2, 8, 8, 3), jnp.uint8),
        "audio": jnp.zeros((4, 4000)),
        "record": jnp.array([0, 3, 8, 9]),
    }
    labels = {of: jnp.arange(12) % 3 for of in GROUPS}
    state = {"clusters": {"of_record": labels, "number": jnp.int32(1)}}
    made = own.augment(batch, state, KEY)
    assert made["vision_from_audio/target"].tolist() == [-1, 0, -1, 0]
    logits = jax.random.normal(KEY, (4, 3))
    outputs = dict.fromkeys(heads("xdc"), logits)
    loss, metrics = own.objective(outputs, made)
    known = {name: value[1::2] for name, value in made.items() if name.endswith("/target")}
    two = own.objective({head: logits[1::2] for head in outputs}, {**made, **known})
    assert loss == pytest.approx(float(two[0]), rel=1e-6)
    assert metrics["accuracy"] == two[1]["accuracy"]


def test_audio_lies_around_the_clip():
    own = method(frames=4, seconds=1.0, short_side=32, crop=32)
    record = SyntheticSource(size=1, frames=32)[0]
    example = own.views(record, np.random.default_rng(0))
    assert example["vision"].shape == (4, 32, 32, 3)
    assert example["audio"].shape == (8000,)
    found = own.clips(record, "vision", own.times(record, "vision", 2))["vision"]
    assert found.shape == (2, 4, 32, 32, 3)
    assert own.clips(record, "audio", own.times(record, "audio", 3))["audio"].shape == (3, 8000)
    # A single one of each lies in the middle.
    middles = [
        own.times(record, name, 1)[0] + s / 2 for name, s in (("vision", 0.25), ("audio", 1))
    ]
    np.testing.assert_allclose(middles, record.duration / 2)


def test_words_tell_clusters_once_there_are_any():
    batch = {"vision": jnp.zeros((2, 1)), "clusterings": jnp.int32(0)}
    batch |= {f"{head}/target": jnp.array([2, 0]) for head in heads("xdc")}
    assert method().words(batch) == {"": ["no clusters yet"] * 2}
    said = method().words({**batch, "clusterings": jnp.int32(1)})
    assert said["vision from audio"] == ["cluster 2", "cluster 0"]
