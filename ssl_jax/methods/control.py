"""Control: any method with its targets or pairs shuffled, so that nothing true can be learnt."""

import dataclasses

import jax
import jax.numpy as jnp

from ssl_jax.config import ConfigError
from ssl_jax.method import Batch, State
from ssl_jax.methods.wrapper import Wrapper


@dataclasses.dataclass(frozen=True)
class Control(Wrapper):
    """Permutes the named arrays of the augmented batch among its rows; all else is the method's.

    A 'target' (of a multi-task method: 'rotation/target') never stays in its row: otherwise one row
    per batch would keep its true label, and a network learns from so little. Other arrays are
    partners of rows: any may become any row's, its own too; if that were ruled out, the true
    partner would always be a wrong one, and a network would learn which it is from that.

    A method whose trained control still beats chance reads its targets from somewhere it should
    not (a leak). Raises ConfigError for a name that the augmented batch does not have, and for a
    method with a loss of its own, whose targets may be made elsewhere.
    """

    names: tuple[str, ...]

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        key_augment, key_rows = jax.random.split(key)
        batch = self.method.augment(batch, state, key_augment)
        for name in self.names:
            if name not in batch:
                known = ", ".join(batch)
                raise ConfigError(f"control: no '{name}' in the augmented batch; it has {known}")
            key_rows, key_name = jax.random.split(key_rows)
            rows = jax.random.permutation(key_name, len(batch[name]))
            if name.rpartition("/")[2] == "target":  # each row gets the next one's, in a round
                rows = jnp.zeros_like(rows).at[rows].set(jnp.roll(rows, 1))
            batch = {**batch, name: batch[name][rows]}
        return batch
