"""Learning rate schedules: what `Optimizer.schedule` can be."""

import dataclasses
from typing import Protocol, runtime_checkable

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int
from optax.contrib import reduce_on_plateau

from ssl_jax.config import ConfigError
from ssl_jax.knobs import above, at_least, below


@runtime_checkable
class Schedule(Protocol):
    """The learning rate over a run, in float32.

    `step` counts the steps already taken (0 in the first update), `steps` those of the whole run,
    and `base` is `Optimizer.learning_rate`. With `warmup`, all but TriStage multiply the rate by
    min(step / warmup, 1).
    """

    def __call__(self, step: int | Int[Array, ""], steps: int, base: float) -> Float[Array, ""]: ...


@dataclasses.dataclass(frozen=True)
class Constant:
    """`base`, after `warmup` steps of linear warm-up."""

    warmup: int = 0

    def __post_init__(self):
        at_least(self, 0, "warmup")

    def __call__(self, step, steps: int, base: float) -> Float[Array, ""]:
        return _warm(jnp.float32(base), step, self.warmup)


@dataclasses.dataclass(frozen=True)
class Cosine:
    """From `base` to `final * base` at the last step along half a cosine (Loshchilov 2017)."""

    warmup: int = 0
    final: float = 0.0

    def __post_init__(self):
        at_least(self, 0, "warmup", "final")

    def __call__(self, step, steps: int, base: float) -> Float[Array, ""]:
        done = _done(self, step, self.warmup, steps)
        fall = (1 + jnp.cos(jnp.pi * done)) / 2
        return _warm(base * (self.final + (1 - self.final) * fall), step, self.warmup)


@dataclasses.dataclass(frozen=True)
class Linear:
    """From `base` to `final * base` at the last step along a straight line."""

    warmup: int = 0
    final: float = 0.0

    def __post_init__(self):
        at_least(self, 0, "warmup", "final")

    def __call__(self, step, steps: int, base: float) -> Float[Array, ""]:
        fall = 1 - _done(self, step, self.warmup, steps)
        return _warm(base * (self.final + (1 - self.final) * fall), step, self.warmup)


@dataclasses.dataclass(frozen=True)
class Step:
    """`base`, multiplied by `decay` once more at each of the steps in `boundaries`."""

    boundaries: tuple[int, ...]
    decay: float = 0.1
    warmup: int = 0

    def __post_init__(self):
        at_least(self, 0, "warmup", "decay")
        at_least(self, 1, "boundaries")
        if list(self.boundaries) != sorted(set(self.boundaries)) or not self.boundaries:
            raise ConfigError(f"Step.boundaries={self.boundaries} should be steps in order")

    def __call__(self, step, steps: int, base: float) -> Float[Array, ""]:
        passed = jnp.sum(jnp.float32(step) >= jnp.array(self.boundaries))
        return _warm(base * self.decay**passed, step, self.warmup)


@dataclasses.dataclass(frozen=True)
class InverseSqrt:
    """base * sqrt(warmup / step) after the warm-up (the Transformer's, Vaswani et al. 2017).

    The paper's rate for width d is base = (d * warmup) ** -0.5.
    """

    warmup: int

    def __post_init__(self):
        at_least(self, 1, "warmup")

    def __call__(self, step, steps: int, base: float) -> Float[Array, ""]:
        fall = jnp.sqrt(self.warmup / jnp.maximum(jnp.float32(step), self.warmup))
        return _warm(base * fall, step, self.warmup)


@dataclasses.dataclass(frozen=True)
class TriStage:
    """Linear warm-up, constant, linear decay to `final * base` (wav2vec 2.0, Baevski et al. 2020).

    `warmup` and `hold` are fractions of the run; the rest decays. Differs from the released code,
    which decays exponentially; this is the paper's text.
    """

    warmup: float = 0.1
    hold: float = 0.4
    final: float = 0.0

    def __post_init__(self):
        at_least(self, 0, "warmup", "hold", "final")
        if self.warmup + self.hold >= 1:
            raise ConfigError(
                f"TriStage.warmup={self.warmup} and hold={self.hold} are fractions of the run, "
                "below 1 together"
            )

    def __call__(self, step, steps: int, base: float) -> Float[Array, ""]:
        fall = 1 - _done(self, step, (self.warmup + self.hold) * steps, steps)
        return _warm(base * (self.final + (1 - self.final) * fall), step, self.warmup * steps)


@dataclasses.dataclass(frozen=True)
class HoldThenDecay:
    """`base` for a fraction `hold` of the run, then an exponential decay to `final * base`."""

    hold: float = 0.5
    final: float = 0.01
    warmup: int = 0

    def __post_init__(self):
        at_least(self, 0, "hold", "warmup")
        below(self, 1, "hold")
        above(self, 0, "final")  # nothing decays to 0 exponentially

    def __call__(self, step, steps: int, base: float) -> Float[Array, ""]:
        done = _done(self, step, self.hold * steps, steps)
        return _warm(base * jnp.float32(self.final) ** done, step, self.warmup)


@dataclasses.dataclass(frozen=True)
class Plateau:
    """Multiplies the rate by `decay` whenever the training loss stops falling.

    The loss is averaged over each `window` steps. A mean below (1 - tolerance) * the best so far is
    an improvement; after `patience` means without one the rate falls, never below `final * base`.
    What it has seen is part of the optimiser's state, so a resumed run takes the same steps.
    """

    window: int = 1000
    patience: int = 5
    decay: float = 0.1
    tolerance: float = 1e-4
    final: float = 0.0
    warmup: int = 0

    def __post_init__(self):
        at_least(self, 0, "final", "warmup")
        at_least(self, 1, "window", "patience")
        above(self, 0, "decay", "tolerance")
        below(self, 1, "decay", "tolerance")

    def __call__(self, step, steps: int, base: float) -> Float[Array, ""]:
        return _warm(jnp.float32(base), step, self.warmup)

    def rule(self) -> optax.GradientTransformationExtraArgs:
        """Optax' rule, of which only the state is used."""
        return reduce_on_plateau(
            self.decay,
            self.patience,
            rtol=self.tolerance,
            accumulation_size=self.window,
            min_scale=self.final,
        )


def _warm(rate: Float[Array, ""], step, warmup: float | int) -> Float[Array, ""]:
    return rate * jnp.minimum(jnp.float32(step) / warmup, 1) if warmup else rate


def _done(schedule: Schedule, step, start: int | float, steps: int) -> Float[Array, ""]:
    """The fraction of the steps after `start` that are done, 0 to 1."""
    if start >= steps:
        raise ConfigError(
            f"{type(schedule).__name__}.warmup={schedule.warmup} leaves no steps to decay in, "
            f"of {steps}"
        )
    return jnp.clip((jnp.float32(step) - start) / (steps - start), 0, 1)
