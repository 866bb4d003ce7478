"""The page on a run, put together."""

import dataclasses
import json
import os
import re
from collections.abc import Sequence

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ssl_jax.config import ConfigError
from ssl_jax.evals.table import Table
from ssl_jax.reporting.curves import curve, intervals, panels
from ssl_jax.reporting.images import data_uri, share
from ssl_jax.reporting.run import Run
from ssl_jax.reporting.tables import cues, result_tables, small_network
from ssl_jax.reporting.verdicts import verdicts
from ssl_jax.seeds import over_seeds

SIGNS = {"good": "✓", "bad": "!", "open": "–"}
# The method's own puzzles, and what is said below each.
PUZZLES = {
    "guesses": "What the network sees after training: each puzzle's target, and its guess",
    "puzzles": "What the network sees: puzzles of the first batch with their targets",
}


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture inside the page, and what it is."""

    uri: str
    alt: str


def page(runs: Sequence[Run]) -> str:
    """HTML on one run, or on several with different seeds, whose first one's pictures are shown."""
    first = runs[0]
    table, spread = _table(runs)
    found = cues(first.table)
    largest = share(len(first.pictures))
    puzzles, strips, others = [], [], []
    audits = {n.split("/")[0] for n in first.table.trained if n.endswith("/excess")}
    # Where there are guesses, the puzzles of before are not shown again.
    hidden = {"puzzles"} if "guesses" in first.pictures else set()
    for name, path in first.pictures.items():
        if name in hidden:
            continue
        alt = PUZZLES[name] if name in PUZZLES else name.replace("_", " ")
        place = puzzles if name in PUZZLES else others
        if any(name.startswith(f"{audit}_") for audit in audits):
            place = strips
        place.append(Picture(data_uri(path, largest), alt))
    bars = [
        (cue.name, cue.excess, cue.excess_low, cue.excess_high)
        for cue in found
        if cue.excess_low is not None and cue.excess_high is not None
    ]
    environment = Environment(
        loader=FileSystemLoader(os.path.dirname(os.path.abspath(__file__))),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template("page.html").render(
        title=_title(first),
        facts=_facts(runs),
        no_record="" if first.record else "No commit, machine or time: results.json has no `run`.",
        verdicts=verdicts(first),
        signs=SIGNS,
        runs=len(runs),
        curves=[Markup(curve(title, lines, runs)) for title, lines in panels(first).items()],
        puzzles=puzzles,
        tables=result_tables(table),
        spread=spread,
        no_tables=_no_tables(first, spread),
        failed=first.table.failed,
        cues=found,
        small_network=small_network(first.table),
        cue_bars=Markup(intervals(bars, "excess")) if bars else "",
        no_cues=_no_cues(first),
        strips=strips,
        pictures=others,
        number=_number,
        settings=first.table.settings,
        repeat=_repeat(first),
        repeat_hint="With config.json (below) in the working folder, at the commit named above:",
        config=json.dumps(first.config, indent=2),
        record=json.dumps(dataclasses.asdict(first.record), indent=2) if first.record else "",
    )


def _title(run: Run) -> str:
    """'Rotation on IdxSource data/fashion_mnist'."""
    method = run.config["method"]["call"].partition(":")[2]
    return f"{method} on {run.record.data.name}" if run.record else method


def _facts(runs: Sequence[Run]) -> list[tuple[str, str]]:
    first = runs[0]
    seeds = ", ".join(str(run.config["seed"]) for run in runs)
    steps = f"{first.step} of {first.config['steps']}"
    facts = [("workdir", ", ".join(run.workdir for run in runs)), ("seed", seeds)]
    record = first.record
    if record is None:
        return [*facts, ("steps", steps)]
    state = f"finished {record.finished}" if record.finished else "not finished"
    commit = f"{record.commit or 'no checkout'}{' with changes' if record.dirty else ''}"
    system, seconds = record.system, record.seconds
    speed = record.examples_per_second
    origin = ", ".join(f"{name}: {what}" for name, what in record.init_from.items())
    return [
        *facts,
        ("steps", f"{steps}, {record.records_seen:,} examples"),
        ("state", f"started {record.started}, {state}"),
        ("data", f"{record.data.name} {record.data.split}, {record.data.records:,} records"),
        *([("began from", origin)] if origin else []),
        ("commit", f"{commit} (version {record.version})"),
        ("machine", f"{system.devices} × {system.device}, {system.hosts} host(s), {system.os}"),
        ("versions", f"Python {system.python}, jax {system.jax}, flax {system.flax}"),
        ("time", f"{seconds.train:.0f} s training, {seconds.evaluate:.0f} s evaluation"),
        ("speed", f"{speed:.0f} examples per second" if speed else "not measured"),
        ("network", f"{record.params:,} weights, {record.gflops_per_example:.3g} GFLOP an example"),
        ("memory", f"{record.peak_memory_bytes / 2**30:.2f} GiB at most"),
    ]


def _table(runs: Sequence[Run]) -> tuple[Table, str]:
    """The results, and what stands behind ± in them."""
    if len(runs) == 1:
        draws = any(name.endswith("/std") for name in runs[0].table.trained)
        return runs[0].table, "± is the deviation over draws of labels." if draws else ""
    try:
        table, differ = over_seeds([run.workdir for run in runs])
    except ConfigError as error:
        return Table(), f"No table over the runs: {error}."
    more = f" Not only the seed differs, but also: {', '.join(differ)}." if differ else ""
    return table, f"Mean ± deviation over {len(runs)} runs.{more}"


def _no_tables(run: Run, spread: str) -> str:
    if spread.startswith("No table"):
        return spread
    if not run.config["evaluators"]:
        return "None: the config has no evaluators."
    return "None yet: evaluators run at the end, or when their `every` says."


def _no_cues(run: Run) -> str:
    if run.evaluators_of("Shortcuts"):
        return "None yet: the audit runs at the end, or when its `every` says."
    return "None: no Shortcuts evaluator in the config."


def _repeat(run: Run) -> str:
    again = (
        'python -c "import ssl_jax; from ssl_jax.config import read; '
        "ssl_jax.fit(read('config.json'), 'runs/again')\""
    )
    commit = run.record.commit if run.record else ""
    return f"git checkout {commit}\n{again}" if re.fullmatch(r"[0-9a-f]{40,}", commit) else again


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
