"""All tokens of a text: in memory, or in files that processes share."""

import contextlib
import dataclasses
import pathlib
import uuid
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float64, Int32, Int64, UInt

from ssl_jax.config import ConfigError
from ssl_jax.data import paths
from ssl_jax.data.media import errors_name
from ssl_jax.data.npz import read_npz
from ssl_jax.data.record import MediaError

ENOUGH = 2**20  # tokens that are gathered before they are put away


@dataclasses.dataclass(frozen=True, eq=False)
class TokenText:
    """The tokens of all documents, each ended by `eos`.

    Attributes:
      tokens: of all documents, one after another.
      labels: of each document.
      bytes_per_token: of each document, in UTF-8.
      starts: where each document starts among the tokens, and where the last one ends.
      file: the path, without ending, of the files that it is read from; '' for none. With files it
        pickles as their path, so that worker processes hold no tokens of their own.
    """

    tokens: UInt[np.ndarray, "n"]
    labels: Int32[np.ndarray, "k"]
    bytes_per_token: Float64[np.ndarray, "k"]
    starts: Int64[np.ndarray, "k+1"]
    file: str = ""

    def __reduce__(self) -> tuple:
        if self.file:
            return read_token_text, (self.file,)
        return TokenText, (self.tokens, self.labels, self.bytes_per_token, self.starts)


def tokenise(documents: Iterable[tuple[str, int]], tokenizer: Any) -> TokenText:
    """The tokens of (text, label) pairs, of two bytes each, or four for more than 65,536 ids."""
    kind = np.uint16 if tokenizer.size <= 2**16 else np.uint32
    whole, gathered, waiting = [np.zeros(0, kind)], [], 0
    lengths, labels, sizes = [], [], []
    for text, label in documents:
        ids = tokenizer.encode(text)
        gathered += [ids.astype(kind), np.asarray([tokenizer.eos], kind)]
        waiting += len(ids) + 1
        if waiting > ENOUGH:  # many small arrays would take more memory than their tokens
            whole.append(np.concatenate(gathered))
            gathered, waiting = [], 0
        lengths.append(len(ids) + 1)
        labels.append(label)
        sizes.append(len(text.encode(errors="replace")) / max(len(ids), 1))
    tokens = np.concatenate(whole + gathered)
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
    return TokenText(tokens, np.asarray(labels, np.int32), np.asarray(sizes, np.float64), starts)


def read_token_text(file: str) -> TokenText:
    """Opens the files; tokens stay on the disk until they are used. MediaError for damaged ones."""
    documents = read_npz(f"{file}.npz")
    with errors_name(f"{file}.npy"):
        # As a plain array: slices of a memmap would be memmaps too.
        tokens = np.asarray(np.load(f"{file}.npy", mmap_mode="r", allow_pickle=False))
    with errors_name(f"{file}.npz"):
        text = TokenText(tokens, **documents, file=file)
    if len(tokens) != text.starts[-1]:
        raise MediaError(f"{file}.npy: has {len(tokens)} tokens in place of {text.starts[-1]}")
    return text


def write_token_text(text: TokenText, file: str) -> None:
    """Writes `file`.npy and `file`.npz; ConfigError if that is not possible."""
    with _written(f"{file}.npy") as opened:
        np.save(opened, text.tokens)
    arrays = {name: getattr(text, name) for name in ("labels", "bytes_per_token", "starts")}
    with _written(f"{file}.npz") as opened:
        np.savez(opened, **arrays)


@contextlib.contextmanager
def _written(file: str) -> Iterator[BinaryIO]:
    # Of a name of its own, as other processes and hosts may write the same.
    draft = paths.draft(f"{file}.{uuid.uuid4().hex}")
    try:
        paths.make_folder(file.rpartition("/")[0])
        with open(draft, "wb") as opened:
            yield opened
        paths.put(draft, file)
    except OSError as error:
        raise ConfigError(f"cache: {file} cannot be written ({error.strerror})") from error
    finally:
        pathlib.Path(draft).unlink(missing_ok=True)
