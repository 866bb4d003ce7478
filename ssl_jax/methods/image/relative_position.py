"""Relative position (Doersch, Gupta and Efros, "Unsupervised Visual Representation Learning by
Context Prediction", ICCV 2015): on which of its eight sides does a patch's neighbour lie?"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.image import resize
from ssl_jax.data.record import Record
from ssl_jax.data.sampling import OFFSETS, PAIRS, jittered_corners, neighbouring_cells, random_frame
from ssl_jax.data.squares import even_squares
from ssl_jax.method import Batch, Example, Method
from ssl_jax.models.siamese import Siamese
from ssl_jax.objectives.classification import classification
from ssl_jax.ops.augment import random_grey
from ssl_jax.ops.patches import drop_colours, pixelate, project_colours, standardise

COLOURS = ("drop", "project", "grey", "keep")


@dataclasses.dataclass(frozen=True)
class RelativePosition(Method):
    """Predicts where the second of two patches of a picture lies, seen from the first.

    Shortcuts: lines and textures that go on from patch to patch are cut by a gap, and places are
    jittered, so that no gap is like the other; the lens's chromatic aberration tells where in the
    picture a patch lay, so colours are dropped or projected; brightness and contrast are taken out
    of every patch; some patches are coarsened, against fine texture. BN without scale keeps any
    layer from falling silent. The two patches meet only after fc6 (late fusion).

    Against the released code, which takes all pairs of as many patches as a picture of random size
    holds: two patches, or a grid of 3x3 at a random place ('all' is nearest to it). Pictures too
    narrow for that are enlarged. The loss is the mean over pairs, not their sum, and the noise of
    dropped channels the paper's.

    Attributes:
      vision: the trunk, without fully connected layers so that it takes whole pictures too; in the
        paper AlexNet up to pool5.
      patch: side of a patch in pixels.
      gap: pixels between neighbours, before jitter.
      jitter: each patch is moved by up to so many pixels along both axes, not beyond the picture.
      area: pictures are resized to a uniform number of pixels between these.
      pairs: a picture gives 'one' pair, the 8 around the 'centre' of 3x3 patches, or 'all' 40 pairs
        of neighbours among them, both ways (sides are then a little more frequent than corners).
      colour: 'drop' two channels of every patch, 'project' green against magenta away, 'grey', or
        'keep'.
      pixelation: probability of coarsening a patch.
      coarsest: pixels on a side that are left at least.
      rms: root mean square of a patch as the network sees it.
      whole: side of the square whose features are read in evaluation.
      embedding, hidden, normed, dropout: of the layers after the trunk; see `Siamese`.
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
        for knob, known in (("pairs", PAIRS), ("colour", COLOURS)):
            if getattr(self, knob) not in known:
                raise ValueError(f"{knob}={getattr(self, knob)!r} must be one of {known}")
        if self.gap < 2 * self.jitter:
            raise ValueError(
                f"jitter={self.jitter} closes the gap={self.gap} between patches: at most half"
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

    def augment(self, batch: Batch, key: jax.Array) -> Batch:
        key_pixels, key_colour = jax.random.split(key)
        patches = batch["vision"].astype(jnp.float32)
        if self.pixelation:
            patches = pixelate(key_pixels, patches, self.pixelation, self.coarsest)
        if self.colour == "drop":
            patches = drop_colours(key_colour, patches)
        if self.colour == "project":
            patches = project_colours(patches)
        if self.colour == "grey":
            patches = random_grey(key_colour, patches, probability=1.0)
        return {**batch, "vision": patches}

    def prepare(self, stream: str, raw: jax.Array) -> jax.Array:
        return standardise(raw, self.rms)

    def objective(self, outputs: jax.Array, batch: Batch):
        return classification(outputs, batch["target"])

    def clips(self, record: Record, stream: str, count: int) -> np.ndarray:
        return even_squares(record, self.whole, count)
