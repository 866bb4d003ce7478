"""A claim, judged by its runs."""

import dataclasses
import importlib
import statistics
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from ssl_jax import config as configs
from ssl_jax.claims.claim import Claim
from ssl_jax.claims.kept import Kept
from ssl_jax.claims.verdict import Pair, kendall, paired, verdict_of
from ssl_jax.command import overridden
from ssl_jax.config import ConfigError
from ssl_jax.training.changed_knobs import below, changed_knobs, listed
from ssl_jax.training.checkout import is_ancestor

# These change neither what is trained nor what is measured.
FREE = ("data", "sharding", "checkpoints", "log_every", "profile", "peak_tflops", "eval_memory")


@dataclasses.dataclass(frozen=True)
class Judged:
    """A claim and what became of it.

    Attributes:
      values: arm -> its number for each seed, as measured.
      random_init: arm -> the mean of the same number before training, where it was measured.
      pairs: what was compared.
      verdict: 'reproduced', 'contradicted' or 'undecided'.
      tau: Kendall's, of the arms' means; nan if all are the same.
      device_hours: of all runs.
      commits: of the runs, in the order of their dates; a dirty one with a dagger.
      date: when the last run was finished.
      stale: why the numbers are no longer this version's; '' if they are.
    """

    claim: Claim
    values: Mapping[str, list[float]]
    random_init: Mapping[str, float]
    pairs: list[Pair]
    verdict: str
    tau: float
    device_hours: float
    commits: tuple[str, ...]
    date: str
    stale: str


def judged(claim: Claim, kept: Mapping[tuple[str, int], Kept]) -> Judged:
    """The claim by (arm, seed) -> what is kept of each run."""
    values, fresh = {}, {}
    for arm in claim.arms:
        metric = claim.metric[arm].removeprefix("-")
        for seed in claim.seeds:
            if metric not in kept[arm, seed].trained:
                raise ConfigError(
                    f"{claim.name}: what is kept of {arm}, seed {seed}, has no {metric}; run "
                    f"python -m ssl_jax.results --claim={claim.name} --workdir=DIR --keep"
                )
        values[arm] = [kept[arm, seed].trained[metric] for seed in claim.seeds]
        before = [kept[arm, seed].random_init for seed in claim.seeds]
        if all(metric in one for one in before):
            fresh[arm] = statistics.fmean(one[metric] for one in before)
    good = {
        arm: [-v for v in own] if claim.metric[arm].startswith("-") else own
        for arm, own in values.items()
    }
    pairs = [paired(a, b, good[a], good[b]) for a, b in claim.pairs]
    own = {arm: one for (arm, _), one in kept.items() if claim.runs[arm] == arm}
    runs = [one.run for (arm, _), one in kept.items() if arm in own]
    runs.sort(key=lambda run: run.finished or "")
    commits = dict.fromkeys(f"{run.commit[:8]}{'†' if run.dirty else ''}" for run in runs)
    reasons = (stale(claim, arm, seed, one) for (arm, seed), one in kept.items() if arm in own)
    return Judged(
        claim=claim,
        values=values,
        random_init=fresh,
        pairs=pairs,
        verdict=verdict_of(pairs),
        tau=kendall(claim.ranks, {arm: statistics.fmean(own) for arm, own in good.items()}),
        device_hours=sum(run.device_hours for run in runs),
        commits=tuple(commits),
        date=(runs[-1].finished or "")[:10],
        stale=next(filter(None, reasons), ""),
    )


def stale(claim: Claim, arm: str, seed: int, kept: Kept) -> str:
    """Why a result is not one of this version; '' if it is.

    Its config cannot be made any more, or the claim's command now gives another; its commit is not
    in the history, or older than the claim's `since`. No data are read.
    """
    try:
        check_calls(kept.config)
        command = claim.arguments(arm)
        name = next(a.partition("=")[2] for a in command if a.startswith("--config="))
        now = overridden(name, [*command, f"--config.seed={seed}"])
    except ConfigError as error:
        return f"its config no longer loads ({error})"
    with now.unlocked():
        now.evaluators = {k: v for k, v in now.evaluators.items() if k in kept.config.evaluators}
    changes = changed_knobs(kept.config, now)
    free = below(changes, *FREE)
    changes = {knob: change for knob, change in changes.items() if knob not in free}
    if changes:
        return f"its command now has other knobs: {listed(changes)}"
    commit = kept.run.commit
    if not commit:
        return "it was not trained from a checkout"
    if is_ancestor(commit) is False:
        return f"its commit {commit[:8]} is not in the history"
    if claim.since and is_ancestor(claim.since, commit) is False:
        return f"its commit {commit[:8]} is older than {claim.since[:8]}"
    return ""


def check_calls(config: Any) -> None:
    """ConfigError if what a config calls is gone, or lacks one of its knobs. Makes nothing."""
    if isinstance(config, tuple):
        for entry in config:
            check_calls(entry)
    if not isinstance(config, ConfigDict):
        return
    for entry in config.values():
        check_calls(entry)
    if "call" in config:
        module, _, name = config.call.partition(":")
        try:
            target = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise ConfigError(str(error)) from error
        configs.call(target, **{k: v for k, v in config.items() if k != "call"})
