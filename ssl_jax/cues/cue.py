"""Cue: something in a record, a batch or a network that may give a puzzle's answer away.

Where a cue lives says what removes it, its `level`:

* 'record': `remove` and `control` take a record and a generator and give a record, so that all of
  the method's own reading and augmentation follows.
* 'batch': they take one input of the augmented batch (pixels 0..1) and a key, inside the jitted
  step.
* 'network': `as_is`, `remove` and `control` take a method and give a method.
* 'order': `rows` says which records stand in which batch.

A control changes as much as the removal does, but leaves the cue where it was: what a network loses
by the removal and not by the control, it owed to the cue.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array, Float, Float32, Int, UInt8

from ssl_jax.data.record import Record, Source
from ssl_jax.method import Method

Arrays = Mapping[str, np.ndarray | jax.Array]  # a batch, on the host or in a jitted step

LOOKS = 8  # frames of a record by which its bars, tint, ... are judged
KEPT = 256  # decoded frames of a record
MOST_IMAGES = 16  # of one row of a batch, for statistics


@runtime_checkable
class Cue(Protocol):
    """What all cues have in common; see the module's docstring and the protocols below.

    Attributes:
      name: results are named by it.
      level: 'record', 'batch', 'network' or 'order'.
      sense: what carries it, 'vision' or 'audio'.
    """

    name: ClassVar[str]
    level: ClassVar[str]
    sense: ClassVar[str]

    def applies(self, method: Method, record: Record, batch: Arrays) -> bool:
        """Whether a method can meet it.

        Args:
          record: a readable one of the source.
          batch: the augmented batch that the method makes of such records.
        """
        ...


@runtime_checkable
class RecordCue(Cue, Protocol):
    """A cue of level 'record'."""

    def remove(self, record: Record, rng: np.random.Generator) -> Record: ...

    def control(self, record: Record, rng: np.random.Generator) -> Record: ...


@runtime_checkable
class BatchCue(Cue, Protocol):
    """A cue of level 'batch'."""

    def remove(
        self, x: Float[Array, "b *n h w 3"], key: jax.Array
    ) -> Float[Array, "b *n h w 3"]: ...

    def control(
        self, x: Float[Array, "b *n h w 3"], key: jax.Array
    ) -> Float[Array, "b *n h w 3"]: ...


@runtime_checkable
class NetworkCue(Cue, Protocol):
    """A cue of level 'network'."""

    def as_is(self, method: Method) -> Method: ...

    def remove(self, method: Method) -> Method: ...

    def control(self, method: Method) -> Method: ...


@runtime_checkable
class OrderCue(Cue, Protocol):
    """A cue of level 'order'."""

    def rows(
        self, source: Source, batch_size: int, rng: np.random.Generator
    ) -> dict[str, Int[np.ndarray, "n"]]:
        """The records of batches in turn, by 'as_is', 'removed' and 'control': equally many."""
        ...


@runtime_checkable
class Plantable(Protocol):
    """A cue that can be put into records, by which an audit is itself audited."""

    def plant(self, record: Record, rng: np.random.Generator) -> Record: ...


@runtime_checkable
class Measured(Protocol):
    """A cue that numbers describe, by which one sees how far the cue alone goes."""

    def statistic(
        self, x: Float[np.ndarray, "b *n h w 3"] | Float[np.ndarray, "b *n s"]
    ) -> Float[np.ndarray, "b d"]:
        """Of an entry of the augmented batch: pixels 0..1, or waves."""
        ...


def pixel_entries(method: Method, batch: Arrays) -> tuple[str, ...]:
    """The entries of an augmented batch that are images the network sees: (b ... h w 3)."""
    return tuple(k for k in _inputs(method) if k in batch and _is_pixels(batch[k]))


def flow_entries(method: Method, batch: Arrays) -> tuple[str, ...]:
    """The entries of an augmented batch that are flow of several frames: (b ... t h w 2)."""
    taken = (k for k in _inputs(method) if k in batch)
    return tuple(k for k in taken if batch[k].ndim > 4 and batch[k].shape[-1] == 2)


def wave_entries(method: Method, batch: Arrays) -> tuple[str, ...]:
    """The entries of an augmented batch that are waves the network hears: (b s) or (b n s)."""
    return tuple(k for k in _inputs(method) if k in batch and _is_wave(batch[k]))


def _inputs(method: Method) -> tuple[str, ...]:
    taken = (name for entries in method.streams.values() for name in entries)
    return tuple(dict.fromkeys((*taken, *method.also_prepared)))


def _is_pixels(x: np.ndarray | jax.Array) -> bool:
    return x.ndim >= 4 and x.shape[-1] == 3


def _is_wave(x: np.ndarray | jax.Array) -> bool:
    return x.ndim in (2, 3) and x.shape[-1] > 512 and np.issubdtype(x.dtype, np.floating)


def looks_at(record: Record) -> UInt8[np.ndarray, "t h w 3"]:
    """A few frames from all over a record."""
    count = min(LOOKS, record.num_frames)
    return record.need_frames()(np.linspace(0, record.num_frames - 1, count).round().astype(int))


def with_frames(
    record: Record,
    change: Callable[
        [UInt8[np.ndarray, "t h w 3"], Int[np.ndarray, "t"]], UInt8[np.ndarray, "t h w 3"]
    ],
) -> Record:
    """The record with its frames changed: `change(frames, their numbers)`.

    Stored flow goes: it is of other frames. Other cameras' views are changed likewise.
    """

    def changed(decode: Callable) -> Callable:
        return lambda numbers: change(decode(numbers), np.asarray(numbers))

    extra = {name: value for name, value in record.extra.items() if name != "flow"}
    if "views" in extra:
        extra["views"] = tuple(map(changed, extra["views"]))
    return _replaced(record, frames=changed(record.need_frames()), extra=extra)


def with_audio(
    record: Record,
    change: Callable[[Float32[np.ndarray, "s"], float], Float32[np.ndarray, "s"]],
) -> Record:
    """The record with its audio changed: `change(wave, the second at which it starts)`."""
    before = record.need_audio()
    return _replaced(record, audio=lambda start, end: change(before(start, end), start))


def remembered(record: Record) -> Record:
    """The record, of which the last frames decoded are kept, KEPT at most."""
    if record.frames is None:
        return record
    kept: dict[int, np.ndarray] = {}

    def frames(numbers):
        wanted = np.asarray(numbers, int).reshape(-1).tolist()
        missing = sorted(set(wanted) - set(kept))
        if len(kept) + len(missing) > KEPT:
            kept.clear()
            missing = sorted(set(wanted))
        if missing:
            kept.update(zip(missing, record.frames(missing), strict=True))
        found = np.stack([kept[number] for number in wanted])
        if len(kept) > KEPT:
            kept.clear()
        return found

    return _replaced(record, frames=frames)


def _replaced(record: Record, **changes) -> Record:
    return Record(**{**vars(record), **changes})


def on_unit_scale(x: np.ndarray) -> np.ndarray:
    """Bytes as floats from 0 to 1; all else as it is."""
    return x.astype(np.float32) / 255 if x.dtype == np.uint8 else x


def per_image(
    x: Float[np.ndarray, "b *n h w 3"],
    measure: Callable[[Float[np.ndarray, "h w 3"]], Float[np.ndarray, "d"]],
) -> Float[np.ndarray, "b d"]:
    """What `measure` says of a row's images (of MOST_IMAGES at most, spread over them)."""
    flat = images_of(x)
    return np.stack([np.concatenate([measure(image) for image in row]) for row in flat])


def images_of(x: Float[np.ndarray, "b *n h w 3"]) -> Float[np.ndarray, "b n h w 3"]:
    """MOST_IMAGES of a row's images at most, spread over them and in order."""
    flat = x.reshape(len(x), -1, *x.shape[-3:])
    count = min(MOST_IMAGES, flat.shape[1])
    return flat[:, np.linspace(0, flat.shape[1] - 1, count).round().astype(int)]


def sees_images(method: Method, record: Record, batch: Arrays) -> bool:
    """Whether the network sees images of records that have any."""
    return record.num_frames > 0 and bool(pixel_entries(method, batch))


def sees_videos(method: Method, record: Record, batch: Arrays) -> bool:
    """Whether the network sees several images, or flow, of a record that has several frames."""
    several = any(batch[k].ndim > 4 for k in pixel_entries(method, batch))
    several = several or len(pixel_entries(method, batch)) > 1
    return record.num_frames > 1 and (several or bool(flow_entries(method, batch)))


def hears(method: Method, record: Record, batch: Arrays) -> bool:
    """Whether the network hears the audio of records that have any."""
    return record.audio is not None and bool(wave_entries(method, batch))
