"""Non-linear probe: a small network trained on a frozen layer, as RotNet's authors do.

Gidaris, Singh and Komodakis 2018. A linear probe asks whether classes can be read off a layer, this
one whether they can be made of it. Their steps and rates, on fixed features where theirs see new
crops and flips in every epoch; and the accuracy after the last epoch, where they report that of the
epoch which is best on the test set.
"""

import dataclasses
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from ssl_jax.config import ConfigError
from ssl_jax.data.labels import check_labelled
from ssl_jax.data.record import Source
from ssl_jax.features import comparable
from ssl_jax.knobs import at_least, given, one_of, within
from ssl_jax.models.heads import ConvHead, MLPHead
from ssl_jax.solvers.probe import chance, check, classes_of, drawn, results, rows_of, top_1_and_5

# Shares of the training after which the learning rate falls to a fifth; theirs, of 100 epochs.
DROPS = {"conv": (0.35, 0.7, 0.85), "mlp": (0.2, 0.4, 0.45)}
CHUNK = 512  # test records at once

Head = ConvHead | MLPHead


@dataclasses.dataclass(frozen=True)
class Nonlinear:
    """Accuracy of a trained head per layer; see `probe.probe` for the names of the results.

    Attributes:
      train, test: labelled sources; their features are held in memory, maps whole.
      layers: names.
      head: 'conv', three convolutions on a map, its mean over space and a linear layer; or 'mlp',
        two hidden layers of 20 units a class (2048 at most). All with BN.
      features: width of the convolutions.
      epochs: of `samples` records each.
      samples: records that make an epoch, few labels being gone over again; 0: those with labels.
        (In the paper's curve of few labels 50,000, however few.)
      batch_size: at most the number of records with labels.
      learning_rate, momentum, weight_decay: of Nesterov's SGD; biases decay too.
      labels_per_class: 0 takes all of train; else few labels, a balanced draw.
      draws: of few labels, seeded by seed, seed + 1, ...

    Raises:
      ConfigError: an unknown head.
    """

    train: Source
    test: Source
    stream: str = "vision"
    layers: tuple[str, ...] = ("block2",)
    head: str = "conv"
    features: int = 192
    epochs: int = 100
    samples: int = 0
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    labels_per_class: int = 0
    draws: int = 5
    seed: int = 0
    every: int = 0

    def __post_init__(self):
        given(self, "layers")
        at_least(self, 1, "features", "epochs", "batch_size", "draws")
        at_least(self, 0, "samples", "labels_per_class", "learning_rate", "weight_decay", "seed")
        within(self, 0, 1, "momentum")
        one_of(self, "head", DROPS)

    def check(self, frozen) -> None:
        """ConfigError for sources without labels, or without a class in common."""
        del frozen
        check_labelled(self.test, self.train)

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """ConfigError for 'conv' on no map."""
        check((self.weight_decay,), self.draws)
        train, test = comparable(
            *(
                frozen.features(source, self.stream, self.layers, pool="whole")
                for source in (self.train, self.test)
            )
        )
        classes, labels, truth = classes_of(train, test)
        seeds = range(self.seed, self.seed + (self.draws if self.labels_per_class else 1))
        for layer in self.layers:
            shape = self._shape(frozen, layer)
            known, new = (x.reshape(-1, *shape) for x in rows_of(train, test, layer))
            hits = []
            for seed in seeds:
                rows = drawn(labels, self.labels_per_class, seed)
                logits = self.answers(known[rows], labels[rows], new, len(classes), seed)
                hits.append(top_1_and_5(logits, truth))
            yield from results(layer, hits, len(classes), bool(self.labels_per_class))
        yield "chance", chance(labels, truth)

    def _shape(self, frozen, layer: str) -> tuple[int, ...]:
        """Of what the head sees of one record."""
        inputs, _ = frozen.inputs(self.test, self.stream, limit=1)
        one = {name: values[:, 0] for name, values in inputs.items()}
        shape = frozen.maps(self.stream, one, (layer,))[layer].shape[1:]
        if self.head == "conv" and len(shape) != 3:
            raise ConfigError(f"layer {layer} is no map but of shape {shape}; take head='mlp'")
        return shape if self.head == "conv" else (int(np.prod(shape)),)

    def answers(
        self,
        x: Float[np.ndarray, "n *shape"],
        y: Int[np.ndarray, "n"],
        new: Float[np.ndarray, "m *shape"],
        classes: int,
        seed: int,
    ) -> Float[np.ndarray, "m k"]:
        """Logits of `new` by a head trained on (x, y)."""
        width = min(20 * classes, 2048)
        mlp = MLPHead(hidden=(width, width), out=classes, norm_out=False, init_std=0.0)
        head = ConvHead(classes, self.features) if self.head == "conv" else mlp
        batch = min(self.batch_size, len(y))
        steps = self.epochs * -(-(self.samples or len(y)) // batch)
        drops = tuple(round(share * steps) for share in DROPS[self.head])
        rule = sgd(self.learning_rate, drops, self.momentum, self.weight_decay)
        x, y, key = jax.device_put((x, y, np.uint32(seed)))
        state = start(head, rule, x[:1], key)
        rows = endless(len(y), batch, np.random.default_rng(seed))
        for _ in range(steps):
            state = step(head, rule, state, x, y, jax.device_put(next(rows)))
        parts = [
            jax.device_get(scores(head, state, jax.device_put(new[i : i + CHUNK])))
            for i in range(0, len(new), CHUNK)
        ]
        return np.concatenate(parts)


@functools.cache  # the same object for all draws, whose steps are then compiled once
def sgd(
    rate: float, drops: tuple[int, ...], momentum: float, weight_decay: float
) -> optax.GradientTransformation:
    """Nesterov's, its rate falling to a fifth at the steps `drops`."""
    rates = optax.piecewise_constant_schedule(rate, dict.fromkeys(drops, 0.2))
    decay = optax.add_decayed_weights(weight_decay)
    return optax.chain(decay, optax.sgd(rates, momentum, nesterov=True))


def endless(count: int, batch: int, rng: np.random.Generator) -> Iterator[Int[np.ndarray, "b"]]:
    """Batches of numbers below `count`, all of which come before one comes again."""
    waiting = np.empty(0, np.int32)
    while True:
        while len(waiting) < batch:
            waiting = np.concatenate([waiting, rng.permutation(count).astype(np.int32)])
        yield waiting[:batch]
        waiting = waiting[batch:]


@functools.partial(jax.jit, static_argnums=(0, 1))
def start(head: Head, rule: optax.GradientTransformation, x: Array, seed: Array) -> dict:
    """The head's variables, and the optimiser's state beside them."""
    variables = head.init(jax.random.key(seed), x, train=False)
    return {**variables, "rule": rule.init(variables["params"])}


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def step(head: Head, rule, state: dict, x: Array, y: Array, rows: Int[Array, "b"]) -> dict:
    """One step on some rows."""

    def loss(params):
        variables = {"params": params, "batch_stats": state["batch_stats"]}
        logits, new = head.apply(variables, x[rows], train=True, mutable=["batch_stats"])
        entropy = optax.softmax_cross_entropy_with_integer_labels(logits, y[rows])
        return jnp.mean(entropy), new["batch_stats"]

    gradient, statistics = jax.grad(loss, has_aux=True)(state["params"])
    update, moments = rule.update(gradient, state["rule"], state["params"])
    params = optax.apply_updates(state["params"], update)
    return {"params": params, "batch_stats": statistics, "rule": moments}


@functools.partial(jax.jit, static_argnums=0)
def scores(head: Head, state: dict, x: Array) -> Float[Array, "m k"]:
    """Logits, by the running statistics."""
    variables = {"params": state["params"], "batch_stats": state["batch_stats"]}
    return head.apply(variables, x, train=False)
