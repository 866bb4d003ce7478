"""Word vectors in the formats of word2vec, text and binary, which gensim and others read too.

write_word_vectors("vectors.txt", words, vectors)
write_word_vectors("vectors.bin", words, vectors)
words, vectors = read_word_vectors("GoogleNews-vectors-negative300.bin.gz")
"""

import gzip
import os
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32

from ssl_jax.config import ConfigError
from ssl_jax.data import paths

BINARY = (".bin", ".bin.gz")


def write_word_vectors(path: str, words: Sequence[str], vectors: Float[np.ndarray, "k d"]) -> None:
    """Writes a row for each word: binary if the path ends in .bin, text otherwise.

    Raises ConfigError for a word with a space in it, which the formats cannot hold, or if the file
    cannot be written.
    """
    wrong = next((word for word in words if not word or len(word.split()) != 1), None)
    if wrong is not None:
        raise ConfigError(f"{path}: the formats of word2vec have no place for the word {wrong!r}")
    vectors, path = vectors.astype("<f4"), paths.home(path)
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "wb") as file:
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
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read as word vectors ({error})") from error
    try:
        words, vectors = (_binary if path.endswith(BINARY) else _text)(data)
    except (ValueError, IndexError) as error:
        raise ConfigError(f"{path}: no word vectors of word2vec ({error})") from error
    return words, vectors


def _text(data: bytes) -> tuple[tuple[str, ...], Float32[np.ndarray, "k d"]]:
    # Words may hold spaces of other kinds, such as U+00A0, at which only b" " does not cut.
    lines = [line.rstrip() for line in data.split(b"\n") if line.strip()]
    head = lines[0].split(b" ")
    if len(head) == 2:
        count, lines = int(head[0]), lines[1:]
        if count != len(lines):
            raise ValueError(f"{len(lines)} words in place of {count}")
    rows = [line.split(b" ") for line in lines]
    words = tuple(row[0].decode(errors="replace") for row in rows)
    width = len(rows[0]) - 1
    wrong = next((n for n, row in enumerate(rows) if len(row) != width + 1), None)
    if wrong is not None:
        raise ValueError(f"'{words[wrong]}' has {len(rows[wrong]) - 1} numbers in place of {width}")
    return words, np.array([row[1:] for row in rows]).astype(np.float32)


def _binary(data: bytes) -> tuple[tuple[str, ...], Float32[np.ndarray, "k d"]]:
    head, _, _ = data[:100].partition(b"\n")
    count, width = map(int, head.split())
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
