"""Methods with something about them changed: a batch, or how their network computes."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from ssl_jax.cues.cue import pixel_entries
from ssl_jax.method import Batch, Method, Params, State, scaled
from ssl_jax.methods.control import Control
from ssl_jax.methods.wrapper import Wrapper


@dataclasses.dataclass(frozen=True)
class AlteredBatch(Wrapper):
    """A method of whose augmented batch every image the network sees is changed.

    Attributes:
      change: of pixels 0..1 (b ... h w 3) and a key.
    """

    change: Callable[[jax.Array, jax.Array], jax.Array]

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        key_augment, key_change = jax.random.split(key)
        batch = self.method.augment(batch, state, key_augment)
        for number, name in enumerate(pixel_entries(self.method, batch)):
            own = jax.random.fold_in(key_change, number)
            batch = {**batch, name: self.change(scaled(batch[name]), own)}
        return batch


@dataclasses.dataclass(frozen=True)
class AlteredNetwork(Wrapper):
    """A method whose layers are computed in another way, in evaluation.

    Attributes:
      around: `flax.linen.intercept_methods` calls it in place of every layer's methods.
    """

    around: Callable

    def outputs(
        self, params: Params, state: State, batch: Batch, key: jax.Array, train: bool = True
    ) -> tuple[Any, State]:
        with nn.intercept_methods(self.around):
            return self.method.outputs(params, state, batch, key, train)


def shuffled(method: Method, batch: Mapping[str, np.ndarray]) -> Method | None:
    """The method with its targets or partners shuffled, by which chance is measured.

    None if there is no telling what these are.
    """
    targets = tuple(name for name in batch if name.rpartition("/")[2] == "target")
    partners = tuple(name for name in method.also_prepared if name in batch)
    streams = [name for entries in method.streams.values() for name in entries]
    others = tuple(dict.fromkeys(name for name in streams if name in batch))[1:]
    names = targets or partners or others
    return Control(method, names) if names and not method.has_own_loss else None
