"""Words of captions, and their table, in the methods on video with text."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from ssl_jax.data.narration import known_vectors
from ssl_jax.data.tokenizers import Tokenizer
from ssl_jax.method import Refreshed


def filled_table(path: str, tokenizer: Tokenizer, frozen) -> Refreshed:
    """The weights 'table' with a file's vectors, before the first step; later nothing changes.

    Args:
      path: of word2vec's vectors, see `known_vectors`; '': nothing changes.
      frozen: as `Method.refresh` is given it.

    Raises ConfigError as `known_vectors` does.
    """
    if not path or int(frozen.variables["run"]["step"]):
        return Refreshed()
    own = np.asarray(frozen.variables["params"]["table"]["embedding"], np.float32)
    table = known_vectors(path, tokenizer, own)
    return Refreshed(params={"table": {"embedding": jnp.asarray(table)}})


def written_captions(tokens: Int[np.ndarray, "b k l"], tokenizer: Tokenizer) -> list[str]:
    """The k captions of every row as text, a line each."""
    return ["\n".join(tokenizer.decode(ids) for ids in row) for row in tokens.tolist()]
