"""Tiny sets for TFDS, of encoded pictures and of samples: what it writes without TensorFlow."""

import io

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image


def png(value: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((6, 5, 3), value, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


class TinyPictures(tfds.core.GeneratorBasedBuilder):
    """Seven pictures: number i has the value 10 i and the class i mod 2."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "picture": tfds.features.Image(shape=(None, None, 3)),
            "class": tfds.features.ClassLabel(names=["even", "odd"]),
            "number": tfds.features.Scalar(np.int64),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(7):
            yield i, {"picture": png(10 * i), "class": i % 2, "number": i}


class TinyVideos(tfds.core.GeneratorBasedBuilder):
    """Three videos of four pictures: frame k of number i has the value 10 i + k."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "video": tfds.features.Sequence(tfds.features.Image(shape=(6, 5, 3))),
            "number": tfds.features.Scalar(np.int64),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"test": self._generate_examples()}

    def _generate_examples(self):
        for i in range(3):
            yield i, {"video": [png(10 * i + k) for k in range(4)], "number": i}


class TinyClips(tfds.core.GeneratorBasedBuilder):
    """Two videos: three frames of the value 10 i + k, a ramp in stereo, a label and a poster."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "poster": tfds.features.Image(shape=(6, 5, 3)),
            "video": tfds.features.Video(shape=(None, 6, 5, 3)),
            "audio": tfds.features.Audio(shape=(None, 2), sample_rate=100),
            "label": tfds.features.ClassLabel(names=["walk", "run"]),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(2):
            ramp = np.arange(60) * 100 * (i + 1)
            example = {"poster": png(200), "audio": np.stack([ramp, 0 * ramp], 1), "label": i}
            yield i, {"video": [png(10 * i + k) for k in range(3)], **example}


class TinySounds(tfds.core.GeneratorBasedBuilder):
    """Three sounds of speech without a stated rate; the last holds a NaN."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "sound": tfds.features.Audio(dtype=np.float32),
            "text": tfds.features.Text(),
            "speaker_id": tfds.features.Scalar(np.int64),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(3):
            wave = np.full(50, 0.1, np.float32)
            wave[7] = np.nan if i == 2 else 0.2
            yield i, {"sound": wave, "text": f"said {i}", "speaker_id": 10 + i}


class TinyTexts(tfds.core.GeneratorBasedBuilder):
    """Two texts, each with a file's name, two titles and a summary within a group; one is empty."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        text = tfds.features.Text()
        features = {
            "file_name": text,
            "story": text,
            "titles": tfds.features.Sequence(text),
            "short": {"en": text},
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i, story in enumerate(("Καλημέρα κόσμε", "")):
            example = {"file_name": f"{i}.txt", "titles": ["a", "नमस्ते"], "short": {"en": "brief"}}
            yield i, {"story": story, **example}
