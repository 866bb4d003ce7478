"""How videos become shards."""

import dataclasses
import math

from ssl_jax.config import ConfigError

AUDIO = ("pcm", "flac")


@dataclasses.dataclass(frozen=True)
class Options:
    """How videos become shards.

    Attributes:
      short_side: pixels of the shorter side of stored frames; smaller ones stay; 0 keeps all.
      quality: of the JPEGs, 1 to 100.
      sample_rate: of the stored audio in Hz; 0 keeps each file's own.
      audio: 'pcm'; or 'flac', the same samples in about half of the room (noise does not shrink).
      whole: videos are not cut into their shots.
      flow: store optical flow.
      flow_bound: pixels (of stored frames) of motion that still can be told from more.
    """

    short_side: int = 128
    quality: int = 90
    sample_rate: int = 16000
    audio: str = "pcm"
    whole: bool = False
    flow: bool = False
    flow_bound: float = 20.0

    def __post_init__(self):
        if self.short_side < 0 or 0 < self.short_side < 16:
            raise ConfigError(f"short_side={self.short_side} must be 0 or at least 16 pixels")
        if not 1 <= self.quality <= 100:
            raise ConfigError(f"quality={self.quality} must be 1 to 100")
        if self.sample_rate != 0 and not 1000 <= self.sample_rate <= 384000:
            raise ConfigError(f"sample_rate={self.sample_rate} must be 0 or 1000 to 384000 Hz")
        if self.audio not in AUDIO:
            raise ConfigError(f"audio={self.audio!r} is none of {AUDIO}")
        if not 0 < self.flow_bound < math.inf:
            raise ConfigError(f"flow_bound={self.flow_bound} must be a positive number of pixels")
