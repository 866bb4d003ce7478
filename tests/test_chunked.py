"""Chunked objectives: the plain ones in values and gradients, in memory that grows with the batch
and not with its square; and MIL-NCE."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ssl_jax.methods.audio.correspondence import Correspondence
from ssl_jax.methods.image.simclr import SimCLR
from ssl_jax.models.audio import AudioNet
from ssl_jax.models.l3 import L3Net
from ssl_jax.models.resnet import ResNet
from ssl_jax.objectives import contrastive


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def rows_over(devices: int) -> NamedSharding:
    mesh = jax.make_mesh(
        (devices,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices]
    )
    return NamedSharding(mesh, PartitionSpec("data"))


def nt_xent(a, b, c, temperature, chunk):
    return contrastive.nt_xent(a, b, temperature, chunk)


def info_nce(a, b, c, temperature, chunk):
    return contrastive.info_nce(a, b, temperature, extra=c, chunk=chunk)


def one_way(a, b, c, temperature, chunk):
    return contrastive.info_nce(a, b, temperature, symmetric=False, cosine=False, chunk=chunk)


def mil_nce(a, b, c, temperature, chunk):
    captions = jnp.concatenate([b[:, None], c], axis=1)
    return contrastive.mil_nce(a, captions, temperature, chunk=chunk)


OBJECTIVES = [nt_xent, info_nce, one_way, mil_nce]


@functools.partial(jax.jit, static_argnames=("objective", "chunk"))
def gradients(objective, chunk, *arguments):
    """((loss, metrics), gradients of both sides, of further keys and of the temperature)."""
    loss = functools.partial(objective, chunk=chunk)
    return jax.value_and_grad(loss, argnums=(0, 1, 2, 3), has_aux=True)(*arguments)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_chunks_change_neither_loss_nor_metrics_nor_gradients_on_1_2_4_devices(objective):
    # Some rows near their partners, so that the accuracy is neither 0 nor 1.
    a = normal(1, 16, 5) / 3
    b = a + normal(2, 16, 5) * jnp.linspace(0.1, 1, 16)[:, None]
    c, temperature = normal(3, 16, 2, 5) / 3, jnp.float32(0.3)
    (loss, metrics), expected = gradients(objective, 0, a, b, c, temperature)
    assert all(0 < value < 1 for value in metrics.values())
    for devices, chunk in ((1, 1), (2, 4), (4, 8)):
        placed = jax.device_put((a, b, c), rows_over(devices))
        (found, same), grads = gradients(objective, chunk, *placed, temperature)
        assert found == pytest.approx(float(loss), rel=1e-6)
        assert same == metrics
        for mine, theirs in zip(grads, expected, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-6)
    assert max(np.abs(g).max() for g in expected) > 1e-3


def test_chunks_are_finite_where_the_plain_loss_is():
    for x in (jnp.zeros((16, 5)), jnp.ones((16, 5)), normal(0, 16, 5).at[1].set(0)):
        extra = jnp.stack([x, x], axis=1)
        plain, chunked = (
            gradients(nt_xent, chunk, x, x, extra, jnp.float32(0.1)) for chunk in (0, 4)
        )
        for mine, theirs in zip(jax.tree.leaves(chunked), jax.tree.leaves(plain), strict=True):
            # The temperature's gradient is 0 as a difference of sums near 100.
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=5e-5)


def test_embeddings_of_bfloat16_are_chunked_in_float32():
    a, b = (normal(seed, 8, 4).astype(jnp.bfloat16) for seed in (1, 2))
    loss, gradient = jax.jit(jax.value_and_grad(lambda a: contrastive.nt_xent(a, b, 0.1, 2)[0]))(a)
    exact, _ = contrastive.nt_xent(a.astype(jnp.float32), b.astype(jnp.float32), 0.1)
    assert loss.dtype == jnp.float32
    assert loss == pytest.approx(float(exact), rel=1e-6)
    assert gradient.dtype == jnp.bfloat16


def temporary_bytes(objective, rows: int, chunk: int) -> int:
    """What the compiled gradient needs on each of two devices beside inputs and outputs."""
    split = rows_over(2)
    a, c = (
        jax.ShapeDtypeStruct(shape, jnp.float32, sharding=split)
        for shape in ((rows, 16), (rows, 1, 16))
    )
    compiled = gradients.lower(objective, chunk, a, a, c, jnp.float32(0.1)).compile()
    return compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("objective", [nt_xent, mil_nce])
def test_memory_of_chunks_grows_with_the_rows_and_of_the_plain_loss_with_their_square(objective):
    chunked = [temporary_bytes(objective, rows, 64) for rows in (1024, 4096)]
    assert chunked[1] < 4.1 * chunked[0]
    plain = [temporary_bytes(objective, rows, 0) for rows in (1024, 4096)]
    assert plain[1] > 14 * plain[0]
    assert chunked[0] < plain[0] / 5


@pytest.mark.parametrize(("rows", "chunk"), [(12, 8), (4, 3), (4, -1)])
def test_a_chunk_that_does_not_divide_the_batch_is_refused(rows, chunk):
    x = jnp.ones((rows, 2))
    with pytest.raises(ValueError, match=f"chunk={chunk} must divide the {rows} rows"):
        contrastive.nt_xent(x, x, 0.1, chunk)


def test_a_batch_smaller_than_a_chunk_is_not_chunked():
    x, y = normal(0, 6, 3), normal(1, 6, 3)
    assert contrastive.nt_xent(x, y, 0.1, 64)[0] == contrastive.nt_xent(x, y, 0.1)[0]


def test_methods_hand_their_knob_to_the_loss():
    a, b, extra = normal(0, 8, 4), normal(1, 8, 4), normal(2, 8, 2, 4)
    sounds = jnp.concatenate([b[:, None], extra], axis=1)
    simclr = SimCLR(ResNet(), chunk=4)
    correspondence = Correspondence(L3Net(), AudioNet(), criterion="batch", within=2, chunk=4)
    for method, outputs in ((simclr, (a, b)), (correspondence, (a, sounds, None))):
        plain = dataclasses.replace(method, chunk=0)
        loops = [
            "scan[" in str(jax.make_jaxpr(lambda o, m=m: m.objective(o, {})[0])(outputs))
            for m in (method, plain)
        ]
        assert loops == [True, False]
        loss, expected = (m.objective(outputs, {})[0] for m in (method, plain))
        assert loss == pytest.approx(float(expected), rel=1e-6)


# MIL-NCE. Similarities are given, by videos that are unit vectors of the axes.

S = [[2, 1, 0], [0, 3, 1], [1, -1, 1]]
K2 = [[[2, 1], [0, -1]], [[1, 0], [3, 0]]]  # video, caption's row, caption


def given(similarities) -> tuple[jax.Array, jax.Array]:
    s = jnp.asarray(similarities, jnp.float32)
    s = s if s.ndim == 3 else s[..., None]
    return jnp.eye(len(s)), jnp.moveaxis(s, 0, -1)


@pytest.mark.parametrize("chunk", [0, 1])
@pytest.mark.parametrize(
    ("similarities", "twice", "expected"),
    [(S, False, 0.747264), (S, True, 1.151724), (K2, True, 0.862297), (K2, False, 0.311849)],
)
def test_mil_nce_of_given_similarities(similarities, twice, expected, chunk):
    videos, captions = given(similarities)
    loss, metrics = contrastive.mil_nce(videos, captions, positives_twice=twice, chunk=chunk)
    assert loss == pytest.approx(expected, abs=2e-6)
    # Of the last row of S the first caption is as similar as its own and comes first.
    assert metrics["accuracy"] == pytest.approx(2 / 3 if similarities is S else 1)


def test_mil_nce_at_its_ends():
    equal = given([[1.0] * 4] * 4)
    assert contrastive.mil_nce(*equal)[0] == pytest.approx(math.log(7), abs=1e-5)
    assert contrastive.mil_nce(*equal, positives_twice=True)[0] == pytest.approx(math.log(8))
    apart = given(30 * np.eye(4))
    assert contrastive.mil_nce(*apart)[0] == pytest.approx(0, abs=2e-6)
    twice, _ = contrastive.mil_nce(*apart, positives_twice=True)
    assert twice == pytest.approx(math.log(2), abs=2e-6)


def test_mil_nce_by_cosine_and_temperature_against_a_slow_loop():
    videos, captions = normal(1, 4, 3), normal(2, 4, 2, 3)
    v, t = (np.asarray(x, np.float64) for x in (videos, captions))
    v, t = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (v, t))
    e = np.exp(np.einsum("id,jkd->ijk", v, t) / 0.5)
    rows = []
    for i in range(4):
        own = e[i, i].sum()
        others = sum(e[i, j].sum() + e[j, i].sum() for j in range(4) if j != i)
        rows.append(-math.log(own / (own + others)))
    loss, _ = contrastive.mil_nce(videos, captions, 0.5, cosine=True)
    assert loss == pytest.approx(np.mean(rows), rel=1e-5)


@pytest.mark.parametrize("twice", [False, True])
def test_gradients_of_mil_nce_are_those_of_its_definition(twice):
    videos, captions = normal(1, 4, 3), normal(2, 4, 2, 3)

    def defined(videos, captions):
        e = jnp.exp(jnp.einsum("id,jkd->ijk", videos, captions) / 0.5)
        own = jnp.stack([e[i, i].sum() for i in range(4)])
        every = e.sum(axis=(1, 2)) + e.sum(axis=(0, 2))  # own ones are in both
        return jnp.mean(jnp.log(every - own * (not twice)) - jnp.log(own))

    expected, slopes = jax.value_and_grad(defined, argnums=(0, 1))(videos, captions)
    for chunk in (0, 2):
        loss = functools.partial(
            contrastive.mil_nce, temperature=0.5, positives_twice=twice, chunk=chunk
        )
        (found, _), grads = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(videos, captions)
        assert found == pytest.approx(float(expected), rel=1e-6)
        for mine, theirs in zip(grads, slopes, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=2e-6, atol=2e-6)
