"""Saving and restoring the training state, without ever losing a run (Orbax CheckpointManager)."""

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import logging
from flax import struct

from ssl_jax.config import ConfigError
from ssl_jax.devices.hosts import on_every_host, several, wait_for_all
from ssl_jax.experiment import Checkpoints
from ssl_jax.training.checksums import damage, write_checksums
from ssl_jax.training.differing_arrays import first_difference
from ssl_jax.training.keep_best import Scores
from ssl_jax.training.stop import Interrupted, SaveError


class TrainState(struct.PyTreeNode):
    """Everything a step reads and writes; a checkpoint is exactly this.

    Leaves are arrays, or their shapes, types or places: hence no narrower types.
    """

    step: Any  # int32, steps taken
    key: Any  # of the whole run; step k uses fold_in(key, k)
    params: Any
    state: Any  # the method's other collections: batch statistics, queues, centroids
    optimizer: Any

    def abstract(self, shardings) -> "TrainState":
        """Shapes, types and places, for restoring."""
        return jax.tree.map(
            lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
            self,
            shardings,
        )


class Saver:
    """The checkpoints of one workdir. A context manager: leaving it waits for the last save.

    A save that fails (the disk is full) is reported in one line, and training continues without
    that checkpoint. The last one of a run must not be lost: then leaving raises SaveError. With
    several hosts every failure raises SaveError, as none knows what the others wrote.
    """

    def __init__(self, workdir: str | os.PathLike, knobs: Checkpoints | None = None):
        """Without `knobs` the folder is only read."""
        import orbax.checkpoint as ocp

        self.folder = os.path.join(os.path.abspath(workdir), "checkpoints")
        self.knobs = knobs
        self._ocp = ocp
        self._last = time.monotonic()
        self._lost: tuple[int, str] | None = None  # the newest save, if it failed, and why
        self._saving = 0
        self._scores = Scores(workdir, knobs.keep_best if knobs else "")
        self._manager = self._open(cleanup=True)

    def _open(self, cleanup: bool):
        ocp, knobs = self._ocp, self.knobs
        if not knobs:
            options = ocp.CheckpointManagerOptions(create=False)
            return ocp.CheckpointManager(self.folder, options=options)
        policies = ocp.checkpoint_managers
        rules = [policies.LatestN(knobs.keep)]
        if knobs.keep_every:
            rules.append(policies.EveryNSteps(knobs.keep_every))
        if knobs.keep_best:
            rules.append(self._scores)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy(rules),
            cleanup_tmp_directories=cleanup,  # of a run that was killed during a save
            async_options=ocp.AsyncOptions(post_finalization_callback=self._seal),
        )
        return ocp.CheckpointManager(self.folder, options=options)

    def __enter__(self) -> "Saver":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        agreed = kind is None or issubclass(kind, Interrupted | FloatingPointError)
        if several() and not agreed:
            return  # another host may be gone, and the end of a save waits for it
        self._settle()
        self._manager.close()
        if kind is None:
            self._raise_if_lost()

    def due(self, step: int, logged: bool) -> bool:
        """Whether the state after this step should be saved. The same answer on every host."""
        steps, minutes = self.knobs.every_steps, self.knobs.every_minutes
        if any(n and step % n == 0 for n in (steps, self.knobs.keep_every)):
            return True
        if not minutes:
            return False
        old = time.monotonic() - self._last > 60 * minutes
        if not several():
            return old
        if not logged:  # asking the others holds the devices up
            return False
        from jax.experimental import multihost_utils

        return bool(multihost_utils.broadcast_one_to_all(old))  # clocks differ, so host 0 decides

    def preempted(self, step: int) -> bool:
        """Whether a machine is about to be preempted; the same answer on every host."""
        return self._manager.reached_preemption(step)

    def save(self, state: TrainState, step: int) -> None:
        """Starts an asynchronous save; the state may be overwritten once this returns."""
        self._settle()
        if step not in self._manager.all_steps():
            self._lost, self._saving = None, step
            try:
                self._manager.save(step, args=self._ocp.args.StandardSave(state), force=True)
            except (OSError, ValueError) as error:
                self._failed(step, error)
        self._last = time.monotonic()

    def finish(self) -> None:
        """Waits for the last save; SaveError if it failed."""
        self._settle()
        self._raise_if_lost()

    def score(self, step: int, results: dict[str, float | np.ndarray]) -> None:
        """Takes note of the evaluators' numbers at a step, not of pictures, for `keep_best`."""
        numbers = {k: v for k, v in results.items() if not isinstance(v, np.ndarray)}
        self._scores.add(step, numbers)

    def newest(self) -> str:
        """Says which checkpoint there is, for messages."""
        self._settle()
        step = self._manager.latest_step()
        if step is None:
            return f"there is no checkpoint in {self.folder} yet"
        return f"the last good checkpoint, of step {step}, is kept in {self.folder}"

    def _seal(self) -> None:
        """Adds checksums to what was written, just before it is given its final name."""
        for name in os.listdir(self.folder) if jax.process_index() == 0 else ():
            if name.startswith(f"{self._saving}{self._ocp.utils.TMP_DIR_SUFFIX}"):
                write_checksums(os.path.join(self.folder, name))

    def _settle(self) -> None:
        """Waits for the save that is under way, and reports if it failed."""
        under_way = self._manager.latest_step()
        try:
            self._manager.wait_until_finished()
        except (OSError, ValueError) as error:
            self._failed(under_way, error)

    def _failed(self, step: int, error: Exception) -> None:
        reason = _first_line(error)
        self._lost = (step, reason)
        if several():
            self._raise_if_lost()
        for _ in range(3):  # each of its threads may raise its error once
            with contextlib.suppress(Exception):
                self._manager.close()
                break
        # What was written in part would stay on the full disk.
        for name in os.listdir(self.folder):
            if self._ocp.utils.TMP_DIR_SUFFIX in name:
                shutil.rmtree(os.path.join(self.folder, name), ignore_errors=True)
        # The old one would report old errors at the next save. Without a clean-up: while threads of
        # the failed save still write, that fails, and the next save with it.
        self._manager = self._open(cleanup=False)
        logging.warning(
            "could not save step %d: %s; %s. Training continues and saves again later",
            *(step, reason, self.newest()),
        )

    def _raise_if_lost(self) -> None:
        if self._lost:
            step, reason = self._lost
            raise SaveError(f"could not save step {step} in {self.folder}: {reason}")

    def restore(self, abstract: TrainState) -> TrainState | None:
        """The newest readable checkpoint, laid out as `abstract` says; None if there is none.

        A damaged one is reported and renamed to STEP.damaged, and the one before it is restored.
        ConfigError if its arrays are not those of `abstract`.
        """

        def read(step: int) -> TrainState:
            folder = self._manager.directory / str(step) / "default"
            saved = self._ocp.PyTreeCheckpointHandler().metadata(folder).tree
            wanted = self._ocp.tree.serialize_tree(abstract, keep_empty_nodes=True)
            for part in ("params", "state", "optimizer"):
                unfit = first_difference(saved[part], wanted[part], part)
                if unfit:
                    raise ConfigError(f"the checkpoint {self.folder}/{step} {unfit}")
            return self._manager.restore(step, args=self._ocp.args.StandardRestore(abstract))

        state, damaged = self._newest(read)
        if state is None and damaged:
            raise ConfigError(
                f"no checkpoint in {self.folder} can be read with this config; was it made with "
                "another one? Choose another --workdir to train from scratch"
            )
        if not damaged or not self.knobs:
            return state
        # Left in place, they would be taken for the steps that now follow again.
        if jax.process_index() == 0:
            for step in damaged:
                folder = os.path.join(self.folder, str(step))
                shutil.rmtree(f"{folder}.damaged", ignore_errors=True)  # of an earlier time
                os.rename(folder, f"{folder}.damaged")
        wait_for_all("damaged checkpoints set aside")
        self._manager.reload()
        return state

    def restore_variables(self, step: int | None = None) -> dict:
        """Params, state and step of a checkpoint (by default the newest readable), on the host."""
        place = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        handler = self._ocp.PyTreeCheckpointHandler()
        options = self._ocp.CheckpointManagerOptions(create=False)
        with self._ocp.CheckpointManager(
            self.folder, options=options, item_handlers=handler
        ) as reader:

            def read(step: int) -> dict:
                saved = reader.item_metadata(step).tree
                wanted = {
                    part: jax.tree.map(
                        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
                        saved[part],
                    )
                    for part in ("params", "state", "step")
                }
                places = self._ocp.checkpoint_utils.construct_restore_args(wanted)
                arguments = self._ocp.args.PyTreeRestore(
                    wanted, restore_args=places, partial_restore=True
                )
                return jax.device_get(reader.restore(step, args=arguments))

            if step is not None and step not in self._manager.all_steps():
                known = ", ".join(map(str, sorted(self._manager.all_steps()))) or "none"
                raise ConfigError(
                    f"no checkpoint of step {step} in {self.folder}; there is {known}"
                )
            variables, _ = self._newest(read, step)
        if variables is None:
            raise ConfigError(f"no readable checkpoint in {self.folder}")
        return variables

    def _newest(self, read: Callable[[int], Any], only: int | None = None) -> tuple[Any, list[int]]:
        """What `read` returns for the newest step that it can read, and the steps it cannot.

        Every host calls it. A step that one of them cannot read is skipped by all, as they read
        together.
        """
        damaged = []
        for step in sorted(self._manager.all_steps(), reverse=True) if only is None else [only]:
            for attempt in (self._verify, read):
                found, error = _attempt(attempt, step)
                if not on_every_host(error is None):
                    path = os.path.join(self.folder, str(step))
                    reason = _first_line(error) if error else "another host cannot"
                    logging.warning("cannot read checkpoint %s: %s", path, reason)
                    damaged.append(step)
                    break
            else:
                return found, damaged
        return None, damaged

    def _verify(self, step: int) -> None:
        """ValueError, on the first host, if a file of the checkpoint has changed since."""
        problem = damage(os.path.join(self.folder, str(step))) if jax.process_index() == 0 else ""
        if problem:
            raise ValueError(problem)


def _attempt(do: Callable[[int], Any], step: int) -> tuple[Any, Exception | None]:
    """(result, None) or (None, error); what is not the checkpoint's fault is raised."""
    try:
        return do(step), None
    except (jax.errors.JaxRuntimeError, MemoryError, ConfigError):
        raise
    except Exception as error:  # Orbax raises plain Exceptions, too
        return None, error


def _first_line(error: Exception) -> str:
    """The reason in one line; tensorstore's are long, what matters is at both ends."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if len(line) < 240 else f"{line[:60]} ... {line[-170:]}"


def newest_step(workdir: str | os.PathLike) -> int | None:
    """The newest checkpoint's step, None if there is none."""
    import orbax.checkpoint as ocp

    folder = os.path.join(os.path.abspath(workdir), "checkpoints")
    steps = ocp.utils.checkpoint_steps(folder) if os.path.isdir(folder) else []
    return max(steps, default=None)


def saved_variables(workdir: str, step: int | None = None) -> dict:
    """{'params': ..., **state} of a run's newest checkpoint, or of a step's, on the host.

    With the number of steps done, variables['run']['step']. Raises ConfigError if there is none.
    """
    if not os.path.isdir(os.path.join(workdir, "checkpoints")):
        raise ConfigError(f"no checkpoint in {workdir}: train first")
    with Saver(workdir) as saver:
        saved = saver.restore_variables(step)
    return {"params": saved["params"], **saved["state"], "run": {"step": saved["step"]}}
