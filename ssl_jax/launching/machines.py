"""Machines that a command can be started on, and how each kind is asked for them."""

import dataclasses
import re
import shlex
import subprocess
import time
from typing import Protocol, runtime_checkable

from ssl_jax.launching.processes import DONE, TRY_AGAIN, LaunchError, Line, need, say, together

# Seconds between looks at a slice that is being made, or waits for room.
POLL = 30
# Seconds that a run on another machine has to save itself when it is told to end.
SAVING = 120
SSH = ["ssh", "-o", "BatchMode=yes", "-o", "ServerAliveInterval=30"]


@runtime_checkable
class Engine(Protocol):
    """Where a command is run; its fields are the flags that it takes."""

    def lines(self, command: Line) -> list[Line]:
        """What to run, all at once; the command is done when they are."""
        ...

    def clear(self, command: Line) -> list[Line]:
        """What ends the command on other machines in good order, and waits for that.

        Nothing where those that `lines` starts pass SIGTERM on. ssh does not, and what it started
        may live on after it.
        """
        ...

    def bring_up(self) -> int:
        """Sees to it that there are machines; waits for them. An exit code, 0 if all is well."""
        ...

    def plan(self) -> list[Line]:
        """What `bring_up` would run where there is nothing yet."""
        ...


@dataclasses.dataclass(frozen=True)
class Tpu:
    """A Cloud TPU slice, one process a host; made if it is not there, made anew if preempted.

    Attributes:
      name, zone: of the slice.
      type: such as v4-32 or v5litepod-256.
      version: of the software on its hosts, such as tpu-ubuntu2204-base.
      project: of Google Cloud; '' for gcloud's own setting.
      spot: cheaper, and may be taken away.
      queued: ask through a queued resource, which waits until there is room.
      setup: shell commands that every host runs first; they must do no harm when run again.
      folder: in which the command is run; '' for home.
    """

    name: str
    zone: str
    type: str
    version: str
    project: str = ""
    spot: bool = False
    queued: bool = False
    setup: str = ""
    folder: str = ""

    def lines(self, command: Line) -> list[Line]:
        remote = _shell(distributed(command), self.setup, self.folder)
        return [[*self._where("ssh", vm=True), "--worker=all", f"--command={remote}"]]

    def clear(self, command: Line) -> list[Line]:
        remote = _ended(command)
        return [[*self._where("ssh", vm=True), "--worker=all", f"--command={remote}"]]

    def bring_up(self) -> int:
        need("gcloud")
        code, made = DONE, False
        while not code:
            asked = subprocess.run(
                self._describe(), stdin=subprocess.DEVNULL, capture_output=True, text=True
            )
            state = asked.stdout.strip()
            missing = asked.returncode and "NOT_FOUND" in asked.stderr
            lost = state in ("PREEMPTED", "TERMINATED", "SUSPENDED", "FAILED")
            if made and (missing or lost):
                code = TRY_AGAIN  # lost as soon as made
            elif missing:
                code, made = together(self.plan()), True
            elif asked.returncode:
                say(" ".join(asked.stderr.split()))
                code = asked.returncode
            elif state in ("READY", "ACTIVE"):
                return DONE
            elif lost:
                code = together([self.delete()])
            elif state in ("STOPPED", "HIDDEN", "UNKNOWN"):
                raise LaunchError(f"slice {self.name} is {state}; start it or delete it yourself")
            else:
                say(f"slice {self.name} is {state}; asking again in {POLL} s")
                time.sleep(POLL)
        return code

    def plan(self) -> list[Line]:
        kind = f"--accelerator-type={self.type}"
        if self.queued:
            made = [f"--node-id={self.name}", kind, f"--runtime-version={self.version}"]
        else:
            made = [kind, f"--version={self.version}"]
        made += ["--spot"] if self.spot else []
        return [[*self._where("create"), *made]]

    def delete(self) -> Line:
        return [*self._where("delete"), "--quiet", *(["--force"] if self.queued else [])]

    def _describe(self) -> Line:
        field = "state.state" if self.queued else "state"
        return [*self._where("describe"), f"--format=value({field})"]

    def _where(self, verb: str, vm: bool = False) -> Line:
        thing = "queued-resources" if self.queued and not vm else "tpu-vm"
        project = [f"--project={self.project}"] if self.project else []
        command = f"gcloud compute tpus {thing} {verb}".split()
        return [*command, self.name, *project, f"--zone={self.zone}"]


@dataclasses.dataclass(frozen=True)
class Gke:
    """A workload on a GKE cluster of TPUs, through xpk, which restarts it by itself.

    Attributes:
      name, cluster: of the workload and of the cluster, which `xpk cluster create` made.
      type: of each slice, such as v5litepod-256.
      image: Docker image with this package.
      slices: how many.
      project, zone: of Google Cloud; '' for gcloud's own setting.
      restarts: how often at most.
    """

    name: str
    cluster: str
    type: str
    image: str
    slices: int = 1
    project: str = ""
    zone: str = ""
    restarts: int = 20

    def lines(self, command: Line) -> list[Line]:
        # A pod that is evicted, saves and ends with 0 would count as done; the launcher within the
        # pod knows better, and ends with 4.
        here = ["python", "-m", "ssl_jax.launch", "--on=here", "--retries=0", "--"]
        options = {
            "cluster": self.cluster,
            "workload": self.name,
            "tpu-type": self.type,
            "num-slices": self.slices,
            "docker-image": self.image,
            "max-restarts": self.restarts,
            "termination-grace-period-seconds": 120,
            "project": self.project,
            "zone": self.zone,
            "command": shlex.join([*here, *distributed(command)]),
        }
        given = [f"--{name}={value}" for name, value in options.items() if value != ""]
        return [["xpk", "workload", "create", *given, "--restart-on-user-code-failure"]]

    def clear(self, command: Line) -> list[Line]:
        return []

    def bring_up(self) -> int:
        return DONE

    def plan(self) -> list[Line]:
        return []


@dataclasses.dataclass(frozen=True)
class Slurm:
    """A Slurm cluster, one process a GPU (as jax expects there), in a folder that all nodes share.

    Attributes:
      nodes: how many.
      gpus: of each node; 0: one process a node, on its CPUs.
      partition: '' for the cluster's default.
      options: more of srun's, such as '--account=vision --time=24:00:00'.
    """

    nodes: int
    gpus: int = 8
    partition: str = ""
    options: str = ""

    def lines(self, command: Line) -> list[Line]:
        line = ["srun", f"--nodes={self.nodes}", f"--ntasks-per-node={self.gpus or 1}"]
        # Not --gpus-per-task: a process picks its GPU among all of its node by SLURM_LOCALID.
        line += [f"--gpus-per-node={self.gpus}"] if self.gpus else []
        line += [f"--partition={self.partition}"] if self.partition else []
        # Two minutes before the time limit, so that the run saves itself.
        line += ["--kill-on-bad-exit=1", "--signal=TERM@120", *shlex.split(self.options)]
        return [[*line, *distributed(command)]]

    def clear(self, command: Line) -> list[Line]:
        return []

    def bring_up(self) -> int:
        return DONE

    def plan(self) -> list[Line]:
        return []


@dataclasses.dataclass(frozen=True)
class Ssh:
    """Hosts that ssh reaches without asking anything, one process on each.

    Attributes:
      hosts: by commas, [USER@]HOST; all must reach the first at `port`.
      port: on which the processes meet.
      setup: shell commands that every host runs first.
      folder: in which the command is run; '' for home.
    """

    hosts: str
    port: int = 8476
    setup: str = ""
    folder: str = ""

    def lines(self, command: Line) -> list[Line]:
        hosts = self.hosts.split(",")
        meeting = f"--coordinator={hosts[0].rpartition('@')[2]}:{self.port}"
        lines = []
        for number, host in enumerate(hosts):
            own = [meeting, f"--num_processes={len(hosts)}", f"--process_id={number}"]
            whole = [*distributed(command), *own] if len(hosts) > 1 else command
            # A terminal, so that the process ends with the connection.
            lines.append([*SSH, "-tt", host, _shell(whole, self.setup, self.folder)])
        return lines

    def clear(self, command: Line) -> list[Line]:
        return [[*SSH, host, _ended(command)] for host in self.hosts.split(",")]

    def bring_up(self) -> int:
        return DONE

    def plan(self) -> list[Line]:
        return []


@dataclasses.dataclass(frozen=True)
class Here:
    """This machine, all of its devices: only the retries."""

    def lines(self, command: Line) -> list[Line]:
        return [command]

    def clear(self, command: Line) -> list[Line]:
        return []

    def bring_up(self) -> int:
        return DONE

    def plan(self) -> list[Line]:
        return []


def distributed(command: Line) -> Line:
    """The command, told that it is one of several processes."""
    return command if "--distributed" in command else [*command, "--distributed"]


def _shell(command: Line, setup: str, folder: str) -> str:
    """What a remote shell is given: setup, folder, command, which takes the shell's place."""
    steps = [setup, f"cd {shlex.quote(folder)}" if folder else "", f"exec {shlex.join(command)}"]
    return " && ".join(step for step in steps if step)


def _ended(command: Line) -> str:
    """What a remote shell is given to end the command there: it has `SAVING` seconds to save."""
    text = re.sub(r"[^\w/=:,@%-]", ".", " ".join(command))  # "." stands for any sign in a pattern
    # At the start, maybe after a folder or an interpreter: a launcher on this host holds it, too.
    own = shlex.quote(f"^([^ ]*[ /])?{text}( |$)")  # not runs/x1 with runs/x
    wait = f"for i in $(seq {SAVING}); do pgrep -f {own} > /dev/null || break; sleep 1; done"
    return f"pkill -TERM -f {own}; {wait}; pkill -KILL -f {own}; true"


ENGINES = {"tpu": Tpu, "gke": Gke, "slurm": Slurm, "ssh": Ssh, "here": Here}
