"""Split-brain autoencoder (Zhang, Isola and Efros, "Split-Brain Autoencoders: Unsupervised Learning
by Cross-Channel Prediction", CVPR 2017): what colour has this lightness, and what lightness this
colour?"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.record import Record
from ssl_jax.data.squares import random_square
from ssl_jax.knobs import at_least, no_larger, one_of
from ssl_jax.method import Batch, Example, Method, State
from ssl_jax.models.halves import Halves
from ssl_jax.models.heads import last
from ssl_jax.objectives.colour import (
    COLOURS,
    LIGHTNESS_BINS,
    channel_classification,
    channel_regression,
    fit_map,
)
from ssl_jax.ops.augment import random_crop, random_flip
from ssl_jax.ops.colour import CHANNELS, alone, rgb_to_lab
from ssl_jax.ops.fold import fold, unfold

CRITERIA = {"cl": channel_classification, "reg": channel_regression}
WIDTHS = {"cl": {"L": LIGHTNESS_BINS, "ab": COLOURS}, "reg": {"L": 1, "ab": 2}}


@dataclasses.dataclass(frozen=True)
class Design:
    """Who sees what, and predicts what.

    There is one prediction for each trunk, or, of a single trunk, for each showing.

    Attributes:
      sees: the channels that each trunk has; their features are put side by side.
      predicts: the channels of each prediction.
      shown: the images are shown once for each entry, all channels but these being zero.
      criteria: of each prediction, from `CRITERIA`; (): the method's.
      dropout: rate at which numbers of the input are dropped in training.
    """

    sees: tuple[str, ...]
    predicts: tuple[str, ...]
    shown: tuple[str, ...] = ("Lab",)
    criteria: tuple[str, ...] = ()
    dropout: float = 0.0


# The paper's, and those that it compares itself to.
DESIGNS = {
    "split": Design(sees=("L", "ab"), predicts=("ab", "L")),
    "L->ab": Design(sees=("L",), predicts=("ab",)),
    "ab->L": Design(sees=("ab",), predicts=("L",)),
    "Lab->Lab": Design(sees=("Lab",), predicts=("Lab",)),
    "drop50": Design(sees=("Lab",), predicts=("Lab",), dropout=0.5),
    "ensemble": Design(sees=("L", "L"), predicts=("ab", "ab"), criteria=("cl", "reg")),
    "single": Design(sees=("Lab",), shown=("L", "ab"), predicts=("ab", "L")),
    "single+Lab": Design(sees=("Lab",), shown=("L", "ab", "Lab"), predicts=("ab", "L", "Lab")),
}


class SplitBrainNet(nn.Module):
    """The halves, and on each a linear prediction of what it does not see: maps by channels."""

    vision: nn.Module
    design: Design

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> list[dict[str, jax.Array]]:
        design = self.design
        x = nn.Dropout(design.dropout, deterministic=not train)(batch["vision"])
        masks = [jnp.zeros(3).at[CHANNELS[channels]].set(1.0) for channels in design.shown]
        x = fold(jnp.stack([x * mask for mask in masks], axis=1))
        maps = unfold(last(self.vision(x, train)), len(masks))  # (b showings h w c)
        showings = [maps[:, i] for i in range(len(masks))]
        parts = [part for x in showings for part in jnp.split(x, len(design.sees), axis=-1)]
        outputs = []
        for i, part in enumerate(parts):
            widths = WIDTHS[design.criteria[i]]
            names = [channels for channels in widths if channels in design.predicts[i]]
            heads = {c: nn.Conv(widths[c], (1, 1), name=f"head{i}_{c}") for c in names}
            outputs.append({c: head(part) for c, head in heads.items()})
        return outputs


@dataclasses.dataclass(frozen=True)
class SplitBrain(Method):
    """Two halves of a network, one seeing L and one ab, each predict the other's channels.

    Features are the halves' side by side at every layer, so they know the whole image though no
    half does. Nothing has to be squeezed: what is predicted is not in the input, so copying does
    not help, as it does an autoencoder (design 'Lab->Lab').

    'cl' classifies the nearest of the 313 colours and of 50 lightnesses, one-hot and not
    rebalanced; 'reg' is the squared error. The loss is the sum of the halves'; of showings of one
    net, the mean.

    Differs from the paper: all channels come divided by 50 (theirs are raw; BN follows), targets
    are single pixels on a grid, the optimizer, which the paper does not state, is colorization's.

    Batch: views {"vision": uint8 (stored stored 3)}; augment {"vision": uint8 (b size size 3),
    "target": float (b h w 3), Lab}.

    Attributes:
      vision: one half, whose last layer is a map: AlexNet at half the width; at its whole width
        for designs of one trunk.
      design: 'split', or one that the paper compares itself to: 'L->ab', 'ab->L', 'Lab->Lab'
        (autoencoder), 'drop50' (half of its input dropped), 'ensemble' (two halves from L to ab,
        'cl' and 'reg'), 'single' (one net, channels that it must predict being zero), 'single+Lab'
        (likewise, and the whole from the whole).
      criterion: 'cl' or 'reg'.
      size: side of the network's square input in pixels.
      stored: side of the square that the host hands over, from which crops are cut.
      stride: every so many pixels, along both axes, one colour is predicted; predictions are
        resized to that grid. 16 for `DenseAlexNet`.

    Raises ConfigError for an unknown design or criterion.
    """

    vision: nn.Module
    design: str = "split"
    criterion: str = "cl"
    size: int = 180
    stored: int = 256
    stride: int = 16

    def __post_init__(self):
        one_of(self, "design", DESIGNS)
        one_of(self, "criterion", CRITERIA)
        at_least(self, 1, "size", "stored", "stride")
        no_larger(self, "size", "stored")

    @property
    def plan(self) -> Design:
        """The design, its criteria filled in."""
        design = DESIGNS[self.design]
        criteria = design.criteria or (self.criterion,) * len(design.predicts)
        return dataclasses.replace(design, criteria=criteria)

    @property
    def net(self) -> nn.Module:
        return SplitBrainNet(Halves(self.vision, self.plan.sees), self.plan)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        return {"vision": random_square(record, self.stored, rng)}

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        key_crop, key_flip = jax.random.split(key)
        images = random_flip(key_flip, random_crop(key_crop, batch["vision"], self.size))
        return {"vision": images, "target": rgb_to_lab(images[:, :: self.stride, :: self.stride])}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        return (rgb_to_lab(x) - jnp.array([50.0, 0.0, 0.0])) / 50.0

    def objective(self, outputs: list[dict[str, jax.Array]], batch: Batch):
        plan, total, metrics = self.plan, 0.0, {}
        sources = plan.sees if len(plan.shown) == 1 else plan.shown
        for source, criterion, maps in zip(sources, plan.criteria, outputs, strict=True):
            for channels, predicted in maps.items():
                target = batch["target"][..., CHANNELS[channels]]
                value, own = CRITERIA[criterion](fit_map(predicted, target), target)
                total = total + value
                metrics |= {f"{channels}_from_{source}_{name}": v for name, v in own.items()}
        return total / len(plan.shown), metrics

    def pictures(self, batch: Batch) -> Batch:
        """Lightness and colours apart, as seen and as to be predicted."""
        shown = {"sees": rgb_to_lab(batch["vision"]), "predicts": batch["target"]}
        parts = {f"{verb} {c}": alone(x, c) for verb, x in shown.items() for c in ("L", "ab")}
        return {"vision": batch["vision"], **parts}
