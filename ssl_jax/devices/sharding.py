"""Where arrays live: a mesh of two axes, 'data' and 'fsdp', over all devices of all hosts.

The rows of a batch are split over both axes. Under the rule 'fsdp' every large array of the
training state is split over the axis 'fsdp' and copied along 'data':

    rule        shape    8 devices hold
    replicate   ()       8 copies of the state
    fsdp        ()       one state, an eighth each
    fsdp        (4, 2)   4 copies of the state, each halved between neighbours (2 devices of a host)

Losses and gradients are those of the whole batch in every case.
"""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ssl_jax.config import ConfigError
from ssl_jax.knobs import at_least, one_of

AXES = ("data", "fsdp")


@dataclasses.dataclass(frozen=True)
class Sharding:
    """How the training state is laid out.

    Attributes:
      rule: 'replicate' keeps a copy of the state on every device; 'fsdp' splits every large array
        along its largest dimension that the axis 'fsdp' divides.
      shape: devices along 'data' and along 'fsdp'; () for all along 'data' under 'replicate' and
        all along 'fsdp' under 'fsdp'.
      smallest: arrays of fewer elements stay whole under 'fsdp'.
      devices: how many of the devices to use; 0 for all.
    """

    rule: str = "replicate"
    shape: tuple[int, ...] = ()
    smallest: int = 65536
    devices: int = 0

    def __post_init__(self):
        one_of(self, "rule", ("replicate", "fsdp"))
        at_least(self, 1, "shape")
        at_least(self, 0, "smallest", "devices")
        if len(self.shape) not in (0, 2):
            raise ConfigError(f"shape={self.shape} should be two numbers, such as (4, 2), or ()")

    def mesh(self, devices: Sequence[jax.Device] = ()) -> Mesh:
        """The mesh; ConfigError if the devices, by default those at hand, cannot make it."""
        devices = devices or jax.devices()
        found, hosts = len(devices), jax.process_count()
        if self.devices > found:
            raise ConfigError(f"sharding.devices={self.devices}, but there are {found}")
        if self.devices not in (0, found) and hosts > 1:
            raise ConfigError(f"sharding.devices={self.devices}: {hosts} processes use all devices")
        count = self.devices or found
        shape = self.shape or ((count, 1) if self.rule == "replicate" else (1, count))
        if np.prod(shape) != count:
            raise ConfigError(
                f"sharding.shape={shape} takes {np.prod(shape)} devices, but there are {count}"
            )
        # Explicit axes, the newer default, break Linen's convolutions.
        kinds = (jax.sharding.AxisType.Auto,) * 2
        return jax.make_mesh(shape, AXES, axis_types=kinds, devices=devices[:count])

    def of_state(self, mesh: Mesh, tree):
        """A NamedSharding for every array (or shape) of the training state."""
        return jax.tree.map(lambda leaf: NamedSharding(mesh, self._spec(mesh, leaf.shape)), tree)

    def _spec(self, mesh: Mesh, shape: tuple[int, ...]) -> PartitionSpec:
        size = mesh.shape["fsdp"]
        fitting = [i for i, n in enumerate(shape) if n % size == 0]
        if self.rule == "replicate" or np.prod(shape) < self.smallest or not fitting:
            return PartitionSpec()
        largest = max(fitting, key=lambda i: shape[i])
        return PartitionSpec(*("fsdp" if i == largest else None for i in range(len(shape))))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def by_rows(mesh: Mesh) -> NamedSharding:
    """The first axis split over all devices."""
    return NamedSharding(mesh, PartitionSpec(mesh.axis_names))


def put_batch(mesh: Mesh, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """This host's rows of a batch -> the global batch, its rows split over the devices."""
    rows = by_rows(mesh)
    return {k: jax.make_array_from_process_local_data(rows, v) for k, v in batch.items()}


def put_same(tree, shardings):
    """Arrays that every host has whole -> the same, laid out as `shardings`, one or a tree, say."""

    def put(leaf, sharding):
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return jax.device_put(leaf, sharding)  # lies on all hosts already
        if jax.process_count() == 1:
            return jax.device_put(leaf, sharding)
        # device_put would send every array from host to host to see whether they agree.
        leaf = np.asarray(leaf)
        return jax.make_array_from_callback(leaf.shape, sharding, lambda index: leaf[index])

    if isinstance(shardings, NamedSharding):
        return jax.tree.map(lambda leaf: put(leaf, shardings), tree)
    return jax.tree.map(put, tree, shardings)


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
