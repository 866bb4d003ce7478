"""Late fusion of fine-tuned runs: the weighted mean of their softmax scores, record by record.

    python -m ssl_jax.fuse RUN RUN ... [--weights=1,1.5] [--evaluator=NAME]

As two-stream networks do (Simonyan and Zisserman 2014): one run sees frames, the other motion. A
RUN is the workdir of a fine-tuned run, whose newest checkpoint classifies the test records of its
`Classification` evaluator and leaves the scores in RUN/scores.npz (names, labels, softmax, logits);
or such a file. Records are matched by name.
"""

import os
from collections.abc import Sequence

import numpy as np

from ssl_jax import config as configs
from ssl_jax.command import arguments_of, enter, parser_of
from ssl_jax.config import ConfigError
from ssl_jax.data.npz import read_npz
from ssl_jax.data.paths import home
from ssl_jax.evals.finetuned import Classification, Scores, accuracies
from ssl_jax.training.differing_arrays import naming_unfit_arrays
from ssl_jax.training.trained import load

FIELDS = ("names", "labels", "softmax", "logits")


def scores_of(run: str, evaluator: str = "") -> Scores:
    """The scores of a run's test records, computed and left in its workdir; or those of a file.

    Args:
      run: a workdir, or an npz file that was left in one.
      evaluator: which of the run's `Classification` evaluators; '' where there is but one.

    Raises ConfigError if there are none.
    """
    run = home(run)
    if run.endswith(".npz"):
        return read(run)
    frozen = load(run)
    path = os.path.join(run, "config.json")
    known = configs.read(path).evaluators
    call = f"{Classification.__module__}:{Classification.__qualname__}"
    fitting = [name for name, one in known.items() if one.call == call]
    if not fitting:
        there = ", ".join(known) or "none"
        raise ConfigError(f"{run}: no Classification among its evaluators; it has {there}")
    if (evaluator and evaluator not in fitting) or (not evaluator and len(fitting) > 1):
        raise ConfigError(f"{run}: say which, --evaluator={' or '.join(fitting)}")
    with naming_unfit_arrays(run):
        scores = configs.build(known[evaluator or fitting[0]], path).scores(frozen)
    write(scores, os.path.join(run, "scores.npz"))
    return scores


def write(scores: Scores, path: str) -> None:
    """Writes an npz file that `read` takes back; ConfigError if that is not possible."""
    try:
        np.savez(path, **{name: np.asarray(getattr(scores, name)) for name in FIELDS})
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def read(path: str) -> Scores:
    """Scores from an npz file; ConfigError if it holds none."""
    try:
        arrays = read_npz(path)
        names, labels, softmax, logits = (arrays[name] for name in FIELDS)
        fits = labels.shape == names.shape == logits.shape[:1] and logits.shape == softmax.shape
        if not fits or not ((labels >= -1) & (labels < logits.shape[1])).all():
            raise ValueError("names, labels and scores do not fit together")
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{path}: holds no scores ({error})") from error
    return Scores(tuple(names.tolist()), labels, softmax, logits)


def matched(runs: dict[str, Scores]) -> list[Scores]:
    """All in the order of the first, by name; ConfigError if they are not of the same records."""
    first, own = next(iter(runs.items()))
    rows = []
    for run, scores in runs.items():
        places = {name: place for place, name in enumerate(scores.names)}
        if len(places) < len(scores.names):
            raise ConfigError(f"{run}: some of its records have the same name")
        only = [sorted(set(a) - set(b)) for a, b in ((own.names, places), (places, own.names))]
        if only[0] or only[1]:
            raise ConfigError(
                f"{first} and {run} were tested on different records: {len(only[0])} and "
                f"{len(only[1])} are in one alone, such as {(only[0] + only[1])[0]}"
            )
        order = np.array([places[name] for name in own.names])
        ordered = Scores(
            own.names, scores.labels[order], scores.softmax[order], scores.logits[order]
        )
        if ordered.softmax.shape != own.softmax.shape or (ordered.labels != own.labels).any():
            raise ConfigError(f"{first} and {run} have different classes or class numbers")
        rows.append(ordered)
    return rows


def fuse(runs: dict[str, Scores], weights: tuple[float, ...] = ()) -> dict[str, dict[str, float]]:
    """Accuracies of each run and, as 'fused', of the weighted mean of their softmax scores.

    Args:
      weights: one for each run; () for all the same.

    Raises ConfigError for runs that do not belong together.
    """
    if len(runs) < 2:
        raise ConfigError("fusion takes two different runs or more")
    weights = weights or (1.0,) * len(runs)
    if len(weights) != len(runs) or min(weights) < 0 or not sum(weights) > 0:
        raise ConfigError(f"weights={weights}: give one of at least 0 for each of {len(runs)} runs")
    rows = matched(runs)
    together = np.average([one.softmax for one in rows], axis=0, weights=weights)
    softmax = {**dict(zip(runs, (one.softmax for one in rows), strict=True)), "fused": together}
    return {
        name: dict(accuracies("accuracy", scores, rows[0].labels))
        for name, scores in softmax.items()
    }


def main(argv: Sequence[str]) -> None:
    """Fuses the runs that the command line names and prints their accuracies."""
    parser = parser_of("fuse", "Accuracy of several fine-tuned runs together.")
    parser.add_argument("runs", nargs="*", metavar="RUN", help="workdirs, or their scores.npz")
    parser.add_argument("--weights", default="", help="one for each run, separated by commas")
    parser.add_argument("--evaluator", default="", help="the runs' Classification, by name")
    known = arguments_of(parser, argv)
    try:
        weights = tuple(float(one) for one in known.weights.split(",") if one)
    except ValueError as error:
        raise ConfigError(f"--weights={known.weights}: write numbers, as in 1,1.5") from error
    if len(set(known.runs)) < 2:
        raise ConfigError("fusion takes two different runs or more: fuse RUN RUN")
    scores = {run: scores_of(run, known.evaluator) for run in dict.fromkeys(known.runs)}
    results = fuse(scores, weights)
    width = max(map(len, results))
    for name, numbers in results.items():
        text = "  ".join(f"{metric} {value:.4f}" for metric, value in numbers.items())
        print(f"{name.ljust(width)}  {text}")


if __name__ == "__main__":
    enter(main, "fuse")
