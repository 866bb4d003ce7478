"""Two tiny sets for TFDS, of encoded pictures: all that it writes without TensorFlow."""

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


class TinyFilms(tfds.core.GeneratorBasedBuilder):
    """Three films of four pictures: frame k of number i has the value 10 i + k."""

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
