"""Images and audio files that belong together, such as a still and the sound around it."""

import contextlib
import dataclasses
import functools
import logging

from ssl_jax.config import ConfigError
from ssl_jax.data.labels import has_labels, label_names
from ssl_jax.data.record import MediaError, Record, Source


@dataclasses.dataclass(frozen=True)
class ImageWithAudio:
    """One record for each audio file that has an image of its name, wherever both lie.

    'frames/1000_50.jpg' goes with 'audio/1000_50.wav', and with 'french/1000_50.ogg'. A record is
    a video of one frame that lasts as long as its audio. Labels and captions are the image's,
    `extra` that of both, the image's where they differ, and 'audio_path'. All records are opened
    once, for their names; what cannot be read is left out.

    Attributes:
      images: a source of images; of a video the first frame is taken.
      audio: a source of audio.

    Raises:
      ConfigError: no name occurs in both, or two images share one.
    """

    images: Source
    audio: Source

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Record:
        image, audio = (
            source[number]
            for source, number in zip((self.images, self.audio), self.pairs[index], strict=True)
        )
        seconds = audio.duration

        def frames(numbers):
            return image.need_frames()([0] * len(numbers))

        return dataclasses.replace(
            image,
            name=f"{image.name} {audio.name}",
            index=int(index),
            num_frames=1,
            fps=1 / seconds,
            times=None,
            frames=frames,
            duration=seconds,
            audio=audio.need_audio(),
            sample_rate=audio.sample_rate,
            audio_span=audio.audio_span,
            extra={**audio.extra, **image.extra, "audio_path": _path(audio)},
        )

    @property
    def label_names(self) -> tuple[str, ...]:
        return label_names(self.images)

    @property
    def has_labels(self) -> bool:
        return has_labels(self.images)

    @functools.cached_property
    def pairs(self) -> list[tuple[int, int]]:
        """(image, audio), by their numbers, in the order of the audio."""
        images: dict[str, int] = {}
        for number, stem in _stems(self.images):
            if stem in images:
                first = self.images[images[stem]].name
                raise ConfigError(
                    f"two images are called {stem!r}, {first} and {self.images[number].name}: "
                    "which belongs to the audio?"
                )
            images[stem] = number
        heard = _stems(self.audio)
        pairs = [(images[stem], number) for number, stem in heard if stem in images]
        if not pairs:
            some = ", ".join([*list(images)[:1], *(stem for _, stem in heard[:1])])
            raise ConfigError(f"no audio file is called as an image is, but for its ending: {some}")
        if len(pairs) < len(self.audio):
            logging.getLogger(__name__).warning(
                "%d of %d audio files have no image of their name, or cannot be read",
                len(self.audio) - len(pairs),
                len(self.audio),
            )
        return pairs


def _stems(source: Source) -> list[tuple[int, str]]:
    """Numbers and names, without folders and ending, of the records that can be read."""
    found = []
    for number in range(len(source)):
        with contextlib.suppress(MediaError):
            name = source[number].name.rpartition("/")[2]
            found.append((number, name.rpartition(".")[0] or name))
    return found


def _path(record: Record) -> str:
    return str(record.extra["path"]) if "path" in record.extra else ""
