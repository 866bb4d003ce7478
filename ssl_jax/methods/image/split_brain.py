"""Split-brain autoencoder (Zhang, Isola and Efros, "Split-Brain Autoencoders: Unsupervised Learning
by Cross-Channel Prediction", CVPR 2017): one half predicts colour from lightness, the other
lightness from colour."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.record import Record
from ssl_jax.data.squares import even_squares, random_square
from ssl_jax.method import Batch, Example, Method
from ssl_jax.models.halves import Halves
from ssl_jax.objectives.colour import (
    LIGHTNESS_BINS,
    ab_bins,
    channel_classification,
    channel_regression,
    fit_map,
)
from ssl_jax.ops.augment import random_crop, random_flip
from ssl_jax.ops.colour import CHANNELS, alone, rgb_to_lab

LOSSES = {"cl": channel_classification, "reg": channel_regression}


@dataclasses.dataclass(frozen=True)
class Design:
    """Who sees what, and predicts what.

    Attributes:
      sees: the channels that each trunk has; their features are put side by side.
      shown: the pictures are shown once for each entry, all channels but these being zero.
      predicts: the channels predicted, for each showing and in it for each trunk.
      losses: likewise, of LOSSES; () leaves it to the method.
      dropout: rate at which numbers of the input are dropped in training.
    """

    sees: tuple[str, ...]
    predicts: tuple[str, ...]
    shown: tuple[str, ...] = ("Lab",)
    losses: tuple[str, ...] = ()
    dropout: float = 0.0


# The paper's, and those that it compares itself to.
DESIGNS = {
    "split": Design(sees=("L", "ab"), predicts=("ab", "L")),
    "L->ab": Design(sees=("L",), predicts=("ab",)),
    "ab->L": Design(sees=("ab",), predicts=("L",)),
    "Lab->Lab": Design(sees=("Lab",), predicts=("Lab",)),
    "drop50": Design(sees=("Lab",), predicts=("Lab",), dropout=0.5),
    "ensemble": Design(sees=("L", "L"), predicts=("ab", "ab"), losses=("cl", "reg")),
    "single": Design(sees=("Lab",), shown=("L", "ab"), predicts=("ab", "L")),
    "single+Lab": Design(sees=("Lab",), shown=("L", "ab", "Lab"), predicts=("ab", "L", "Lab")),
}


class SplitBrainNet(nn.Module):
    """The halves, and on the end of each a linear prediction of what it does not see."""

    vision: nn.Module
    design: Design
    losses: tuple[str, ...]

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> list[dict[str, jax.Array]]:
        x, design = batch["vision"], self.design
        x = nn.Dropout(design.dropout, deterministic=not train)(x)
        # A row's showings stay neighbours, hence on the device that holds the row.
        masks = [jnp.zeros(3).at[CHANNELS[channels]].set(1.0) for channels in design.shown]
        shown = jnp.stack([x * mask for mask in masks], axis=1)
        layers = self.vision(shown.reshape(-1, *x.shape[1:]), train)
        last = layers[list(layers)[-1]]
        last = last.reshape(len(x), len(design.shown), *last.shape[1:])
        widths = {"cl": {"L": LIGHTNESS_BINS, "ab": len(ab_bins())}, "reg": {"L": 1, "ab": 2}}
        outputs = []
        for i, (predicted, loss) in enumerate(zip(design.predicts, self.losses, strict=True)):
            showing, trunk = divmod(i, len(design.sees))
            part = jnp.split(last[:, showing], len(design.sees), axis=-1)[trunk]
            outputs.append(
                {
                    channels: nn.Conv(width, (1, 1), name=f"head{i}_{channels}")(part)
                    for channels, width in widths[loss].items()
                    if channels in predicted
                }
            )
        return outputs


@dataclasses.dataclass(frozen=True)
class SplitBrain(Method):
    """Two halves of a network, one seeing L and one ab, each predict the other's channels.

    Features are the halves' side by side at every layer, so they know the whole picture though no
    half does. Nothing has to be squeezed: what is predicted is not in the input, so copying does
    not help, as it does an autoencoder (design 'Lab->Lab').

    'cl' classifies the nearest of the 313 colours and of 50 lightnesses, one-hot and not
    rebalanced; 'reg' is the squared error. The loss is the sum of the halves'; of showings of one
    net, the mean. Against the paper: all channels come divided by 50 (theirs are raw; BN follows),
    targets are single pixels on a grid, the optimiser, which the paper does not state, is
    colorization's.

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

    Raises:
      ValueError: an unknown design or criterion.
    """

    vision: nn.Module
    design: str = "split"
    criterion: str = "cl"
    size: int = 180
    stored: int = 256
    stride: int = 16

    def __post_init__(self):
        if self.design not in DESIGNS:
            raise ValueError(f"design is one of {', '.join(DESIGNS)}, not {self.design!r}")
        if self.criterion not in LOSSES:
            raise ValueError(f"criterion is one of {', '.join(LOSSES)}, not {self.criterion!r}")

    @property
    def net(self) -> nn.Module:
        design = DESIGNS[self.design]
        return SplitBrainNet(Halves(self.vision, design.sees), design, self._losses)

    @property
    def _losses(self) -> tuple[str, ...]:
        design = DESIGNS[self.design]
        return design.losses or (self.criterion,) * len(design.predicts)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        return {"vision": random_square(record, self.stored, rng)}

    def augment(self, batch: Batch, key: jax.Array) -> Batch:
        key_crop, key_flip = jax.random.split(key)
        images = random_flip(key_flip, random_crop(key_crop, batch["vision"], self.size))
        return {"vision": images, "target": rgb_to_lab(images[:, :: self.stride, :: self.stride])}

    def prepare(self, stream: str, raw: jax.Array) -> jax.Array:
        return (rgb_to_lab(raw) - jnp.array([50.0, 0.0, 0.0])) / 50.0

    def objective(self, outputs: list[dict[str, jax.Array]], batch: Batch):
        design, total, metrics = DESIGNS[self.design], 0.0, {}
        for i, (maps, loss) in enumerate(zip(outputs, self._losses, strict=True)):
            showing, trunk = divmod(i, len(design.sees))
            given = design.sees[trunk] if len(design.shown) == 1 else design.shown[showing]
            for channels, predicted in maps.items():
                target = batch["target"][..., CHANNELS[channels]]
                value, own = LOSSES[loss](fit_map(predicted, target), target)
                total = total + value
                metrics |= {f"{channels}_from_{given}_{name}": v for name, v in own.items()}
        return total / len(design.shown), metrics

    def pictures(self, batch: Batch) -> Batch:
        """For `ssl_jax.show`: lightness and colours apart, as seen and as to be predicted."""
        shown = {"sees": rgb_to_lab(batch["vision"]), "predicts": batch["target"]}
        parts = {f"{verb} {c}": alone(x, c) for verb, x in shown.items() for c in ("L", "ab")}
        return {"vision": batch["vision"], **parts}

    def clips(self, record: Record, stream: str, count: int) -> np.ndarray:
        return even_squares(record, self.size, count)
