"""Where a command can be run; the fields of each are the launcher's flags."""

import dataclasses
import shlex
import subprocess
import time

from ssl_jax.config import ConfigError
from ssl_jax.launching.exit_codes import DONE, TRY_AGAIN
from ssl_jax.launching.processes import Line, need, run, say

# Seconds between looks at a slice that is being created or waits for capacity.
POLL = 30
# Of the process on each host, which `exec` makes the command itself.
PID = '"${TMPDIR:-/tmp}/ssl_jax.pid"'


@dataclasses.dataclass(frozen=True)
class Here:
    """This machine with all of its devices; adds only the retries."""

    def line(self, command: Line) -> Line:
        """What to run."""
        return command


@dataclasses.dataclass(frozen=True)
class Slurm:
    """A Slurm cluster, one process a GPU (as JAX expects there), in a folder that all nodes share.

    Attributes:
      nodes: how many.
      gpus: of each node; 0: one process a node, on its CPUs.
      options: more of srun's, such as '--partition=gpu --account=vision --time=24:00:00'.
    """

    nodes: int
    gpus: int = 8
    options: str = ""

    def line(self, command: Line) -> Line:
        """What to run."""
        line = ["srun", f"--nodes={self.nodes}", f"--ntasks-per-node={self.gpus or 1}"]
        # Not --gpus-per-task: a process picks its GPU among all of its node by SLURM_LOCALID.
        line += [f"--gpus-per-node={self.gpus}"] if self.gpus else []
        # SIGTERM two minutes before the time limit, so that the run saves itself.
        line += ["--kill-on-bad-exit=1", "--signal=TERM@120", *shlex.split(self.options)]
        return [*line, *distributed(command)]


@dataclasses.dataclass(frozen=True)
class Gke:
    """A workload on a GKE cluster of TPUs, submitted by xpk; the cluster restarts it.

    Attributes:
      name, cluster: of the workload, and of the cluster that `xpk cluster create` made.
      type: of each slice, such as v5litepod-256.
      image: Docker image with this package.
      options: more of `xpk workload create`, such as '--num-slices=2 --zone=us-central2-b'.
    """

    name: str
    cluster: str
    type: str
    image: str
    options: str = ""

    def line(self, command: Line) -> Line:
        """What to run."""
        line = ["xpk", "workload", "create", f"--cluster={self.cluster}", f"--workload={self.name}"]
        line += [f"--tpu-type={self.type}", f"--docker-image={self.image}", "--max-restarts=20"]
        line += ["--termination-grace-period-seconds=120", "--restart-on-user-code-failure"]
        # A pod that is evicted, saves and ends with 0 would count as done; the launcher within the
        # pod knows that there is more to do, and ends with 4.
        inside = ["python", "-m", "ssl_jax.launch", "--on=here", "--retries=0", "--"]
        whole = shlex.join([*inside, *distributed(command)])
        return [*line, *shlex.split(self.options), f"--command={whole}"]


@dataclasses.dataclass(frozen=True)
class Tpu:
    """A Cloud TPU slice, one process a host; created if missing, and again if preempted.

    Attributes:
      name, zone: of the slice, in gcloud's own project.
      type: such as v4-32 or v5litepod-256.
      version: of the software on its hosts, such as tpu-ubuntu2204-base.
      setup: shell commands that every host runs before each try; harmless when run again.
      folder: in which the command is run; '' for home.
      options: more of `gcloud compute tpus tpu-vm create`, such as '--spot'.
    """

    name: str
    zone: str
    type: str
    version: str
    setup: str = ""
    folder: str = ""
    options: str = ""

    def line(self, command: Line) -> Line:
        """What to run, on all hosts at once."""
        folder = f"cd {shlex.quote(self.folder)}" if self.folder else ""
        whole = f"echo $$ > {PID} && exec {shlex.join(distributed(command))}"
        return self._on_hosts(" && ".join(filter(None, (self.setup, folder, whole))))

    def stop(self) -> Line:
        """What ends the command on all hosts (gcloud passes no signal on): two minutes to save."""
        return self._on_hosts(
            f"p=$(cat {PID}) && kill -TERM $p && for i in $(seq 120); do kill -0 $p || exit 0; "
            "sleep 1; done; kill -KILL $p"
        )

    def bring_up(self) -> int:
        """Creates the slice unless it is there, and waits for it; an exit code."""
        need("gcloud")
        describe = [*self._gcloud("describe"), "--format=value(state)"]
        code, created = DONE, False
        while code == DONE:
            asked = subprocess.run(
                describe, stdin=subprocess.DEVNULL, capture_output=True, text=True
            )
            state = asked.stdout.strip()
            if asked.returncode and "NOT_FOUND" in asked.stderr:
                state = "MISSING"
            elif asked.returncode:
                say(" ".join(asked.stderr.split()))
                return asked.returncode
            if state == "READY":
                return DONE
            if created and state in ("MISSING", "PREEMPTED", "TERMINATED"):
                return TRY_AGAIN  # taken away before it was ready
            if state == "MISSING":
                code, created = run(self.create()), True
            elif state in ("PREEMPTED", "TERMINATED"):
                code = run(self.delete())
            elif state in ("STOPPED", "STOPPING", "HIDDEN", "UNKNOWN"):
                raise ConfigError(f"slice {self.name} is {state}; start it or delete it yourself")
            else:
                say(f"slice {self.name} is {state}; asking again in {POLL} s")
                time.sleep(POLL)
        return code

    def create(self) -> Line:
        """What creates the slice."""
        made = [f"--accelerator-type={self.type}", f"--version={self.version}"]
        return [*self._gcloud("create"), *made, *shlex.split(self.options)]

    def delete(self) -> Line:
        """What deletes the slice."""
        return [*self._gcloud("delete"), "--quiet"]

    def _on_hosts(self, script: str) -> Line:
        return [*self._gcloud("ssh"), "--worker=all", f"--command={script}"]

    def _gcloud(self, verb: str) -> Line:
        return [*f"gcloud compute tpus tpu-vm {verb}".split(), self.name, f"--zone={self.zone}"]


MACHINES = {"here": Here, "slurm": Slurm, "gke": Gke, "tpu": Tpu}


def distributed(command: Line) -> Line:
    """The command as one of several processes."""
    return command if "--distributed" in command else [*command, "--distributed"]
