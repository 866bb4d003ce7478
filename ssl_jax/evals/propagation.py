"""Tracking by similarity of features: masks (DAVIS) and joints (JHMDB) from the first frame on."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int, UInt8

from ssl_jax.config import ConfigError
from ssl_jax.data.annotations import joints_of, masks_of
from ssl_jax.data.image import resize
from ssl_jax.data.record import MediaError, Record, Source
from ssl_jax.drawing.layout import Tile, page
from ssl_jax.knobs import above, at_least, given
from ssl_jax.scores.keypoints import body_size, joint_distances, pck
from ssl_jax.scores.masks import video_scores
from ssl_jax.solvers.label_propagation import propagate

COLOURS = np.array([(230, 60, 50), (60, 120, 230), (70, 190, 80), (240, 190, 40), (170, 80, 200)])
COLUMNS = ("J", "J_recall", "J_decay", "F", "F_recall", "F_decay")
# Raw pixels are compared in cells of so many pixels a side.
PIXELS = 4


@dataclasses.dataclass(frozen=True)
class MaskPropagation:
    """Objects of the first frame's mask found in the next frames: J, F and J&F of DAVIS-2017.

    No training: labels go from frame to frame by similarity of features (see `label_propagation`),
    are enlarged, brought to 0..1 in each channel, and the largest wins. Yields '<layer>/J&F',
    'J', 'J_recall', 'J_decay', 'F', ..., means over all objects of all videos; 'copy/...' is the
    first mask kept as it is, 'input/...' uses patches of pixels in place of features. Also a page
    'masks' of the first video with the last layer's masks. As DINO (Caron et al. 2021) does it, but
    for the whole frame in place of a cut, labels of a cell that are the mean over its pixels, and
    masks enlarged directly to the video's own size. CRW: context=20, top=10, temperature=0.05,
    first_everywhere=True.

    Attributes:
      source: videos with `extra['mask']`, as `DavisSource` has them; see `annotations`.
      layers: with maps.
      short_side: to which frames are resized, in pixels.
      multiple: both sides are rounded to a multiple of it.
      context, radius, top, temperature, first_everywhere: see `label_propagation.propagate`; radius
        in cells of the map.
      cosine: likewise; patches of pixels are compared by their cosines all the same.
      videos: at most so many, the first ones; 0: all.
    """

    source: Source
    layers: tuple[str, ...]
    stream: str = "vision"
    short_side: int = 480
    multiple: int = 8
    context: int = 7
    radius: int = 12
    top: int = 5
    temperature: float = 0.1
    first_everywhere: bool = False
    cosine: bool = True
    videos: int = 0
    every: int = 0

    def __post_init__(self):
        given(self, "layers")
        at_least(self, 1, "short_side", "multiple", "top")
        at_least(self, 0, "context", "radius", "videos")
        above(self, 0, "temperature")

    def run(self, frozen) -> Iterator[tuple[str, float | np.ndarray]]:
        """MediaError names a bad video."""
        found: dict[str, list[np.ndarray]] = {}
        shown = None
        for record in _videos(self.source, self.videos):
            frames, true = record.need_frames()(np.arange(record.num_frames)), masks_of(record)
            if true.shape[1:] != frames.shape[1:3]:
                (height, width), (high, wide) = true.shape[1:], frames.shape[1:3]
                raise MediaError(
                    f"{record.name}: its masks are {width}x{height} pixels, frames {wide}x{high}"
                )
            tracked = {}
            objects = [0, *(int(i) for i in np.unique(true[0]) if i not in (0, 255))]
            for layer, features in self._features(frozen, record, frames):
                first = _first_labels(true[0], objects, features.shape[1:3])
                soft = propagate(features, first, *self._knobs(), self.cosine or layer == "input")
                tracked[layer] = np.array(objects)[_enlarged(soft, true.shape[1:])]
            tracked["copy"] = np.repeat(true[:1], len(true), axis=0)
            for layer, masks in tracked.items():
                try:
                    found.setdefault(layer, []).append(video_scores(masks, true))
                except ValueError as error:
                    raise MediaError(f"{record.name}: {error}") from error
            shown = shown if shown is not None else _page(frames, tracked[self.layers[-1]])
        for layer, tables in found.items():
            means = np.concatenate(tables).mean(axis=0)
            yield f"{layer}/J&F", float((means[0] + means[3]) / 2)
            for name, value in zip(COLUMNS, means, strict=True):
                yield f"{layer}/{name}", float(value)
        yield "masks", shown

    def _features(self, frozen, record, frames):
        height, width = frames.shape[1:3]
        scale = self.short_side / min(height, width) / self.multiple
        size = tuple(max(1, round(side * scale)) * self.multiple for side in (height, width))
        return dense_features(frozen, record, self.stream, self.layers, frames, size)

    def _knobs(self) -> tuple:
        return (self.context, self.radius, self.top, self.temperature, self.first_everywhere)


@dataclasses.dataclass(frozen=True)
class JointPropagation:
    """Joints of the first frame found in the next frames: PCK as on JHMDB.

    The protocol of Jabri et al. 2020 (CRW): frames of 320x320 pixels, each joint a small bump on
    the map of features; where it is later is the mean of its strongest cells. PCK@a is the share of
    joints within a times 0.6 of the diagonal of the box around the true joints of that frame, the
    mean over joints of each one's share; the first frame is not scored. Against the released code:
    a joint that is lost counts as wrong and is not left out. Yields '<layer>/PCK@0.1', ...;
    'copy/...' leaves the joints where they were, 'input/...' uses patches of pixels as features.

    Attributes:
      source: videos with `extra['joints']`, as `JhmdbSource` has them; see `annotations`.
      layers: with maps.
      size: side to which frames are resized, whatever their proportions.
      sigma: deviation of the bumps in cells.
      strongest: cells whose weighted mean is the joint's place.
      thresholds: of PCK.
      context, radius, top, temperature, first_everywhere, cosine: as for masks.
      videos: at most so many, the first ones; 0: all.
    """

    source: Source
    layers: tuple[str, ...]
    stream: str = "vision"
    size: int = 320
    sigma: float = 0.5
    strongest: int = 3
    thresholds: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5)
    context: int = 20
    radius: int = 12
    top: int = 10
    temperature: float = 0.05
    first_everywhere: bool = True
    cosine: bool = True
    videos: int = 0
    every: int = 0

    def __post_init__(self):
        given(self, "layers", "thresholds")
        at_least(self, 1, "size", "strongest", "top")
        at_least(self, 0, "context", "radius", "videos")
        above(self, 0, "sigma", "thresholds", "temperature")

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """MediaError names a bad video."""
        found: dict[str, list[np.ndarray]] = {}
        sizes = []
        for record in _videos(self.source, self.videos):
            frames, true = record.need_frames()(np.arange(record.num_frames)), joints_of(record)
            if len(true) < 2:
                raise MediaError(f"{record.name}: has one frame, joints have nowhere to go")
            picture = np.array([frames.shape[2], frames.shape[1]])  # x, y
            places = {"copy": np.repeat(true[:1], len(true), axis=0)}
            size = (self.size, self.size)
            for layer, features in dense_features(
                frozen, record, self.stream, self.layers, frames, size
            ):
                cells = np.array([features.shape[2], features.shape[1]])
                first = bumps((true[0] + 0.5) / picture * cells - 0.5, cells, self.sigma)
                knobs = (self.context, self.radius, self.top, self.temperature)
                cosine = self.cosine or layer == "input"
                soft = propagate(features, first, *knobs, self.first_everywhere, cosine)
                places[layer] = (peaks(soft, self.strongest) + 0.5) / cells * picture - 0.5
            sizes.append(body_size(true[1:]))
            for layer, joints in places.items():
                found.setdefault(layer, []).append(joint_distances(joints[1:], true[1:]))
        for layer, distances in found.items():
            for threshold in self.thresholds:
                value = pck(np.concatenate(distances), np.concatenate(sizes), threshold)
                yield f"{layer}/PCK@{threshold:g}", value


def dense_features(
    frozen,
    record: Record,
    stream: str,
    layers: tuple[str, ...],
    frames: UInt8[np.ndarray, "t h w 3"],
    size: tuple[int, int],
) -> Iterator[tuple[str, Float[np.ndarray, "t h w c"]]]:
    """(layer, its maps of all frames) in turn, then ('input', patches of pixels).

    Image networks see the frames one by one, video networks the whole video at once; a layer of
    theirs must keep as many maps as there are frames. ConfigError for layers without maps.
    """
    if not layers:
        raise ConfigError("layers: name those whose maps labels shall follow")
    resized = resize(frames, size)
    times = frozen.method.times(record, stream, 1)
    shapes = [v.shape[1:] for v in frozen.method.clips(record, stream, times).values()]
    if len(shapes) > 1 or len(shapes[0]) not in (3, 4) or shapes[0][-1] != 3:
        raise ConfigError(f"{stream} takes inputs of shape {shapes}: neither images nor videos")
    videos = len(shapes[0]) == 4
    for number, layer in enumerate(layers):
        maps = frozen.maps(stream, resized[None] if videos else resized, (layer,))[layer]
        maps = maps[0] if videos else maps
        if maps.ndim != 4 or len(maps) != len(frames):
            raise ConfigError(
                f"layer '{layer}' has shape {maps.shape} for {len(frames)} frames, not a map each; "
                "choose an earlier one"
            )
        if number == 0:
            height, width = maps.shape[1:3]
        yield layer, np.asarray(maps, np.float32)
    patches = resize(frames, (PIXELS * height, PIXELS * width)) / 255.0 - 0.5
    patches = patches.reshape(len(frames), height, PIXELS, width, PIXELS, 3)
    patches = patches.transpose(0, 1, 3, 2, 4, 5).reshape(len(frames), height, width, -1)
    yield "input", patches.astype(np.float32)


def bumps(
    places: Float[np.ndarray, "k 2"], cells: Int[np.ndarray, "2"], sigma: float
) -> Float[np.ndarray, "h w k"]:
    """A Gaussian of height 1 at each (x, y), all zero where it is NaN."""
    x, y = np.arange(cells[0]), np.arange(cells[1])[:, None]
    squares = np.square(x[:, None] - places[:, 0]) + np.square(y[..., None] - places[:, 1])
    return np.nan_to_num(np.exp(-squares / (2 * sigma**2)))


def peaks(maps: Float[np.ndarray, "t h w k"], strongest: int) -> Float[np.ndarray, "t k 2"]:
    """(x, y) of each map's peak, the weighted mean of its strongest cells; NaN if it is zero."""
    t, _, w, k = maps.shape
    flat = maps.reshape(t, -1, k).astype(np.float64)
    best = np.argsort(-flat, axis=1, kind="stable")[:, :strongest]
    weights = np.take_along_axis(flat, best, axis=1)
    total = weights.sum(axis=1)
    sums = np.stack([(weights * (best % w)).sum(axis=1), (weights * (best // w)).sum(axis=1)], -1)
    return np.where(total[..., None] > 0, sums / np.where(total > 0, total, 1)[..., None], np.nan)


def _videos(source: Source, most: int) -> Iterator[Record]:
    count = min(most, len(source)) if most else len(source)
    if not count:
        raise ConfigError(f"the source {source} is empty")
    return (source[number] for number in range(count))


def _first_labels(
    mask: Int[np.ndarray, "h w"], objects: list[int], cells: tuple[int, int]
) -> Float[np.ndarray, "h2 w2 k"]:
    """Share of each cell's pixels that each object has; unknown pixels are background."""
    import cv2

    own = np.where(np.isin(mask, objects), mask, 0)
    size = (cells[1], cells[0])
    shares = [
        cv2.resize((own == number).astype(np.float32), size, interpolation=cv2.INTER_AREA)
        for number in objects
    ]
    return np.stack(shares, axis=-1)


def _enlarged(
    soft: Float[np.ndarray, "t h w k"], size: tuple[int, int]
) -> Int[np.ndarray, "t h2 w2"]:
    """The channel that is largest at each pixel, channels brought to 0..1 in each frame."""
    import cv2

    result = np.empty((len(soft), *size), np.int64)
    for target, maps in zip(result, soft, strict=True):
        large = np.stack(
            [
                cv2.resize(np.ascontiguousarray(one), size[::-1], interpolation=cv2.INTER_LINEAR)
                for one in np.moveaxis(maps, -1, 0)
            ]
        )
        low = large.min(axis=(1, 2), keepdims=True)
        span = large.max(axis=(1, 2), keepdims=True) - low
        # A channel that is the same everywhere (an object that is lost) stays as it is.
        scaled = np.where(span > 0, (large - low) / np.where(span > 0, span, 1), large)
        target[...] = scaled.argmax(axis=0)
    return result


def _page(frames: np.ndarray, masks: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
    """A few frames of a video, objects coloured."""
    chosen = np.linspace(0, len(frames) - 1, min(6, len(frames))).round().astype(int)
    tiles = []
    for number in chosen:
        colour = COLOURS[masks[number] % len(COLOURS)]
        mixed = np.where(
            masks[number][..., None] > 0, 0.4 * frames[number] + 0.6 * colour, frames[number]
        )
        tiles.append(Tile(mixed.round().astype(np.uint8), f"frame {number}"))
    return page([tiles], tile=160)
