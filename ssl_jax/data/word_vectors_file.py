"""Word vectors in the formats of word2vec, text and binary, which gensim and others read too.

write_word_vectors("vectors.txt", words, vectors)
write_word_vectors("vectors.bin", words, vectors)
words, vectors = read_word_vectors("GoogleNews-vectors-negative300.bin.gz")
"""

import gzip
import io
import os
import zlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32

from ssl_jax.config import ConfigError
from ssl_jax.data import paths

BINARY = (".bin", ".bin.gz")


def write_word_vectors(path: str, words: Sequence[str], vectors: Float[np.ndarray, "k d"]) -> None:
    """Writes a row for each word: binary if the path ends in .bin or .bin.gz, text otherwise.

    A file whose name ends in .gz is compressed. Raises ConfigError for a word with a space in it,
    which the formats cannot hold, or if the file cannot be written.
    """
    wrong = next((word for word in words if not word or len(word.split()) != 1), None)
    if wrong is not None:
        raise ConfigError(f"{path}: the formats of word2vec have no place for the word {wrong!r}")
    vectors, path = vectors.astype("<f4"), paths.home(path)
    opened = gzip.open if path.endswith(".gz") else open
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with opened(path, "wb") as file:
            file.write(f"{len(words)} {vectors.shape[1]}\n".encode())
            for word, vector in zip(words, vectors, strict=True):
                if path.endswith(BINARY):
                    file.write(word.encode() + b" " + vector.tobytes() + b"\n")
                else:
                    # The shortest text that reads back as the same float32.
                    numbers = " ".join(map(str, vector))
                    file.write(f"{word} {numbers}\n".encode())
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def read_word_vectors(path: str) -> tuple[tuple[str, ...], Float32[np.ndarray, "k d"]]:
    """(words, a row for each) of a file in text or, if its name ends in .bin or .bin.gz, binary.

    A text file of GloVe, which lacks the first line, is read too. Raises ConfigError for what is no
    such file.
    """
    try:
        data = paths.read(path)
        data = gzip.decompress(data) if path.endswith(".gz") else data
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"{path}: cannot be read as word vectors ({error})") from error
    try:
        words, vectors = (_binary if path.endswith(BINARY) else _text)(data)
    except (ValueError, IndexError) as error:
        raise ConfigError(f"{path}: no word vectors of word2vec ({error})") from error
    return words, vectors


def _text(data: bytes) -> tuple[tuple[str, ...], Float32[np.ndarray, "k d"]]:
    # Row by row: all numbers as Python objects would take twenty times the memory of the array.
    lines = filter(bytes.strip, io.BytesIO(data))
    head = next(lines, b"").rstrip().split(b" ")
    if len(head) == 2:
        count, width = map(int, head)
    else:
        count, width = 1 + sum(1 for _ in lines), len(head) - 1
        lines = filter(bytes.strip, io.BytesIO(data))
    if count * width > len(data):
        raise ValueError(f"{len(data)} bytes are too few for {count} words")
    words, vectors = [], np.empty((count, width), np.float32)
    for line in lines:
        # Words may hold spaces of other kinds, such as U+00A0, at which only b" " does not cut.
        word, *numbers = line.rstrip().split(b" ")
        words.append(word.decode(errors="replace"))
        if len(numbers) != width:
            raise ValueError(f"'{words[-1]}' has {len(numbers)} numbers in place of {width}")
        if len(words) <= count:
            vectors[len(words) - 1] = np.array(numbers).astype(np.float32)
    if len(words) != count:
        raise ValueError(f"{len(words)} words in place of {count}")
    return tuple(words), vectors


def _binary(data: bytes) -> tuple[tuple[str, ...], Float32[np.ndarray, "k d"]]:
    head, _, _ = data[:100].partition(b"\n")
    count, width = map(int, head.split())
    if 4 * count * width > len(data):
        raise ValueError(f"{len(data)} bytes are too few for {count} words")
    place, words = len(head) + 1, []
    vectors = np.empty((count, width), np.float32)
    for number in range(count):
        end = data.index(b" ", place)
        # word2vec.c ends a row with a new line, other writers do not.
        words.append(data[place:end].lstrip(b"\n").decode(errors="replace"))
        place = end + 1 + 4 * width
        if place > len(data):
            raise ValueError(f"it ends within word {number + 1} of {count}")
        vectors[number] = np.frombuffer(data, "<f4", width, end + 1)
    return tuple(words), vectors
