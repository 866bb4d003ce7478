"""The transformer encoder against its formula, written out with numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from test_models import count

from ssl_jax.config import ConfigError
from ssl_jax.models.transformer import Transformer


def normed(x, norm):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt(centred.var(-1, keepdims=True) + 1e-5) * norm["scale"] + norm["bias"]


def encoded(params, x, heads, norm_first, seen):
    """Blocks of attention and feed-forward network; `seen` (from, to) says who sees whom."""

    def dense(name, x):
        return x @ params[name]["kernel"] + params[name]["bias"]

    def attention(name, x):
        query, key, value = (dense(f"{name}_{part}", x) for part in ("query", "key", "value"))
        size, out = x.shape[1] // heads, []
        for k in range(heads):
            own = np.s_[:, k * size : (k + 1) * size]
            scores = np.where(seen, query[own] @ key[own].T / np.sqrt(size), -np.inf)
            out.append(scipy.special.softmax(scores, axis=1) @ value[own])
        return dense(f"{name}_out", np.concatenate(out, axis=1))

    def feed(name, x):
        hidden = dense(f"{name}_hidden", x)
        return dense(f"{name}_out", hidden * (1 + scipy.special.erf(hidden / np.sqrt(2))) / 2)

    for block in (1, 2):
        for part, change in (("attention", attention), ("feed", feed)):
            name = f"block{block}_{part}"
            norm = params[f"{name}_norm"]
            x = (
                x + change(name, normed(x, norm))
                if norm_first
                else normed(x + change(name, x), norm)
            )
    return normed(x, params["norm"]) if norm_first else x


@pytest.mark.parametrize("norm_first", [False, True])
def test_it_is_what_the_formula_says(norm_first):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 5, 6)), jnp.float32)
    there = jnp.array([[True] * 5, [True, True, True, False, False]])
    model = Transformer(blocks=2, heads=3, hidden=7, norm_first=norm_first, causal=norm_first)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), x, False))
    params = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), shapes["params"]
    )
    layers = jax.jit(lambda there: model.apply({"params": params}, x, False, there))(there)
    assert set(layers) == {"block1", "block2", *(("norm",) if norm_first else ())}
    found = layers["norm" if norm_first else "block2"]
    exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    for row, length in ((0, 5), (1, 3)):
        seen = np.arange(5) < length
        seen = np.tril(np.ones((5, 5), bool)) & seen if norm_first else np.tile(seen, (5, 1))
        expected = encoded(exact, np.asarray(x[row], np.float64), 3, norm_first, seen)
        np.testing.assert_allclose(found[row, :length], expected[:length], rtol=1e-4, atol=1e-4)


def test_blocks_that_are_computed_again_are_the_same():
    x = jax.random.normal(jax.random.key(1), (1, 3, 4))
    plain = Transformer(blocks=1, heads=2, hidden=4, activation="relu")
    params = jax.jit(lambda: plain.init(jax.random.key(0), x, False))()

    def gradient(remat):
        model = plain.clone(remat=remat)
        return jax.jit(jax.grad(lambda p: model.apply(p, x, True)["block1"][0, 0, 0]))(params)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        gradient(False),
        gradient(True),
    )


def test_parameters_and_widths():
    # Of BERT (Devlin et al. 2019) in its base size, all blocks: 12 of 7,087,872.
    assert count(Transformer(), 1, 4, 768) == 12 * 7_087_872
    small = Transformer(blocks=2, heads=4, hidden=512)
    assert count(small, 1, 24, 128) == 399_744 - 24 * 128 - 128  # positions, one mask vector
    with pytest.raises(ConfigError, match="heads=12 must divide width 100"):
        count(Transformer(), 1, 4, 100)
