"""Trains the runs of a claim, one after another, each by its own command."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator

from ssl_jax.claims.claim import COMMAND, Claim
from ssl_jax.claims.kept import Kept, keep, kept_of
from ssl_jax.config import ConfigError
from ssl_jax.training.run_record import read_record


def runs_of(claim: Claim, folder: str) -> Iterator[tuple[str, int, str, list[str]]]:
    """(arm, seed, workdir, arguments of `train`) of every run; arms that share theirs once."""
    for seed in claim.seeds:
        for arm in dict.fromkeys(claim.runs.values()):
            workdir = os.path.join(folder, claim.name, f"{arm}_{seed}")
            own = [f"--config.seed={seed}", f"--workdir={workdir}"]
            yield arm, seed, workdir, [*claim.arguments(arm), *own]


def command_line(arguments: list[str]) -> str:
    """The command that trains with these arguments, quoted so that a person can read it."""
    return " ".join([*COMMAND, *map(_quoted, arguments)])


def _quoted(argument: str) -> str:
    if shlex.quote(argument) == argument or any(sign in argument for sign in '"$`\\!'):
        return shlex.quote(argument)
    name, equals, value = argument.partition("=")
    return f'{name}{equals}"{value}"'


def train_all(claim: Claim, folder: str) -> None:
    """Trains what is not finished below `folder`. ConfigError if a run fails."""
    for _, _, workdir, arguments in runs_of(claim, folder):
        record = read_record(os.path.join(workdir, "results.json"))
        if record and record.finished:
            continue
        print(command_line(arguments), flush=True)
        done = subprocess.run([sys.executable, "-m", "ssl_jax.train", *arguments])
        if done.returncode:
            raise ConfigError(f"{claim.name}: the run in {workdir} failed, see above")


def results_of(claim: Claim, folder: str) -> dict[tuple[str, int], dict]:
    """(arm, seed) -> what is to be kept of each finished run below `folder`."""
    return {(arm, seed): keep(claim, arm, where) for arm, seed, where, _ in runs_of(claim, folder)}


def as_kept(claim: Claim, results: dict[tuple[str, int], dict]) -> dict[tuple[str, int], Kept]:
    """The same for every arm, also those that share another's runs."""
    return {
        (arm, seed): kept_of(results[claim.runs[arm], seed], f"{claim.name}/{arm}")
        for arm in claim.arms
        for seed in claim.seeds
    }
