"""The table of results: every evaluator's numbers beside their baselines, settings and cost."""

import dataclasses
import json
import os
import time
from collections.abc import Iterator, Mapping

import jax
import numpy as np

from ssl_jax.evaluator import Evaluator, Read
from ssl_jax.frozen import Frozen


def run_evaluators(
    frozen: Frozen, evaluators: Mapping[str, Evaluator]
) -> Iterator[tuple[str, float | np.ndarray]]:
    """Yields ('evaluator/layer/metric', number or picture) of each evaluator in turn.

    They share features, which are forgotten in the end.
    """
    for name, evaluator in evaluators.items():
        for result, value in evaluator.run(frozen):
            yield f"{name}/{result}", value
    frozen.forget()


@dataclasses.dataclass(frozen=True)
class Table:
    """Results beside their baselines: every evaluator's numbers for one method.

    Attributes:
      trained, fresh: 'evaluator/layer[/metric]' -> number, after training and at initialisation.
      settings: evaluator -> its knobs, which change results more than most methods do.
      seconds: evaluator -> what it took on the trained method. The first that needs features of
        some records pays for them.
      pictures: name -> uint8 (h, w, 3).
    """

    trained: dict[str, float]
    fresh: dict[str, float]
    settings: dict[str, str]
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    pictures: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @staticmethod
    def of(frozen: Frozen, evaluators: Mapping[str, Evaluator]) -> "Table":
        """Runs the evaluators on the method as it is and as it was before training."""
        trained, seconds = {}, dict.fromkeys(evaluators, 0.0)
        begin = time.monotonic()
        for name, value in run_evaluators(frozen, evaluators):
            trained[name] = value
            now = time.monotonic()
            seconds[name.split("/")[0]] += now - begin
            begin = now
        fresh = dict(run_evaluators(frozen.random_init(), evaluators))
        settings = {name: ", ".join(_settings(one)) for name, one in evaluators.items()}
        pictures = {k: v for k, v in trained.items() if isinstance(v, np.ndarray)}
        return Table(
            {k: float(v) for k, v in trained.items() if k not in pictures},
            {k: float(v) for k, v in fresh.items() if k not in pictures},
            settings,
            seconds,
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
        rows = {
            "trained": self.trained,
            "random_init": self.fresh,
            "settings": self.settings,
            "seconds": self.seconds,
        }
        path = os.path.join(workdir, "results.json")
        if os.path.isfile(path):
            with open(path) as file:
                before = json.load(file)
            kept = {part: _others(before.get(part, {}), self.settings) for part in rows}
            rows = {part: {**kept[part], **rows[part]} for part in rows}
        with open(path, "w") as file:
            json.dump(rows, file, indent=2)
        with open(os.path.join(workdir, "results.txt"), "w") as file:
            file.write(f"{Table(*rows.values())}\n")
        os.makedirs(os.path.join(workdir, "pictures"), exist_ok=True)
        for name, pixels in self.pictures.items():
            picture = os.path.join(workdir, "pictures", f"{name.replace('/', '_')}.png")
            Image.fromarray(pixels).save(picture)

    def __str__(self) -> str:
        head = ("", "layer", "trained", "random init", "raw input")
        blocks: dict[str, list[tuple[str, ...]]] = {}
        for name in self.trained:
            evaluator, layer, *metric = name.split("/")
            # Chosen strengths and deviations are in results.json; deviations also follow after ±.
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
        notes = [
            f"{name}{_taken(self.seconds.get(name))}: {settings}"
            for name, settings in self.settings.items()
        ]
        return "\n".join([*lines, "", *notes])


def _settings(knobs: object, group: str = "") -> Iterator[str]:
    """'k=20', 'read.clips=10': every number, text and tuple of a dataclass and of its groups."""
    for field in dataclasses.fields(knobs):
        value = getattr(knobs, field.name)
        if isinstance(value, Read):
            yield from _settings(value, f"{field.name}.")
        elif isinstance(value, bool | int | float | str | tuple) and field.name != "every":
            yield f"{group}{field.name}={value}"


def _others(numbers: Mapping, evaluators: Mapping) -> dict:
    """The entries that belong to none of these evaluators."""
    return {name: v for name, v in numbers.items() if name.split("/")[0] not in evaluators}


def _cell(numbers: Mapping[str, float], name: str) -> str:
    """A number as the table shows it, with its deviation where there is one."""
    if name not in numbers:
        return ""
    deviation = numbers.get(f"{name}/std")
    return f"{numbers[name]:.3f}" + ("" if deviation is None else f" ± {deviation:.3f}")


def _taken(seconds: float | None) -> str:
    return "" if seconds is None else f" ({seconds:.1f} s)"
