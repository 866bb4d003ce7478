"""Where a network hears a sound in a frame: drawn over it, and scored against masks."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, UInt8

from ssl_jax.config import ConfigError
from ssl_jax.data.annotations import Boxes, boxes_of, masks_of
from ssl_jax.data.record import Record, Source
from ssl_jax.data.record_batches import read_some
from ssl_jax.drawing.layout import Tile, page
from ssl_jax.drawing.overlay import laid_on
from ssl_jax.drawing.pixels import as_picture
from ssl_jax.knobs import at_least
from ssl_jax.scores.masks import VOID
from ssl_jax.scores.sound_places import consensus_iou, share_and_area


@dataclasses.dataclass(frozen=True)
class SoundPlaces:
    """Maps of the places that make a sound, and their consensus intersection over union.

    Senocak et al. 2018; thresholds as in Chen et al. 2021. For methods with a stream that takes
    frames and audio and gives a map of one channel, as `Localization` does. The middle of each
    video is taken. Yields 'places', a page of frames with their maps: red makes the sound, blue
    does not. Of records whose `extra['mask']` or `extra['boxes']` is known also

    * 'ciou': the share of videos of which cIoU is at least 0.5, and 'area', under the curve of
      that share over thresholds;
    * 'mean': the mean cIoU;
    * 'pointing': the share of videos whose highest place lies on what sounds (the pointing game of
      Zhang et al. 2018). cIoU takes half of a map for its answer, so that of small things even a
      right map scores little; this does not depend on their size;
    * 'centre/ciou', 'centre/area', 'centre/mean', 'centre/pointing': of a map that is highest in
      the middle, whatever is heard. Things stand there so often that these are the numbers to beat.

    Attributes:
      source: held-out videos with audio.
      stream: whose `layer` is a map of one channel.
      agree: of boxes, so many annotators have to mark a pixel that it counts fully: 2 for
        Flickr-SoundNet; 1, the union of boxes, for VGG-SS.
      records: so many of them are scored, spread evenly over the source; 0: all.
      drawn: so many of these are drawn.
      tile: height of an image in pixels.
    """

    source: Source
    stream: str = "map"
    layer: str = "map"
    agree: int = 1
    records: int = 0
    drawn: int = 8
    tile: int = 96
    every: int = 0

    def __post_init__(self):
        at_least(self, 0, "records")
        at_least(self, 1, "agree", "drawn", "tile")

    def check(self, frozen) -> None:
        """ConfigError for an unknown stream or layer, and for an empty source."""
        if len(self.source) == 0:
            raise ConfigError(f"the source {self.source} is empty")
        frozen.check_layers(self.stream, (self.layer,), self.source)

    def run(self, frozen) -> Iterator[tuple[str, float | np.ndarray]]:
        """ConfigError for a layer that is no map of one channel, or a stream without images.

        ValueError if the map is not finite.
        """
        import cv2

        method = frozen.method

        def read(record: Record) -> dict[str, np.ndarray]:
            times = method.times(record, self.stream, 1)
            clips = {k: v[0] for k, v in method.clips(record, self.stream, times).items()}
            if "vision" not in clips:
                raise ConfigError(f"stream={self.stream!r} takes no images")
            if "mask" not in record.extra and "boxes" not in record.extra:
                return {**clips, "mask": np.zeros_like(clips["vision"])}
            # Whatever the method cuts and resizes is done to the mask as well.
            drawn = functools.partial(_truth_frames, record, self.agree)
            seen = dataclasses.replace(record, frames=drawn)
            return {**clips, "mask": method.clips(seen, self.stream, times)["vision"][0]}

        inputs = read_some(self.source, read, self.records, frozen.batch_size, frozen.loading)
        # Edges are between two values where frames were made smaller.
        masks = np.round(inputs.pop("mask") / 255 * self.agree) / self.agree
        maps = np.float64(frozen.maps(self.stream, inputs, (self.layer,))[self.layer])
        if maps.ndim != 4 or maps.shape[-1] != 1:
            raise ConfigError(
                f"layer={self.layer!r} of {self.stream} has the shape {maps.shape[1:]}, a map of "
                "one channel is needed"
            )
        if not np.isfinite(maps).all():
            raise ValueError(f"the map {self.layer!r} is not finite")
        maps, pictures = maps[..., 0], inputs["vision"]
        few = np.linspace(0, len(maps) - 1, min(self.drawn, len(maps))).round().astype(int)
        most = np.abs(maps[few]).max()
        drawn = [(as_picture(pictures[i]), maps[i]) for i in few]
        rows = [
            [Tile(picture, "frame"), Tile(laid_on(picture, one, most), "sounds here")]
            for picture, one in drawn
        ]
        yield "places", page(rows, self.tile)
        h, w = masks.shape[1:3]
        heats = [cv2.resize(one, (w, h), interpolation=cv2.INTER_LINEAR) for one in maps]
        yield from _scores("", heats, masks)
        yield from _scores("centre/", [_centre(h, w)] * len(masks), masks)


def _truth_frames(
    record: Record, agree: int, numbers: Sequence[int]
) -> UInt8[np.ndarray, "t h w 3"]:
    """In red how many annotators see what sounds, `agree` of them fully; in green the unknown."""
    if "mask" in record.extra:
        masks = masks_of(record)[np.asarray(numbers)]
        unknown = masks == VOID
        marked = ((masks > 0) & ~unknown).astype(np.float64)
    else:
        frames = record.need_frames()(numbers)
        marked = np.stack(
            [_share_of(boxes_of(record) or (), agree, *frames.shape[1:3])] * len(frames)
        )
        unknown = np.zeros_like(marked)
    return np.uint8(255 * np.stack([marked, unknown, np.zeros_like(marked)], axis=-1))


def _share_of(boxes: Boxes, agree: int, h: int, w: int) -> Float[np.ndarray, "h w"]:
    marked = np.zeros((h, w))
    for top, left, bottom, right in boxes:
        rows = slice(int(top * h), int(bottom * h))
        marked[rows, int(left * w) : int(right * w)] += 1
    return np.minimum(marked / agree, 1)


def _centre(h: int, w: int) -> Float[np.ndarray, "h w"]:
    y, x = (np.arange(h) + 0.5) / h - 0.5, (np.arange(w) + 0.5) / w - 0.5
    return -(y[:, None] ** 2 + x**2)


def _scores(
    prefix: str, heats: Sequence[np.ndarray], masks: Float[np.ndarray, "n h w 3"]
) -> Iterator[tuple[str, float]]:
    """Nothing without a frame in which it is known that something sounds."""
    scores, hits = [], []
    for heat, mask in zip(heats, masks, strict=True):
        truth, unknown = mask[..., 0], mask[..., 1] > 0
        if truth.any():
            scores.append(consensus_iou(heat, truth, unknown))
            hits.append(truth.flat[np.argmax(np.where(unknown, -np.inf, heat))] > 0)
    if scores:
        share, area = share_and_area(scores)
        named = {"ciou": share, "area": area, "mean": float(np.mean(scores))}
        named["pointing"] = float(np.mean(hits))
        yield from ((prefix + name, value) for name, value in named.items())
