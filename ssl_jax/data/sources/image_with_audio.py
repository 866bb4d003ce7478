"""Images and audio files that belong together, such as a still and the sound around it."""

import dataclasses
import functools
import logging

from ssl_jax.config import ConfigError
from ssl_jax.data.labels import has_labels, label_names
from ssl_jax.data.record import Record, Source


@dataclasses.dataclass(frozen=True)
class ImageWithAudio:
    """One record for each audio file that has an image of its name, wherever both lie.

    'frames/1000_50.jpg' goes with 'audio/1000_50.wav', and with 'french/1000_50.ogg'. A record is
    a video of one frame that lasts as long as its audio. Labels and captions are the image's,
    `extra` that of both, the image's where they differ. All records are opened once, for their
    names.

    Attributes:
      images: a source of images; of a video the first frame is taken.
      audio: a source of audio.

    Raises:
      ConfigError: no name occurs in both.
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
            extra={**audio.extra, **image.extra},
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
        for number in range(len(self.images)):
            images.setdefault(_stem(self.images[number].name), number)
        heard = [_stem(self.audio[number].name) for number in range(len(self.audio))]
        pairs = [(images[stem], number) for number, stem in enumerate(heard) if stem in images]
        if not pairs:
            some = ", ".join([*list(images)[:1], *heard[:1]])
            raise ConfigError(f"no audio file is called as an image is, but for its ending: {some}")
        if len(pairs) < len(heard):
            logging.getLogger(__name__).warning(
                "%d of %d audio files have no image of their name",
                len(heard) - len(pairs),
                len(heard),
            )
        return pairs


def _stem(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[0]
