"""Pooling: both ways of rounding, against loops; the form for the CPU equals the native one."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.models.alexnet import AlexNet
from ssl_jax.ops import pooling


def pool_by_loops(x, window, stride, pad, ceil, reduce):
    """Pools the axes of space of one channel; `reduce(cells, padded cell count)`."""
    ranges = []
    for size in x.shape:
        steps = (size + 2 * pad - window) / stride
        steps = math.ceil(steps) if ceil else math.floor(steps)
        if ceil and steps * stride >= size + pad:
            steps -= 1
        ranges.append([i * stride - pad for i in range(steps + 1)])
    out = np.zeros([len(r) for r in ranges], np.float32)
    for index in np.ndindex(*out.shape):
        starts = [ranges[axis][i] for axis, i in enumerate(index)]
        ends = [min(s + window, n + pad) for s, n in zip(starts, x.shape, strict=True)]
        real = tuple(
            slice(max(s, 0), min(e, n)) for s, e, n in zip(starts, ends, x.shape, strict=True)
        )
        out[index] = reduce(x[real], np.prod(np.subtract(ends, starts)))
    return out


GEOMETRIES = [  # spatial shape, window, stride, padding
    ((6, 7), 2, 2, 0),
    ((6, 8), 3, 2, 0),
    ((7, 5), 3, 2, 1),
    ((5, 5), 2, 3, 1),
    ((2, 4), 3, 2, 0),  # smaller than the window: only rounding up gives a cell
    ((4, 6, 5), 2, 2, 0),
    ((5, 4, 6), 3, 2, 1),
]


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize(("shape", "window", "stride", "pad"), GEOMETRIES)
def test_pools_equal_loops(shape, window, stride, pad, ceil):
    if min(shape) + 2 * pad < window and not ceil:
        with pytest.raises(ValueError, match="does not fit 2 cells"):
            pooling.max_pool(jnp.zeros((1, *shape, 1)), window, stride, pad)
        return
    x = np.random.default_rng(0).normal(size=(2, *shape, 2)).astype(np.float32)
    knobs = {"window": window, "strides": stride, "padding": pad, "ceil": ceil}

    @jax.jit
    def run(x):
        return {
            impl: {
                "max": pooling.max_pool(x, **knobs, impl=impl),
                "mean": pooling.avg_pool(x, **knobs, impl=impl),
                "mean of real": pooling.avg_pool(x, **knobs, count_padding=False, impl=impl),
            }
            for impl in ("axes", "native")
        }

    reductions = {
        "max": lambda cells, count: cells.max(),
        "mean": lambda cells, count: cells.sum() / count,
        "mean of real": lambda cells, count: cells.mean(),
    }
    for results in run(x).values():
        for name, out in results.items():
            for b, c in np.ndindex(2, 2):
                loops = pool_by_loops(x[b, ..., c], window, stride, pad, ceil, reductions[name])
                np.testing.assert_allclose(out[b, ..., c], loops, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "window", "strides", "padding", "ceil"),
    [
        ((6, 7), (3, 3), (2, 2), (1, 1), False),
        ((6, 8), (3, 3), (2, 2), (0, 0), True),
        ((6, 6), (2, 2), (2, 2), (0, 0), False),
        ((4, 5, 4), (1, 3, 3), (1, 2, 2), "SAME", False),
        ((4, 5, 4), (3, 3, 3), (2, 2, 2), ((1, 0), (0, 1), (1, 1)), False),
    ],
)
def test_cpu_form_equals_native_with_ties(shape, window, strides, padding, ceil):
    # Few different values: most windows have several largest cells, and one must get all gradient.
    x = np.random.default_rng(0).integers(0, 3, (2, *shape, 3)).astype(np.float32)

    @jax.jit
    def run(x):
        results = {}
        for pool in (pooling.max_pool, pooling.avg_pool):
            for impl in ("native", "axes"):
                out, pull = jax.vjp(
                    lambda x, pool=pool, impl=impl: pool(
                        x, window, strides, padding, ceil, impl=impl
                    ),
                    x,
                )
                pulls = jnp.sin(jnp.arange(out.size, dtype=jnp.float32)).reshape(out.shape)
                results[pool.__name__, impl] = (out, *pull(pulls))
        return [results[key] for key in sorted(results)]

    avg_axes, avg_native, max_axes, max_native = run(x)
    for axes, native in ((avg_axes, avg_native), (max_axes, max_native)):
        for a, n in zip(axes, native, strict=True):
            assert a.shape == n.shape
            np.testing.assert_allclose(a, n, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("pool", [pooling.max_pool, pooling.avg_pool])
def test_only_programs_for_a_cpu_pool_by_axes(pool):
    """Whatever machine they are compiled on."""
    traced = jax.jit(lambda x: pool(x, 3, 2, padding=1)).trace(jnp.zeros((1, 8, 8, 2)))
    windows = {
        platform: traced.lower(lowering_platforms=(platform,)).as_text().count("reduce_window")
        for platform in ("cpu", "tpu", "cuda")
    }
    assert windows == {"cpu": 0, "tpu": 1, "cuda": 1}


@pytest.mark.parametrize("impl", ["axes", "native"])
def test_max_pool_shows_a_nan_and_never_the_padding(impl):
    x = jnp.full((1, 4, 4, 1), -5.0).at[0, 0, 1, 0].set(jnp.nan)
    out = pooling.max_pool(x, 2, padding=1, impl=impl)[0, :, :, 0]
    assert np.isnan(out).tolist() == [[False, True, False], [False] * 3, [False] * 3]
    assert np.nanmin(out) == np.nanmax(out) == -5.0


@pytest.mark.parametrize("impl", ["axes", "native"])
def test_pools_keep_bfloat16(impl):
    x = jnp.ones((1, 4, 4, 1), jnp.bfloat16)
    for pool in (pooling.max_pool, pooling.avg_pool):
        out = pool(x, 2, impl=impl)
        assert out.dtype == jnp.bfloat16
        assert out.tolist() == jnp.ones((1, 2, 2, 1)).tolist()


@pytest.mark.parametrize(
    ("size", "stride", "padding", "up", "down"),
    [  # the input of five Caffe networks; sides of conv1, pool1, pool2, pool5 by either rounding
        (64, 2, 0, (27, 13, 6, 3), (27, 13, 6, 2)),
        (75, 2, 0, (33, 16, 8, 4), (33, 16, 7, 3)),
        (114, 4, 0, (26, 13, 6, 3), (26, 12, 5, 2)),
        (96, 4, 5, (24, 12, 6, 3), (24, 11, 5, 2)),
        (227, 4, 0, (55, 27, 13, 6), (55, 27, 13, 6)),
    ],
)
def test_caffe_rounds_up(size, stride, padding, up, down):
    for ceil, sides in ((True, up), (False, down)):
        net = AlexNet(
            conv1_stride=stride, conv1_padding=padding, ceil_pooling=ceil, fc6=0, fc7=0, width=0.01
        )
        layers = jax.eval_shape(
            lambda x, net=net: net.init_with_output(jax.random.key(0), x, train=False)[0],
            jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32),
        )
        assert tuple(layers[k].shape[1] for k in ("conv1", "pool1", "pool2", "pool5")) == sides


def test_global_pools():
    x = jnp.arange(24.0).reshape(1, 2, 3, 2, 2)
    np.testing.assert_allclose(pooling.global_avg_pool(x), [[11.0, 12.0]])
    np.testing.assert_allclose(pooling.global_max_pool(x), [[22.0, 23.0]])


@pytest.mark.parametrize("how", ["avg", "max"])
@pytest.mark.parametrize(("h", "w", "side"), [(6, 6, 3), (7, 5, 3), (13, 13, 6), (2, 3, 4)])
def test_adaptive_pool_equals_loops(h, w, side, how):
    x = np.random.default_rng(0).normal(size=(2, h, w, 3)).astype(np.float32)
    expected = np.zeros((2, side, side, 3))
    for i, j in np.ndindex(side, side):
        cell = x[
            :,
            math.floor(i * h / side) : math.ceil((i + 1) * h / side),
            math.floor(j * w / side) : math.ceil((j + 1) * w / side),
        ]
        expected[:, i, j] = cell.mean((1, 2)) if how == "avg" else cell.max((1, 2))
    out = pooling.adaptive_pool(jnp.asarray(x), side, how)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)


def test_reduced_side():
    golden = {64: 12, 256: 6, 512: 4, 1024: 3, 2048: 2}
    assert {c: pooling.reduced_side(c) for c in golden} == golden
    assert pooling.reduced_side(20000) == 1


def test_bad_input_is_named():
    x = jnp.zeros((1, 4, 4, 1))
    with pytest.raises(ValueError, match="impl is one of"):
        pooling.max_pool(x, 2, impl="fast")
    with pytest.raises(ValueError, match="2 entries"):
        pooling.max_pool(x, (2, 2, 2))
    with pytest.raises(ValueError, match="'avg' or 'max'"):
        pooling.adaptive_pool(x, 2, "mean")


def test_the_first_of_equal_maxima_alone_gets_the_gradient():
    x = jnp.array([[1.0, 3.0, 3.0], [0.0, 0.0, 0.0]])
    assert pooling.largest(x, 1).tolist() == [3, 0]
    slope = jax.grad(lambda x: (pooling.largest(x, 1) * jnp.array([2.0, 5.0])).sum())(x)
    assert slope.tolist() == [[0, 2, 0], [5, 0, 0]]
    assert pooling.largest(x, 0).tolist() == [1, 3, 3]
