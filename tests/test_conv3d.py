"""conv3d: the folded form equals the native one, and the CPU uses it."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate

from ssl_jax.models.layers import Conv3D
from ssl_jax.ops.conv3d import conv3d

CASES = [  # kernel, strides, padding
    ((1, 3, 3), (1, 1, 1), "SAME"),
    ((1, 3, 3), (2, 2, 2), (0, 1, 1)),
    ((1, 7, 7), (1, 2, 2), (0, 3, 3)),
    ((3, 1, 1), (1, 1, 1), "SAME"),
    ((3, 1, 1), (2, 1, 1), (1, 0, 0)),
    ((3, 1, 1), (2, 2, 3), ((2, 0), (1, 0), (0, 2))),
    ((1, 1, 1), (2, 2, 2), "VALID"),
    ((3, 3, 3), (1, 1, 1), "SAME"),
    ((3, 3, 3), (2, 2, 2), (1, 1, 1)),
    ((3, 3, 3), (2, 2, 2), "SAME"),
    ((2, 4, 3), (1, 2, 1), ((1, 0), (1, 2), (0, 0))),
    ((3, 1, 2), (2, 1, 1), "VALID"),
]


@pytest.mark.parametrize(("size", "strides", "padding"), CASES)
def test_fold_equals_native(size, strides, padding):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 5, 8, 7, 3)).astype(np.float32)
    kernel = rng.normal(size=(*size, 3, 4)).astype(np.float32) / np.sqrt(np.prod(size))

    @jax.jit
    def run(x, kernel):
        results = {}
        for impl in ("native", "fold"):
            out, pull = jax.vjp(
                lambda x, kernel, impl=impl: conv3d(x, kernel, strides, padding, impl), x, kernel
            )
            # Every output pulls differently, so that none can stand in for another.
            pulls = jnp.sin(jnp.arange(out.size, dtype=jnp.float32)).reshape(out.shape)
            results[impl] = (out, *pull(pulls))
        return results

    results = run(x, kernel)
    for native, fold in zip(results["native"], results["fold"], strict=True):
        assert native.shape == fold.shape
        np.testing.assert_allclose(native, fold, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "strides", "pads"),
    [((3, 3, 3), (2, 2, 2), (1, 1, 1)), ((3, 1, 1), (2, 1, 1), (1, 0, 0))],
)
def test_strides_and_padding_are_those_of_scipy(size, strides, pads):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(1, 5, 6, 7, 2)).astype(np.float32)
    kernel = rng.normal(size=(*size, 2, 3)).astype(np.float32)
    padded = np.pad(x[0].astype(float), [*((p, p) for p in pads), (0, 0)])
    expected = np.stack(
        [correlate(padded, kernel[..., o].astype(float), "valid")[..., 0] for o in range(3)], -1
    )[:: strides[0], :: strides[1], :: strides[2]]
    for impl in ("native", "fold"):
        out = conv3d(jnp.asarray(x), jnp.asarray(kernel), strides, pads, impl)
        np.testing.assert_allclose(out[0], expected, rtol=1e-5, atol=1e-5)


def test_conv3d_is_a_sum_over_taps():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 3, 4, 5, 2)).astype(np.float32)
    kernel = rng.normal(size=(2, 3, 2, 2, 3)).astype(np.float32)
    expected = np.zeros((1, 2, 2, 4, 3))
    for t, h, w in np.ndindex(2, 2, 4):
        window = x[0, t : t + 2, h : h + 3, w : w + 2]
        expected[0, t, h, w] = np.einsum("thwc,thwco->o", window, kernel)
    out = conv3d(jnp.asarray(x), jnp.asarray(kernel), padding="VALID")
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 3, 3), (3, 1, 1), (3, 3, 3)])
def test_only_programs_for_a_cpu_fold(size):
    """Whatever machine they are compiled on, forward and backward."""
    x, kernel = jnp.zeros((1, 4, 6, 6, 2)), jnp.zeros((*size, 2, 3))
    both = jax.jit(jax.grad(lambda x, kernel: (conv3d(x, kernel) ** 2).sum(), (0, 1)))
    traced = both.trace(x, kernel)
    ranks = {}
    for platform in ("cpu", "tpu", "cuda"):
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        results = re.findall(r"stablehlo.convolution.*-> tensor<([^>]*)>", text)
        ranks[platform] = [shape.count("x") for shape in results]
    assert ranks == {"cpu": [4] * 3, "tpu": [5] * 3, "cuda": [5] * 3}


def test_layer_has_the_same_parameters_whatever_impl():
    x = jax.random.normal(jax.random.key(0), (2, 4, 6, 6, 3))
    fold, native = (Conv3D(4, (3, 3, 3), (1, 2, 2), (1, 1, 1), impl=i) for i in ("fold", "native"))
    params = fold.init(jax.random.key(1), x)
    shapes = jax.tree.map(jnp.shape, params["params"])
    assert shapes == {"kernel": (3, 3, 3, 3, 4), "bias": (4,)}
    jax.tree.map(np.testing.assert_array_equal, params, native.init(jax.random.key(1), x))
    params["params"]["bias"] = jnp.arange(4.0)
    np.testing.assert_allclose(fold.apply(params, x), native.apply(params, x), atol=1e-5)


def test_layer_computes_in_its_dtype_and_keeps_float32_parameters():
    layer = Conv3D(2, (1, 3, 3), dtype="bfloat16", use_bias=False)
    out, params = layer.init_with_output(jax.random.key(0), jnp.ones((1, 2, 4, 4, 3)))
    assert out.dtype == jnp.bfloat16
    assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {"float32"}


def test_bad_input_is_named():
    x = jnp.zeros((1, 2, 4, 4, 1))
    with pytest.raises(ValueError, match="impl is one of"):
        conv3d(x, jnp.zeros((1, 1, 1, 1, 1)), impl="cudnn")
    with pytest.raises(ValueError, match="larger than axis t of the clip: 2"):
        conv3d(x, jnp.zeros((3, 1, 1, 1, 1)), padding="VALID")
    with pytest.raises(ValueError, match="one entry for each"):
        conv3d(x, jnp.zeros((1, 3, 3, 1, 1)), padding=(1, 1))
