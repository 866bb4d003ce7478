"""Deep InfoMax (Hjelm, Fedorov, Lavoie-Marchildon, Grewal, Bachman, Trischler and Bengio, "Learning
Deep Representations by Mutual Information Estimation and Maximization", ICLR 2019): which parts
belong to the image that this code was made of?"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.image import center_crop
from ssl_jax.data.record import Record
from ssl_jax.data.squares import random_square, squares_at
from ssl_jax.knobs import above, at_least, no_larger, one_of, within
from ssl_jax.method import Batch, Example, Method, State
from ssl_jax.models.heads import last
from ssl_jax.models.infomax import (
    ConcatScorer,
    DotScorer,
    InfomaxEncoder,
    PriorCritic,
    ScoreBlock,
    upper_part,
)
from ssl_jax.objectives.mutual_information import (
    ESTIMATORS,
    concat_scores,
    dot_scores,
    found_share,
)
from ssl_jax.objectives.reconstruction import adversarial
from ssl_jax.ops.augment import random_crop, random_flip

SCORERS = ("dot", "concat")


class InfomaxNet(nn.Module):
    """Trunk, score networks and critic; what each term takes, by its name ('local', ...)."""

    vision: InfomaxEncoder
    terms: tuple[str, ...]
    layer: str
    scorer: str
    units: int
    critic: tuple[int, ...]

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> dict[str, dict[str, jax.Array]]:
        layers = self.vision(batch["vision"], train)
        maps, codes = layers[self.layer], last(layers).astype(jnp.float32)
        scorer, found = DotScorer if self.scorer == "dot" else ConcatScorer, {}
        if "local" in self.terms:
            parts = maps.reshape(len(maps), -1, maps.shape[-1]).astype(jnp.float32)
            found["local"] = scorer(self.units, name="local")(codes, parts, train)
        if "global" in self.terms:
            upper = upper_part(self.vision, self.layer, self.units, "upper")
            whole = last(upper(maps, train)).astype(jnp.float32)[:, None]
            if self.scorer == "dot":
                block = ScoreBlock(self.units, name="global")
                found["global"] = {"codes": block(codes, train), "parts": whole}
            else:
                found["global"] = scorer(self.units, name="global")(codes, whole, train)
        if "prior" in self.terms:
            critic = PriorCritic(self.critic, name="prior")
            found["prior"] = critic(batch["prior"], jax.nn.sigmoid(codes))
        return found


@dataclasses.dataclass(frozen=True)
class MutualInformation(Method):
    """Makes the code of an image tell as much as it can of the image's parts.

    Three terms, of the code y (the trunk's last layer) and a map of a lower layer:

        local    information of y and the vector at each place of the map, averaged over places
        global   of y and the whole map, seen through a copy of the trunk's upper layers
        prior    a critic compares sigmoid(y) with uniform draws; y learns to pass for one

    DIM(L) of the paper is alpha=0, beta=1, gamma=0.1, the defaults; DIM(G) alpha=1, beta=0,
    gamma=1. By the paper's argument, what many parts share costs fewer bits than the noise of each,
    so the local form learns what the image shows; the global one may be satisfied by pixel noise.

    No augmentation and no head that is thrown away: y itself is evaluated. Negatives are the other
    images of the batch. LayerNorm in the score networks bounds the local scores; of the global term
    only the code's side has it.

    One loss and one optimizer train encoder and critic, whose gradients reach disjoint weights, so
    that one step does what two alternating ones do, both by the critic as it was before the step.

    Control: `control=('partner',)` pairs a code with the parts of some image of the batch.

    Differs from the released code: of 'dv' the sum over the wrong pairs is corrected. In the global
    term the score block stands on the code alone. 'concat' scores all pairs of the batch, where
    the paper's text draws one negative for each image; its widths are ours. The tasks with
    coordinates and occlusion are not there.

    Batch: views {"vision": uint8 (stored stored 3)}; augment {"vision": uint8 (b size size 3),
    "partner": int32 (b), whose parts are a code's own, "prior": float (b d), uniform in 0..1}.

    Attributes:
      vision: the trunk.
      size: side of the network's input in pixels.
      stored: side of the square that the host hands over, from which is cropped.
      flip: probability of a mirrored image.
      grey: the network sees one channel, the mean of the colours.
      layer: of the trunk, the map that has the parts.
      alpha, beta, gamma: of the global, the local and the prior term; 0: not computed.
      estimator: 'jsd', 'nce' or 'dv'; see `objectives.mutual_information`.
      scorer: 'dot', scalar products, or 'concat', a network that takes both sides.
      units: width of the score networks.
      critic: widths of the hidden layers of the prior's critic.
      mean, std: of the channels, pixels in 0..1.

    Raises ConfigError if all terms are 0, or for an unknown estimator, scorer or layer.
    """

    vision: InfomaxEncoder
    size: int = 32
    stored: int = 32
    flip: float = 0.0
    grey: bool = False
    layer: str = "conv2"
    alpha: float = 0.0
    beta: float = 1.0
    gamma: float = 0.1
    estimator: str = "jsd"
    scorer: str = "dot"
    units: int = 2048
    critic: tuple[int, ...] = (1000, 200)
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def __post_init__(self):
        at_least(self, 1, "size", "stored", "units", "critic")
        at_least(self, 0, "alpha", "beta", "gamma")
        no_larger(self, "size", "stored")
        within(self, 0, 1, "flip")
        above(self, 0, "std")
        one_of(self, "estimator", ESTIMATORS)
        one_of(self, "scorer", SCORERS)
        if not self.alpha and not self.beta:
            raise ConfigError("mutual information: alpha and beta are both 0, nothing is learnt")
        upper_part(self.vision, self.layer, 1, "upper")  # is it a map?

    @property
    def net(self) -> nn.Module:
        weights = {"global": self.alpha, "local": self.beta, "prior": self.gamma}
        terms = tuple(name for name, weight in weights.items() if weight)
        return InfomaxNet(self.vision, terms, self.layer, self.scorer, self.units, self.critic)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        return {"vision": random_square(record, self.stored, rng)}

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        crop, flip, prior = jax.random.split(key, 3)
        images = random_flip(flip, random_crop(crop, batch["vision"], self.size), self.flip)
        rows = len(images)
        draws = jax.random.uniform(prior, (rows, self.vision.embedding))
        return {"vision": images, "partner": jnp.arange(rows), "prior": draws}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        x = (x - jnp.array(self.mean)) / jnp.array(self.std)
        return x.mean(-1, keepdims=True) if self.grey else x

    def objective(self, outputs: dict[str, dict[str, jax.Array]], batch: Batch):
        loss, metrics = jnp.zeros(()), {}
        for name, weight in (("global", self.alpha), ("local", self.beta)):
            if weight:
                scores = self.scores(outputs[name])[:, batch["partner"]]
                metrics[name] = ESTIMATORS[self.estimator](scores)
                metrics["accuracy"] = found_share(scores)
                loss += weight * metrics[name]
        if self.gamma:
            answers = outputs["prior"]
            players = adversarial(answers["real"], answers["fake"], answers["fooled"])
            critic, metrics["prior"], more = players
            metrics |= {"critic": critic, "penalty": answers["penalty"].mean(), **more}
            loss += self.gamma * metrics["prior"] + critic + metrics["penalty"]
        return loss, metrics

    def scores(self, sides: dict[str, Any]) -> jax.Array:
        """Of every code with every part of the batch (n n l)."""
        return dot_scores(**sides) if self.scorer == "dot" else concat_scores(**sides)

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        squares = squares_at(record, self.stored, times)
        return {"vision": center_crop(squares, (self.size, self.size))}
