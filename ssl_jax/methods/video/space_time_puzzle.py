"""Space-time cubic puzzles (Kim, Cho and Kweon, "Self-Supervised Video Representation Learning with
Space-Time Cubic Puzzles", AAAI 2019): in which order do these pieces of a video belong?"""

import dataclasses
import itertools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.clips import clip_numbers, even_clip_times
from ssl_jax.data.image import crop, square
from ssl_jax.data.record import Record
from ssl_jax.data.sampling import clips_in_cells
from ssl_jax.knobs import ConfigError, at_least, one_of, within
from ssl_jax.method import Batch, Example, Method, State, scaled
from ssl_jax.models.heads import Classifier, pooled
from ssl_jax.objectives.classification import classification
from ssl_jax.objectives.order import permutations
from ssl_jax.ops.augment import channel_split, random_grey
from ssl_jax.ops.fold import fold, unfold

PIECES = 4  # of a puzzle: 2 x 2 places, or 4 times; so one width serves both heads
PLACES = tuple(itertools.product(range(2), repeat=2))
COLOURS = ("replicate", "grey", "keep")


class SpaceTimePuzzleNet(nn.Module):
    """One trunk for all pieces; of every puzzle their features in a row, and a head per axis."""

    vision: nn.Module
    dropout: float

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> jax.Array:
        """Logits (b 2 24) of the puzzle in space and of that in time."""
        pieces = batch["vision"]  # (b 2 4 t h w c)
        features = pooled(self.vision(fold(fold(pieces)), train))
        features = unfold(unfold(features, PIECES), 2)
        orders = len(permutations(PIECES))
        answers = [
            Classifier(orders, self.dropout, name=f"{axis}_head")(features[:, number], train)
            for number, axis in enumerate(("space", "time"))
        ]
        return jnp.stack(answers, axis=1)


@dataclasses.dataclass(frozen=True)
class SpaceTimePuzzle(Method):
    """Tells the order of four shuffled pieces: of four places at one time, of four times at one
    place.

    A video is a grid of 2 x 2 places and 4 times. Every example holds two puzzles, one for each
    axis, each with 24 orders and a head of its own.

    Shortcuts: edges that continue from one piece to the next: a piece lies anywhere in its cell,
    and gaps are left between cells, in space and time. Lens colours, which tell places: every piece
    shows one of its colour channels, or grey.

    Differs from the paper: the gaps; both puzzles in every step; no pieces turned by 180 degrees
    with a task of their own.

    Batch: views {"vision": uint8 (2 4 t piece piece 3)}, the puzzle in space and that in time, true
    order; augment {"vision": float (b 2 4 t piece piece 3), "target": int32 (b 2), the number of
    each puzzle's order among all 24, lexicographic}.

    Attributes:
      vision: the trunk; in the paper R3D of 18 layers.
      frames: of a piece.
      cell_frames: of a cell; four of them in a row are needed.
      frame_gap: frames at least between two pieces in time.
      stride: every how many-th frame of the video counts.
      piece: side of a piece in pixels.
      cell: side of a cell; the video's middle square is resized to two of them.
      gap: pixels at least between two pieces in space.
      colour: 'replicate': one channel of each piece stands for all three; 'grey': half of the
        pieces are grey; 'keep': as they are, for videos that went through no lens.
      dropout: rate, on the pieces' features.
    """

    vision: nn.Module
    frames: int = 16
    cell_frames: int = 32
    frame_gap: int = 8
    stride: int = 1
    piece: int = 80
    cell: int = 112
    gap: int = 16
    colour: str = "replicate"
    dropout: float = 0.0

    def __post_init__(self):
        at_least(self, 1, "frames", "cell_frames", "stride", "piece", "cell")
        at_least(self, 0, "frame_gap", "gap")
        one_of(self, "colour", COLOURS)
        within(self, 0, 1, "dropout")
        for taken, gap, room in (
            ("piece", "gap", "cell"),
            ("frames", "frame_gap", "cell_frames"),
        ):
            if getattr(self, taken) + getattr(self, gap) > getattr(self, room):
                raise ConfigError(
                    f"{taken}={getattr(self, taken)} and {gap}={getattr(self, gap)} must fit "
                    f"{room}={getattr(self, room)}"
                )

    @property
    def net(self) -> nn.Module:
        return SpaceTimePuzzleNet(self.vision, self.dropout)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        numbers = clips_in_cells(
            record.num_frames,
            rng,
            cells=PIECES,
            cell=self.cell_frames,
            length=self.frames,
            gap=self.frame_gap,
            stride=self.stride,
        )
        frames = square(record.need_frames()(numbers.ravel()), 2 * self.cell)
        clips = frames.reshape(*numbers.shape, *frames.shape[1:])
        one_time, one_place = rng.integers(PIECES, size=2)
        in_space = [self._cut(clips[one_time], place, rng) for place in PLACES]
        in_time = [self._cut(clip, PLACES[one_place], rng) for clip in clips]
        return {"vision": np.stack([np.stack(in_space), np.stack(in_time)])}

    def _cut(self, clip: np.ndarray, place: tuple[int, int], rng: np.random.Generator):
        """A piece anywhere in a cell, but for the gap at the cell's lower and right end."""
        room = self.cell - self.gap - self.piece
        top, left = self.cell * np.array(place) + rng.integers(room + 1, size=2)
        return crop(clip, int(top), int(left), self.piece, self.piece)

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        key_colour, key_order = jax.random.split(key)
        pieces = batch["vision"]
        target = jax.random.randint(key_order, pieces.shape[:2], 0, len(permutations(PIECES)))
        order = jnp.array(permutations(PIECES))[target]
        shown = jax.vmap(jax.vmap(lambda puzzle, o: puzzle[o]))(scaled(pieces), order)
        each = fold(fold(shown))
        if self.colour == "replicate":
            each = channel_split(key_colour, each, per_frame=False)
        elif self.colour == "grey":
            each = random_grey(key_colour, each, 0.5)
        return {"vision": each.reshape(shown.shape), "target": target}

    def objective(self, outputs: jax.Array, batch: Batch):
        loss, metrics = classification(outputs, batch["target"])
        for number, axis in enumerate(("space", "time")):
            own = classification(outputs[:, number], batch["target"][:, number])[1]
            metrics[f"{axis}_accuracy"] = own["accuracy"]
        return loss, metrics

    def pictures(self, batch: Batch) -> Batch:
        """Each piece's first frame of the puzzle in space, all of that in time."""
        in_space, in_time = batch["vision"][:, 0], batch["vision"][:, 1]
        return {"in space": in_space[:, :, 0], "in time": in_time}

    def words(self, batch: Batch) -> dict[str, list[str]]:
        """The true number of each piece as they are shown, from 0: of both puzzles."""
        orders = permutations(PIECES)
        texts = [
            [" ".join(map(str, orders[k])) for k in puzzle]
            for puzzle in np.asarray(batch["target"]).T
        ]
        return dict(zip(("space", "time"), texts, strict=True))

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        return even_clip_times(record, count, self.frames, self.stride)

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        # The whole square, at the scale of training.
        numbers = clip_numbers(record, times, self.frames, self.stride)
        frames = square(record.need_frames()(numbers.ravel()), 2 * self.cell)
        return {"vision": frames.reshape(*numbers.shape, *frames.shape[1:])}
