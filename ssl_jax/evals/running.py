"""Running evaluators: checked before training, and one that fails loses only its own results."""

import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence

import jax
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.record import MediaError, Source
from ssl_jax.devices.hosts import several
from ssl_jax.devices.sharding import check_batch_size
from ssl_jax.evaluator import Checked, Evaluator, Read
from ssl_jax.frozen import Frozen

# Errors that every process meets at the same place, because features are gathered from all of them.
# After any other error the processes no longer agree, and none can go on.
COMMON = (ConfigError, FloatingPointError)


class EvaluatorsFailed(Exception):
    """Some evaluators failed; all else is done and saved. The message is one line for the user.

    Attributes:
      mistake: whether settings, data or a full disk are the reason, and no bug.
    """

    def __init__(self, failures: "Failures", hint: str):
        super().__init__(f"no results of {', '.join(failures.reasons)} (see above); {hint}")
        self.mistake = not failures.bugs


class Failures:
    """Which evaluators failed, and why. Every reason is reported on stderr once.

    Attributes:
      reasons: evaluator -> one line.
      bugs: those whose traceback was printed.
    """

    def __init__(self):
        self.reasons: dict[str, str] = {}
        self.bugs: set[str] = set()
        self._reported: set[tuple[str, str]] = set()

    def add(self, name: str, error: Exception) -> None:
        """Takes note of an evaluator's error, and reports it."""
        reason = " ".join(str(error).split()) or type(error).__name__
        self.reasons[name] = reason
        bug = not isinstance(error, (*COMMON, MediaError, OSError))
        if bug:
            self.bugs.add(name)
        if jax.process_index() or (name, reason) in self._reported:
            return
        self._reported.add((name, reason))
        if bug:
            traceback.print_exception(error)
        print(f"ssl_jax: evaluator {name}: {reason}", file=sys.stderr, flush=True)

    def forget(self) -> None:
        """Starts over, as what failed before may work now. A reason is still reported only once."""
        self.reasons.clear()
        self.bugs.clear()

    def raise_if_any(self, hint: str) -> None:
        """Raises EvaluatorsFailed if one failed. `hint` says where the others' numbers are."""
        if self.reasons:
            raise EvaluatorsFailed(self, hint)


def run_evaluators(
    frozen: Frozen, evaluators: Mapping[str, Evaluator], failures: Failures
) -> Iterator[tuple[str, float | np.ndarray]]:
    """Yields ('evaluator/layer/metric', number or picture) of each evaluator in turn.

    They share features, which are forgotten in the end. If one fails, that is noted in `failures`,
    and the next one runs.
    """
    caught = COMMON if several() else (Exception,)
    for name, evaluator in evaluators.items():
        try:
            for result, value in evaluator.run(frozen):
                yield f"{name}/{result}", value
        except caught as error:
            failures.add(name, error)
    frozen.forget()


def check_evaluators(frozen: Frozen, evaluators: Mapping[str, Evaluator]) -> None:
    """Raises ConfigError for an evaluator that cannot work, naming it, before anything is trained.

    Streams, names of layers, numbers of records and what an evaluator's own `check` looks at. Of
    each source one record at most is read.
    """
    for name, evaluator in evaluators.items():
        knobs = vars(evaluator)
        # A tuple or text has a length and items too.
        sources = [
            knob
            for knob in knobs.values()
            if isinstance(knob, Source) and not isinstance(knob, Sequence | Mapping)
        ]
        try:
            if "batch_size" in knobs:
                check_batch_size(knobs["batch_size"], frozen.mesh)
            for source in sources:
                if len(source) == 0:
                    raise ConfigError(f"the source {source} is empty")
            for stream, layers in _read_by(knobs):
                frozen.check_layers(stream, layers, sources[0] if sources else None)
            if isinstance(evaluator, Checked):
                evaluator.check(frozen)
        except ConfigError as error:
            raise ConfigError(f"evaluators.{name}: {error}") from error


def _read_by(knobs: Mapping[str, object]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The streams and layers that an evaluator names, by the names that such knobs have."""
    for knob in knobs.values():
        if isinstance(knob, Read):
            yield knob.stream, knob.layers
    if "stream" in knobs:
        layers = knobs["layers"] if "layers" in knobs else ()
        yield knobs["stream"], (*layers, knobs["layer"]) if "layer" in knobs else layers
