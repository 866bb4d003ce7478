"""Any data set of Grain as a source of records."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from ssl_jax.config import ConfigError
from ssl_jax.data.audio import cut
from ssl_jax.data.record import Caption, MediaError, Record
from ssl_jax.knobs import above

KEYS = ("image", "frames", "video", "wave", "sample_rate", "fps", "caption", "captions", "label")
MOST = 2**40  # elements; a data set that repeats for ever says that it has more


@dataclasses.dataclass(frozen=True, eq=False)  # data sets need not compare or hash
class GrainSource:
    """Records of a grain.MapDataset or grain.RandomAccessDataSource, one per element.

    Elements are dicts, each with some of these keys; all others go to `extra`:
      image: uint8 (h, w, 3) or (h, w, 1), 0..255;
      frames or video: uint8 (t, h, w, 3) or (t, h, w, 1), instead of an image;
      fps: frames per second of the video;
      wave: float (s,), mono, -1..1; its zero is the first frame's;
      sample_rate: of the wave, in Hz; always needed beside a wave;
      caption or captions: a text or several; also `Caption`s, which know their seconds;
      label: a class number.
    Elements may also be `Record`s, so the sources of this package can be elements of a pipeline.

    Two data sets mixed by weight with grain's own `mix`, three of the first for one of the second:

        import grain
        stamps = grain.MapDataset.source(my_stamps).map(decode)
        photos = grain.MapDataset.source(my_photos).map(decode)
        source = GrainSource(grain.MapDataset.mix([stamps, photos], weights=[3, 1]))

    Leave out `repeat`, `shuffle` and `batch`: training shuffles every epoch and makes batches
    itself. An element that is None, as `filter` leaves them, counts as a record that cannot be
    read: training draws another one.

    In a config file, record a function that makes the data set; it must be importable by name:

        source = call(GrainSource, dataset=call(my_package.data.mixed, root="/data"))

    With data.workers > 0 the data set is sent to the processes by cloudpickle, lambdas included. It
    cannot be where it holds open files, locks or database connections: open those on first use.

    Attributes:
      dataset: the elements.
      name: what messages call it.
      fps: frames per second of videos whose elements have no 'fps'.
    """

    dataset: Any
    name: str = "grain"
    fps: float = 25.0

    def __post_init__(self):
        above(self, 0, "fps")
        if not (hasattr(self.dataset, "__len__") and hasattr(self.dataset, "__getitem__")):
            kind = type(self.dataset).__name__
            raise ConfigError(
                f"dataset is a {kind}, which has no length or no elements by number: give a "
                "grain.MapDataset (before to_iter_dataset) or a grain.RandomAccessDataSource"
            )
        if len(self.dataset) > MOST:
            raise ConfigError("dataset has no end: leave out .repeat(), training repeats by itself")

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(index)
        where = f"{self.name} element {index}"
        element = self.dataset[int(index)]
        if isinstance(element, Record):
            return dataclasses.replace(element, index=int(index))
        if element is None:
            raise MediaError(f"{where}: is None")
        if not isinstance(element, Mapping):
            raise ConfigError(f"{where}: is a {type(element).__name__}; a dict is needed")
        return _record(where, int(index), element, self.fps)


def _record(name: str, index: int, element: Mapping[str, Any], fps: float) -> Record:
    found = [key for key in ("image", "frames", "video") if key in element]
    if len(found) > 1:
        raise ConfigError(f"{name}: has both '{found[0]}' and '{found[1]}'; give one of them")
    if not found and not {"wave", "caption", "captions"} & set(element):
        raise ConfigError(
            f"{name}: has none of image, frames, video, wave and caption; its keys are "
            f"{list(element)}: rename them, for example with .map"
        )
    pixels = wave = None
    rate, duration = 0, 0.0
    if found == ["image"]:
        pixels, fps = _pixels(name, "image", element["image"], axes=3)[None], 1.0
    elif found:
        pixels = _pixels(name, found[0], element[found[0]], axes=4)
        fps = _number(name, "fps", element["fps"]) if "fps" in element else fps
    if "wave" in element:
        if "sample_rate" not in element:
            raise ConfigError(f"{name}: has a 'wave' but no 'sample_rate' (in Hz)")
        rate = int(_number(name, "sample_rate", element["sample_rate"]))
        wave = _wave(name, element["wave"])
        duration = len(wave) / rate
    if pixels is not None:
        duration = len(pixels) / fps
    return Record(
        name=name,
        index=index,
        num_frames=0 if pixels is None else len(pixels),
        fps=0.0 if pixels is None else fps,
        frames=None if pixels is None else lambda numbers: _frames(name, pixels, numbers),
        audio=None if wave is None else lambda start, stop: cut(wave, rate, start, stop),
        sample_rate=rate,
        duration=duration,
        captions=_captions(name, element),
        label=_label(name, element["label"]) if "label" in element else -1,
        extra={key: value for key, value in element.items() if key not in KEYS},
    )


def _pixels(name: str, key: str, value: Any, axes: int) -> UInt8[np.ndarray, "*t h w c"]:
    pixels, shape = np.asarray(value), "(h, w, 3)" if axes == 3 else "(t, h, w, 3)"
    if pixels.dtype.kind == "f":
        raise ConfigError(
            f"{name}: '{key}' is {pixels.dtype}, uint8 of 0..255 is needed: multiply 0..1 by 255"
        )
    if pixels.dtype != np.uint8:
        raise ConfigError(f"{name}: '{key}' is {pixels.dtype}, uint8 of 0..255 is needed")
    if pixels.ndim == axes - 1 and pixels.shape[-1] not in (1, 3):
        raise ConfigError(
            f"{name}: '{key}' has shape {pixels.shape}, {shape} is needed: give grey pixels an "
            "axis of one channel, x[..., None]"
        )
    if pixels.ndim != axes or pixels.shape[-1] not in (1, 3) or 0 in pixels.shape:
        raise ConfigError(f"{name}: '{key}' has shape {pixels.shape}, {shape} is needed")
    return pixels


def _frames(
    name: str, pixels: UInt8[np.ndarray, "t h w c"], numbers: Sequence[int] | np.ndarray
) -> UInt8[np.ndarray, "n h w 3"]:
    wanted = np.asarray(numbers, np.int64).reshape(-1)
    wrong = wanted[(wanted < 0) | (wanted >= len(pixels))]
    if len(wrong):
        raise MediaError(f"{name}: frame {wrong[0]} was asked for, it has {len(pixels)}")
    return np.repeat(pixels[wanted], 3 // pixels.shape[-1], axis=-1)  # grey: three equal channels


def _wave(name: str, value: Any) -> Float32[np.ndarray, "s"]:
    wave = np.asarray(value)
    if wave.dtype.kind != "f":
        raise ConfigError(
            f"{name}: 'wave' is {wave.dtype}, float of -1..1 is needed: divide 16 bits by 32768"
        )
    if wave.ndim != 1 or len(wave) == 0:
        raise ConfigError(
            f"{name}: 'wave' has shape {wave.shape}, (samples,) is needed: average the channels"
        )
    if not np.isfinite(wave).all():
        raise MediaError(f"{name}: 'wave' holds samples that are not numbers")
    return wave.astype(np.float32, copy=False)


def _captions(name: str, element: Mapping[str, Any]) -> tuple[Caption, ...]:
    if "caption" in element and "captions" in element:
        raise ConfigError(f"{name}: has both 'caption' and 'captions'; give one of them")
    if "caption" in element:
        return (_caption(name, "caption", element["caption"]),)
    if "captions" not in element:
        return ()
    texts = element["captions"]
    if isinstance(texts, str | bytes | Caption):
        raise ConfigError(f"{name}: 'captions' is one text; call it 'caption'")
    return tuple(_caption(name, "captions", text) for text in texts)


def _caption(name: str, key: str, text: Any) -> Caption:
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            raise MediaError(f"{name}: '{key}' is not UTF-8 ({error})") from error
    if isinstance(text, Caption):
        return text
    if not isinstance(text, str):
        raise ConfigError(f"{name}: '{key}' holds a {type(text).__name__}, text is needed")
    return Caption(str(text))


def _label(name: str, value: Any) -> int:
    label = np.asarray(value)
    if label.shape != () or label.dtype.kind not in "iu":
        raise ConfigError(
            f"{name}: 'label' is {label.dtype} of shape {label.shape}, one whole number is needed "
            "(-1 for none)"
        )
    return int(label)


def _number(name: str, key: str, value: Any) -> float:
    number = np.asarray(value)
    if number.shape != () or number.dtype.kind not in "iuf" or not 0 < number < np.inf:
        raise ConfigError(f"{name}: '{key}' is {value!r}, one positive number is needed")
    return float(number)
