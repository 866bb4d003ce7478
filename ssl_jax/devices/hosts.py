"""Several processes (one a host, as a rule) that train as one."""

import dataclasses
import os
import time
import zlib

import jax
import numpy as np
from ml_collections import ConfigDict

from ssl_jax.config import ConfigError


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Where a process finds the others.

    Attributes:
      coordinator: HOST:PORT of process 0; '' on Cloud TPU, Slurm, GKE and under MPI, where jax
        finds out by itself, as it does the two numbers below.
      num_processes, process_id: how many there are, and which of them (from 0) this one is.
      heartbeat_seconds: a process that was silent for so long counts as dead, and all others end.
    """

    coordinator: str = ""
    num_processes: int = 0
    process_id: int = -1
    heartbeat_seconds: int = 100

    def __post_init__(self):
        given = (self.coordinator != "", self.num_processes > 0, self.process_id >= 0)
        if any(given) and not all(given):
            raise ConfigError("--coordinator, --num_processes and --process_id go together")
        if self.heartbeat_seconds < 1:
            raise ConfigError(f"--heartbeat_seconds={self.heartbeat_seconds} must be at least 1")

    def join(self) -> None:
        """Meets the other processes; to be called before JAX touches a device.

        Raises ConfigError if there is nothing to join, and JaxRuntimeError if the others do not
        come.
        """
        known = bool(self.coordinator)
        try:
            jax.distributed.initialize(
                self.coordinator or None,
                self.num_processes if known else None,
                self.process_id if known else None,
                heartbeat_timeout_seconds=self.heartbeat_seconds,
            )
        except jax.errors.JaxRuntimeError:
            raise
        except (ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300]
            hint = "; give --coordinator=HOST:PORT --num_processes=N --process_id=I"
            raise ConfigError(f"--distributed: {reason}{'' if known else hint}") from error


def several() -> bool:
    """Whether this process is one of several."""
    return jax.process_count() > 1


def wait_for_all(name: str) -> None:
    """Returns once every process has come here."""
    if several():
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def on_every_host(yes: bool) -> bool:
    """Whether all processes say yes; all of them have to ask."""
    if not several():
        return yes
    from jax.experimental import multihost_utils

    return bool(multihost_utils.process_allgather(np.bool_(yes)).all())


def check_agreement(config: ConfigDict, workdir: str) -> None:
    """Raises ConfigError, on all hosts, unless all have the same config and the same workdir."""
    if not several():
        return
    from jax.experimental import multihost_utils

    text = config.to_json_best_effort(sort_keys=True)
    digests = multihost_utils.process_allgather(np.uint32(zlib.crc32(text.encode())))
    different = np.flatnonzero(digests != digests[0])
    if len(different):
        raise ConfigError(f"process {different[0]} was started with another config than process 0")
    now = int(multihost_utils.broadcast_one_to_all(np.int32(time.time() % 2**31)))
    token = os.path.join(workdir, f".same_folder_{now}")
    if jax.process_index() == 0:
        with open(token, "w"):
            pass
    wait_for_all("token written")
    sees = multihost_utils.process_allgather(np.bool_(os.path.exists(token)))
    if jax.process_index() == 0:
        os.remove(token)
    if not sees.all():
        raise ConfigError(
            f"workdir {workdir}: process {np.flatnonzero(~sees)[0]} does not see what process 0 "
            "writes there; it must be one folder that all hosts share (NFS, Filestore, gcsfuse)"
        )
