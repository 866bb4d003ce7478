"""The MNIST family from its own files: MNIST, Fashion-MNIST, KMNIST, EMNIST in idx format."""

import dataclasses
import functools
import gzip
import os
import re
import zlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from ssl_jax.config import ConfigError
from ssl_jax.data.paths import home
from ssl_jax.data.record import MediaError, Record
from ssl_jax.knobs import at_least, one_of

SPLITS = {"train": "train", "test": "(?:t10k|test)"}


@dataclasses.dataclass(frozen=True)
class IdxSource:
    """Grey images with class numbers; grey becomes three equal channels.

    Reads `train-images-idx3-ubyte` and `train-labels-idx1-ubyte` (`t10k-...` for 'test'), with or
    without .gz, with '.' for '-' before idx, and with a set's name before them (`emnist-letters-`).

    Attributes:
      path: the folder that holds the files.
      split: 'train' or 'test'.
      limit: the first so many images; 0 for all. (Other sources spread them evenly. These sets are
        shuffled, and measured numbers of many configs rest on the first ones.)
    """

    path: str
    split: str = "train"
    limit: int = 0

    def __post_init__(self):
        one_of(self, "split", SPLITS)
        at_least(self, 0, "limit")

    def __len__(self) -> int:
        count = len(self._arrays[1])
        return min(self.limit, count) if self.limit else count

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(index)
        images, labels = self._arrays
        name = f"{self.path} {self.split} {index}"
        return Record(
            name=name,
            index=int(index),
            num_frames=1,
            fps=1.0,
            frames=lambda indices: _frames(images[index], name, indices),
            duration=1.0,
            label=int(labels[index]),
            extra={"split": self.split},
        )

    @property
    def _arrays(self) -> tuple[np.ndarray, np.ndarray]:
        # Not a field: so the source pickles as its few words, and copies share the arrays.
        return _read_set(home(self.path), self.split)


def _frames(
    image: np.ndarray, name: str, indices: Sequence[int] | np.ndarray
) -> UInt8[np.ndarray, "t h w 3"]:
    if any(i != 0 for i in indices):
        raise MediaError(f"{name}: frames {list(indices)} were asked for, an image has frame 0")
    return np.broadcast_to(image[None, :, :, None], (len(indices), *image.shape, 3)).copy()


@functools.lru_cache(maxsize=4)
def _read_set(folder: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    images_file = _find(folder, split, "images", 3)
    labels_file = _find(folder, split, "labels", 1)
    images, labels = _read_idx(images_file, 3), _read_idx(labels_file, 1)
    if len(images) != len(labels):
        raise MediaError(
            f"{images_file}: holds {len(images)} images, but {labels_file} {len(labels)} labels"
        )
    return images, labels


def _find(folder: str, split: str, what: str, axes: int) -> str:
    help_line = (
        f"put {split.replace('test', 't10k')}-{what}-idx{axes}-ubyte or its .gz there, or use "
        "TfdsSource with the name 'mnist', 'fashion_mnist', 'kmnist' or 'emnist'"
    )
    if not os.path.isdir(folder):
        raise ConfigError(f"there is no folder {folder!r}: {help_line}")
    pattern = re.compile(rf"(?:.*-)?{SPLITS[split]}-{what}[-.]idx{axes}-ubyte(\.gz)?")
    found = sorted(name for name in os.listdir(folder) if pattern.fullmatch(name))
    sets = {name.removesuffix(".gz") for name in found}
    if len(sets) != 1:
        reason = f"several sets, {', '.join(sorted(sets))}: give each a folder" if sets else "none"
        raise ConfigError(f"{folder}: {split} {what} in idx format: {reason}; {help_line}")
    return os.path.join(folder, found[0])


def _read_idx(file: str, axes: int) -> np.ndarray:
    """uint8 array: two zero bytes, type 8, number of axes, big-endian sizes, then the values."""
    try:
        with (gzip.open if file.endswith(".gz") else open)(file, "rb") as stream:
            data = stream.read()
    except (OSError, EOFError, zlib.error) as error:
        raise MediaError(f"{file}: cannot be read ({error}); download it again") from error
    head = 4 + 4 * axes
    if len(data) < head or data[:4] != bytes([0, 0, 8, axes]):
        raise MediaError(f"{file}: is no idx file of bytes in {axes} axes")
    shape = tuple(np.frombuffer(data, ">u4", axes, offset=4).tolist())
    if len(data) - head != int(np.prod(shape)):
        raise MediaError(
            f"{file}: holds {len(data) - head} values, its header says {shape}; download it again"
        )
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape)
