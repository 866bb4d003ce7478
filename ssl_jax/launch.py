"""Runs a command on this or other machines, and again when they are taken away.

    python -m ssl_jax.launch --on=here -- COMMAND
    python -m ssl_jax.launch --on=slurm --nodes=4 --gpus=8 -- COMMAND
    python -m ssl_jax.launch --on=gke --name=N --cluster=C --type=v5litepod-64 --image=I -- COMMAND
    python -m ssl_jax.launch --on=tpu --name=N --zone=Z --type=v4-32 --version=V -- COMMAND

COMMAND is python -m ssl_jax.train --config=... --workdir=..., to which --distributed is added where
there are several processes. --dry_run prints what would be run. The work is done by srun, xpk and
gcloud, which must be installed. See docs/pods.md.

A run that ends early (the machine was preempted, a process was lost, the disk was full) is started
again, up to --retries times, after --wait seconds, and resumes from its last checkpoint. Not so
after a mistake in the command (exit code 2), divergence (3), SIGTERM or Ctrl-C (130). These two are
passed on to all machines, where the run saves itself (except with --on=gke, which only submits: see
`xpk workload delete`).
"""

import argparse
import dataclasses
import shlex
import time
from collections.abc import Sequence

from ssl_jax.command import at_home, enter, parser_of
from ssl_jax.config import ConfigError
from ssl_jax.launching.exit_codes import BY_CTRL_C, DIVERGED, DONE, MISTAKE
from ssl_jax.launching.machines import MACHINES, Gke, Here, Slurm, Tpu
from ssl_jax.launching.processes import Line, Stopped, run, say, start_quietly


def launch(
    machine: Here | Slurm | Gke | Tpu, command: Line, retries: int = 10, wait: float = 60.0
) -> int:
    """Runs the command to its end, and again if it ends early; returns the exit code."""
    tpu = machine if isinstance(machine, Tpu) else None
    stop = tpu.stop() if tpu else None
    for attempt in range(retries + 1):
        code = tpu.bring_up() if tpu else DONE
        if code == DONE:
            if attempt and stop:  # a lost connection may have left some of the processes running
                start_quietly(stop).wait()
            code = run(machine.line(command), stop)
        if code in (DONE, MISTAKE, DIVERGED, BY_CTRL_C):
            break
        if attempt < retries:
            say(f"ended with code {code}; try {attempt + 2} of {retries + 1} in {wait:g} s")
            time.sleep(wait)
    return code


def main(argv: Sequence[str]) -> int:
    """Prints what would be run, or runs it; returns the exit code."""
    end = argv.index("--") if "--" in argv else len(argv)
    own, command = argv[:end], list(argv[end + 1 :])
    parser = parser_of("launch", __doc__)
    parser.add_argument("--on", required=True, choices=MACHINES)
    parser.add_argument("--dry_run", action="store_true", help="print what would be run")
    parser.add_argument("--retries", type=int, default=10, help="how often to start again")
    parser.add_argument("--wait", type=float, default=60.0, help="seconds before each retry")
    name_only = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    name_only.add_argument("--on", nargs="?")  # without a name the other parser complains
    on = name_only.parse_known_args(own)[0].on
    fields = dataclasses.fields(MACHINES[on]) if on in MACHINES else ()
    for field in fields:  # so that --on=tpu --help lists them
        flag = {"action": "store_true"} if field.type is bool else {"type": field.type}
        if field.default is dataclasses.MISSING:
            parser.add_argument(f"--{field.name}", required=True, **flag)
        else:
            parser.add_argument(f"--{field.name}", default=field.default, **flag)
    known = at_home(parser.parse_args(own))
    if not command:
        raise ConfigError("write -- and then the command to run")
    if known.retries < 0 or known.wait < 0:
        raise ConfigError("--retries and --wait must be at least 0")
    machine = MACHINES[on](**{field.name: getattr(known, field.name) for field in fields})
    if known.dry_run:
        lines = [machine.create()] if isinstance(machine, Tpu) else []
        print("\n".join(map(shlex.join, (*lines, machine.line(command)))))
        return DONE
    try:
        return launch(machine, command, known.retries, known.wait)
    except Stopped as stopped:
        return stopped.code
    finally:
        if isinstance(machine, Tpu):
            say(f"the slice is kept, and billed, until: {shlex.join(machine.delete())}")


if __name__ == "__main__":
    enter(main, "launch")
