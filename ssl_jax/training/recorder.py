"""Keeps the block `run` of results.json while a run trains. Host 0 only."""

import contextlib
import dataclasses
import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Iterator

import flax
import jax
import jaxlib
from ml_collections import ConfigDict

from ssl_jax import config as configs
from ssl_jax.evals.table import write_parts
from ssl_jax.experiment import Experiment
from ssl_jax.training.checkout import commit_and_dirty
from ssl_jax.training.checkpoint import TrainState, newest_step
from ssl_jax.training.checksums import NAME
from ssl_jax.training.feed import Feed
from ssl_jax.training.init_steps import init_steps
from ssl_jax.training.logs import Log
from ssl_jax.training.run_record import (
    SCHEMA,
    Data,
    RunRecord,
    Seconds,
    System,
    read_record,
)


class Recorder:
    """Writes the record when a run begins or resumes, when it stops, and when it is finished."""

    def __init__(self, workdir: str, config: ConfigDict, experiment: Experiment, state: TrainState):
        """Writes the record of what is known now; that of a run that resumes goes on."""
        self._active = jax.process_index() == 0
        if not self._active:
            return
        self._path = os.path.join(workdir, "results.json")
        self._rows = experiment.batch_size
        self._begin, self._evaluating = time.monotonic(), 0.0
        step = int(state.step)
        before = read_record(self._path) if step else None
        self._before = before.seconds if before else Seconds(0.0, 0.0, 0.0)
        commit, dirty = commit_and_dirty()
        self.record = RunRecord(
            schema=SCHEMA,
            commit=commit,
            dirty=dirty or bool(before and (before.dirty or before.commit != commit)),
            version=importlib.metadata.version("ssl_jax"),
            method=config.method.call,
            config_sha256=_sha256(_json(config)),
            seed=experiment.seed,
            steps=experiment.steps,
            records_seen=step * self._rows,
            data=data_of(config.source, len(experiment.source)),
            init_from=before.init_from if step and before else origins(experiment),
            system=this_system(),
            seconds=self._before,
            examples_per_second=before.examples_per_second if before else None,
            peak_memory_bytes=max(peak_memory(), before.peak_memory_bytes if before else 0),
            params=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
            gflops_per_example=before.gflops_per_example if before else 0.0,
            started=before.started if before else now(),
            finished=None,
        )
        self._write()

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """What is done inside counts as evaluation."""
        begin = time.monotonic()
        try:
            yield
        finally:
            if self._active:
                self._evaluating += time.monotonic() - begin

    @contextlib.contextmanager
    def training(self, log: Log, feed: Feed) -> Iterator[None]:
        """The loop of steps is run inside; however it ends, what it cost is written down."""
        try:
            yield
        finally:
            if self._active:
                self._trained(log, feed)
                # Where the disk is full, the error that ends the run is already on its way.
                with contextlib.suppress(OSError):
                    self._write()

    def _trained(self, log: Log, feed: Feed) -> None:
        steps, seconds = log.timed
        changes = {
            "records_seen": log.reached * self._rows,
            "seconds": self._seconds(time.monotonic() - self._begin, feed.waited),
            "peak_memory_bytes": max(peak_memory(), self.record.peak_memory_bytes),
        }
        if steps:
            speed = steps * self._rows / max(seconds - self._evaluating, 1e-9)
            changes["examples_per_second"] = speed
        if log.speed.flops:
            changes["gflops_per_example"] = log.speed.flops / self._rows / 1e9
        self.record = dataclasses.replace(self.record, **changes)
        self._loop = changes["seconds"], self._evaluating

    def finish(self) -> None:
        """Writes that the run is finished."""
        if self._active:
            seconds, evaluating = self._loop
            more = self._evaluating - evaluating
            self.record = dataclasses.replace(
                self.record,
                seconds=dataclasses.replace(seconds, evaluate=seconds.evaluate + more),
                peak_memory_bytes=max(peak_memory(), self.record.peak_memory_bytes),
                finished=now(),
            )
            self._write()

    def _seconds(self, elapsed: float, waited: float) -> Seconds:
        return Seconds(
            self._before.train + elapsed - self._evaluating,
            self._before.evaluate + self._evaluating,
            self._before.wait_for_data + waited,
        )

    def _write(self) -> None:
        write_parts(self._path, {"run": dataclasses.asdict(self.record)})


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def peak_memory() -> int:
    """Most bytes in use so far: on the fullest of this host's devices, else of this process."""
    stats = [device.memory_stats() for device in jax.local_devices()]
    peaks = [one["peak_bytes_in_use"] for one in stats if one and "peak_bytes_in_use" in one]
    if peaks:
        return max(peaks)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def this_system() -> System:
    """The machine, and the versions of what matters most."""
    return System(
        device=jax.devices()[0].device_kind,
        devices=jax.device_count(),
        hosts=jax.process_count(),
        jax=jax.__version__,
        jaxlib=jaxlib.__version__,
        flax=flax.__version__,
        python=platform.python_version(),
        os=f"{platform.system()} {platform.machine()}",
    )


def data_of(source: ConfigDict, records: int) -> Data:
    """What a recorded source of so many records is."""
    name = source.call.partition(":")[2]
    places = [str(source[knob]) for knob in ("name", "path", "paths") if knob in source]
    split = str(source.split) if "split" in source else ""
    digest = _sha256(_json(source) + str(records).encode())
    return Data(" ".join([name, *places]), split, records, digest[:16])


def origins(experiment: Experiment) -> dict[str, str]:
    """'vision' -> 'runs/a at step 300, 1a2b3c4d', of each trunk that `init_from` fills.

    Under '*' where all trunks come from one run.
    """
    asked = experiment.init_from
    if isinstance(asked, str):
        asked = {"*": asked} if asked else {}
    return {name: _origin(where) for name, where in asked.items()}


def _origin(where: str) -> str:
    where, steps = init_steps(where)
    return "+".join([*([_run(where)] if where else []), *(f"data:{step}" for step in steps)])


def _run(where: str) -> str:
    run = where if where.endswith(".npz") else where.partition(":")[0]
    path, step = run, ""
    if os.path.isdir(run):
        number = newest_step(run)
        step = f" at step {number}"
        path = os.path.join(run, "checkpoints", str(number), NAME)
    if not os.path.isfile(path):
        return f"{where}{step}"
    with open(path, "rb") as file:
        return f"{where}{step}, {hashlib.file_digest(file, 'sha256').hexdigest()[:8]}"


def _json(config: ConfigDict) -> bytes:
    return json.dumps(configs.plain(config), sort_keys=True).encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
