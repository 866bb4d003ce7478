"""What a paper claims, as an order of arms: docs/claims/NAME.yaml."""

import dataclasses
import os
import shlex
from collections.abc import Mapping
from typing import Any

import yaml

from ssl_jax.config import ConfigError

# How a paper's numbers came here.
MARKS = {
    "read": "read in the paper",
    "secondary": "as another paper reports it",
    "lecture": "as a lecture reports it",
    "recalled": "recalled, not looked up",
}
COMMAND = ["python", "-m", "ssl_jax.train"]


@dataclasses.dataclass(frozen=True)
class Paper:
    """Where the claim stands.

    Attributes:
      table: or figure, or section.
      mark: how its numbers came here, one of MARKS.
      numbers: arm -> the paper's number, as far as it has any.
    """

    title: str
    year: int
    table: str
    mark: str
    numbers: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Claim:
    """An order that a paper found, and how it is tried here.

    Attributes:
      name: of the file.
      says: the claim in a sentence.
      paper: where it stands.
      order: groups of arms, the paper's best first. Arms of one group are tied in the paper (they
        differ by less than its own spread, or it does not say), and are not judged.
      metric: arm -> its number in results.json, such as 'linear/pool'; after a minus, less is
        better.
      command: trains an arm, up to its own knobs, seed and workdir.
      arms: arm -> the knobs by which it differs. Arms with the same knobs are the same run.
      seeds: of every arm; arms are compared seed by seed.
      differs: from the paper, in a sentence.
      since: a commit that fixed something this claim rests on: older results are stale. Or ''.
    """

    name: str
    says: str
    paper: Paper
    order: tuple[tuple[str, ...], ...]
    metric: Mapping[str, str]
    command: str
    arms: Mapping[str, str]
    seeds: tuple[int, ...]
    differs: str
    since: str = ""

    @property
    def ranks(self) -> dict[str, int]:
        """Arm -> its place in the paper, 0 the best."""
        return {arm: place for place, group in enumerate(self.order) for arm in group}

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """(better, worse) of each arm with every arm of the next group."""
        nexts = zip(self.order, self.order[1:], strict=False)
        return [(a, b) for better, worse in nexts for a in better for b in worse]

    @property
    def runs(self) -> dict[str, str]:
        """Arm -> the arm whose runs it shares: the first with the same knobs."""
        first: dict[str, str] = {}
        for arm, knobs in self.arms.items():
            first.setdefault(knobs, arm)
        return {arm: first[knobs] for arm, knobs in self.arms.items()}

    def arguments(self, arm: str) -> list[str]:
        """What follows `python -m ssl_jax.train` for an arm, but for seed and workdir."""
        return shlex.split(self.command)[len(COMMAND) :] + shlex.split(self.arms[arm])


def read_claim(path: str | os.PathLike) -> Claim:
    """The claim of a yaml file.

    Raises ConfigError for a field that is unknown, missing or no such thing, and for an arm that is
    named in one place only.
    """
    path = os.fspath(path)
    try:
        with open(path) as file:
            found = yaml.safe_load(file)
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    _check(Claim, found, path, {"name"}, {"since"})
    _check(Paper, found["paper"], f"{path}: paper", set(), {"numbers"})
    paper = {"numbers": {}, **found["paper"]}
    paper["numbers"] = {arm: float(number) for arm, number in paper["numbers"].items()}
    order = tuple(tuple(g) if isinstance(g, list) else (g,) for g in found["order"])
    arms, metric = found["arms"], found["metric"]
    fields = {
        **found,
        "name": os.path.splitext(os.path.basename(path))[0],
        "paper": Paper(**paper),
        "order": order,
        "metric": dict.fromkeys(arms, metric) if isinstance(metric, str) else metric,
        "arms": {arm: knobs or "" for arm, knobs in arms.items()},
        "seeds": tuple(found["seeds"]),
    }
    claim = Claim(**fields)
    if "--config=" not in claim.command:
        raise ConfigError(f"{path}: command should name its config as --config=NAME")
    named = [arm for group in order for arm in group]
    if sorted(named) != sorted(arms) or set(claim.metric) != set(arms) or len(order) < 2:
        raise ConfigError(f"{path}: order, arms and metric must name the same arms, two or more")
    if not set(claim.paper.numbers) <= set(arms):
        raise ConfigError(f"{path}: paper.numbers names others than the arms {', '.join(arms)}")
    if claim.paper.mark not in MARKS:
        raise ConfigError(f"{path}: paper.mark is one of {', '.join(MARKS)}")
    if shlex.split(claim.command)[: len(COMMAND)] != COMMAND:
        raise ConfigError(f"{path}: command should begin with {' '.join(COMMAND)}")
    if len(set(claim.seeds)) < 3:
        raise ConfigError(f"{path}: an order takes three seeds or more")
    return claim


def read_claims(folder: str | os.PathLike) -> list[Claim]:
    """All claims of a folder, by name; ConfigError if there is none."""
    folder = os.fspath(folder)
    if not os.path.isdir(folder):
        raise ConfigError(f"no folder {folder} of claims; give another by --claims")
    names = sorted(name for name in os.listdir(folder) if name.endswith(".yaml"))
    if not names:
        raise ConfigError(f"{folder} has no claim (.yaml)")
    return [read_claim(os.path.join(folder, name)) for name in names]


def _check(target: type, found: Any, place: str, given: set[str], optional: set[str]) -> None:
    known = {field.name for field in dataclasses.fields(target)} - given
    if not isinstance(found, Mapping):
        raise ConfigError(f"{place} should have the fields {', '.join(sorted(known))}")
    for what, names in (
        ("unknown", set(found) - known),
        ("missing", known - optional - set(found)),
    ):
        if names:
            raise ConfigError(f"{place}: '{min(names)}' is {what}")
