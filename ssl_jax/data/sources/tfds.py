"""TensorFlow Datasets, read without TensorFlow."""

import contextlib
import dataclasses
import functools
import re
import threading
import types
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from ssl_jax.config import ConfigError
from ssl_jax.data import decode, paths
from ssl_jax.data.audio import cut
from ssl_jax.data.record import Caption, MediaError, Record, audio_span
from ssl_jax.knobs import above, at_least

# Features of words that nobody would call a text: 'file_name', 'wikidata_id', 'image/url'.
NO_TEXT = re.compile(r"(^|[_/])(id|filename|name|path|url)$")


@dataclasses.dataclass(frozen=True)
class TfdsSource:
    """Images, videos, audio files and texts of a set that TFDS prepared as array_record.

    The first Video (or other sequence of Images) gives the frames, or else the first Image; the
    first Audio gives the audio, whose zero is the first frame's; the first ClassLabel gives the
    label; the first Text, or sequence of Texts, gives the captions, unless it is called like an id,
    file or URL. It and all other features go to `extra` as they are, 'speaker_id' also as text,
    'speaker'. `davis` has its frames in one sequence with their masks, which become
    `extra['mask']`.

    Attributes:
      name: of the set as TFDS knows it, with config and version if wanted: 'voc/2007:5.0.0'.
      split: 'train', 'test', or a part as TFDS writes it: 'train[:10%]'.
      data_dir: where TFDS keeps its sets; '' for its default.
      fps: frames per second of videos: TFDS does not store it.
      sample_rate: of the audio in Hz where the set does not state it; 0 if it does.
      text: the feature that gives the captions in place of the first Text, such as 'summary', or
        'captions/text' of features within features.
      language: of the captions.
      limits: what an image may ask of the machine; those beyond are refused.
    """

    name: str
    split: str
    data_dir: str = ""
    fps: float = 25.0
    sample_rate: int = 0
    text: str = ""
    language: str = "en"
    limits: decode.Limits = decode.Limits()

    def __post_init__(self):
        above(self, 0, "fps")
        at_least(self, 0, "sample_rate")

    def __len__(self) -> int:
        return len(self._opened.examples)

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(index)
        opened = self._opened
        example = dict(opened.examples[int(index)])
        name = f"{self.name} {self.split} {index}"
        encoded = example.pop(opened.frames) if opened.frames else []
        if isinstance(encoded, dict):  # as `davis` has them
            masks, encoded = list(encoded["segmentations"]), encoded["frames"]
            example["mask"] = lambda number: _frames(masks, f"{name} masks", [number], self.limits)[
                0, ..., 0
            ]
        encoded = [encoded] if isinstance(encoded, bytes) else list(encoded)
        label = int(example.pop(opened.label)) if opened.label else -1
        fps = 1.0 if opened.single else self.fps
        duration = len(encoded) / fps
        audio, rate, span = None, 0, None
        if opened.audio:
            audio, rate = _wave(name, example.pop(opened.audio), opened.rate or self.sample_rate)
            duration = duration or len(audio) / rate
            span = audio_span(0.0, len(audio) / rate, duration)

        def frames(indices):
            return _frames(encoded, name, indices, self.limits)

        if "speaker_id" in example:  # as `librispeech` has it
            example["speaker"] = str(example["speaker_id"])
        return Record(
            name=name,
            index=int(index),
            num_frames=len(encoded),
            fps=fps if opened.frames else 0.0,
            frames=frames if opened.frames else None,
            audio=(lambda start, stop: cut(audio, rate, start, stop)) if opened.audio else None,
            sample_rate=rate,
            duration=duration,
            audio_span=span,
            captions=self._captions(name, example, self.text or opened.text),
            label=label,
            extra={"split": self.split, **example},
        )

    def _captions(self, name: str, example: dict, feature: str) -> tuple[Caption, ...]:
        """Captions of the whole record, of a feature, '' for none; empty texts are left out."""
        if not feature:
            return ()
        stored: Any = example
        for key in (feature,) if feature in example else feature.split("/"):
            if not isinstance(stored, dict) or key not in stored:
                raise ConfigError(f"{name}: has no text={feature!r}; it has {', '.join(example)}")
            stored = stored[key]
        written = [stored] if isinstance(stored, bytes | str) else list(stored)
        try:
            texts = [t.decode() if isinstance(t, bytes) else str(t) for t in written]
        except UnicodeDecodeError as error:
            raise MediaError(f"{name}: its text is not in UTF-8 ({error.reason})") from error
        return tuple(Caption(text, language=self.language) for text in texts if text)

    @property
    def label_names(self) -> tuple[str, ...]:
        return self._opened.label_names

    @property
    def has_labels(self) -> bool:
        return bool(self._opened.label)

    @property
    def _opened(self) -> "_Opened":
        # Not a field: so the source pickles as its few words, and each process opens its own.
        return _open(self.name, self.split, paths.home(self.data_dir))


@dataclasses.dataclass(frozen=True)
class _Opened:
    examples: Sequence[dict]
    frames: str  # the names of features, '' for none
    single: bool
    audio: str
    rate: int
    text: str
    label: str
    label_names: tuple[str, ...]


def _frames(
    encoded: list[bytes], name: str, indices: Sequence[int] | np.ndarray, limits: decode.Limits
) -> UInt8[np.ndarray, "t h w 3"]:
    wrong = [i for i in indices if not 0 <= i < len(encoded)]
    if wrong:
        raise MediaError(f"{name}: frame {wrong[0]} was asked for, it has {len(encoded)}")
    images = [decode.decode_image(name, encoded[i], limits) for i in indices]
    return np.stack(images) if images else np.zeros((0, 1, 1, 3), np.uint8)


def _wave(name: str, stored, rate: int) -> tuple[Float32[np.ndarray, "s"], int]:
    """The mono wave in -1..1 and its rate, of samples or of an encoded file."""
    if isinstance(stored, bytes):
        return decode.decode_audio(name, stored)
    if rate < 1:
        raise ConfigError(f"{name}: the set does not state its sample rate; give sample_rate")
    wave = np.asarray(stored)
    if wave.dtype.kind in "iu":  # of 16 bits as a rule, in wider integers
        peak = max(int(wave.max()), -int(wave.min())) if wave.size else 0
        bits = next(bits for bits in (15, 23, 31, 63) if peak <= 2**bits)
        wave = wave / 2.0**bits
    wave = wave.reshape(len(wave), -1).mean(1).astype(np.float32)
    if not np.isfinite(wave).all():
        raise MediaError(f"{name}: its audio holds samples that are not numbers")
    return wave, int(rate)


@contextlib.contextmanager
def _dtypes_without_tensorflow() -> Iterator[None]:
    """Features of videos and audio ask TensorFlow for a dtype when made; numpy has it."""
    from tensorflow_datasets.core.features import audio_feature, video_feature

    numpys = types.SimpleNamespace(
        dtypes=types.SimpleNamespace(as_dtype=lambda dtype: np.dtype(dtype).type), string=np.object_
    )
    modules = (audio_feature, video_feature)
    with _one_at_a_time:
        before = [module.tf for module in modules]
        for module in modules:
            module.tf = numpys
        try:
            yield
        finally:
            for module, tf in zip(modules, before, strict=True):
                module.tf = tf


_one_at_a_time = threading.Lock()


@functools.lru_cache(maxsize=16)
def _open(name: str, split: str, data_dir: str) -> _Opened:
    import tensorflow_datasets as tfds

    class Encoded(tfds.decode.SkipDecoding):
        """Hands over the stored bytes, so that only the frames asked for are decoded."""

        def decode_batch_example_np(self, batch):  # of sequences
            return batch

    try:
        with _dtypes_without_tensorflow():
            builder = tfds.builder(name, data_dir=data_dir or None)
            features = builder.info.features
    except tfds.core.DatasetNotFoundError as error:
        raise ConfigError(f"TFDS knows no set {name!r}; see tfds.list_builders()") from error
    kinds = {key: _kind(tfds.features, key, feature) for key, feature in features.items()}
    first = {kind: key for key, kind in reversed(kinds.items())}
    frames = first.get("video") or first.get("masked video") or first.get("image") or ""
    audio, label = first.get("audio") or "", first.get("label") or ""
    text = first.get("text") or ""
    if not frames and not audio and not text:
        raise ConfigError(
            f"{name} of TFDS has no images, videos, audio or text; it has {list(features)}"
        )
    stored = {key: Encoded() for key in (frames, audio) if key}
    if kinds.get(frames) == "masked video":
        stored[frames] = {"frames": Encoded(), "segmentations": Encoded()}
    try:
        examples = builder.as_data_source(split, decoders=stored)
    except NotImplementedError as error:
        where = f", data_dir={data_dir!r}" if data_dir else ""
        raise ConfigError(
            f"{name} is not prepared as array_record in {builder.data_dir}; once, do: "
            f'python -c "import tensorflow_datasets as tfds; '
            f"tfds.builder({name!r}{where}, file_format='array_record').download_and_prepare()\" "
            "(most sets need TensorFlow installed for that, reading does not)"
        ) from error
    except ValueError as error:
        splits = list(builder.info.splits)
        raise ConfigError(f"{name} of TFDS: no split {split!r}, there is {splits}") from error
    names = tuple(features[label].names) if label else ()
    rate = (features[audio].sample_rate or 0) if audio else 0
    return _Opened(examples, frames, kinds.get(frames) == "image", audio, rate, text, label, names)


def _kind(known, key: str, feature) -> str:
    """What a feature is to a record; `known` is tfds.features."""
    if isinstance(feature, known.Image):
        return "image"
    inner = getattr(feature, "feature", None)  # of a sequence, such as Video
    if isinstance(inner, known.Image):
        return "video"
    if isinstance(feature, known.Text) or isinstance(inner, known.Text):
        return "" if NO_TEXT.search(key.lower()) else "text"
    if isinstance(inner, known.FeaturesDict) and {"frames", "segmentations"} <= set(inner):
        return "masked video"
    if isinstance(feature, known.Audio):
        return "audio"
    return "label" if isinstance(feature, known.ClassLabel) else ""
