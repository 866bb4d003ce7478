"""Small results that are kept in the repository, one file a run: docs/claims/results/CLAIM/."""

import dataclasses
import json
import os
from collections.abc import Mapping

from ml_collections import ConfigDict

from ssl_jax import config as configs
from ssl_jax.claims.claim import Claim
from ssl_jax.config import ConfigError
from ssl_jax.training.run_record import RunRecord, record_from

LARGEST = 5 * 1024  # bytes of a file
FIELDS = {"config", "run", "trained", "random_init"}


@dataclasses.dataclass(frozen=True)
class Kept:
    """What is kept of a run.

    Attributes:
      config: of the run, with those of its evaluators alone whose numbers are kept.
      run: its record.
      trained, random_init: the numbers that the claim goes by.
    """

    config: ConfigDict
    run: RunRecord
    trained: Mapping[str, float]
    random_init: Mapping[str, float]


def keep(claim: Claim, arm: str, workdir: str) -> dict:
    """What a finished run leaves for a claim, as json takes it.

    Raises ConfigError if the run is not finished or lacks the number that the claim goes by.
    """
    with open(os.path.join(workdir, "results.json")) as file:
        results = json.load(file)
    run = record_from(results["run"], workdir)
    if run.finished is None:
        raise ConfigError(f"{workdir} is not finished: run the same command again")
    wanted = sorted({claim.metric[other].removeprefix("-") for other in _same_run(claim, arm)})
    for name in wanted:
        if name not in results["trained"]:
            there = ", ".join(results["trained"]) or "none"
            raise ConfigError(f"{workdir} has no result {name}; it has {there}")
    config = configs.plain(configs.read(os.path.join(workdir, "config.json")))
    used = {name.split("/")[0] for name in wanted}
    config["evaluators"] = {k: v for k, v in config["evaluators"].items() if k in used}
    fresh = results["random_init"]
    return {
        "config": config,
        "run": dataclasses.asdict(run),
        "trained": {name: results["trained"][name] for name in wanted},
        "random_init": {name: fresh[name] for name in wanted if name in fresh},
    }


def write_kept(parts: dict, path: str) -> None:
    """Writes a kept file, one part a line; ConfigError if it is too large."""
    lines = [f'"{name}": {json.dumps(part, separators=(",", ":"))}' for name, part in parts.items()]
    text = "{" + ",\n".join(lines) + "}\n"
    if len(text.encode()) > LARGEST:
        raise ConfigError(f"{path} would have {len(text.encode())} bytes, more than {LARGEST}")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def read_kept(path: str | os.PathLike) -> Kept:
    """A kept file; ConfigError if it is not one."""
    path = os.fspath(path)
    try:
        with open(path) as file:
            parts = json.load(file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if set(parts) != FIELDS:
        raise ConfigError(f"{path} should have the parts {', '.join(sorted(FIELDS))}")
    return kept_of(parts, path)


def kept_of(parts: dict, place: str) -> Kept:
    """What `keep` gave, or a file holds that stands at `place`."""
    run = record_from(parts["run"], place)
    config = configs.from_plain(parts["config"])
    return Kept(config, run, parts["trained"], parts["random_init"])


def path_of(folder: str | os.PathLike, claim: Claim, arm: str, seed: int) -> str:
    """Where a run's kept file lies below the folder of claims."""
    return os.path.join(folder, "results", claim.name, f"{claim.runs[arm]}_{seed}.json")


def has_results(folder: str | os.PathLike, claim: Claim) -> bool:
    """Whether anything is kept for a claim."""
    return os.path.isdir(os.path.join(folder, "results", claim.name))


def kept_runs(folder: str | os.PathLike, claim: Claim) -> dict[tuple[str, int], Kept]:
    """(arm, seed) -> what is kept of it; arms that are the same run have the same."""
    return {
        (arm, seed): read_kept(path_of(folder, claim, arm, seed))
        for arm in claim.arms
        for seed in claim.seeds
    }


def _same_run(claim: Claim, arm: str) -> list[str]:
    return [other for other in claim.arms if claim.runs[other] == claim.runs[arm]]
