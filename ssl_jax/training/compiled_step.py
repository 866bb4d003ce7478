"""What the compiler says of an experiment's training step: memory, arithmetic, traffic.

    found = CompiledStep.of(experiment, batch, devices)

Nothing is run and no array is made, so the devices need not be at hand (`devices.slices`).
"""

import dataclasses
import functools
import re
import time
from collections.abc import Mapping, Sequence

import jax
import numpy as np
import optax

from ssl_jax.devices.collectives import bytes_by_kind, collectives
from ssl_jax.devices.sharding import by_rows, check_batch_size, replicated
from ssl_jax.experiment import Experiment
from ssl_jax.method import run_collection
from ssl_jax.train import train_step
from ssl_jax.training.speed import Speed, without_remat
from ssl_jax.training.start import starter


class DoesNotFit(Exception):
    """The compiler found no way to fit the step into the memory of a device."""


@dataclasses.dataclass(frozen=True)
class CompiledStep:
    """A compiled training step. All bytes and operations are those of one device and one step.

    Attributes:
      seconds: that compiling took.
      speed: model FLOPs of the whole step, and how many devices share them.
      state: bytes of weights, optimizer and batch, which are there between steps too.
      temporaries: bytes needed during the step besides: activations, gradients.
      flops: operations by the compiler's count, which takes the body of a loop once.
      traffic: bytes read and written in memory, counted likewise.
      weights_traffic: of these for weights and optimizer: the update compiled by itself, weights
        read forward and backward, and gradients written.
      augment_traffic: of these for the augmentation, compiled by itself; 0 where there is none.
      sent: bytes of each kind of collective.
    """

    seconds: float
    speed: Speed
    state: int
    temporaries: int
    flops: float
    traffic: float
    weights_traffic: float
    augment_traffic: float
    sent: Mapping[str, int]

    @staticmethod
    def of(
        experiment: Experiment, batch: Mapping[str, np.ndarray], devices: Sequence[jax.Device]
    ) -> "CompiledStep":
        """Compiles the step of `fit` for these devices.

        Args:
          batch: any rows, to see their shapes; `experiment.batch_size` rows are compiled for.

        Raises:
          ConfigError: the devices cannot share the batch or the state.
          DoesNotFit: the step needs more memory than a device has.
        """
        mesh = experiment.sharding.mesh(devices)
        check_batch_size(experiment.batch_size, mesh)
        if experiment.micro_batches > 1:
            rows = experiment.batch_size // experiment.micro_batches
            check_batch_size(rows, mesh, "batch_size / micro_batches")
        method, sharding = experiment.trained_method(), experiment.sharding
        optimizer = experiment.optimizer.build(experiment.steps, method.teachers)
        state = jax.eval_shape(starter(optimizer, experiment))
        laid_out = sharding.of_state(mesh, state)
        state = state.abstract(laid_out)
        rows = {
            k: jax.ShapeDtypeStruct(
                (experiment.batch_size, *v.shape[1:]), v.dtype, sharding=by_rows(mesh)
            )
            for k, v in batch.items()
        }
        out = (laid_out, replicated(mesh))

        def step_of(method, experiment):
            function = functools.partial(train_step, method, optimizer, experiment)
            return jax.jit(function, donate_argnums=0, out_shardings=out)

        plain, step = without_remat(method), step_of(method, experiment)
        counted = step
        if plain is not method or experiment.micro_batches > 1:
            counted = step_of(plain, dataclasses.replace(experiment, micro_batches=1))
        speed = Speed.of(counted, state, rows, experiment.batch_size, experiment.peak_tflops)
        begin = time.monotonic()
        program = _compiled(step, state, rows)
        seconds = time.monotonic() - begin

        def update(state, gradients):
            value = optax.tree.norm(gradients)
            new, moments = optimizer.update(gradients, state.optimizer, state.params, value=value)
            return optax.apply_updates(state.params, new), moments

        updated = jax.jit(
            update, donate_argnums=0, out_shardings=(laid_out.params, laid_out.optimizer)
        )
        weights = _traffic(_compiled(updated, state, state.params))
        weights += 3 * sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state.params))
        augmented = 0.0
        if not method.has_own_loss:

            def augment(state, rows):
                own = {**state.state, **run_collection(state.step, experiment.steps)}
                return method.inputs(method.augment(rows, own, state.key))

            augmented = _traffic(_compiled(jax.jit(augment), state, rows))
        memory, costs = program.memory_analysis(), program.cost_analysis()
        return CompiledStep(
            seconds=seconds,
            speed=speed,
            state=memory.argument_size_in_bytes,
            # What goes out lies where the state came in.
            temporaries=memory.temp_size_in_bytes
            + memory.output_size_in_bytes
            - memory.alias_size_in_bytes
            + memory.generated_code_size_in_bytes,
            flops=costs["flops"],
            traffic=costs["bytes accessed"],
            weights_traffic=weights,
            augment_traffic=augmented,
            sent=bytes_by_kind(collectives(program.as_text())),
        )

    @property
    def memory(self) -> int:
        """Bytes of a device that the step takes in all."""
        return self.state + self.temporaries

    def roofline(self, bandwidth: float) -> "Roofline":
        """Bounds at the device's peak FLOP/s and at `bandwidth` bytes a second."""
        flops = max(self.flops, self.speed.flops / self.speed.devices)
        return Roofline(flops / self.speed.peak, self.traffic / bandwidth)


@dataclasses.dataclass(frozen=True)
class Roofline:
    """Seconds that a step takes at least: for its arithmetic, and for its memory traffic."""

    arithmetic: float
    memory: float

    @property
    def step(self) -> float:
        """No step is faster than the slower of both, if they overlap perfectly."""
        return max(self.arithmetic, self.memory)


def _compiled(step, *arguments):
    try:
        return step.lower(*arguments).compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        used = re.search(r"Used (\S+) of (\S+) hbm", str(error))
        said = f"it needs {used[1]} of {used[2]}" if used else str(error).splitlines()[0]
        raise DoesNotFit(said) from error


def _traffic(program) -> float:
    return program.cost_analysis()["bytes accessed"]
