"""The captions of a source as records of their own."""

import dataclasses
import functools

from ssl_jax.config import ConfigError
from ssl_jax.data.record import Caption, MediaError, Record, Source
from ssl_jax.knobs import at_least


@dataclasses.dataclass(frozen=True)
class CaptionSource:
    """Every caption of a source as a record of its own: the video it belongs to, with it alone.

    `extra['group']` is the number of the video. A video without captions is not in it. Opens all
    records of `source` once.

    Attributes:
      source: videos with captions.
      most: captions of a video that count, the first ones; 0 for all.
      language: of the captions that count; '' for any.
      joined: the captions of a video are one text, in the order of their starts.
    """

    source: Source
    most: int = 0
    language: str = ""
    joined: bool = False

    def __post_init__(self):
        at_least(self, 0, "most")

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(index)
        video, number = self._numbers[index]
        record = self.source[video]
        captions = self._chosen(record.captions)
        named = f"{record.name}, captions" if self.joined else f"{record.name}, caption {number}"
        return dataclasses.replace(
            record,
            name=named,
            index=int(index),
            captions=(_as_one(captions) if self.joined else captions[number],),
            extra={**record.extra, "group": video},
        )

    def _chosen(self, captions: tuple[Caption, ...]) -> tuple[Caption, ...]:
        own = tuple(c for c in captions if self.language in ("", c.language))
        return own[: self.most or len(own)]

    @functools.cached_property
    def _numbers(self) -> list[tuple[int, int]]:
        counts = [self._count(number) for number in range(len(self.source))]
        counts = [min(count, 1) for count in counts] if self.joined else counts
        return [(video, number) for video, count in enumerate(counts) for number in range(count)]

    def _count(self, number: int) -> int:
        try:
            return len(self._chosen(self.source[number].captions))
        except MediaError:  # named when its frames are read
            return 0


def _as_one(captions: tuple[Caption, ...]) -> Caption:
    """Texts one after another, over all of their seconds."""
    languages = {caption.language for caption in captions}
    if len(languages) > 1:
        raise ConfigError(
            f"captions in {', '.join(sorted(languages))} cannot be joined to one text; say "
            "which languages"
        )
    ordered = sorted(captions, key=lambda caption: caption.start)
    text = " ".join(caption.text for caption in ordered)
    return Caption(text, ordered[0].start, max(c.end for c in captions), languages.pop())
