"""Curves of a run's numbers over its steps, as SVG inside the page."""

import contextlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from ssl_jax.reporting.run import Run

POINTS = 500  # of a curve at most
PANELS = 24
LINES = 12  # of a panel
COLOURS = (
    *("#4c78a8", "#f58518", "#54a24b", "#e45756", "#72b7b2", "#b279a2"),
    *("#9d755d", "#ff9da6", "#bab0ac", "#d4a72c", "#3ca0a0", "#8c6bb1"),
)
# Stands for the colour of the page's text, which is light or dark.
INK = "#010203"
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ssl_jax",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK
    ),
}
# Rates that follow from rows per second, and numbers that tell nothing by themselves.
LEFT_OUT = (
    *("steps_per_second", "rows_per_second_per_device", "model_tflops_per_step"),
    *("tflops_per_second_per_device",),
)


def thinned(
    steps: Sequence[int], values: Sequence[float | int], points: int = POINTS
) -> tuple[list[int], list[float | int]]:
    """At most so many points: the smallest and largest value of each bin, so that spikes stay.

    Values that are not finite are left out.
    """
    kept = [k for k, value in enumerate(values) if np.isfinite(value)]
    if len(kept) > points:
        bins = np.array_split(np.array(kept), points // 2)
        of = np.asarray(values, float)
        ends = [(own[np.argmin(of[own])], own[np.argmax(of[own])]) for own in bins]
        kept = sorted({int(k) for pair in ends for k in pair})
    return [steps[k] for k in kept], [values[k] for k in kept]


def panels(run: Run) -> dict[str, dict[str, str]]:
    """Title -> label -> a number in metrics.jsonl: training first, then each evaluator's."""
    names = list(dict.fromkeys(name for line in run.metrics for name in line if name != "step"))
    names.sort(key="train/loss".__ne__)  # first
    found: dict[str, dict[str, str]] = {}
    puzzles = run.evaluators_of("Pretext")
    for name in names:
        group, _, rest = name.partition("/")
        if group == "train" and rest not in LEFT_OUT:
            found[rest] = {rest: name}
        elif group == "input" and rest == "wait":
            found["waiting for data"] = {rest: name}
    for name in names:
        group, _, rest = name.partition("/")
        if group not in ("train", "input") and not rest.endswith(("/std", "/l2", "chance")):
            layer, _, metric = rest.partition("/")
            if not metric and group in puzzles:  # its metrics have scales of their own
                metric = layer
            found.setdefault(f"{group} {metric}".strip(), {})[layer] = name
    return dict(list(found.items())[:PANELS])


def curve(title: str, lines: Mapping[str, str], runs: Sequence[Run]) -> str:
    """One panel as SVG: each line of each run, runs of the same line in the same colour."""
    shown = list(lines.items())[:LINES]
    with _figure(4.2, 2.4) as figure:
        axes = figure.add_subplot()
        for (label, name), colour in zip(shown, COLOURS, strict=False):
            for number, run in enumerate(runs):
                steps, values = thinned(*run.series(name))
                marker = "o" if len(steps) < 20 else ""
                own = label if number == 0 and len(shown) > 1 else "_nolegend_"
                width = 1.4 / len(runs) ** 0.5
                axes.plot(
                    steps, values, marker=marker, ls="-", ms=3, lw=width, color=colour, label=own
                )
        axes.set_title(title, loc="left", fontsize=9, fontweight="bold", parse_math=False)
        axes.set_xlabel("step")
        if len(shown) > 1:
            axes.legend(frameon=False, fontsize=7, ncols=1 + (len(shown) > 6))
        return _svg(figure, f"curve-{title}", f"{title} over the steps")


def intervals(rows: Sequence[tuple[str, float, float, float]], title: str) -> str:
    """Horizontal bars with their intervals, (name, value, low, high), as SVG."""
    with _figure(5.0, 0.7 + 0.32 * len(rows)) as figure:
        axes = figure.add_subplot()
        for place, (_, value, low, high) in enumerate(rows):
            colour = COLOURS[3] if low > 0 else COLOURS[0]
            axes.barh(place, value, height=0.6, color=colour, alpha=0.6)
            axes.plot((low, high), (place, place), color=INK, lw=1.5)
        axes.axvline(0, color=INK, lw=0.8)
        axes.set_yticks(range(len(rows)), [name for name, *_ in rows], parse_math=False)
        axes.invert_yaxis()
        axes.set_xlabel(title)
        return _svg(figure, "intervals", title)


@contextlib.contextmanager
def _figure(width: float, height: float) -> Iterator[Figure]:
    with matplotlib.rc_context(STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Figure, name: str, says: str) -> str:
    """To be put into HTML: the same bits every time, ids of its own, in the page's ink."""
    out = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    prefix = re.sub(r"\W+", "-", name)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'href="#', f'href="#{prefix}-', text)
    text = text.replace("url(#", f"url(#{prefix}-").replace(INK, "currentColor")
    label = re.sub(r'[<>&"]', " ", says)
    return text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1).strip()
