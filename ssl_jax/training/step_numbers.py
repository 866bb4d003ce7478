"""The numbers of the steps: their means, and what to do about those that are not finite."""

from collections.abc import Callable

import jax
import numpy as np
from absl import logging


class StepNumbers:
    """Metrics of the steps since the last look, which stay on the devices until then."""

    def __init__(self, skip: bool, limit: int, kept: Callable[[], str]):
        """
        Args:
          skip: whether a step with a loss or gradient that is not finite was left out by itself
            (and up to `limit` of them are tolerated); otherwise the first ends the run.
          kept: says which checkpoint there is to go back to.
        """
        self._skip, self._limit, self._kept = skip, limit, kept
        self._pending: list[dict[str, jax.Array]] = []
        self._skipped = 0
        self._ready = 0  # of those pending, so many were seen to have ended

    def add(self, metrics: dict[str, jax.Array]) -> None:
        """Takes the metrics of one more step."""
        self._pending.append(metrics)

    @property
    def is_done(self) -> Callable[[], bool] | None:
        """Tells whether the last step has ended; None if there is none."""
        return self._pending[-1]["loss"].is_ready if self._pending else None

    def running(self) -> int:
        """How many steps were handed to the devices and have not ended."""
        while self._ready < len(self._pending) and self._pending[self._ready]["loss"].is_ready():
            self._ready += 1
        return len(self._pending) - self._ready

    def take(self, step: int, ended: Callable[[int], None] | None = None) -> dict[str, float]:
        """Means since the last call, `step` being the last; skipped steps count in 'skipped' alone.

        Waits for these steps; `ended` is called with the number of each as it ends.

        Raises FloatingPointError at the first step with a loss or gradient that is not finite, or,
        if such steps are skipped, at the one that exceeds the limit. Batch number k of the message
        is `train_dataset(...)[k]`, always the same. The learning rate is the last step's.
        """
        if ended:
            for before, row in enumerate(self._pending, start=1 - len(self._pending)):
                row["loss"].block_until_ready()
                ended(step + before)
        rows, self._pending, self._ready = jax.device_get(self._pending), [], 0
        good = []
        for offset, row in enumerate(rows):
            bad = next((n for n in ("loss", "gradient_norm") if not np.isfinite(row[n])), None)
            if bad is None:
                good.append(row)
            else:
                self._not_finite(bad, float(row[bad]), step - len(rows) + 1 + offset)
        shown = good or rows
        means = {k: float(np.mean([row[k] for row in shown])) for k in shown[0]} if shown else {}
        if "learning_rate" in means:  # the step's own
            means["learning_rate"] = float(rows[-1]["learning_rate"])
        return {**means, "skipped": float(self._skipped)} if self._skip and means else means

    def _not_finite(self, name: str, value: float, step: int) -> None:
        self._skipped += 1
        what = f"the {name} of step {step} is {value} (batch number {step - 1})"
        if not self._skip:
            hint = "Lower optimizer.learning_rate, or leave such steps out by nonfinite='skip'"
            raise FloatingPointError(f"{what}; {self._kept()}. {hint}")
        if self._skipped > self._limit:
            reason = f"more than nonfinite_limit={self._limit} steps were skipped"
            raise FloatingPointError(f"{what}: {reason}; {self._kept()}")
        if jax.process_index() == 0:
            logging.warning("skipped: %s", what)
