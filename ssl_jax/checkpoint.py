"""Saving and restoring the training state, without ever losing a run (Orbax CheckpointManager)."""

import dataclasses
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import jax
from absl import logging
from flax import struct

from ssl_jax.config import ConfigError


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


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """When to save, and how many to keep.

    Attributes:
      every_steps: save each time this many steps are done; 0: by the clock only.
      every_minutes: save when the last checkpoint is this old; 0: by steps only.
      keep: newest checkpoints kept.
    """

    every_steps: int = 1000
    every_minutes: float = 10.0
    keep: int = 3


class Saver:
    """The checkpoints of one workdir. A context manager: leaving it waits for the last save."""

    def __init__(self, workdir: str, knobs: Checkpoints):
        import orbax.checkpoint as ocp

        self.folder = os.path.join(os.path.abspath(workdir), "checkpoints")
        self.knobs = knobs
        self._ocp = ocp
        self._last = time.monotonic()
        options = ocp.CheckpointManagerOptions(max_to_keep=knobs.keep)
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def __enter__(self) -> "Saver":
        return self

    def __exit__(self, *_) -> None:
        self._manager.close()

    def due(self, step: int) -> bool:
        """Whether the state after this step should be saved. The same answer on every host."""
        steps, minutes = self.knobs.every_steps, self.knobs.every_minutes
        old = bool(minutes) and time.monotonic() - self._last > 60 * minutes
        if minutes and jax.process_count() > 1:  # clocks differ, so host 0 decides
            from jax.experimental import multihost_utils

            old = bool(multihost_utils.broadcast_one_to_all(old))
        return old or bool(steps and step % steps == 0)

    def preempted(self, step: int) -> bool:
        """Whether the cluster has announced that it takes the machine away."""
        return self._manager.reached_preemption(step)

    def save(self, state: TrainState, step: int) -> None:
        """Starts an asynchronous save; the state may be overwritten once this returns."""
        if step not in self._manager.all_steps():
            self._manager.save(step, args=self._ocp.args.StandardSave(state), force=True)
        self._last = time.monotonic()

    def restore(self, abstract: TrainState) -> TrainState | None:
        """The newest readable checkpoint, laid out as `abstract` says; None if there is none.

        A damaged one is named, set aside as STEP.damaged, and the one before it taken.
        """
        state, damaged = self._newest(
            lambda step: self._manager.restore(step, args=self._ocp.args.StandardRestore(abstract))
        )
        if state is None and damaged:
            raise ConfigError(
                f"no checkpoint in {self.folder} can be read with this config; "
                "was it made with another one? Take another --workdir to start afresh"
            )
        # Left where they are, they would be taken for the steps that are now made again.
        if damaged and jax.process_index() == 0:
            for step in damaged:
                folder = os.path.join(self.folder, str(step))
                os.rename(folder, f"{folder}.damaged")
        if damaged:
            self._manager.reload()
        return state

    def restore_variables(self) -> dict:
        """Params and state of the newest readable checkpoint, on this host's first device."""
        place = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        handler = self._ocp.PyTreeCheckpointHandler()
        with self._ocp.CheckpointManager(self.folder, item_handlers=handler) as reader:

            def read(step: int) -> dict:
                saved = reader.item_metadata(step).tree
                wanted = {
                    part: jax.tree.map(
                        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
                        saved[part],
                    )
                    for part in ("params", "state")
                }
                places = self._ocp.checkpoint_utils.construct_restore_args(wanted)
                arguments = self._ocp.args.PyTreeRestore(
                    wanted, restore_args=places, partial_restore=True
                )
                return reader.restore(step, args=arguments)

            variables, _ = self._newest(read)
        if variables is None:
            raise ConfigError(f"no readable checkpoint in {self.folder}")
        return variables

    def _newest(self, read: Callable[[int], Any]) -> tuple[Any, list[int]]:
        """What `read` makes of the newest step that it can read, and those that it could not."""
        damaged = []
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                return read(step), damaged
            except (OSError, ValueError, KeyError, AttributeError) as error:
                reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
                path = os.path.join(self.folder, str(step))
                logging.warning("cannot read checkpoint %s: %s", path, reason)
                damaged.append(step)
        return None, damaged


class Stop:
    """Turns Ctrl-C and SIGTERM into a wish that the loop reads; a second Ctrl-C is not held back.

    Only the main thread can take signals; elsewhere this does nothing.
    """

    def __init__(self):
        self.signal = 0
        self._before: dict = {}

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number, frame) -> None:
        del frame
        if self.signal == signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number
