"""Starts a command on other machines, and again when they are taken away.

    python -m ssl_jax.launch --on=tpu --name=N --zone=Z --type=v4-32 --version=V [--spot] -- COMMAND
    python -m ssl_jax.launch --on=gke --name=N --cluster=C --type=v5litepod-64 --image=I -- COMMAND
    python -m ssl_jax.launch --on=slurm --nodes=4 --gpus=8 -- COMMAND
    python -m ssl_jax.launch --on=ssh --hosts=a,b --folder=/home/me/ssl_jax -- COMMAND
    python -m ssl_jax.launch --on=here -- COMMAND

COMMAND is what would be typed on one machine: python -m ssl_jax.train --config=... --workdir=...
It gets --distributed and what else it needs to find the other processes. --dry_run prints what
would be run. Work is left to the engines (gcloud, xpk, srun, ssh), which must be installed; this
file only knows how they are called.

A run that ends early (the machine was preempted, a process was lost, the disk was full) is started
again, up to --retries times, --wait seconds later; it goes on from its last checkpoint. It is not
after a mistake in the command (exit code 2), divergence (3), SIGTERM or Ctrl-C (130): these two are
passed on to all machines, where the run saves itself (over ssh and gcloud by `pkill`, which hosts
need). Not with --on=gke, which only submits: see `xpk workload delete`.
"""

import argparse
import dataclasses
import shlex
import sys
import time

from ssl_jax.launching.machines import ENGINES, Engine
from ssl_jax.launching.processes import (
    BY_CTRL_C,
    DIVERGED,
    DONE,
    MISTAKE,
    LaunchError,
    Line,
    Stopped,
    quietly,
    say,
    together,
)


def launch(engine: Engine, command: Line, retries: int = 10, wait: float = 60.0) -> int:
    """Runs the command to its end, and again if it ends early; returns the exit code."""
    for attempt in range(retries + 1):
        code = engine.bring_up()
        if not code:
            if attempt:  # a lost connection may have left some of the processes running
                quietly(engine.clear(command))
            code = together(engine.lines(command), engine.clear(command))
        if code in (DONE, MISTAKE, DIVERGED, BY_CTRL_C):
            break
        if attempt < retries:
            say(f"ended with code {code}; try {attempt + 2} of {retries + 1} in {wait:g} s")
            time.sleep(wait)
    return code


def main(argv: list[str]) -> int:
    """Parses, then prints or runs; returns the exit code."""
    own, command = argv, []
    if "--" in argv:
        own, command = argv[: argv.index("--")], argv[argv.index("--") + 1 :]
    parser = argparse.ArgumentParser(
        prog="python -m ssl_jax.launch",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--on", required=True, choices=ENGINES)
    parser.add_argument("--dry_run", action="store_true", help="print what would be run")
    parser.add_argument("--retries", type=int, default=10, help="how often to start again")
    parser.add_argument("--wait", type=float, default=60.0, help="seconds before each retry")
    name_only = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    name_only.add_argument("--on", nargs="?")  # without a name: the other parser complains
    chosen = ENGINES.get(name_only.parse_known_args(own)[0].on)
    if chosen:  # its own flags, which --on=... --help then lists
        for field in dataclasses.fields(chosen):
            if field.type is bool:
                parser.add_argument(f"--{field.name}", action="store_true")
            else:
                required = field.default is dataclasses.MISSING
                default = None if required else field.default
                parser.add_argument(
                    f"--{field.name}", type=field.type, required=required, default=default
                )
    arguments = vars(parser.parse_args(own))
    if not command:
        parser.error("write -- and then the command to run")
    if arguments["retries"] < 0 or arguments["wait"] < 0:
        parser.error("--retries and --wait must be at least 0")
    on, dry_run = arguments.pop("on"), arguments.pop("dry_run")
    retries, wait = arguments.pop("retries"), arguments.pop("wait")
    engine = ENGINES[on](**arguments)
    if dry_run:
        for line in (*engine.plan(), *engine.lines(command)):
            print(shlex.join(line))
        return DONE
    try:
        code = launch(engine, command, retries, wait)
    except LaunchError as error:
        print(f"ssl_jax: {error}", file=sys.stderr)
        return MISTAKE
    except Stopped as stopped:
        code = stopped.code
    except KeyboardInterrupt:  # between two tries
        code = BY_CTRL_C
    if on == "tpu":
        say(f"the slice is kept, and paid for, until: {shlex.join(engine.delete())}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
