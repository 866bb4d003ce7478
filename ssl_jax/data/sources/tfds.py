"""TensorFlow Datasets, read without TensorFlow."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from ssl_jax.data import decode
from ssl_jax.data.record import MediaError, Record


@dataclasses.dataclass(frozen=True)
class TfdsSource:
    """Pictures, or films stored as pictures, of a set that TFDS prepared as array_record.

    The first Image feature, or the first sequence of them (Video), gives the frames; the first
    ClassLabel gives the label; all other features go to `extra` as they are. Sound is not read.

    Attributes:
      name: of the set as TFDS knows it, with config and version if wanted: 'voc/2007:5.0.0'.
      split: 'train', 'test', or a part as TFDS writes it: 'train[:10%]'.
      data_dir: where TFDS keeps its sets; '' for its default.
      fps: frames per second of films: TFDS does not store it.
    """

    name: str
    split: str
    data_dir: str = ""
    fps: float = 25.0

    def __len__(self) -> int:
        return len(self._opened.examples)

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(index)
        opened = self._opened
        example = dict(opened.examples[int(index)])
        encoded = example.pop(opened.frames)
        encoded = [encoded] if isinstance(encoded, bytes) else list(encoded)
        label = int(example.pop(opened.label)) if opened.label else -1
        name = f"{self.name} {self.split} {index}"
        fps = 1.0 if opened.single else self.fps
        return Record(
            name=name,
            index=int(index),
            num_frames=len(encoded),
            fps=fps,
            frames=lambda indices: _frames(encoded, name, indices),
            duration=len(encoded) / fps,
            label=label,
            extra={"split": self.split, **example},
        )

    @property
    def label_names(self) -> tuple[str, ...]:
        return self._opened.label_names

    @property
    def _opened(self) -> "_Opened":
        # Not a field: so the source pickles as its few words, and each process opens its own.
        return _open(self.name, self.split, self.data_dir)


@dataclasses.dataclass(frozen=True)
class _Opened:
    examples: Sequence[dict]
    frames: str
    single: bool
    label: str
    label_names: tuple[str, ...]


def _frames(
    encoded: list[bytes], name: str, indices: Sequence[int] | np.ndarray
) -> UInt8[np.ndarray, "t h w 3"]:
    wrong = [i for i in indices if not 0 <= i < len(encoded)]
    if wrong:
        raise MediaError(f"{name}: frame {wrong[0]} was asked for, it has {len(encoded)}")
    pictures = [decode.decode_picture(name, encoded[i]) for i in indices]
    return np.stack(pictures) if pictures else np.zeros((0, 1, 1, 3), np.uint8)


@functools.lru_cache(maxsize=16)
def _open(name: str, split: str, data_dir: str) -> _Opened:
    import tensorflow_datasets as tfds

    class Encoded(tfds.decode.SkipDecoding):
        """Hands over the stored bytes, so that only the frames asked for are decoded."""

        def decode_batch_example_np(self, batch):  # of sequences
            return batch

    try:
        builder = tfds.builder(name, data_dir=data_dir or None)
    except tfds.core.DatasetNotFoundError as error:
        raise ValueError(f"TFDS knows no set {name!r}; see tfds.list_builders()") from error
    features = builder.info.features
    frames = label = ""
    for key, feature in features.items():
        inner = getattr(feature, "feature", feature)
        if not frames and isinstance(inner, tfds.features.Image):
            frames = key
        if not label and isinstance(feature, tfds.features.ClassLabel):
            label = key
    if not frames:
        raise ValueError(f"{name} of TFDS has no pictures, its features are {list(features)}")
    try:
        examples = builder.as_data_source(split, decoders={frames: Encoded()})
    except NotImplementedError as error:
        where = f", data_dir={data_dir!r}" if data_dir else ""
        raise ValueError(
            f"{name} is not prepared as array_record in {builder.data_dir}; once, do: "
            f'python -c "import tensorflow_datasets as tfds; '
            f"tfds.builder({name!r}{where}, file_format='array_record').download_and_prepare()\" "
            "(most sets need TensorFlow installed for that, reading does not)"
        ) from error
    except ValueError as error:
        splits = list(builder.info.splits)
        raise ValueError(f"{name} of TFDS: no split {split!r}, there is {splits}") from error
    single = isinstance(features[frames], tfds.features.Image)
    names = tuple(features[label].names) if label else ()
    return _Opened(examples, frames, single, label, names)
