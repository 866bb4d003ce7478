"""Where arrays live: one mesh axis, 'data', splits batch rows and, if asked, large weights."""

import dataclasses

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ssl_jax.config import ConfigError


@dataclasses.dataclass(frozen=True)
class Sharding:
    """How the training state is laid out.

    Attributes:
      rule: 'replicate' keeps a copy of the state on every device; 'fsdp' splits every large array
        along its largest dimension that the devices divide.
      smallest: arrays of fewer elements stay whole under 'fsdp'.
      devices: how many of the devices to use; 0 for all.
    """

    rule: str = "replicate"
    smallest: int = 65536
    devices: int = 0

    def mesh(self) -> Mesh:
        """A mesh of one axis, 'data', over the devices."""
        if self.rule not in ("replicate", "fsdp"):
            raise ConfigError(f"sharding.rule is replicate or fsdp, not '{self.rule}'")
        found = jax.device_count()
        if self.devices > found:
            raise ConfigError(f"sharding.devices={self.devices}, but this machine has {found}")
        devices = jax.devices()[: self.devices or found]
        # Explicit axes, the newer default, break Linen's convolutions.
        kind = (jax.sharding.AxisType.Auto,)
        return jax.make_mesh((len(devices),), ("data",), axis_types=kind, devices=devices)

    def of_state(self, mesh: Mesh, tree):
        """A NamedSharding for every array (or shape) of the training state."""
        return jax.tree.map(lambda leaf: NamedSharding(mesh, self._spec(mesh, leaf.shape)), tree)

    def _spec(self, mesh: Mesh, shape: tuple[int, ...]) -> PartitionSpec:
        size = mesh.shape["data"]
        fitting = [i for i, n in enumerate(shape) if n % size == 0]
        if self.rule == "replicate" or np.prod(shape) < self.smallest or not fitting:
            return PartitionSpec()
        largest = max(fitting, key=lambda i: shape[i])
        return PartitionSpec(*("data" if i == largest else None for i in range(len(shape))))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def put_batch(mesh: Mesh, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """This host's rows of a batch -> the global batch, its rows split over the devices."""
    rows = NamedSharding(mesh, PartitionSpec("data"))
    return {k: jax.make_array_from_process_local_data(rows, v) for k, v in batch.items()}


def check_batch_size(batch_size: int, mesh: Mesh, knob: str = "batch_size") -> None:
    """Raises ConfigError unless the mesh's devices divide the batch."""
    if batch_size < 1 or batch_size % mesh.size:
        raise ConfigError(f"{knob}={batch_size} must be a multiple of the {mesh.size} devices")


def run_once(function, shardings):
    """Calls a function without arguments jitted, its results laid out as `shardings` says.

    For initial weights. On a CPU little is optimised: compiling the random numbers of many shapes
    would take most of a minute, and running them takes no time either way.
    """
    options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    return jax.jit(function, out_shardings=shardings, compiler_options=options)()
