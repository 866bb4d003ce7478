"""The table of results: every evaluator's numbers beside their baselines, settings and cost."""

import dataclasses
import json
import os
import time
from collections.abc import Iterator, Mapping

import jax
import numpy as np

from ssl_jax.evals.running import Failures, run_evaluators
from ssl_jax.evaluator import Evaluator, Read, TrainedOnly
from ssl_jax.frozen import Frozen

# What results.json holds of a table; beside them it has `run` (`ssl_jax.training.run_record`).
PARTS = ("trained", "random_init", "settings", "seconds", "failed", "layers")

# Metrics that are in results.json alone: chosen strengths, deviations, which follow after ±, and
# what leads to the excess of a cue, whose interval follows it.
NOT_SHOWN = (
    *("l2", "std", "removed", "control", "drop", "excess_low", "excess_high", "p", "chance"),
    *("cue_only_chance", "found", "change", "control_change"),
)


@dataclasses.dataclass(frozen=True)
class Table:
    """Results beside their baselines: every evaluator's numbers for one method.

    Attributes:
      trained, random_init: 'evaluator/layer[/metric]' -> number, after and before training.
      settings: evaluator -> its knobs, which change results more than most methods do.
      seconds: evaluator -> what it took on the trained method. The first that needs features of
        some records pays for them.
      failed: evaluator -> why it has no results.
      layers: evaluator -> which of its results are of a layer, and have the raw input beside them.
      pictures: name -> uint8 (h, w, 3); they are not in results.json.
    """

    trained: dict[str, float] = dataclasses.field(default_factory=dict)
    random_init: dict[str, float] = dataclasses.field(default_factory=dict)
    settings: dict[str, str] = dataclasses.field(default_factory=dict)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    failed: dict[str, str] = dataclasses.field(default_factory=dict)
    layers: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    pictures: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @staticmethod
    def of(
        frozen: Frozen, evaluators: Mapping[str, Evaluator], failures: Failures | None = None
    ) -> "Table":
        """Runs the evaluators on the method as it is and as it was before training.

        One that fails is left out, and noted in `failures`.
        """
        failures = failures or Failures()
        trained, seconds = {}, dict.fromkeys(evaluators, 0.0)
        begin = time.monotonic()
        for name, value in run_evaluators(frozen, evaluators, failures):
            trained[name] = value
            now = time.monotonic()
            seconds[name.split("/")[0]] += now - begin
            begin = now
        good = {
            name: one
            for name, one in evaluators.items()
            if name not in failures.reasons and not isinstance(one, TrainedOnly)
        }
        fresh = dict(run_evaluators(frozen.random_init(), good, failures))
        settings = {name: ", ".join(_settings(one)) for name, one in evaluators.items()}
        pictures = {k: v for k, v in trained.items() if isinstance(v, np.ndarray)}
        layers: dict[str, list[str]] = {name: [] for name in evaluators}
        for result in trained:
            name, layer, *_ = result.split("/")
            if layer in frozen.layers_read and layer not in layers[name]:
                layers[name].append(layer)
        return Table(
            {k: float(v) for k, v in trained.items() if k not in pictures},
            {k: float(v) for k, v in fresh.items() if k not in pictures},
            settings,
            seconds,
            dict(failures.reasons),
            layers,
            pictures,
        )

    def numbers(self) -> dict[str, float]:
        """All numbers by name, the baseline's with '(random init)'."""
        fresh = {f"{name} (random init)": value for name, value in self.random_init.items()}
        return {**self.trained, **fresh}

    def publish(self, workdir: str) -> None:
        """Prints the table and writes results.json, results.txt and pictures/*.png; host 0 only.

        Results of evaluators that did not run this time stay in results.json.
        """
        if jax.process_index():
            return
        from PIL import Image

        print(f"\n{self}\n", flush=True)
        table = self._with_others(os.path.join(workdir, "results.json"))
        parts = {name: getattr(table, name) for name in PARTS}
        write_parts(os.path.join(workdir, "results.json"), parts)
        _write(os.path.join(workdir, "results.txt"), f"{table}\n")
        os.makedirs(os.path.join(workdir, "pictures"), exist_ok=True)
        for name, pixels in self.pictures.items():
            picture = os.path.join(workdir, "pictures", f"{name.replace('/', '_')}.png")
            Image.fromarray(pixels).save(picture)

    @staticmethod
    def read(path: str | os.PathLike) -> "Table":
        """The table of a results.json, without its pictures; empty before the first evaluation."""
        with open(path) as file:
            parts = json.load(file)
        return Table(**{name: parts[name] for name in PARTS if name in parts})

    def _with_others(self, path: str) -> "Table":
        """This table, and results.json's numbers of evaluators that are not in it."""
        if not os.path.isfile(path):
            return self
        before = Table.read(path)

        def both(part: str) -> dict:
            old = getattr(before, part).items()
            kept = {name: v for name, v in old if name.split("/")[0] not in self.settings}
            return {**kept, **getattr(self, part)}

        return Table(**{part: both(part) for part in PARTS})

    def __str__(self) -> str:
        head = ("", "layer", "trained", "random init", "raw input")
        blocks: dict[str, list[tuple[str, ...]]] = {}
        for name in self.trained:
            evaluator, layer, *metric = name.split("/")
            if layer == "input" or (metric and metric[-1] in NOT_SHOWN):
                continue
            of_layer = evaluator in self.layers and layer in self.layers[evaluator]
            raw = "/".join([evaluator, "input", *metric]) if of_layer else ""
            cells = (
                _cell(self.trained, name),
                _cell(self.random_init, name),
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
        notes += [f"{name} failed: {reason}" for name, reason in self.failed.items()]
        return "\n".join([*lines, "", *notes])


def write_parts(path: str, parts: Mapping[str, object]) -> None:
    """Writes parts of a results.json; others that it has stay."""
    before = {}
    if os.path.isfile(path):
        with open(path) as file:
            before = json.load(file)
    _write(path, json.dumps({**before, **parts}, indent=2))


def _settings(knobs: object, group: str = "") -> Iterator[str]:
    """'k=20', 'read.clips=10': every number, text and tuple of a dataclass and of its groups."""
    for field in dataclasses.fields(knobs):
        value = getattr(knobs, field.name)
        if isinstance(value, Read):
            yield from _settings(value, f"{field.name}.")
        elif isinstance(value, bool | int | float | str | tuple) and field.name != "every":
            yield f"{group}{field.name}={value}"


def _write(path: str, text: str) -> None:
    with open(f"{path}.part", "w") as file:  # a kill in between leaves the old file whole
        file.write(text)
    os.replace(f"{path}.part", path)


def _cell(numbers: Mapping[str, float], name: str) -> str:
    """A number as the table shows it, with its deviation or interval where there is one."""
    if name not in numbers:
        return ""
    if f"{name}_low" in numbers:
        low, high = numbers[f"{name}_low"], numbers[f"{name}_high"]
        return f"{numbers[name]:.3f} [{low:.3f}, {high:.3f}]"
    deviation = numbers.get(f"{name}/std")
    return f"{numbers[name]:.3f}" + ("" if deviation is None else f" ± {deviation:.3f}")


def _taken(seconds: float | None) -> str:
    return "" if seconds is None else f" ({seconds:.1f} s)"
