"""The block `run` of results.json: by which code, on which data and machine, at which cost."""

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

from ssl_jax.config import ConfigError

SCHEMA = 1


@dataclasses.dataclass(frozen=True)
class Data:
    """What was trained on.

    Attributes:
      name: the source's class and where it reads from.
      split: '' where the source has none.
      records: how many.
      sha256: of the source's knobs and that number, not of the files; its first 16 digits.
    """

    name: str
    split: str
    records: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class System:
    """The machine and the versions of what matters most."""

    device: str
    devices: int
    hosts: int
    jax: str
    jaxlib: str
    flax: str
    python: str
    os: str


@dataclasses.dataclass(frozen=True)
class Seconds:
    """Wall time of a run, over all its parts if it resumed (but a part that was killed).

    Attributes:
      train: the steps, with their compilation.
      evaluate: evaluators, while it trained and at its end.
      wait_for_data: of `train`, how long the devices waited for data.
    """

    train: float
    evaluate: float
    wait_for_data: float


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """One run; nothing of it is filled in by hand.

    Attributes:
      schema: of this block; it rises when a field changes its meaning.
      commit: of the checkout; '' where the package does not run from one.
      dirty: whether files of the checkout differed from the commit, or the run resumed at another.
      version: of the package.
      method: its class.
      config_sha256: of config.json as it was when the run began or resumed last.
      seed: of the run.
      steps: of the whole run.
      records_seen: rows that were trained on, over all epochs and views of the same record.
      data: the source.
      init_from: where each trunk or teacher that was not freshly initialised came from, with the
        first 8 digits of its file's (or its checkpoint's checksums') sha256.
      system: the machine.
      seconds: wall time by part.
      examples_per_second: rows over the time of the steps after the first, without evaluators;
        None if there was but one.
      peak_memory_bytes: of the fullest device; where JAX does not tell (CPU), of this process.
      params: numbers in the network, teachers included.
      gflops_per_example: model FLOPs of a training step over its rows; see `training.speed`.
      started, finished: in UTC, such as '2026-01-31T23:59:59Z'; finished is None until it is.
    """

    schema: int
    commit: str
    dirty: bool
    version: str
    method: str
    config_sha256: str
    seed: int
    steps: int
    records_seen: int
    data: Data
    init_from: Mapping[str, str]
    system: System
    seconds: Seconds
    examples_per_second: float | None
    peak_memory_bytes: int
    params: int
    gflops_per_example: float
    started: str
    finished: str | None

    @property
    def device_hours(self) -> float:
        """Hours of training and evaluation times the number of devices."""
        return (self.seconds.train + self.seconds.evaluate) / 3600 * self.system.devices


GROUPS = {"data": Data, "system": System, "seconds": Seconds}


def record_from(block: Mapping[str, Any], place: str) -> RunRecord:
    """The record of a block `run`, which stands in the file `place`.

    Raises ConfigError for a field that is missing or unknown, and for another schema.
    """
    _check(RunRecord, block, f"{place}: run")
    if block["schema"] != SCHEMA:
        raise ConfigError(
            f"{place}: run.schema is {block['schema']}, this version of ssl_jax reads {SCHEMA}"
        )
    for name, group in GROUPS.items():
        _check(group, block[name], f"{place}: run.{name}")
    return RunRecord(**{**block, **{n: group(**block[n]) for n, group in GROUPS.items()}})


def read_record(path: str | os.PathLike) -> RunRecord | None:
    """The record in a results.json; None if there is no such file, or no block in it."""
    if not os.path.isfile(path):
        return None
    with open(path) as file:
        parts = json.load(file)
    return record_from(parts["run"], os.fspath(path)) if "run" in parts else None


def _check(target: type, block: Any, place: str) -> None:
    known = {field.name for field in dataclasses.fields(target)}
    if not isinstance(block, Mapping):
        raise ConfigError(f"{place} should be a group: {', '.join(sorted(known))}")
    for what, names in (("unknown", set(block) - known), ("missing", known - set(block))):
        if names:
            raise ConfigError(f"{place}.{min(names)} is {what}")
