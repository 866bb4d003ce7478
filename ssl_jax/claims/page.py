"""The page of claims, in Markdown: contradicted ones first."""

import math
import statistics
from collections.abc import Sequence

from ssl_jax.claims.claim import MARKS, Claim
from ssl_jax.claims.judged import Judged
from ssl_jax.claims.trying import command_line, runs_of
from ssl_jax.claims.verdict import CONTRADICTED, REPRODUCED, UNDECIDED

# As they stand on the page. Who hides what was contradicted is not trusted.
SORTED = (CONTRADICTED, REPRODUCED, UNDECIDED)

INTRO = """# Claims of papers, tried here

Data and compute are small here, so a paper is tried as an *order*: which of its variants is
better. Each arm is trained with the same seeds. The difference of two arms that the paper puts
one after the other is taken seed by seed, with its 95 % interval (Student's t): **reproduced** if
all of it is above 0, **contradicted** if below, else **undecided**. A claim is reproduced if all
of its pairs are, and contradicted if one is. τ is Kendall's, between the paper's order and ours.
Random init: the same number before training. † marks a run whose files differed from its commit.

`python -m ssl_jax.results --claim=NAME --workdir=DIR` trains a claim's runs and judges it;
`--keep` puts what they measured into `docs/claims/results`, from which `python -m
ssl_jax.results` makes this page.
"""


def page(rows: Sequence[Judged], untried: Sequence[Claim] = ()) -> str:
    """The whole page; of claims that were not tried only what they say."""
    places = [SORTED.index(row.verdict) + len(SORTED) * bool(row.stale) for row in rows]
    rows = [row for _, row in sorted(zip(places, rows, strict=True), key=lambda pair: pair[0])]
    counts = ", ".join(
        f"{sum(row.verdict == word and not row.stale for row in rows)} {word}" for word in SORTED
    )
    old = sum(bool(row.stale) for row in rows)
    head = (
        "| claim | verdict | the paper | ours, mean ± sd | random init | τ | n | device-hours "
        "| commit | date |"
    )
    lines = [INTRO, f"{counts}{f', {old} stale' if old else ''}."]
    if rows:
        lines += ["", head, "|---" * 10 + "|", *(_row(row) for row in rows)]
    for row in rows:
        lines += ["", *_section(row)]
    if untried:
        lines += ["", "## Not tried yet", "", *(f"- {one.name}: {one.says}" for one in untried)]
    return "\n".join([*lines, ""])


def verdict_text(row: Judged) -> str:
    """The claim, its arms and pairs, and the verdict, in a few lines for a terminal."""
    claim = row.claim
    lines = [claim.says, *(f"  {arm}: {_ours(row, arm)}" for arm in claim.arms)]
    lines += [f"  {_interval(pair)}: {pair.verdict}" for pair in row.pairs]
    tau = "" if math.isnan(row.tau) else f", Kendall's tau {row.tau:.2f}"
    lines.append(f"{claim.name}: {row.verdict}{tau}, {row.device_hours:.2f} device-hours")
    return "\n".join([*lines, *([f"stale: {row.stale}"] if row.stale else [])])


def _row(row: Judged) -> str:
    claim = row.claim
    verdict = f"stale (was {row.verdict})" if row.stale else f"**{row.verdict}**"
    fresh = ", ".join(f"{arm} {value:.3f}" for arm, value in row.random_init.items())
    cells = (
        f"[{claim.name}](#{claim.name})",
        verdict,
        _paper(claim),
        "; ".join(f"{arm} {_ours(row, arm)}" for arm in claim.arms),
        fresh or "–",
        "–" if math.isnan(row.tau) else f"{row.tau:.2f}",
        str(len(claim.seeds)),
        f"{row.device_hours:.2f}",
        ", ".join(row.commits),
        row.date,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _paper(claim: Claim) -> str:
    numbers = claim.paper.numbers
    order = " > ".join(
        " ≈ ".join(f"{arm} {numbers[arm]:g}" if arm in numbers else arm for arm in group)
        for group in claim.order
    )
    return f"{order} ({claim.paper.mark})"


def _ours(row: Judged, arm: str) -> str:
    values = row.values[arm]
    return f"{statistics.fmean(values):.3f} ± {statistics.stdev(values):.3f}"


def _interval(pair) -> str:
    return f"{pair.better} − {pair.worse} = {pair.mean:.4f}, from {pair.low:.4f} to {pair.high:.4f}"


def _section(row: Judged) -> list[str]:
    claim, paper = row.claim, row.claim.paper
    metrics = ", ".join(dict.fromkeys(claim.metric.values()))
    commands = [
        command_line(arguments)
        for _, seed, _, arguments in runs_of(claim, "runs/claims")
        if seed == claim.seeds[0]
    ]
    return [
        f"## {claim.name}",
        "",
        claim.says,
        "",
        f"*{paper.title}*, {paper.year}, {paper.table}; {MARKS[paper.mark]}. Here by `{metrics}`. "
        f"Differs from the paper: {claim.differs}",
        "",
        *([f"Stale: {row.stale}.", ""] if row.stale else []),
        *(f"- {_interval(pair)}: {pair.verdict}" for pair in row.pairs),
        "",
        "```sh",
        f"python -m ssl_jax.results --claim={claim.name} --workdir=runs/claims",
        "```",
        "",
        f"It runs these with the seeds {', '.join(map(str, claim.seeds))}:",
        "",
        "```sh",
        *commands,
        "```",
    ]
