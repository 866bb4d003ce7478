"""Synthetic videos: moving shapes with sounds that fit what is seen. For tests and notebooks."""

import dataclasses
import zlib
from collections.abc import Sequence

import numpy as np

from ssl_jax.data.record import Caption, Record
from ssl_jax.knobs import above, at_least, one_of

SHAPES = ("disc", "square", "cross", "ring")
COLOURS = {"red": (220, 60, 50), "green": (70, 190, 80), "blue": (70, 110, 230)}


@dataclasses.dataclass(frozen=True)
class SyntheticSource:
    """Videos of one shape on a textured background that falls, bounces and sounds.

    Record i is a pure function of (seed, i). The label is the shape. The shape accelerates
    downwards and bounces, so that time has a direction; a tone whose pitch is the shape's (or its
    colour's, which every place of it shows) and whose loudness follows its height sounds all along,
    so that picture and sound can be matched at every moment. `extra` holds 'mask' and 'joints',
    functions of a frame's number (the joints are the shape's middle and the point a radius above
    it), 'group' 0 and 'fold', of four.

    Attributes:
      size: number of records.
      frames: per video; 1 makes pictures.
      height, width: pixels.
      fps: frames per second.
      sample_rate: of the sound, Hz.
      seed: another seed is another set: take one for training and another for testing.
      pitch: what the tone's pitch tells: 'shape' or 'colour'.
    """

    size: int = 256
    frames: int = 32
    height: int = 64
    width: int = 64
    fps: float = 16.0
    sample_rate: int = 8000
    seed: int = 0
    pitch: str = "shape"

    def __post_init__(self):
        at_least(self, 0, "size", "seed")
        at_least(self, 1, "frames", "height", "width", "sample_rate")
        above(self, 0, "fps")
        one_of(self, "pitch", ("shape", "colour"))

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < self.size:
            raise IndexError(index)
        scene = _Scene.draw(self, index)
        return Record(
            name=f"synthetic video {index}",
            index=int(index),
            num_frames=self.frames,
            fps=self.fps,
            frames=scene.render,
            audio=scene.sound,
            sample_rate=self.sample_rate,
            duration=self.frames / self.fps,
            captions=(Caption(f"a {scene.colour} {SHAPES[scene.shape]} bounces"),),
            label=scene.shape,
            extra={"mask": scene.mask, "joints": scene.joints, "group": 0, "fold": index % 4},
        )


@dataclasses.dataclass(frozen=True)
class _Scene:
    source: SyntheticSource
    shape: int
    colour: str
    radius: float
    start: tuple[float, float]  # y, x in 0..1
    speed: tuple[float, float]  # heights per second
    seed: int

    @staticmethod
    def draw(source: SyntheticSource, index: int) -> "_Scene":
        seed = zlib.crc32(f"{source.seed}/{index}".encode())
        rng = np.random.default_rng(seed)
        return _Scene(
            source=source,
            shape=int(rng.integers(len(SHAPES))),
            colour=str(rng.choice(list(COLOURS))),
            radius=float(rng.uniform(0.14, 0.2)),
            start=(float(rng.uniform(0.2, 0.4)), float(rng.uniform(0.25, 0.75))),
            speed=(float(rng.uniform(-0.2, 0.2)), float(rng.uniform(-0.4, 0.4))),
            seed=seed,
        )

    def position(self, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Centre (y, x) in 0..1 at the given times: gravity down, lossy bounces on the floor."""
        fine = np.arange(0, float(np.max(seconds, initial=0.0)) + 0.01, 0.005)
        y, v, heights = self.start[0], self.speed[0], []
        for _ in fine:
            heights.append(y)
            v += 0.005 * 1.5
            y += 0.005 * v
            if y > 0.8:
                y, v = 0.8, -0.8 * v
        x = self.start[1] + self.speed[1] * np.asarray(seconds)
        x = 0.15 + 0.7 * np.abs((x - 0.15) / 0.7 % 2 - 1)  # reflected at the sides
        return np.interp(seconds, fine, heights), x

    def mask(self, frame: int) -> np.ndarray:
        """bool (h, w): where the shape is seen."""
        h, w = self.source.height, self.source.width
        cy, cx = self.position(np.array([frame / self.source.fps]))
        dy = np.abs((np.arange(h)[:, None] + 0.5) / h - cy)
        dx = np.abs((np.arange(w)[None, :] + 0.5) / w - cx)
        r = self.radius
        disc = dy**2 + dx**2 <= r**2
        inside = (
            disc,
            (dy <= 0.85 * r) & (dx <= 0.85 * r),
            disc & ((dy <= r / 3) | (dx <= r / 3)),
            disc & (dy**2 + dx**2 >= (0.6 * r) ** 2),
        )
        return inside[self.shape]

    def joints(self, frame: int) -> np.ndarray:
        """float64 (2, 2): the shape's middle and the point a radius above it, (x, y) in pixels."""
        cy, cx = self.position(np.array([frame / self.source.fps]))
        shares = np.array([[cx[0], cy[0]], [cx[0], cy[0] - self.radius]])
        return shares * (self.source.width, self.source.height)

    def render(self, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        """uint8 (t, h, w, 3)."""
        h, w = self.source.height, self.source.width
        rng = np.random.default_rng(self.seed)
        coarse = rng.uniform(60, 160, (5, 5, 3))
        ground = _enlarge(coarse, h, w) + rng.normal(0, 4, (h, w, 3))
        video = np.repeat(ground[None], len(numbers), axis=0)
        for picture, number in zip(video, numbers, strict=True):
            picture[self.mask(int(number))] = COLOURS[self.colour]
        return video.clip(0, 255).astype(np.uint8)

    def sound(self, start: float, stop: float) -> np.ndarray:
        """float32 (s,): a tone of the shape's or colour's pitch, louder the lower the shape is."""
        rate = self.source.sample_rate
        count = round((stop - start) * rate)
        times = start + np.arange(count) / rate
        height, _ = self.position(np.maximum(times, 0))
        inside = (times >= 0) & (times < self.source.frames / self.source.fps)
        kinds = {"shape": self.shape, "colour": list(COLOURS).index(self.colour)}
        pitch = 300.0 * 1.6 ** kinds[self.source.pitch]
        wave = np.sin(2 * np.pi * pitch * times) * (0.05 + 0.6 * height) * inside
        return wave.astype(np.float32)


def _enlarge(coarse: np.ndarray, h: int, w: int) -> np.ndarray:
    """Bilinear enlargement of a small (k, k, c) picture."""
    rows = np.linspace(0, len(coarse) - 1, h)
    columns = np.linspace(0, coarse.shape[1] - 1, w)
    top, left = rows.astype(int), columns.astype(int)
    below = np.minimum(top + 1, len(coarse) - 1)
    right = np.minimum(left + 1, coarse.shape[1] - 1)
    fy, fx = (rows - top)[:, None, None], (columns - left)[None, :, None]
    upper = coarse[top][:, left] * (1 - fx) + coarse[top][:, right] * fx
    lower = coarse[below][:, left] * (1 - fx) + coarse[below][:, right] * fx
    return upper * (1 - fy) + lower * fy
