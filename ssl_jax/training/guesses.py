"""What a network takes its puzzles' answers to be, where these are classes."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ssl_jax.method import Batch, Method, Params, State


def guesses(
    method: Method, params: Params, state: State, batch: Batch, key: jax.Array
) -> dict[str, jax.Array]:
    """Entry -> the likeliest class, of the shape of the true ones: {'target': int32 (b)}.

    Args:
      state: the method's, with 'run'.
      batch: augmented and prepared.

    Of several tasks, 'rotation/target' and so on. A method has none if its outputs are not the
    classes' scores, behind the axes of an integer 'target'.
    """
    outputs, _ = method.outputs(params, state, batch, key, train=False)
    tasks = outputs if isinstance(outputs, Mapping) else {"": outputs}
    found = {}
    for task, scores in tasks.items():
        name = f"{task}/target" if task else "target"
        if name in batch and _are_scores(scores, batch[name]):
            found[name] = scores.argmax(-1).astype(batch[name].dtype)
    return found


def _are_scores(scores: Any, target: jax.Array) -> bool:
    return (
        isinstance(scores, jax.Array)
        and jnp.issubdtype(target.dtype, jnp.integer)
        and scores.shape[:-1] == target.shape
        and scores.ndim == target.ndim + 1
    )
