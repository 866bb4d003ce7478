"""BYOL (Grill et al., "Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning",
NeurIPS 2020): what would a slow copy of this network say of the other view?"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.image import center_crop
from ssl_jax.data.record import Record, Source
from ssl_jax.data.squares import random_square, squares_at
from ssl_jax.knobs import above, ascending, at_least, within
from ssl_jax.method import Batch, Example, Method, Params, Refreshed, State, scaled
from ssl_jax.models.heads import pooled
from ssl_jax.objectives.bootstrap import bootstrap
from ssl_jax.ops.augment import (
    gaussian_blur,
    jitter_colours,
    random_flip,
    random_grey,
    random_resized_crop,
    random_solarize,
)

COPIED = ("vision", "projector")  # what the slow copy has; only the online net has a predictor


class BootstrapHead(nn.Module):
    """Projector or predictor: a hidden layer with BatchNorm and ReLU, a linear one; no biases."""

    hidden: int
    out: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = nn.Dense(self.hidden, use_bias=False, name="dense1")(x)
        norm = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5, name="bn1")
        return nn.Dense(self.out, use_bias=False, name="dense2")(nn.relu(norm(x)))


class BootstrapNet(nn.Module):
    """The predictions of both views (b 2 d), each view passed by itself, as in the paper."""

    vision: nn.Module
    hidden: int
    embedding: int

    def setup(self):
        self.projector = BootstrapHead(self.hidden, self.embedding)
        self.predictor = BootstrapHead(self.hidden, self.embedding)

    def project(self, images: jax.Array, train: bool) -> jax.Array:
        return self.projector(pooled(self.vision(images, train)), train)

    def __call__(self, batch: Batch, train: bool) -> jax.Array:
        views = (batch["vision"][:, i] for i in range(2))
        return jnp.stack([self.predictor(self.project(x, train), train) for x in views], axis=1)


@dataclasses.dataclass(frozen=True)
class Bootstrap(Method):
    """Predicts the projection that a slow copy of the network makes of the other view.

    No negatives: that the constant answer is not learnt is due to the predictor, to targets that
    get no gradient, and to their slowness. The copy of trunk and projector is state["slow"]; after
    every update k of K it moves to the online weights,

        slow <- tau slow + (1 - tau) online,   tau = 1 - (1 - tau_0) (cos(pi k / K) + 1) / 2

    The copy's first weights still count exp(-(1 - tau_0) K / 2) in its last, so a short run of K
    steps wants tau_0 <= 1 - 10 / K. `refresh` starts the copy from the online weights, those of
    `init_from` included; with `refresh_every` it does so again and again.

    Shortcut: two crops of one picture share their colours, hence jitter and grey. The two views'
    distributions differ, so both directions are trained.

    Collapse shows in the metric `target_std` (0), long before it does in a probe. Loss and
    `accuracy` of the evaluator Pretext are those of the online net with its running statistics.

    Differs from the released code: the copy is evaluated with a running mean of the online
    network's batch statistics, not with statistics of its own. In training it takes, as there,
    those of the batch, so training is the same; and since `augment` makes the targets, nothing but
    two forward passes is paid for them. The copy starts from the online weights, not from another
    draw (no difference, by the authors). Saturation is mixed with the grey picture, as in
    reimplementations, not changed in HSV. Crops that do not fit are drawn again. Heads lack the
    hidden layer's bias, which BatchNorm takes away again.

    In micro-batches, BatchNorm of the online network sees a part, that of the copy the whole batch.

    Batch: of `views`, vision (b stored stored 3) uint8; of `augment`, vision (b 2 size size 3)
    float 0..1; target (b 2 embedding), the copy's projections of the two; tau (), of this step.

    Streams: `vision`, the online trunk, which is the paper's result; `slow`, the copy's.

    Attributes:
      vision: the trunk; its last layer, averaged over space, feeds the projector.
      size: side of the network's input in pixels.
      stored: side of the square that the host hands over, from which views are cropped.
      hidden, embedding: widths of projector and predictor.
      tau: how slow the copy is at first; see above. 1: it never moves.
      area: smallest and largest fraction of the square that a crop covers.
      jitter: reach of brightness (added), contrast, saturation and hue; see `jitter_colours`.
      jittered: probability of the colour jitter.
      grey: probability of dropping colour.
      blur: of the two views, probability of blurring.
      blur_sigma: smallest and largest deviation of the blur in pixels.
      solarize: of the two views, probability of inverting the bright pixels.
      centre: features are read from the middle of the square, this fraction of its side.
      mean, std: of the channels, of pixels 0..1.
    """

    vision: nn.Module
    size: int = 224
    stored: int = 256
    hidden: int = 4096
    embedding: int = 256
    tau: float = 0.996
    area: tuple[float, float] = (0.08, 1.0)
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.2, 0.1)
    jittered: float = 0.8
    grey: float = 0.2
    blur: tuple[float, float] = (1.0, 0.1)
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarize: tuple[float, float] = (0.0, 0.2)
    centre: float = 0.875
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self):
        at_least(self, 1, "size", "stored", "hidden", "embedding")
        above(self, 0, "area")
        within(self, 0, 1, "area")
        ascending(self, "area")
        at_least(self, 0, "jitter")
        within(self, 0, 1, "tau", "jittered", "grey", "blur", "solarize")
        above(self, 0, "blur_sigma", "centre", "std")
        within(self, 0, 1, "centre")
        ascending(self, "blur_sigma")

    @property
    def net(self) -> nn.Module:
        return BootstrapNet(self.vision, self.hidden, self.embedding)

    @property
    def streams(self) -> Mapping[str, tuple[str, ...]]:
        return {**super().streams, "slow": ("vision",)}

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        return {"vision": random_square(record, self.stored, rng)}

    def init(self, key: jax.Array, batch: Batch, records: int) -> dict:
        shape = (len(batch["vision"]), 2, self.size, self.size, 3)
        variables = self.init_net(key, {"vision": jnp.zeros(shape)})
        return {**variables, "slow": slow_part(variables)}

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        images, key_slow = scaled(batch["vision"]), jax.random.fold_in(key, 2)
        views = [self.view(jax.random.fold_in(key, i), images, i) for i in range(2)]

        def target(view: jax.Array) -> jax.Array:
            x, rngs = self.prepare("vision", view), {"dropout": key_slow}
            # As in training, so with the batch's statistics; the running ones are thrown away.
            return self.net.apply(
                state["slow"], x, True, method="project", rngs=rngs, mutable=["batch_stats"]
            )[0]

        return {
            "vision": jnp.stack(views, axis=1),
            "target": jnp.stack([target(view) for view in views], axis=1),
            "tau": self.tau_at(state),  # for the log
        }

    def view(self, key: jax.Array, images: jax.Array, number: int) -> jax.Array:
        """One random view of each picture, in 0..1; `number` 0 and 1 are differently blurred."""
        crop, flip, jitter, grey, blur, solarize = jax.random.split(key, 6)
        images = random_resized_crop(crop, images, self.size, self.area).clip(0.0, 1.0)
        images = random_flip(flip, images)
        images = jitter_colours(jitter, images, self.jitter, self.jittered, True)
        images = random_grey(grey, images, self.grey)
        if self.blur[number]:
            images = gaussian_blur(blur, images, self.blur[number], self.blur_sigma)
        if self.solarize[number]:
            images = random_solarize(solarize, images, self.solarize[number])
        return images.clip(0.0, 1.0)

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        return (x - jnp.array(self.mean)) / jnp.array(self.std)

    def objective(self, outputs: jax.Array, batch: Batch):
        loss, metrics = bootstrap(outputs, batch["target"])
        return loss, {**metrics, "tau": batch["tau"]}

    def tau_at(self, state: State) -> jax.Array:
        """The share of the slow copy that stays at this step."""
        done = state["run"]["step"] / state["run"]["steps"]
        return 1 - (1 - self.tau) * (jnp.cos(jnp.pi * done) + 1) / 2

    def after(self, params: Params, state: State, batch: Batch, outputs: Any) -> State:
        online, tau = slow_part({"params": params, **state}), self.tau_at(state)
        slow = jax.tree.map(lambda s, o: s + (1 - tau) * (o - s), state["slow"], online)
        return {**state, "slow": slow}

    def refresh(self, frozen, source: Source, key: jax.Array) -> Refreshed:
        return Refreshed({"slow": slow_part(frozen.variables)})

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        squares = squares_at(record, round(self.size / self.centre), times)
        return {"vision": center_crop(squares, (self.size, self.size))}

    def encode(self, variables: dict, stream: str, inputs: Batch) -> dict[str, jax.Array]:
        if stream == "slow":
            variables = variables["slow"]
        return super().encode(variables, "vision", inputs)


def slow_part(variables: dict) -> dict:
    """What the slow copy has of a network's variables: weights and running statistics."""

    def copied(tree: dict) -> dict:
        return {name: tree[name] for name in COPIED if name in tree}  # a trunk may lack BatchNorm

    return {c: copied(variables[c]) for c in ("params", "batch_stats")}
