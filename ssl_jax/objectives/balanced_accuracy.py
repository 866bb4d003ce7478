"""Accuracy where some classes are more frequent than others."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def balanced_accuracy(logits: Float[Array, "b k"], labels: Int[Array, "b"]) -> Float[Array, ""]:
    """The mean, over the classes that occur among the labels, of how many of its rows are right.

    A constant answer reaches 1 / (number of classes), however frequent they are.
    """
    hits = (jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32)
    own = (labels[:, None] == jnp.arange(logits.shape[-1])).astype(jnp.float32)  # (b, k)
    counts = own.sum(axis=0)
    right = (hits[:, None] * own).sum(axis=0) / jnp.maximum(counts, 1)
    return right.sum() / (counts > 0).sum()
