"""Evaluation: `evaluate(config, workdir)`, and the command `python -m ssl_jax.evaluate`."""

import dataclasses
import difflib
import json
import os
from collections.abc import Iterator, Mapping

import jax
import numpy as np
from ml_collections import ConfigDict

from ssl_jax import command
from ssl_jax import config as configs
from ssl_jax.config import ConfigError
from ssl_jax.experiment import Evaluator, Experiment
from ssl_jax.frozen import Frozen, saved_variables


def run_evaluators(
    frozen: Frozen, evaluators: Mapping[str, Evaluator]
) -> Iterator[tuple[str, float | np.ndarray]]:
    """Yields ('evaluator/layer/metric', number or picture) of each evaluator in turn."""
    for name, evaluator in evaluators.items():
        for result, value in evaluator.run(frozen):
            yield f"{name}/{result}", value


@dataclasses.dataclass(frozen=True)
class Table:
    """Results beside their baselines: every evaluator's numbers for one method.

    Attributes:
      trained, fresh: 'evaluator/layer[/metric]' -> number, after training and at initialisation.
      settings: evaluator -> its knobs, which change results more than most methods do.
      pictures: name -> uint8 (h, w, 3).
    """

    trained: dict[str, float]
    fresh: dict[str, float]
    settings: dict[str, str]
    pictures: dict[str, np.ndarray]

    @staticmethod
    def of(frozen: Frozen, evaluators: Mapping[str, Evaluator]) -> "Table":
        """Runs the evaluators on the method as it is and as it was before training."""
        trained = dict(run_evaluators(frozen, evaluators))
        fresh = dict(run_evaluators(frozen.random_init(), evaluators))
        settings = {
            name: ", ".join(
                f"{f.name}={getattr(evaluator, f.name)}"
                for f in dataclasses.fields(evaluator)
                if isinstance(getattr(evaluator, f.name), bool | int | float | str | tuple)
                and f.name != "every"
            )
            for name, evaluator in evaluators.items()
        }
        pictures = {k: v for k, v in trained.items() if isinstance(v, np.ndarray)}
        return Table(
            {k: float(v) for k, v in trained.items() if k not in pictures},
            {k: float(v) for k, v in fresh.items() if k not in pictures},
            settings,
            pictures,
        )

    def numbers(self) -> dict[str, float]:
        """All numbers by name, the baseline's with '(random init)'."""
        fresh = {f"{name} (random init)": value for name, value in self.fresh.items()}
        return {**self.trained, **fresh}

    def publish(self, workdir: str) -> None:
        """Prints the table and writes results.json, results.txt and pictures/*.png; host 0 only.

        Results of evaluators that did not run this time stay in results.json.
        """
        if jax.process_index():
            return
        from PIL import Image

        print(f"\n{self}\n", flush=True)
        rows = {"trained": self.trained, "random_init": self.fresh, "settings": self.settings}
        path = os.path.join(workdir, "results.json")
        if os.path.isfile(path):
            with open(path) as file:
                before = json.load(file)
            rows = {part: {**_others(before[part], self.settings), **rows[part]} for part in rows}
        with open(path, "w") as file:
            json.dump(rows, file, indent=2)
        with open(os.path.join(workdir, "results.txt"), "w") as file:
            file.write(f"{Table(rows['trained'], rows['random_init'], rows['settings'], {})}\n")
        os.makedirs(os.path.join(workdir, "pictures"), exist_ok=True)
        for name, pixels in self.pictures.items():
            picture = os.path.join(workdir, "pictures", f"{name.replace('/', '_')}.png")
            Image.fromarray(pixels).save(picture)

    def __str__(self) -> str:
        head = ("", "layer", "trained", "random init", "raw input")
        blocks: dict[str, list[tuple[str, ...]]] = {}
        for name in self.trained:
            evaluator, layer, *metric = name.split("/")
            # Strengths chosen and deviations are in results.json; deviations also stand behind ±.
            if layer == "input" or metric[-1:] in (["l2"], ["std"]):
                continue
            raw = "/".join([evaluator, "input" if layer != "chance" else "", *metric])
            cells = (
                _cell(self.trained, name),
                _cell(self.fresh, name),
                _cell(self.trained, raw),
            )
            title = " ".join([evaluator, *metric])
            blocks.setdefault(title, []).append((layer, *cells))
        rows = [head]
        for title, lines in blocks.items():
            rows += [(title if i == 0 else "", *line) for i, line in enumerate(lines)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        lines = [
            "  ".join(
                cell.ljust(width) if i < 2 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        lines.insert(1, "-" * max(map(len, lines)))
        notes = [f"{name}: {settings}" for name, settings in self.settings.items()]
        return "\n".join([*lines, "", *notes])


def _others(numbers: Mapping, evaluators: Mapping) -> dict:
    """The entries that belong to none of these evaluators."""
    return {name: v for name, v in numbers.items() if name.split("/")[0] not in evaluators}


def _cell(numbers: Mapping[str, float], name: str) -> str:
    """A number as the table shows it, with its deviation where there is one."""
    if name not in numbers:
        return ""
    deviation = numbers.get(f"{name}/std")
    return f"{numbers[name]:.3f}" + ("" if deviation is None else f" ± {deviation:.3f}")


def evaluate(
    config: ConfigDict,
    workdir: str | os.PathLike,
    only: tuple[str, ...] = (),
    random_init: bool = False,
    step: int | None = None,
) -> dict[str, float]:
    """Runs the config's evaluators on a checkpoint of `workdir`; prints and saves a table.

    Args:
      only: names of evaluators; () for all.
      random_init: evaluate the method before training (no checkpoint is read, none need exist).
      step: which checkpoint; None for the newest.

    Returns all numbers by name. Raises ConfigError for an unknown evaluator or missing checkpoint.
    """
    workdir = os.fspath(workdir)
    unknown = [name for name in only if name not in config.evaluators]
    if unknown:
        near = difflib.get_close_matches(unknown[0], list(config.evaluators), n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        known = ", ".join(config.evaluators) or "none"
        raise ConfigError(f"no evaluator '{unknown[0]}'{hint} The config has: {known}")
    variables = None if random_init else saved_variables(workdir, step)
    experiment: Experiment = configs.build(config)
    evaluators = {k: v for k, v in experiment.evaluators.items() if not only or k in only}
    frozen = Frozen.of(experiment, experiment.sharding.mesh(), variables)
    if random_init:
        numbers = dict(run_evaluators(frozen, evaluators))
        for name, value in numbers.items():
            if not isinstance(value, np.ndarray) and jax.process_index() == 0:
                print(f"{name}: {value:.4f}")
        return {k: float(v) for k, v in numbers.items() if not isinstance(v, np.ndarray)}
    table = Table.of(frozen, evaluators)
    table.publish(workdir)
    return table.numbers()


def main(arguments: command.Arguments) -> None:
    """Evaluates by the command line's config and workdir."""
    only, random_init, step = arguments.only, arguments.random_init, arguments.step
    evaluate(arguments.config, arguments.workdir, only, random_init, step)


if __name__ == "__main__":
    command.run(main, "evaluate")
