"""SpeedNet and its trunk: published sizes, what a batch holds, sizes drawn for every step."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_models import count, shapes

from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.methods.video.speediness import Speediness
from ssl_jax.models.s3d import S3D

# Xie et al. 2018, after GoogLeNet: what goes in, and the six widths of every block.
TABLE = (
    (192, 64, 96, 128, 16, 32, 32),
    (256, 128, 128, 192, 32, 96, 64),
    (480, 192, 96, 208, 16, 48, 64),
    (512, 160, 112, 224, 24, 64, 64),
    (512, 128, 128, 256, 24, 64, 64),
    (512, 112, 144, 288, 32, 64, 64),
    (528, 256, 160, 320, 32, 128, 128),
    (832, 256, 160, 320, 32, 128, 128),
    (832, 384, 192, 384, 48, 128, 128),
)


def conv(entering, leaving, size):
    """Parameters of a convolution with BN, from size 3 on split into space and time."""
    if size == 1:
        return entering * leaving + 2 * leaving
    return size * size * entering * leaving + size * leaving * leaving + 4 * leaving


def test_s3d_has_the_published_layers():
    plain = conv(3, 64, 7) + conv(64, 64, 1) + conv(64, 192, 3)
    gates = 192 * 193
    for entering, point, reduce1, conv1, reduce2, conv2, pooled in TABLE:
        plain += conv(entering, point, 1) + conv(entering, pooled, 1)
        plain += conv(entering, reduce1, 1) + conv(reduce1, conv1, 3)
        plain += conv(entering, reduce2, 1) + conv(reduce2, conv2, 3)
        gates += sum(width * (width + 1) for width in (point, conv1, conv2, pooled))
    assert count(S3D(), 1, 8, 32, 32, 3) == plain
    assert count(S3D(gated=True), 1, 8, 32, 32, 3) == plain + gates


@pytest.mark.parametrize(("strides", "times"), [(True, (32, 16, 8)), (False, (64, 64, 64))])
def test_s3d_halves_time_three_times_or_never(strides, times):
    layers, _ = shapes(S3D(time_strides=strides), 1, 64, 224, 224, 3)
    assert [*layers][:4] == ["conv1", "conv2", "mixed3b", "mixed3c"]
    assert {name: x.shape[1:] for name, x in layers.items() if name in ("conv1", "conv2")} == {
        "conv1": (times[0], 112, 112, 64),
        "conv2": (times[0], 56, 56, 192),
    }
    assert layers["mixed3c"].shape[1:] == (times[0], 28, 28, 480)
    assert layers["mixed4f"].shape[1:] == (times[1], 14, 14, 832)
    assert layers["mixed5c"].shape[1:] == (times[2], 7, 7, 1024)
    assert layers["pool"].shape[1:] == (1024,)


class Brightness(nn.Module):
    """A trunk of one weight whose map tells how large the clips were."""

    @nn.compact
    def __call__(self, x, train):
        weight = self.param("weight", nn.initializers.ones, ())
        side = jnp.full((*x.shape[:-1], 1), float(x.shape[2]))
        return {"map": weight * jnp.concatenate([x.mean(-1, keepdims=True), side], axis=-1)}


def test_the_net_sees_the_drawn_size_and_its_gradient_too():
    method = Speediness(vision=Brightness(), frames=2, sizes=(4, 6, 8), test_size=8)
    batch = {"vision": jnp.zeros((3, 2, 2, 8, 8, 3), jnp.uint8)}
    variables = method.init(jax.random.key(0), batch, 3)
    params = {**variables["params"], "head": {"kernel": jnp.ones((2, 1)), "bias": jnp.zeros(1)}}

    def logits(params, bucket):
        made = {"vision": batch["vision"] / 255, "bucket": jnp.full(3, bucket)}
        return method.net.apply({"params": params}, made, True)

    for bucket, size in enumerate((4, 6, 8)):
        np.testing.assert_allclose(logits(params, bucket), np.full((3, 2), size), rtol=1e-6)
        slope = jax.grad(lambda p, k=bucket: logits(p, k).mean())(params)
        assert float(slope["vision"]["weight"]) == pytest.approx(size, rel=1e-5)


def test_all_sizes_are_drawn_one_a_step():
    method = Speediness(vision=Brightness(), frames=2, sizes=(4, 6, 8), test_size=8)
    batch = {"vision": jnp.zeros((3, 2, 2, 8, 8, 3), jnp.uint8)}
    buckets = [
        np.asarray(method.augment(batch, {}, jax.random.key(seed))["bucket"]) for seed in range(30)
    ]
    assert {len(set(rows.tolist())) for rows in buckets} == {1}
    assert {int(rows[0]) for rows in buckets} == {0, 1, 2}


def test_the_target_says_which_clip_is_fast():
    method = Speediness(vision=Brightness(), frames=4, stride=2, sizes=(8,), test_size=8)
    record = SyntheticSource(size=1, frames=30, height=8, width=8)[0]
    # Every frame shows its own number.
    numbered = np.broadcast_to(np.arange(30, dtype=np.uint8)[:, None, None, None], (30, 8, 8, 3))
    record = dataclasses.replace(record, frames=lambda numbers: numbered[np.asarray(numbers)])
    rows = [method.views(record, np.random.default_rng(seed))["vision"] for seed in range(16)]
    batch = {"vision": jnp.array(np.stack(rows))}
    made = method.augment(batch, {}, jax.random.key(0))
    shown = np.asarray(made["vision"])[..., 0, 0, 0].astype(int)  # (16, 2, 4)
    steps = np.diff(shown, axis=-1)
    assert (steps % 2 == 0).all()
    assert (steps > 0).all()
    target = np.asarray(made["target"])
    fast, slow = shown[np.arange(16), target], shown[np.arange(16), 1 - target]
    assert (fast[:, -1] >= slow[:, -1]).all()
    assert (fast[:, -1] > slow[:, -1]).mean() > 0.5
    assert 0 < target.mean() < 1
    words = method.words(made)
    assert words["fast"] == [("first", "second")[place] for place in target]
    assert set(words["size"]) == {"8 pixels"}


def test_every_clip_is_judged_by_itself():
    method = Speediness(vision=Brightness(), frames=2, sizes=(8,), test_size=8)
    logits = jnp.array([[3.0, -1.0], [0.5, 0.5]])
    loss, metrics = method.objective(logits, {"target": jnp.array([0, 1])})
    answers = ((3.0, 1), (-1.0, -1), (0.5, -1), (0.5, 1))  # logit, and whether it is fast
    expected = np.mean([np.log1p(np.exp(-sign * logit)) for logit, sign in answers])
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert float(metrics["accuracy"]) == 0.75
    zeros = method.objective(jnp.zeros((2, 2)), {"target": jnp.array([0, 1])})[0]
    assert float(zeros) == pytest.approx(0.693147, abs=1e-6)
