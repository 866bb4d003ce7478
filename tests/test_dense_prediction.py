"""Dense Predictive Coding: its objective against sums over all pairs, its network, its batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from test_models import count, shapes

from ssl_jax.config import ConfigError, build, load
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.methods.video.dense_prediction import DensePrediction
from ssl_jax.models.conv_gru import ConvGRU
from ssl_jax.models.resnet2d3d import ResNet2D3D
from ssl_jax.objectives.dense_prediction import dense_nce


def drawn(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("videos", "places", "loss"), [(4, 16, 5.257495), (64, 16, 8.030084), (4, 49, 6.376727)]
)
def test_a_guess_costs_the_logarithm_of_all_cells(videos, places, loss):
    zeros = jnp.zeros((videos, 3, places, 1))
    assert float(dense_nce(zeros, zeros)[0]) == pytest.approx(loss, abs=2e-5)


@pytest.mark.parametrize("local", [0, 2])
def test_a_prediction_is_told_from_all_other_cells(local):
    b, n, s, d = 4, 3, 4, 5
    predicted, features = drawn(2, b, n, s, d)
    losses, right, time, place = [], [], [], []
    for i in np.ndindex(b, n, s):
        rivals = [j for j in np.ndindex(b, n, s) if not local or j[0] // local == i[0] // local]
        scores = np.array([predicted[i] @ features[j] for j in rivals], np.float64)
        own = scores[rivals.index(i)]
        losses.append(scipy.special.logsumexp(scores) - own)
        right.append(own == scores.max())
        pairs = list(zip(rivals, scores, strict=True))
        same_place = [score for j, score in pairs if (j[0], j[2]) == (i[0], i[2])]
        same_time = [score for j, score in pairs if j[:2] == i[:2]]
        assert (len(same_place) - 1, len(same_time) - 1) == (2, 3)
        time.append(own == max(same_place))
        place.append(own == max(same_time))
    loss, metrics = dense_nce(jnp.array(predicted), jnp.array(features), local)
    assert float(loss) == pytest.approx(np.mean(losses), rel=1e-5)
    expected = {"accuracy": right, "time_accuracy": time, "place_accuracy": place}
    for name, hits in expected.items():
        assert float(metrics[name]) == pytest.approx(np.mean(hits), abs=1e-6)


def test_the_rivals_of_a_prediction():
    # Two videos, three times, four places: 1 itself, 2 temporal, 9 spatial, 12 of the other video.
    cells = list(np.ndindex(2, 3, 4))
    kinds = [
        "easy" if j[0] else "itself" if j == (0, 0, 0) else "temporal" if not j[2] else "spatial"
        for j in cells
    ]
    counts = {kind: kinds.count(kind) for kind in ("itself", "temporal", "spatial", "easy")}
    assert counts == {"itself": 1, "temporal": 2, "spatial": 9, "easy": 12}
    # With one feature that is 100 everywhere but where a kind is, only that kind costs.
    for kind, number in counts.items():
        features = np.where(np.array(kinds) == kind, 100.0, 0.0).reshape(2, 3, 4, 1)
        predicted = np.zeros((2, 3, 4, 1), np.float32)
        predicted[0, 0, 0] = 1
        loss = dense_nce(jnp.array(predicted), jnp.array(features, jnp.float32))[0]
        # 23 predictions of nothing are guesses among 24; the first is as the kind says.
        first = np.log(number) if kind == "itself" else 100 + np.log(number)
        assert float(loss) == pytest.approx((23 * np.log(24) + first) / 24, rel=1e-5)


def test_local_negatives_need_whole_groups():
    zeros = jnp.zeros((4, 1, 1, 1))
    with pytest.raises(ConfigError, match="groups of 3 must divide the 4 videos"):
        dense_nce(zeros, zeros, local=3)


@pytest.mark.parametrize("layers", [(2, 2, 2, 2), (3, 4, 6, 3)])
def test_the_trunk_has_the_published_layers(layers):
    def parameters():
        yield 7 * 7 * 3 * 64 + 2 * 64
        before = 64
        for stage, (width, taps) in enumerate(((64, 9), (128, 9), (256, 27), (256, 27))):
            for block in range(layers[stage]):
                entering = width if block else before
                yield taps * entering * width + taps * width * width + 4 * width
                if not block and stage:
                    yield entering * width + 2 * width
            before = width

    assert count(ResNet2D3D(layers=layers), 1, 5, 64, 64, 3) == sum(parameters())
    for size, side in ((128, 4), (224, 7)):
        found, _ = shapes(ResNet2D3D(layers=layers), 1, 5, size, size, 3)
        assert {name: x.shape[1:] for name, x in found.items()} == {
            "stem": (5, 16 * side, 16 * side, 64),
            "stage1": (5, 8 * side, 8 * side, 64),
            "stage2": (5, 4 * side, 4 * side, 128),
            "stage3": (3, 2 * side, 2 * side, 256),
            "stage4": (2, side, side, 256),
            "map": (side, side, 256),
            "pool": (256,),
        }


def test_a_conv_gru_of_single_cells_is_a_gru():
    cell, h, x = ConvGRU(), jnp.array(drawn(2, 1, 1, 3)), jnp.array(drawn(2, 1, 1, 4))
    variables = cell.init(jax.random.key(0), h, x, False)
    both = np.concatenate([x, h], axis=-1).reshape(2, 7)

    def gate(name, inputs):
        kernel = np.asarray(variables["params"][name]["kernel"]).reshape(7, 3)
        assert kernel.T @ kernel == pytest.approx(np.eye(3), abs=1e-5)  # orthogonal to begin with
        return inputs @ kernel

    reset = scipy.special.expit(gate("reset", both))
    update = scipy.special.expit(gate("update", both))
    state = h.reshape(2, 3)
    inputs = np.concatenate([x.reshape(2, 4), reset * state], axis=-1)
    new = (1 - update) * state + update * np.tanh(gate("candidate", inputs))
    found = cell.apply(variables, h, x, False).reshape(2, 3)
    np.testing.assert_allclose(found, new, rtol=2e-5, atol=2e-6)


def method(**knobs):
    small = {"past": 2, "predicted": 1, "frames": 2, "stride": 2, "height": 20, "width": 24}
    return DensePrediction(vision=ResNet2D3D(width=0.0625), **{**small, "crop": 16, **knobs})


def test_blocks_follow_one_another_and_one_crop_is_shared():
    record = SyntheticSource(size=1, frames=12, height=20, width=24)[0]
    seen = method(size=16).views(record, np.random.default_rng(1))["vision"]
    assert seen.shape == (3, 2, 16, 16, 3)
    whole = record.frames(np.arange(12))
    places = [
        (start, top, left)
        for start in range(2)
        for top in range(5)
        for left in range(9)
        if np.array_equal(
            whole[start : start + 11 : 2, top : top + 16, left : left + 16],
            seen.reshape(6, 16, 16, 3),
        )
    ]
    assert len(places) == 1


def test_frames_are_recoloured_one_by_one_and_flipped_together():
    still = np.where(drawn(8, 1, 1, 6, 6, 3) > 0, 200, 0).astype(np.uint8)
    still = np.broadcast_to(still, (8, 3, 2, 6, 6, 3))
    plain = method(size=6, splitting=0.0, jitter=(0.0, 0.0, 0.0, 0.0))
    made = plain.augment({"vision": jnp.array(still)}, {}, jax.random.key(0))
    shown = np.concatenate([made["vision"], made["future"]], axis=1)
    assert made["vision"].shape[1] == 2
    assert (shown == shown[:, :1, :1]).all()
    flipped = [
        np.allclose(row, before[..., ::-1, :] / 255)
        for row, before in zip(shown, still, strict=True)
    ]
    assert 0 < sum(flipped) < 8
    split = method(size=6, splitting=0.5, jitter=(0.0, 0.0, 0.0, 0.0))
    made = split.augment({"vision": jnp.array(still)}, {}, jax.random.key(0))
    grey = (np.ptp(made["vision"], axis=-1) == 0).all((-1, -2))
    assert 0.2 < grey.mean() < 0.8
    assert (grey.min((1, 2)) != grey.max((1, 2))).any()  # not all frames of a video alike


def test_the_context_reads_all_blocks_and_the_trunk_one():
    tiny = build(load("configs/video/dense_prediction_ucf101.py:tiny"))
    record = tiny.source[0]
    for stream, shape in (("vision", (2, 36, 36, 3)), ("context", (4, 2, 36, 36, 3))):
        times = tiny.method.times(record, stream, 3)
        assert tiny.method.clips(record, stream, times)["vision"].shape == (3, *shape)
