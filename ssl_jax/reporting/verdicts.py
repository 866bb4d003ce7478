"""Five lines on whether a run went well, each with the number that it goes by."""

import dataclasses
import math

from ssl_jax.reporting.run import Run

PROBES = ("Linear", "Ridge", "Nonlinear", "Knn")
GOOD, BAD, OPEN = "good", "bad", "open"

# From these on, features count as collapsed: their smooth rank (RankMe), and the mean cosine of two
# records' features.
LOWEST_RANK, HIGHEST_COSINE = 2.0, 0.95
LONGEST_WAIT = 0.1  # share of the time


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A question's answer: 'good', 'bad' or 'open', which is not known of this run."""

    state: str
    question: str
    text: str


def verdicts(run: Run) -> list[Verdict]:
    """The five, in the order in which one should doubt a run."""
    return [
        Verdict(state, question, text)
        for question, (state, text) in (
            ("Is the loss finite?", _loss(run)),
            ("Is its own puzzle solved?", _puzzle(run)),
            ("Better than random init?", _probe(run)),
            ("Have features kept their rank?", _rank(run)),
            ("Did it wait for data?", _wait(run)),
        )
    ]


def _loss(run: Run) -> tuple[str, str]:
    _, losses = run.series("train/loss")
    if not losses:
        return OPEN, "no step was logged"
    bad = sum(not math.isfinite(loss) for loss in losses)
    if bad:
        return BAD, f"{bad} of {len(losses)} logged losses are not finite"
    return GOOD, f"{losses[0]:.4g} at first, {losses[-1]:.4g} in the end"


def _puzzle(run: Run) -> tuple[str, str]:
    for evaluator in run.evaluators_of("Pretext"):
        for name, value in run.table.trained.items():
            own, _, metric = name.partition("/")
            if own == evaluator and "accuracy" in metric and name in run.table.random_init:
                fresh = run.table.random_init[name]
                text = f"{metric} {value:.3f} on held-out records, {fresh:.3f} at random init"
                return (GOOD if value > fresh else BAD), text
        return OPEN, "its metrics have no accuracy, or it was not evaluated yet"
    return OPEN, "no Pretext evaluator in the config"


def _probe(run: Run) -> tuple[str, str]:
    probes = [name for one in PROBES for name in run.evaluators_of(one)]
    for evaluator in probes:
        layers = run.table.layers[evaluator] if evaluator in run.table.layers else []
        values = {
            layer: run.table.trained[f"{evaluator}/{layer}"]
            for layer in layers
            if layer != "input"
            and f"{evaluator}/{layer}" in run.table.trained
            and f"{evaluator}/{layer}" in run.table.random_init
        }
        if values:
            best = max(values, key=values.__getitem__)
            fresh = run.table.random_init[f"{evaluator}/{best}"]
            text = f"{evaluator} at {best}: {values[best]:.3f}, {fresh:.3f} at random init"
            return (GOOD if values[best] > fresh else BAD), text
    if probes:
        return OPEN, f"{probes[0]} has no results yet"
    return OPEN, f"no {', '.join(PROBES[:-1])} or {PROBES[-1]} evaluator in the config"


def _rank(run: Run) -> tuple[str, str]:
    for evaluator in run.evaluators_of("Geometry"):
        names = [n for n in run.table.trained if n.startswith(f"{evaluator}/")]
        ranks = [n for n in names if n.endswith("/rankme")]
        if not ranks:
            return OPEN, f"{evaluator} has no results yet"
        rank = ranks[-1]  # of the last layer, where collapse shows first
        cosine = f"{rank.rpartition('/')[0]}/cosine"
        value, alike = run.table.trained[rank], run.table.trained[cosine]
        collapsed = not (value >= LOWEST_RANK and alike <= HIGHEST_COSINE)  # NaN is no good sign
        layer = rank.split("/")[1]
        return (BAD if collapsed else GOOD), f"{layer}: rank {value:.1f}, mean cosine {alike:.2f}"
    return OPEN, "no Geometry evaluator in the config"


def _wait(run: Run) -> tuple[str, str]:
    _, waits = run.series("input/wait")
    seconds = run.record.seconds if run.record else None
    if seconds and seconds.train:
        share = seconds.wait_for_data / seconds.train
    elif waits:
        share = sum(waits) / len(waits)
    else:
        return OPEN, "no step was logged"
    return (BAD if share > LONGEST_WAIT else GOOD), f"{share:.0%} of the time"
