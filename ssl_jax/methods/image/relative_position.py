"""Relative position (Doersch, Gupta and Efros, "Unsupervised Visual Representation Learning by
Context Prediction", ICCV 2015): on which of its eight sides does a patch's neighbour lie?"""

import dataclasses
from collections.abc import Sequence

import flax.linen as nn
import jax
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.image import resize
from ssl_jax.data.record import Record
from ssl_jax.data.sampling import OFFSETS, PAIRS, jittered_corners, neighbouring_cells, random_frame
from ssl_jax.data.squares import squares_at
from ssl_jax.knobs import above, ascending, at_least, one_of, within
from ssl_jax.method import Batch, Example, Method, State, scaled
from ssl_jax.models.siamese import Siamese
from ssl_jax.objectives.classification import classification
from ssl_jax.ops.augment import random_grey
from ssl_jax.ops.patches import drop_colours, pixelate, project_colours, standardise

COLOURS = ("drop", "project", "grey", "keep")
# The classes by their numbers, as OFFSETS has them.
SIDES = (
    "upper left", "above", "upper right", "left", "right", "lower left", "below", "lower right",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class RelativePosition(Method):
    """Predicts where the second of two patches of an image lies, seen from the first.

    Shortcuts: lines and textures that go on from patch to patch are cut by a gap, and places are
    jittered, so that no gap is like the other; the lens's chromatic aberration tells where in the
    image a patch lay, so colours are dropped or projected; brightness and contrast are taken out
    of every patch; some patches are coarsened, against fine texture. BN without scale keeps any
    layer from falling silent. The two patches meet only after fc6 (late fusion).

    Differs from the released code, which takes all pairs of as many patches as an image of random
    size holds: two patches, or a grid of 3x3 at a random place ('all' is nearest to it). Images too
    narrow for that are enlarged. The loss is the mean over pairs, not their sum, and the noise of
    dropped channels the paper's.

    Batch, of n patches and m pairs: views {"vision": uint8 (n patch patch 3), "places": int32
    (m 2), "target": int32 (m)}; augment {"vision": float (b n patch patch 3), "places": int32
    (b m 2), "target": int32 (b m)}.

    Attributes:
      vision: the trunk, without fully connected layers so that it takes whole images too; in the
        paper AlexNet up to pool5.
      patch: side of a patch in pixels.
      gap: pixels between neighbours, before jitter.
      jitter: each patch is moved by up to so many pixels along both axes, not beyond the image.
      area: images are resized to a uniform number of pixels between these.
      pairs: an image gives 'one' pair, the 8 around the 'centre' of 3x3 patches, or 'all' 40 pairs
        of neighbours among them, both ways (sides are then a little more frequent than corners).
      colour: 'drop' two channels of every patch, 'project' green against magenta away, 'grey', or
        'keep'.
      pixelation: probability of coarsening a patch.
      coarsest: pixels on a side that are left at least.
      rms: root mean square of a patch as the network sees it.
      whole: side of the square whose features are read in evaluation.
      embedding, hidden, normed, dropout: of the layers after the trunk; see `Siamese`.

    Raises ConfigError for unknown pairs or colour, or a jitter that closes the gap.
    """

    vision: nn.Module
    patch: int = 96
    gap: int = 48
    jitter: int = 7
    area: tuple[int, int] = (150_000, 450_000)
    pairs: str = "one"
    colour: str = "drop"
    pixelation: float = 0.33
    coarsest: int = 10
    rms: float = 50.0
    whole: int = 224
    embedding: int = 4096
    hidden: tuple[int, ...] = (4096, 4096)
    normed: tuple[str, ...] = ("fc6", "fc7")
    dropout: float = 0.0

    def __post_init__(self):
        one_of(self, "pairs", PAIRS)
        one_of(self, "colour", COLOURS)
        at_least(self, 1, "patch", "area", "coarsest", "whole", "hidden")
        at_least(self, 0, "gap", "jitter", "embedding")
        ascending(self, "area")
        above(self, 0, "rms")
        within(self, 0, 1, "pixelation", "dropout")
        if self.gap < 2 * self.jitter:
            raise ConfigError(
                f"relative_position: jitter={self.jitter} closes the gap={self.gap} between "
                "patches: at most half"
            )

    @property
    def net(self) -> nn.Module:
        return Siamese(
            self.vision, len(OFFSETS), self.embedding, self.hidden, self.normed, self.dropout
        )

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        frames = record.need_frames()([random_frame(record.num_frames, rng)])
        cells, places, target = neighbouring_cells(self.pairs, rng)
        height, width = frames.shape[1:3]
        scale = np.sqrt(rng.uniform(*self.area) / (height * width))
        reach = self.patch + (self.patch + self.gap) * cells.max()
        scale = max(scale, reach / min(height, width))
        image = resize(frames, (round(height * scale), round(width * scale)))[0]
        size = image.shape[:2]
        corners = jittered_corners(cells, size, self.patch, self.gap, self.jitter, rng)
        patches = [image[y : y + self.patch, x : x + self.patch] for y, x in corners]
        return {
            "vision": np.stack(patches),
            "places": places.astype(np.int32),
            "target": target.astype(np.int32),
        }

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        key_pixels, key_colour = jax.random.split(key)
        patches = scaled(batch["vision"])
        if self.pixelation:
            patches = pixelate(key_pixels, patches, self.pixelation, self.coarsest)
        if self.colour == "drop":
            patches = drop_colours(key_colour, patches)
        if self.colour == "project":
            patches = project_colours(patches)
        if self.colour == "grey":
            patches = random_grey(key_colour, patches, probability=1.0)
        return {**batch, "vision": patches}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        return standardise(x, self.rms)

    def objective(self, outputs: jax.Array, batch: Batch):
        return classification(outputs, batch["target"])

    def words(self, batch: Batch) -> dict[str, list[str]]:
        """Where the second patch of each pair lies, seen from the first."""
        pairs = (np.asarray(batch[name]) for name in ("places", "target"))
        return {
            "": [
                "\n".join(
                    f"{first} to {second}: {SIDES[k]}"
                    for (first, second), k in zip(places, targets, strict=True)
                )
                for places, targets in zip(*pairs, strict=True)
            ]
        }

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        return {"vision": squares_at(record, self.whole, times)}
