"""Which checkpoint was the best one, by an evaluator's number."""

import json
import math
import os

import jax
from absl import logging

from ssl_jax.config import ConfigError


class Scores:
    """The numbers that `keep_best` goes by, in WORKDIR/scores.json; one of Orbax' rules to keep."""

    def __init__(self, workdir: str | os.PathLike, name: str):
        self._path = os.path.join(workdir, "scores.json")
        self._name, self._sign = name.removeprefix("-"), -1.0 if name.startswith("-") else 1.0
        self._scores: dict[int, float] = {}
        if name and os.path.isfile(self._path):
            with open(self._path) as file:
                known = json.load(file)  # of another number, if keep_best was changed
            self._scores = {int(k): v for k, v in known.get(self._name, {}).items()}

    def add(self, step: int, results: dict[str, float]) -> None:
        """Notes the number of this step, if it is among the results."""
        if not self._name or self._name.split("/")[0] not in {r.split("/")[0] for r in results}:
            return
        if self._name not in results:
            known = ", ".join(results)
            raise ConfigError(f"checkpoints.keep_best: no '{self._name}'; there is {known}")
        if math.isfinite(results[self._name]):
            self._scores[step] = results[self._name]
        if jax.process_index() == 0:
            part = f"{self._path}.part"
            try:
                with open(part, "w") as file:
                    json.dump({self._name: self._scores}, file)
                os.replace(part, self._path)
            except OSError as error:
                logging.warning("cannot write %s: %s", self._path, error.strerror)

    def should_preserve(self, checkpoints, *, context) -> list[bool]:
        """Whether each checkpoint is the best one."""
        del context
        scored = [c.step for c in checkpoints if c.step in self._scores]
        best = max(scored, key=lambda step: self._sign * self._scores[step], default=None)
        return [c.step == best for c in checkpoints]
