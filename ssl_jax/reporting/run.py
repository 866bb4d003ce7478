"""What a run has left in its workdir, as far as it came."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ssl_jax.config import ConfigError
from ssl_jax.evals.table import Table
from ssl_jax.training.run_record import RunRecord, read_record


@dataclasses.dataclass(frozen=True)
class Run:
    """A workdir's files.

    Attributes:
      workdir: its folder.
      config: config.json as plain dicts.
      record: the block `run` of results.json; None if there is none.
      table: its table; empty before the first evaluation.
      metrics: the lines of metrics.jsonl, in their order.
      pictures: name -> file, of pictures/*.png.
    """

    workdir: str
    config: Mapping[str, Any]
    record: RunRecord | None
    table: Table
    metrics: Sequence[Mapping[str, float | int]]
    pictures: Mapping[str, str]

    @property
    def step(self) -> int:
        """The last that numbers were written of."""
        return max((int(line["step"]) for line in self.metrics), default=0)

    def series(self, name: str) -> tuple[list[int], list[float | int]]:
        """Steps and values of a number in metrics.jsonl."""
        lines = [line for line in self.metrics if name in line]
        return [int(line["step"]) for line in lines], [line[name] for line in lines]

    def evaluators_of(self, *classes: str) -> list[str]:
        """The config's evaluators of these classes, by name."""
        evaluators = self.config["evaluators"] if "evaluators" in self.config else {}
        return [k for k, v in evaluators.items() if v["call"].partition(":")[2] in classes]


def read_run(workdir: str) -> Run:
    """The run of a workdir, finished or not. ConfigError if it has no config.json."""
    path = os.path.join(workdir, "config.json")
    if not os.path.isfile(path):
        raise ConfigError(f"{path} is missing: give the workdir of a run")
    with open(path) as file:
        config = json.load(file)
    results = os.path.join(workdir, "results.json")
    folder = os.path.join(workdir, "pictures")
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return Run(
        workdir=workdir,
        config=config,
        record=read_record(results),
        table=Table.read(results) if os.path.isfile(results) else Table(),
        metrics=_lines(os.path.join(workdir, "metrics.jsonl")),
        pictures={n[: -len(".png")]: os.path.join(folder, n) for n in names if n.endswith(".png")},
    )


def _lines(path: str) -> list[dict[str, float | int]]:
    """Those that are whole: a kill may have cut the last one."""
    if not os.path.isfile(path):
        return []
    found = []
    with open(path) as file:
        for line in file:
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
    return [line for line in found if isinstance(line, dict) and "step" in line]
