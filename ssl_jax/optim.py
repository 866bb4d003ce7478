"""The optimiser: update rule, learning rate over time, what is decayed and what is frozen."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

RULES = ("sgd", "adam", "adamw", "lars")
SCHEDULES = ("constant", "cosine", "step")


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """Update rule and schedule.

    Weight decay adds weight_decay * weights to the gradient (sgd, adam, lars), or shrinks the
    weights apart from the moments, by learning rate * weight_decay (adamw). LARS (You et al. 2017)
    scales each array's step by trust_coefficient |weights| / |gradient|, with the learning rate
    inside the momentum, as SimCLR's code.

    Attributes:
      name: 'sgd', 'adam', 'adamw' or 'lars'.
      learning_rate: the highest; not scaled by the batch size.
      schedule: after the warm-up: 'constant', 'cosine' (to 0 at the last step) or 'step'.
      warmup_steps: the rate climbs in a straight line, from 0 at the first step.
      boundaries: steps from which on the rate is multiplied once more by `decay` ('step').
      decay: the factor.
      momentum, nesterov: of sgd and lars.
      beta1, beta2, eps: of adam and adamw.
      weight_decay: see above.
      decay_vectors: whether biases and scales of norms (arrays of fewer than two axes) take part in
        weight decay, and in lars' scaling. Without it they get plain SGD under lars.
      clip_norm: gradients longer than this, all together, are shortened to it; 0: never.
      trust_coefficient: of lars.
      l1, l1_on: penalty l1 * sum |w| on the arrays of these names, such as ('unit_weights',) of
        `Lasso`. Not part of the loss: after every update the weights move towards zero by
        learning rate * l1 and stop there (proximal step), so that those not needed are exactly 0.
      freeze: parameters without any update, by their place: ('vision',) is the trunk of that name,
        ('vision/conv1',) one layer of it. They cost no optimiser state. Statistics of BatchNorm are
        no parameters and go on moving (`Finetune` has `still` for that).
      rates: (place, factor) pairs, such as (('vision', 0.1), ('vision/conv1', 0.01)): parameters at
        that place move by the factor times what they would, weight decay and l1 included, as if the
        learning rate were so many times higher. Of several that fit, the longest place counts.

    Raises:
      ValueError: a knob that cannot work; for `freeze`, `rates` and `l1_on`, once the parameters
        are known.
    """

    name: str = "sgd"
    learning_rate: float = 0.1
    schedule: str = "constant"
    warmup_steps: int = 0
    boundaries: tuple[int, ...] = ()
    decay: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    decay_vectors: bool = False
    clip_norm: float = 0.0
    trust_coefficient: float = 0.001
    l1: float = 0.0
    l1_on: tuple[str, ...] = ()
    freeze: tuple[str, ...] = ()
    rates: tuple = ()

    def __post_init__(self):
        if self.name not in RULES:
            raise ValueError(f"optimizer.name is one of {', '.join(RULES)}, not '{self.name}'")
        if self.schedule not in SCHEDULES:
            raise ValueError(
                f"optimizer.schedule is one of {', '.join(SCHEDULES)}, not '{self.schedule}'"
            )
        if (self.schedule == "step") != bool(self.boundaries):
            raise ValueError(
                "optimizer.boundaries go with optimizer.schedule=step, and only with it"
            )
        if bool(self.l1) != bool(self.l1_on) or self.l1 < 0:
            raise ValueError("optimizer.l1, above 0, goes with optimizer.l1_on, and only with it")
        if self.warmup_steps < 0:
            raise ValueError(f"optimizer.warmup_steps={self.warmup_steps} is negative")
        for pair in self.rates:
            if not isinstance(pair, tuple) or [*map(type, pair)] not in ([str, float], [str, int]):
                raise ValueError(
                    f"optimizer.rates={self.rates}: pairs of a place and a factor are meant, such "
                    "as (('vision', 0.1),)"
                )
            if not pair[1] > 0:
                raise ValueError(f"optimizer.rates: {pair} is no factor above 0; see freeze")
            still = [place for place in self.freeze if f"{pair[0]}/".startswith(f"{place}/")]
            if still:
                raise ValueError(f"optimizer.rates: {pair} lies in what is frozen, '{still[0]}'")

    def learning_rates(self, steps: int) -> optax.Schedule:
        """The learning rate as a function of the step, 0 to `steps`."""
        if self.schedule == "cosine" and self.warmup_steps >= steps:
            raise ValueError(
                f"optimizer.warmup_steps={self.warmup_steps} leaves nothing of {steps} steps"
            )

        def learning_rate(step) -> jax.Array:
            step = jnp.asarray(step, jnp.float32)
            rate = jnp.asarray(self.learning_rate, jnp.float32)
            if self.schedule == "cosine":
                done = (step - self.warmup_steps) / (steps - self.warmup_steps)
                rate = rate * (1 + jnp.cos(jnp.pi * jnp.clip(done, 0, 1))) / 2
            if self.schedule == "step":
                rate = rate * self.decay ** jnp.sum(step >= jnp.array(self.boundaries))
            return rate * jnp.minimum(step / self.warmup_steps, 1) if self.warmup_steps else rate

        return learning_rate

    def build(self, steps: int) -> optax.GradientTransformation:
        """The optax transformation for a run of `steps` steps."""
        rate = self.learning_rates(steps)
        rule = self._rule(rate)
        if self.clip_norm:
            rule = optax.chain(optax.clip_by_global_norm(self.clip_norm), rule)
        if self.rates:
            rule = optax.chain(rule, scaled(self._factors))
        if self.l1:
            rule = optax.chain(rule, shrink(rate, self.l1, self.l1_on, self._factors))
        if not self.freeze:
            return rule
        return optax.partition({"train": rule, "freeze": optax.set_to_zero()}, self._labels)

    def _rule(self, rate: optax.Schedule) -> optax.GradientTransformation:
        if self.name == "lars":
            return optax.lars(
                rate,
                weight_decay=self.weight_decay,
                weight_decay_mask=self._decayed,
                trust_coefficient=self.trust_coefficient,
                trust_ratio_mask=self._decayed,
                momentum=self.momentum,
                nesterov=self.nesterov,
            )
        if self.name == "adamw":
            return optax.adamw(
                rate,
                self.beta1,
                self.beta2,
                self.eps,
                weight_decay=self.weight_decay,
                mask=self._decayed,
            )
        if self.name == "adam":
            rule = optax.adam(rate, self.beta1, self.beta2, self.eps)
        else:
            rule = optax.sgd(rate, self.momentum or None, self.nesterov)
        if not self.weight_decay:
            return rule
        return optax.chain(optax.add_decayed_weights(self.weight_decay, self._decayed), rule)

    def _decayed(self, params):
        """True for every array that takes part in weight decay."""
        return jax.tree.map(lambda p: self.decay_vectors or p.ndim > 1, params)

    def _labels(self, params):
        """'freeze' or 'train' for every array."""
        places = longest_places("optimizer.freeze", self.freeze, params)
        return jax.tree.map(lambda place: "freeze" if place else "train", places)

    def _factors(self, params):
        """By what the learning rate is multiplied, for every array."""
        factors = {"": 1.0, **dict(self.rates)}
        places = longest_places("optimizer.rates", tuple(dict(self.rates)), params)
        return jax.tree.map(lambda place: factors[place], places)


def longest_places(knob: str, places: tuple[str, ...], params):
    """For every array the longest of the places that it lies at or below; '' for none.

    Raises ValueError naming a place without parameters.
    """
    found = set()

    def longest(path, _) -> str:
        own = jax.tree_util.keystr(path, simple=True, separator="/") + "/"
        fitting = [place for place in places if own.startswith(place + "/")]
        found.update(fitting)
        return max(fitting, key=len, default="")

    chosen = jax.tree_util.tree_map_with_path(longest, params)
    for place in places:
        if place not in found:
            raise ValueError(
                f"{knob}: no parameters at '{place}'; at the top there are {', '.join(params)}"
            )
    return chosen


def scaled(factors_of: Callable) -> optax.GradientTransformation:
    """Multiplies every array's update by a factor of its own: `factors_of(params)` has them all."""

    def init(params) -> optax.EmptyState:
        factors_of(params)  # a mistake is told before the first step
        return optax.EmptyState()

    def update(updates, state, params):
        return jax.tree.map(lambda u, f: u * f, updates, factors_of(params)), state

    return optax.GradientTransformation(init, update)


def shrink(
    rate: optax.Schedule, penalty: float, names: tuple[str, ...], factors_of: Callable
) -> optax.GradientTransformation:
    """The proximal step of an L1 penalty, after all other transformations of a chain.

    The arrays of these names become sign(w) max(|w| - rate(step) * factor * penalty, 0), w being
    what the update would have made of them, and the factor the array's in `factors_of(params)`.
    (A gradient of |w| would only make them swing around zero.)
    Raises ValueError if no parameter has one of the names.
    """

    def name_of(path) -> str:
        return jax.tree_util.keystr(path[-1:], simple=True)

    def init(params) -> optax.ScaleByScheduleState:
        found = {name_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)}
        for name in names:
            if name not in found:
                raise ValueError(f"optimizer.l1_on: no parameters are called '{name}'")
        return optax.ScaleByScheduleState(count=jnp.zeros((), jnp.int32))

    def update(updates, state, params):
        reach = rate(state.count) * penalty

        def step(path, change, old, factor):
            if name_of(path) not in names:
                return change
            new = old + change
            return jnp.sign(new) * jnp.maximum(jnp.abs(new) - reach * factor, 0.0) - old

        updates = jax.tree_util.tree_map_with_path(step, updates, params, factors_of(params))
        return updates, optax.ScaleByScheduleState(optax.safe_increment(state.count))

    return optax.GradientTransformation(init, update)
