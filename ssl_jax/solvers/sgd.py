"""Linear probes as the papers train them: by gradient descent with a schedule.

Theirs see new crops and flips in every epoch; ours goes over fixed features. Where they normalise
features by a batch, ours does so by the whole training set, so that nothing in the test depends on
a batch. Weights start at zero. Settings are those of the code that each group published.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from ssl_jax.devices.sharding import put_same
from ssl_jax.solvers.newton import put_whole


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a paper pools features and trains its probe.

    Attributes:
      pool: as `ops.probe_pooling.reduce_map` knows it.
      standardised: every feature has mean 0 and deviation 1 over the training set.
      rates: learning rates, the first from the start, the next after each of `drops` (epochs); a
        single rate without drops falls to zero along a cosine.
      for_256: rates are for a batch of 256, and grow with it.
      momentum, nesterov, weight_decay: of SGD.
      free_bias: as in Caffe's networks the bias has twice the rate and no decay.
    """

    pool: str
    standardised: bool
    epochs: int
    batch_size: int
    rates: tuple[float, ...]
    drops: tuple[int, ...] = ()
    for_256: bool = False
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    free_bias: bool = False

    def __str__(self) -> str:
        knobs = [f"{f.name} {getattr(self, f.name)}" for f in dataclasses.fields(self)]
        return "SGD on fixed features: " + "; ".join(knobs)

    def schedule(self, batches: int, batch: int) -> optax.Schedule:
        """The learning rate of every step, of `batches` an epoch, each of `batch` records."""
        scale = batch / 256 if self.for_256 else 1.0
        if not self.drops:
            return optax.cosine_decay_schedule(self.rates[0] * scale, self.epochs * batches)
        constants = [optax.constant_schedule(rate * scale) for rate in self.rates]
        return optax.join_schedules(constants, [epoch * batches for epoch in self.drops])


_CAFFE = {"epochs": 28, "batch_size": 256, "rates": (1e-2, 1e-3, 1e-4, 1e-5), "drops": (8, 16, 24)}
PROTOCOLS = {
    # Goyal et al. 2019 (Scaling and Benchmarking), AlexNet in VISSL.
    "fair": Protocol("windows", True, **_CAFFE, weight_decay=5e-4),
    # Gidaris et al. 2018 (RotNet).
    "rotnet": Protocol(
        "max", True, 35, 192, (0.01, 0.002, 0.0004, 0.00008), (5, 15, 25), False, 0.9, True, 5e-4
    ),
    # Zhang et al. 2016 (Colorful Image Colorization), 140,000 steps of ImageNet.
    "zhang": Protocol("resize", True, **_CAFFE, weight_decay=5e-4, free_bias=True),
    # Kolesnikov et al. 2019 (Revisiting). Their fractional pooling draws its regions at random.
    "kolesnikov": Protocol("max", False, 520, 2048, (0.1, 0.01, 0.001), (480, 500), True),
    # Chen et al. 2020 (SimCLR), ImageNet and CIFAR-10; they read the last layer.
    "simclr": Protocol("global", False, 90, 4096, (0.1,), (), True, 0.9, True, 1e-6),
    "simclr_cifar": Protocol("global", False, 100, 512, (0.1,), (), True, 0.9, True),
}


@functools.partial(jax.jit, static_argnames=("classes", "protocol"))
def train(
    layers: dict[str, Float[Array, "n _"]],
    y: Int[Array, "n"],
    classes: int,
    protocol: Protocol,
    key: Array,
) -> dict[str, tuple[Float[Array, "_ k"], Float[Array, "k"]]]:
    """Weights and biases of every layer, all trained in one pass.

    Losses are summed, but no weight is shared: each layer's probe is as if it were trained alone.
    """
    n = len(y)
    batch = min(protocol.batch_size, n)
    batches = -(-n // batch)
    decayed = {name: (True, not protocol.free_bias) for name in layers}
    rule = optax.chain(
        optax.add_decayed_weights(protocol.weight_decay, decayed),
        optax.sgd(protocol.schedule(batches, batch), protocol.momentum, protocol.nesterov),
    )
    bias_rate = 2.0 if protocol.free_bias else 1.0
    moments = {name: _moments(x) if protocol.standardised else (0, 1) for name, x in layers.items()}

    def loss(heads, rows, real):
        total = 0.0
        for name, (weight, bias) in heads.items():
            mean, scale = moments[name]
            logits = ((layers[name][rows] - mean) * scale) @ weight + bias
            entropy = optax.softmax_cross_entropy_with_integer_labels(logits, y[rows])
            total += jnp.sum(entropy * real) / real.sum()
        return total

    def step(carry, chosen):
        heads, state = carry
        update, state = rule.update(jax.grad(loss)(heads, *chosen), state, heads)
        update = {name: (weight, bias_rate * bias) for name, (weight, bias) in update.items()}
        return (optax.apply_updates(heads, update), state), None

    def epoch(carry, key):
        order = jax.random.permutation(key, n)
        # The last batch is filled up with records that do not count.
        rows = jnp.pad(order, (0, batches * batch - n)).reshape(batches, batch)
        real = (jnp.arange(batches * batch) < n).reshape(batches, batch).astype(jnp.float32)
        return jax.lax.scan(step, carry, (rows, real))

    heads = {
        name: (jnp.zeros((x.shape[1], classes)), jnp.zeros(classes)) for name, x in layers.items()
    }
    keys = jax.random.split(key, protocol.epochs)
    (heads, _), _ = jax.lax.scan(epoch, (heads, rule.init(heads)), keys)
    # The normalisation is linear too, and becomes part of the weights.
    folded = {}
    for name, (weight, bias) in heads.items():
        mean, scale = moments[name]
        weight = weight * jnp.reshape(scale, (-1, 1))
        folded[name] = weight, bias - jnp.matmul(jnp.broadcast_to(mean, len(weight)), weight)
    return folded


def _moments(x: Float[Array, "n d"]) -> tuple[Float[Array, "d"], Float[Array, "d"]]:
    """Mean, and 1 / deviation; 0 for a feature that never changes."""
    # Divided by the largest entry first, or squares could overflow or vanish.
    largest = jnp.abs(x).max(axis=0)
    largest = jnp.where(largest == 0, 1, largest)
    x = x / largest
    mean = x.mean(axis=0)
    deviation = jnp.sqrt(jnp.square(x - mean).mean(axis=0))
    varies = deviation > 1e-6 * jnp.abs(mean)
    return mean * largest, jnp.where(varies, 1 / jnp.where(varies, deviation, 1) / largest, 0)


def fit(
    layers: dict[str, Float[np.ndarray, "n _"]],
    y: Int[np.ndarray, "n"],
    classes: int,
    protocol: Protocol,
    seed: int,
    mesh: Mesh | None = None,
) -> dict[str, tuple[Float[np.ndarray, "_ k"], Float[np.ndarray, "k"]]]:
    """`train` with arrays of the host; features are split over the mesh."""
    # By features, not by rows: every step takes rows from anywhere. A layer's number of features
    # that the devices do not divide is filled up with features that never change.
    wide = {name: x.shape[1] for name, x in layers.items()}
    if mesh is not None:
        layers = {
            name: np.pad(x, ((0, 0), (0, -x.shape[1] % mesh.size))) if x.shape[1] % mesh.size else x
            for name, x in layers.items()
        }
        layers = put_same(layers, NamedSharding(mesh, PartitionSpec(None, mesh.axis_names)))
    y, seed = put_whole((y, np.uint32(seed)), mesh)
    heads = train(layers, y, classes, protocol, jax.random.key(seed))
    heads = jax.device_get(put_whole(heads, mesh))
    return {name: (weight[: wide[name]], bias) for name, (weight, bias) in heads.items()}
