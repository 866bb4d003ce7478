"""What all commands share: arguments, and the one line that a mistake costs.

    python -m ssl_jax.train --config=FILE[:variant] --workdir=DIR [--config.x.y=value ...]
        [--distributed [--coordinator=HOST:PORT --num_processes=N --process_id=I]]

A mistake is known by the error's class (ConfigError, MediaError): it ends with one line on stderr
and exit code 2. Any other exception is a bug and keeps its traceback.
"""

import argparse
import ast
import dataclasses
import errno
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from logging import getLogger
from typing import NoReturn

from absl import flags, logging
from ml_collections import ConfigDict

from ssl_jax import config as configs
from ssl_jax.config import ConfigError
from ssl_jax.data.paths import home
from ssl_jax.data.record import MediaError
from ssl_jax.devices.hosts import Cluster
from ssl_jax.evals.running import EvaluatorsFailed
from ssl_jax.launching.exit_codes import (
    BY_CTRL_C,
    DIVERGED,
    DONE,
    FAILED,
    MISTAKE,
    RESUME,
    TRY_AGAIN,
)
from ssl_jax.training.stop import Interrupted, SaveError


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What the user asked for, with the overrides applied to the config."""

    config: ConfigDict
    workdir: str
    only: tuple[str, ...] = ()
    random_init: bool = False
    step: int | None = None
    cluster: Cluster | None = None


def run(main: Callable[[Arguments], None], program: str) -> NoReturn:
    """`enter` for the commands that take a config; joins the other processes if there are any."""

    def with_others(argv: Sequence[str]) -> None:
        arguments = parse(program, argv)
        if not arguments.cluster:
            return main(arguments)
        try:
            arguments.cluster.join()
            main(arguments)
        except (KeyboardInterrupt, Exception) as error:
            code = report(error, program, several=True)
            if isinstance(error, Interrupted | FloatingPointError):  # all processes end like this
                sys.exit(code)
            # An orderly end would first wait for the others, who wait for this one.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    enter(with_others, program)


def enter(main: Callable[[Sequence[str]], int | None], program: str) -> NoReturn:
    """Calls `main` with the arguments after `python -m ssl_jax.PROGRAM` and ends the process.

    The exit code is what `main` returns (None: 0), or that of its error; see `exit_codes`.
    """
    flags.FLAGS.mark_as_parsed()  # grain and orbax read absl flags of their own
    logging.set_verbosity(logging.WARNING)
    _quieten_failed_saves()
    try:
        code = main(sys.argv[1:])
    except (KeyboardInterrupt, Exception) as error:
        code = report(error, program)
    sys.exit(code)


def report(error: BaseException, program: str, several: bool = False) -> int:
    """Prints what happened, in one line if it is no bug; returns the exit code.

    `several`: the process is one of several, where an error of JAX may mean that another was lost.
    """
    import jax

    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    lost = several and isinstance(error, jax.errors.JaxRuntimeError)
    if isinstance(error, Interrupted) and error.by != signal.SIGINT:
        _line(error)
        again = shlex.join(["python", "-m", f"ssl_jax.{program}", *sys.argv[1:]])
        print(f"{RESUME}{again}", file=sys.stderr)
        return DONE
    if isinstance(error, KeyboardInterrupt):
        _line(error)
        return BY_CTRL_C
    if isinstance(error, FloatingPointError):
        _line(error)
        return DIVERGED
    if full or isinstance(error, SaveError):
        _line(error, "; free some space and run the same command: it resumes from what is saved")
        return TRY_AGAIN
    if lost and "RESOURCE_EXHAUSTED" not in str(error):
        # Its number may not be known: that would start the devices, and it may not have joined yet.
        text = "this process lost contact with another, which may have been killed or have failed"
        first = " ".join(str(error).split())[:200]
        print(f"ssl_jax: {text} ({first})", file=sys.stderr)
        print("ssl_jax: start all of them again: they resume from what is saved", file=sys.stderr)
        return TRY_AGAIN
    if isinstance(error, ConfigError | MediaError):
        _line(error)
        return MISTAKE
    if isinstance(error, EvaluatorsFailed):
        _line(error)
        return MISTAKE if error.mistake else FAILED
    traceback.print_exception(error)
    return FAILED


def _quieten_failed_saves() -> None:
    """A failed save is reported in one line by `Saver`; Orbax and tensorstore would add pages."""

    def wanted(record) -> bool:
        told = record.getMessage() if record.name == "asyncio" else record.pathname
        return record.levelname != "ERROR" or "orbax" not in told

    def hook(problem, original=sys.unraisablehook) -> None:
        if str(problem.exc_value) != "Event loop is closed":
            original(problem)

    logging.get_absl_logger().addFilter(wanted)
    getLogger("asyncio").addFilter(wanted)
    sys.unraisablehook = hook


def _line(error: BaseException, hint: str = "") -> None:
    text = str(error) or "stopped; what was saved before is kept"
    print(f"ssl_jax: {' '.join(text.split())}{hint}", file=sys.stderr)


def parse(program: str, argv: Sequence[str]) -> Arguments:
    """Reads what follows `python -m ssl_jax.train` (or evaluate); ConfigError for any mistake."""
    parser = parser_of(
        program, "Any knob of the config can be set: --config.optimizer.learning_rate=0.1"
    )
    parser.add_argument("--config", required=True, help="config file, or FILE:variant")
    parser.add_argument("--workdir", required=True, help="folder of this run")
    if program in ("train", "evaluate"):
        parser.add_argument(
            "--distributed",
            action="store_true",
            help="this is one of several processes; on Cloud TPU, Slurm, GKE and MPI that is all",
        )
        parser.add_argument("--coordinator", default="", help="HOST:PORT of process 0")
        parser.add_argument("--num_processes", type=int, default=0, help="how many there are")
        parser.add_argument("--process_id", type=int, default=-1, help="of this one, from 0")
        parser.add_argument(
            "--heartbeat_seconds",
            type=int,
            default=100,
            help="a process silent for this long is lost",
        )
    if program == "evaluate":
        parser.add_argument("--only", default="", help="names of evaluators, separated by commas")
        parser.add_argument(
            "--random_init", action="store_true", help="evaluate the method before training"
        )
        parser.add_argument("--step", type=int, help="which checkpoint; default: the newest")
    parser.set_defaults(only="", random_init=False, step=None, distributed=False)
    known = arguments_of(parser, [a for a in argv if not a.startswith("--config.")])
    config = overridden(known.config, argv)
    only = tuple(name for name in known.only.split(",") if name)
    cluster = None
    if known.distributed:
        cluster = Cluster(
            known.coordinator, known.num_processes, known.process_id, known.heartbeat_seconds
        )
    else:
        for name in ("coordinator", "num_processes", "process_id", "heartbeat_seconds"):
            if name in known and getattr(known, name) != parser.get_default(name):
                raise ConfigError(f"--{name} needs --distributed")
    return Arguments(config, known.workdir, only, known.random_init, known.step, cluster)


def overridden(name: str, argv: Sequence[str]) -> ConfigDict:
    """The config of that name, changed by those arguments that begin with `--config.`."""
    config = configs.load(name)
    for argument in argv:
        if argument.startswith("--config."):
            path, equals, text = argument.removeprefix("--config.").partition("=")
            if not equals:
                raise ConfigError(f"write --config.{path}=VALUE")
            configs.override(config, path, _value(text))
    return config


def parser_of(program: str, description: str) -> argparse.ArgumentParser:
    """A parser for `python -m ssl_jax.PROGRAM` that raises ConfigError for any mistake."""
    parser = argparse.ArgumentParser(
        prog=f"python -m ssl_jax.{program}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )

    def refuse(message: str) -> NoReturn:
        raise ConfigError(f"{message}; see --help")

    parser.error = refuse
    return parser


def arguments_of(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """The parsed arguments; options may stand among the others. ConfigError for a mistake."""
    known, unknown = parser.parse_known_intermixed_args(argv)
    if unknown:
        raise ConfigError(f"unknown argument {unknown[0]}; see --help")
    return at_home(known)


def at_home(known: argparse.Namespace) -> argparse.Namespace:
    """The arguments, a leading ~ in any of them as the home folder."""
    for name, value in vars(known).items():
        if isinstance(value, str):
            setattr(known, name, home(value))
        elif isinstance(value, list):
            setattr(known, name, [home(entry) for entry in value])
    return known


def _value(text: str):
    """A Python literal where it is one (0.1, True, ('a', 'b')), else text; ~ is home in it."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False}.get(text.lower(), home(text))
