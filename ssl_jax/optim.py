"""The optimiser: update rule, learning rate, weight decay, frozen parameters."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from ssl_jax.config import ConfigError
from ssl_jax.knobs import above, at_least, below, one_of, within
from ssl_jax.training.schedules import Constant, Plateau, Schedule

RULES = ("sgd", "adam", "adamw", "lars")
# What parameters are, by the last name of their path. Flax calls them kernel, embedding, bias and
# scale; the others are what modules of one's own are likely to call theirs.
SHIFTS_AND_SCALES = ("bias", "scale", "beta", "gamma", "offset")
WEIGHTS = ("kernel", "embedding")


class OptimizerState(NamedTuple):
    """What the optimiser carries from step to step."""

    count: Int[Array, ""]  # updates made; a skipped step does not count
    plateau: Any  # the loss so far, for Plateau; () for other schedules
    rule: Any  # moments


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """Update rule and schedule.

    Weight decay adds weight_decay * weights to the gradient (sgd, adam, lars), or shrinks the
    weights separately from the moments, by learning rate * weight_decay (adamw). LARS (You et al.
    2017) scales each array's step by trust_coefficient |weights| / |gradient + decay|, with the
    learning rate inside the momentum: as in SimCLR's code. Differs from the paper, which divides
    by |gradient| + |decay|.

    Attributes:
      name: 'sgd', 'adam', 'adamw' or 'lars'.
      learning_rate: the highest; not scaled by the batch size.
      schedule: Constant, Cosine, Linear, Step, InverseSqrt, TriStage, HoldThenDecay or Plateau, or
        a function of your own with the arguments of `Schedule`.
      momentum, nesterov: of sgd and lars.
      beta1, beta2, eps: of adam and adamw.
      weight_decay: see above.
      decay_vectors: whether biases and scales of norms take part in weight decay and in lars'
        scaling. If not, lars gives them plain SGD. They go by the last name of their path: bias,
        scale, beta, gamma or offset, alone or as a word of it ('in_bias'), of any shape. Arrays of
        other names count among them if they have fewer than two axes, but for kernel and embedding.
      clip_norm: if the gradient's global norm is above this, it is scaled down to it; 0: never.
      trust_coefficient: of lars.
      l1, l1_on: penalty l1 * sum |w| on the arrays of these names, such as ('unit_weights',) of
        `Lasso`. Not part of the loss: after every update the weights move towards zero by
        learning rate * l1 and stop there (proximal step), so that unused ones are exactly 0.
      freeze: parameters without updates, by path: ('vision',) is the trunk of that name,
        ('vision/conv1',) one of its layers. They have no optimiser state. BatchNorm's statistics
        are not parameters and still move (`Finetune` has `still` for them).
      rates: (path, factor) pairs, such as (('vision', 0.1), ('vision/conv1', 0.01)): the update of
        the parameters below that path is multiplied by the factor, weight decay and l1 included, as
        if their learning rate were that many times higher. The longest matching path counts.

    Raises:
      ConfigError: a knob that cannot work; for `freeze`, `rates` and `l1_on`, once the parameters
        are known.
    """

    name: str = "sgd"
    learning_rate: float = 0.1
    schedule: Schedule = Constant()
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
        one_of(self, "name", RULES)
        at_least(self, 0, "learning_rate", "weight_decay", "clip_norm", "l1", "eps")
        at_least(self, 0, "beta1", "beta2")
        below(self, 1, "beta1", "beta2")  # at 1 the moments never move
        within(self, 0, 1, "momentum")
        above(self, 0, "trust_coefficient")
        if not callable(self.schedule):
            raise ConfigError(
                f"optimizer.schedule={self.schedule!r}: write a schedule, such as "
                "call(Cosine, warmup=50)"
            )
        if bool(self.l1) != bool(self.l1_on):
            raise ConfigError("optimizer.l1, above 0, and optimizer.l1_on go together")
        for pair in self.rates:
            if not isinstance(pair, tuple) or [*map(type, pair)] not in ([str, float], [str, int]):
                raise ConfigError(
                    f"optimizer.rates={self.rates} should be pairs of a path and a factor, such "
                    "as (('vision', 0.1),)"
                )
            if not pair[1] > 0:
                raise ConfigError(
                    f"optimizer.rates: the factor of {pair} must be above 0; see freeze"
                )
        self._check_frozen(self.freeze)

    def _check_frozen(self, frozen: tuple[str, ...]) -> None:
        for pair in self.rates:
            above = [place for place in frozen if f"{pair[0]}/".startswith(f"{place}/")]
            if above:
                raise ConfigError(f"optimizer.rates: {pair} is frozen, as part of '{above[0]}'")

    def rate_at(
        self, step: int | Int[Array, ""], steps: int, state: OptimizerState | None = None
    ) -> Float[Array, ""]:
        """The learning rate of the update after `step` updates, of `steps` in all.

        `state` is the optimiser's before that update: Plateau needs it, and without it has not
        reduced the rate.
        """
        rate = self.schedule(step, steps, self.learning_rate)
        if isinstance(self.schedule, Plateau) and state is not None:
            rate = rate * state.plateau.scale
        return jnp.asarray(rate, jnp.float32)

    def build(
        self, steps: int, freeze: tuple[str, ...] = ()
    ) -> optax.GradientTransformationExtraArgs:
        """The optax transformation for a run of `steps` steps; its state is an OptimizerState.

        Args:
          steps: of the whole run.
          freeze: more paths to freeze than the knob does: a method's teachers.

        Its `update` takes the loss as `value`, as optax' own do; only Plateau needs it.
        """
        self._check_frozen(freeze)
        self.rate_at(0, steps)  # a warm-up longer than the run is an error now, not in the step

        def init(params) -> OptimizerState:
            self._factors(params), self._penalised(params)  # paths that do not exist are an error
            plateau = ()
            if isinstance(self.schedule, Plateau):
                plateau = self.schedule.rule().init(jnp.zeros(()))
            rule = self._rule(jnp.zeros(()), freeze).init(params)
            return OptimizerState(jnp.zeros((), jnp.int32), plateau, rule)

        def update(gradients, state: OptimizerState, params, *, value=None, **_):
            rate = self.rate_at(state.count, steps, state)
            updates, moments = self._rule(rate, freeze).update(gradients, state.rule, params)
            if self.rates:
                updates = jax.tree.map(jnp.multiply, updates, self._factors(params))
            if self.l1:
                updates = self._shrunk(updates, params, rate * self.l1, freeze)
            plateau = state.plateau
            if isinstance(self.schedule, Plateau):
                plateau = self.schedule.rule().update({}, plateau, value=value)[1]
            return updates, OptimizerState(state.count + 1, plateau, moments)

        return optax.GradientTransformationExtraArgs(init, update)

    def _rule(self, rate: Float[Array, ""], freeze: tuple[str, ...]):
        """The transformation of one step with this learning rate, before `rates` and `l1`."""
        rule = self._step(rate)
        if self.clip_norm:
            rule = optax.chain(optax.clip_by_global_norm(self.clip_norm), rule)
        if not self.freeze + freeze:
            return rule

        def labels(params):
            frozen = self._frozen(params, freeze)
            return jax.tree.map(lambda still: "freeze" if still else "train", frozen)

        return optax.partition({"train": rule, "freeze": optax.set_to_zero()}, labels)

    def _step(self, rate: Float[Array, ""]) -> optax.GradientTransformation:
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

        def decayed(path, array) -> bool:
            name = name_of(path).rpartition("/")[2]  # Flax's WeightNorm has paths as names
            shift_or_scale = any(word in SHIFTS_AND_SCALES for word in name.split("_"))
            weight = not shift_or_scale and (array.ndim > 1 or name in WEIGHTS)
            return self.decay_vectors or weight

        return jax.tree_util.tree_map_with_path(decayed, params)

    def _frozen(self, params, freeze: tuple[str, ...]):
        """True for every array that is not trained."""
        places = longest_places("optimizer.freeze", self.freeze + freeze, params)
        return jax.tree.map(bool, places)

    def _factors(self, params):
        """By what the learning rate is multiplied, for every array."""
        factors = {"": 1.0, **dict(self.rates)}
        places = longest_places("optimizer.rates", tuple(dict(self.rates)), params)
        return jax.tree.map(lambda place: factors[place], places)

    def _penalised(self, params):
        """True for every array under the l1 penalty."""
        names = {name_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)}
        for name in self.l1_on:
            if name not in names:
                raise ConfigError(f"optimizer.l1_on: no parameters are called '{name}'")
        return jax.tree_util.tree_map_with_path(lambda p, _: name_of(p) in self.l1_on, params)

    def _shrunk(self, updates, params, reach: Float[Array, ""], freeze: tuple[str, ...]):
        """The updates followed by the proximal step of the l1 penalty.

        An array w becomes sign(w) max(|w| - reach * factor, 0), w being what the update alone would
        make of it and the factor its own of `rates`. (A gradient of |w| would only make it swing
        around zero.)
        """

        def step(change, old, factor, penalised, frozen):
            if frozen or not penalised:
                return change
            new = old + change
            return jnp.sign(new) * jnp.maximum(jnp.abs(new) - reach * factor, 0.0) - old

        trees = (self._factors(params), self._penalised(params), self._frozen(params, freeze))
        return jax.tree.map(step, updates, params, *trees)


def name_of(path: tuple) -> str:
    """The last part of a path in a tree: 'kernel'."""
    return jax.tree_util.keystr(path[-1:], simple=True)


def longest_places(knob: str, places: tuple[str, ...], params):
    """For every array the longest of the paths that it lies at or below; '' for none.

    Raises ConfigError naming a path without parameters.
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
            raise ConfigError(
                f"{knob}: no parameters at '{place}'; at the top there are {', '.join(params)}"
            )
    return chosen
