"""What a network of two convolutions learns of a puzzle: a bound on what needs no understanding.

Networks of so little capacity find shortcuts and hardly anything else, whatever the shortcut is.
"""

import math
from collections.abc import Iterable, Iterator, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ssl_jax.method import Batch, scaled
from ssl_jax.ops.spectrogram import log_spectrogram

CELLS = 4  # a side, to which maps are averaged, so that the place of things is not lost


class SmallNetwork(nn.Module):
    """Two convolutions of 16 and 32 channels for every image of a row, and a linear layer for all.

    Waves go in as spectrograms.
    """

    entries: tuple[str, ...]
    classes: int

    @nn.compact
    def __call__(self, batch: Batch) -> jax.Array:
        seen = []
        for name in self.entries:
            x = scaled(batch[name])
            if x.shape[-1] > 512 and x.ndim <= 3:
                x = log_spectrogram(x, 256, 128, 256)[..., None]
            rows, images = len(x), math.prod(x.shape[1:-3])
            x = x.reshape(-1, *x.shape[-3:])
            x = x - jnp.mean(x, (1, 2), keepdims=True)
            for width, size in ((16, 5), (32, 3)):
                x = nn.Conv(width, (size, size), strides=2, name=f"{name}_{width}")(x)
                x = nn.relu(x)
            height, wide = (min(CELLS, side) for side in x.shape[1:3])
            x = jax.image.resize(x, (len(x), height, wide, x.shape[-1]), "linear")
            seen.append(x.reshape(rows, images * height * wide * x.shape[-1]))
        return nn.Dense(self.classes)(jnp.concatenate(seen, 1))


def small_network_accuracy(
    train: Iterable[Mapping[str, np.ndarray]],
    test: Iterable[Mapping[str, np.ndarray]],
    entries: tuple[str, ...],
    classes: int,
    steps: int,
    seed: int,
) -> float:
    """Trains on augmented batches, again and again for so many steps, and scores on others.

    Args:
      train: augmented batches with 'target' (b), numbers below `classes`.
      entries: which of their entries it sees.
    """
    network, optimizer = SmallNetwork(entries, classes), optax.adam(3e-3)

    def loss(params, batch):
        logits = network.apply(params, batch)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, batch["target"]))

    @jax.jit
    def step(params, moments, batch):
        updates, moments = optimizer.update(jax.grad(loss)(params, batch), moments)
        return optax.apply_updates(params, updates), moments

    @jax.jit
    def hits(params, batch):
        return jnp.argmax(network.apply(params, batch), -1) == batch["target"]

    chosen = (*entries, "target")
    batches = _for_ever([{name: batch[name] for name in chosen} for batch in train], seed)
    first = next(batches)
    params = jax.jit(network.init)(jax.random.key(seed), first)
    moments = optimizer.init(params)
    for _ in range(steps):
        params, moments = step(params, moments, next(batches))
    scored = [np.asarray(hits(params, {name: b[name] for name in chosen})) for b in test]
    return float(np.concatenate(scored).mean())


def _for_ever(batches: list, seed: int) -> Iterator:
    rng = np.random.default_rng(seed)
    while True:
        for number in rng.permutation(len(batches)):
            yield batches[number]
