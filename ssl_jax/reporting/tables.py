"""Tables of a report: trained beside random init, and what audits of shortcuts found."""

import dataclasses
from collections.abc import Mapping

from ssl_jax.evals.table import Table

# What a table of results leaves to results.json.
APART = ("std", "l2")


@dataclasses.dataclass(frozen=True)
class Row:
    """A layer's numbers as text; `best` marks the largest of its block."""

    layer: str
    trained: str
    random_init: str
    raw: str
    best: bool = False


@dataclasses.dataclass(frozen=True)
class Cue:
    """What an audit says of one cue; None for what it has no number of. See `evals.shortcuts`."""

    name: str
    excess: float
    excess_low: float | None
    excess_high: float | None
    p: float | None
    cue_only: float | None
    cue_only_chance: float | None
    as_is: float | None
    removed: float | None
    control: float | None
    drop: float | None
    reliance: float | None
    chance: float | None


def result_tables(table: Table) -> dict[str, list[Row]]:
    """Evaluator and metric -> rows, without audits."""
    audits = {name.split("/")[0] for name in table.trained if name.endswith("/excess")}
    blocks: dict[str, dict[str, str]] = {}
    for name in table.trained:
        evaluator, layer, *metric = name.split("/")
        if evaluator not in audits and layer != "input" and not (metric and metric[-1] in APART):
            blocks.setdefault(" ".join([evaluator, *metric]), {})[layer] = name
    found = {}
    for title, names in blocks.items():
        evaluator = title.split(" ")[0]
        layers = table.layers[evaluator] if evaluator in table.layers else []
        own = {layer: name for layer, name in names.items() if layer in layers}
        best = max(own, key=lambda layer: table.trained[own[layer]]) if len(own) > 1 else None
        found[title] = [_row(table, layer, name, layer == best) for layer, name in names.items()]
    return found


def _row(table: Table, layer: str, name: str, best: bool) -> Row:
    evaluator, _, *metric = name.split("/")
    raw = "/".join([evaluator, "input", *metric])
    of_layer = evaluator in table.layers and layer in table.layers[evaluator]
    return Row(
        layer,
        _cell(table.trained, name),
        _cell(table.random_init, name),
        _cell(table.trained, raw) if of_layer else "",
        best,
    )


def cues(table: Table) -> list[Cue]:
    """The cues of all audits, those with the largest excess first."""
    fields = [field.name for field in dataclasses.fields(Cue) if field.name != "name"]
    found = []
    for name in table.trained:
        cue, _, last = name.rpartition("/")
        if last == "excess" and _known(table.trained, name) is not None:
            numbers = {f: _known(table.trained, f"{cue}/{f}") for f in fields}
            found.append(Cue(cue.partition("/")[2], **numbers))
    return sorted(found, key=lambda cue: -cue.excess)


def small_network(table: Table) -> float | None:
    """What a tiny network reaches on the same puzzle, where an audit trained one."""
    ends = [name for name in table.trained if name.endswith("/small_network/accuracy")]
    return table.trained[ends[0]] if ends else None


def _known(numbers: Mapping[str, float], name: str) -> float | None:
    """A number; None if it is not there or not defined (nan)."""
    if name not in numbers or numbers[name] != numbers[name]:
        return None
    return numbers[name]


def _cell(numbers: Mapping[str, float], name: str) -> str:
    if name not in numbers:
        return ""
    spread = f" ± {numbers[f'{name}/std']:.3f}" if f"{name}/std" in numbers else ""
    return f"{numbers[name]:.3f}{spread}"
