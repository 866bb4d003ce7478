"""TPU slices that are not at hand: their devices, for the compiler alone, and what a chip has.

The libtpu wheel holds the whole compiler, so a program for a pod can be compiled on a laptop.
"""

import importlib.util
import math
import os
import re
from typing import NamedTuple

import jax
from jax.experimental import topologies

from ssl_jax.config import ConfigError


class Memory(NamedTuple):
    """High-bandwidth memory of one JAX device: GiB, and GB/s."""

    gib: float
    bandwidth: float


# By `device_kind`, from Cloud TPU's system pages; of TPU v2 and v3 a device is half a chip.
MEMORY = {
    "TPU v2": Memory(8, 350),
    "TPU v3": Memory(16, 450),
    "TPU v4": Memory(32, 1228),
    "TPU v5 lite": Memory(16, 819),
    "TPU v5": Memory(95, 2765),
    "TPU v6 lite": Memory(32, 1640),
}
# What libtpu would otherwise ask Google's metadata server for, which is not there; and that several
# processes may load it, which only matters where there is a TPU to share.
ENVIRONMENT = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
}


def devices_of(topology: str) -> list[jax.Device]:
    """The devices of a slice such as 'v5e:2x2' or 'v4:2x2x1': to compile for, not to run on.

    Raises:
      ConfigError: there is no such slice, or the libtpu wheel is not installed.
    """
    found = re.fullmatch(r"(v\d+\w?):(\d+(?:x\d+)+)", topology)
    if not found:
        raise ConfigError(f"--topology={topology} should be like v5e:2x2, v5e:16x16 or v4:2x2x1")
    if importlib.util.find_spec("libtpu") is None:
        raise ConfigError(
            "to compile for a TPU needs the libtpu wheel: pip install 'ssl_jax[tpu]' "
            "(in an environment of its own if this one has a GPU)"
        )
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    kind, sizes = found[1], [int(n) for n in found[2].split("x")]
    options = {}
    if kind == "v4":  # as on Cloud TPU: the two cores of a chip are one device
        options["chip_config_name"] = "megacore"
    if math.prod(sizes) < 4:  # fewer than a host's chips
        options["chips_per_host_bounds"] = (*sizes, 1)[:3]
    try:
        slice_ = topologies.get_topology_desc(topology_name=topology, platform="tpu", **options)
    except (jax.errors.JaxRuntimeError, RuntimeError, ValueError) as error:
        said = str(error).splitlines()[0].partition(": ")[2] or error
        raise ConfigError(f"--topology={topology}: {said}") from error
    devices = list(slice_.devices)
    if devices[0].device_kind not in MEMORY:
        known = ", ".join(MEMORY)
        raise ConfigError(f"--topology={topology}: {devices[0].device_kind} is none of {known}")
    return devices
