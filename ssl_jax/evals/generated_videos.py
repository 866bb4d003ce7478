"""Videos that a generator of two streams draws, and what its mask does."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from ssl_jax.data.record import Source
from ssl_jax.drawing.layout import Tile, montage, page
from ssl_jax.knobs import at_least

LAYERS = ("video", "foreground", "mask", "background")


@dataclasses.dataclass(frozen=True)
class GeneratedVideos:
    """A page of generated videos, their streams beside them, and three numbers.

    For methods with a stream 'generated' of layers video and foreground (b t h w 3), mask
    (b t h w 1) and background (b h w 3), all in 0..1. Yields the picture 'videos', and

    * 'mask': its mean. 0: a photograph; 1: the background is unused;
    * 'mask/moving': the mean over places weighted by how much they change, by the standard
      deviation of their colours over time. Above 'mask' where the foreground is what moves;
    * 'background': mean distance of the background from the video's median over time, per colour.

    Attributes:
      source: its records number the latent vectors.
      records: so many videos are measured.
      drawn: so many of these are drawn,
      frames: so many frames of each, spread evenly.
      tile: height of a frame in pixels.
    """

    source: Source
    records: int = 64
    drawn: int = 6
    frames: int = 6
    tile: int = 64
    every: int = 0

    def __post_init__(self):
        at_least(self, 1, "records", "drawn", "frames", "tile")

    def check(self, frozen) -> None:
        """ConfigError for a method that does not generate videos."""
        frozen.check_layers("generated", LAYERS, self.source)

    def run(self, frozen) -> Iterator[tuple[str, float | np.ndarray]]:
        """ConfigError for a method that does not generate videos."""
        inputs, _ = frozen.inputs(self.source, "generated", limit=self.records)
        inputs = {name: values[:, 0] for name, values in inputs.items()}
        found = frozen.maps("generated", inputs, LAYERS)
        video, foreground, mask, background = (np.float32(found[name]) for name in LAYERS)
        if not np.isfinite(video).all():
            raise FloatingPointError("the videos are not finite; has training diverged?")
        yield "mask", float(mask.mean())
        yield "mask/moving", moving_mask(video, mask)
        rest = np.median(video, axis=1)
        yield "background", float(np.abs(background - rest).mean())
        # A background rests: one frame of it says all.
        columns = [video, foreground, np.repeat(mask, 3, axis=-1), background[:, None]]
        rows = [
            [Tile(montage(self._strip(one), self.tile)) for one in row]
            for row in list(zip(*columns, strict=True))[: self.drawn]
        ]
        yield "videos", page(rows, self.tile, headings=LAYERS)

    def _strip(self, clip: Float[np.ndarray, "t h w 3"]) -> np.ndarray:
        chosen = np.linspace(0, len(clip) - 1, min(self.frames, len(clip))).round().astype(int)
        return np.round(255 * clip[None, chosen].clip(0, 1)).astype(np.uint8)


def moving_mask(
    video: Float[np.ndarray, "n t h w c"], mask: Float[np.ndarray, "n t h w 1"]
) -> float:
    """The mean of the mask over places, weighted by how much they change over time.

    Videos in which nothing changes count with equal weights.
    """
    change = video.std(axis=1).mean(axis=-1)  # (n h w)
    totals = change.sum(axis=(1, 2), keepdims=True)
    still = totals == 0
    weights = np.where(still, 1 / change[0].size, change / np.where(still, 1, totals))
    return float((weights * mask[..., 0].mean(axis=1)).sum(axis=(1, 2)).mean())
