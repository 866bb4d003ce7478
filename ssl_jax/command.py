"""The command line of `python -m ssl_jax.train`, `evaluate` and `cluster`.

    --config=FILE[:variant]  --workdir=DIR  [--config.x.y=value ...]
    [--distributed [--coordinator=HOST:PORT --num_processes=N --process_id=I]]

A mistake of the user costs one line on stderr and exit code 2, never a traceback.
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
from ssl_jax.data.record import MediaError
from ssl_jax.devices.hosts import Cluster
from ssl_jax.training.checkpoint import SaveError
from ssl_jax.training.stop import Interrupted


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What the user asked for, the overrides already applied to the config."""

    config: ConfigDict
    workdir: str
    only: tuple[str, ...] = ()
    random_init: bool = False
    step: int | None = None
    cluster: Cluster | None = None


DONE, MISTAKE, DIVERGED, TRY_AGAIN, BY_CTRL_C = 0, 2, 3, 4, 130


def run(main: Callable[[Arguments], None], program: str) -> None:
    """Parses, joins the other processes if told to, calls `main`, and turns errors into one line.

    Exit codes: 0 done, or saved on SIGTERM; 2 a mistake in the arguments, config or data;
    3 training diverged; 4 the same command may well go on (the disk was full, another process was
    lost); 130 stopped by Ctrl-C; 1 anything else, with a traceback.

    One of several processes that fails ends at once, so that the others see it, too.
    """
    flags.FLAGS.mark_as_parsed()  # grain and orbax read absl flags of their own
    logging.set_verbosity(logging.WARNING)
    _quieten_failed_saves()
    among_several = False
    try:
        arguments = parse(program, sys.argv[1:])
        if arguments.cluster:
            among_several = True
            arguments.cluster.join()
        main(arguments)
    except KeyboardInterrupt as error:
        code = BY_CTRL_C if getattr(error, "by", signal.SIGINT) == signal.SIGINT else DONE
        _line(error)
        if code == DONE:
            again = shlex.join(["python", "-m", f"ssl_jax.{program}", *sys.argv[1:]])
            print(f"ssl_jax: to go on: {again}", file=sys.stderr)
        if among_several and not isinstance(error, Interrupted):
            _leave(code)
        sys.exit(code)
    except FloatingPointError as error:
        _line(error)
        sys.exit(DIVERGED)
    except Exception as error:
        _end(error, among_several)


def _end(error: Exception, among_several: bool) -> NoReturn:
    """Tells what happened and ends the process."""
    import jax

    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    lost = among_several and isinstance(error, jax.errors.JaxRuntimeError)
    if full or isinstance(error, SaveError):
        _line(error, "; make room and give the same command: it goes on from what is saved")
        code = TRY_AGAIN
    elif lost and "RESOURCE_EXHAUSTED" not in str(error):
        # Its number may not be known: that would start the devices, and it may not have joined yet.
        text = "this process lost touch with another, which may have been ended or have failed"
        print(f"ssl_jax: {text} ({_first(error)})", file=sys.stderr)
        print("ssl_jax: start all of them again: they go on from what is saved", file=sys.stderr)
        code = TRY_AGAIN
    elif isinstance(error, ConfigError | MediaError) or _ours(error):
        # Errors of our own are one line; one from below may be more, and is a bug to see.
        _line(error)
        code = MISTAKE
    elif among_several:
        traceback.print_exception(error)
        code = 1
    else:
        raise error
    if among_several:
        _leave(code)
    sys.exit(code)


def _leave(code: int) -> NoReturn:
    """Ends this one of several processes: an orderly end would first wait for the others, who wait
    for this one.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _quieten_failed_saves() -> None:
    """A failed save is told in one line by ourselves; Orbax and tensorstore would add pages."""

    def wanted(record) -> bool:
        told = record.getMessage() if record.name == "asyncio" else record.pathname
        return record.levelname != "ERROR" or "orbax" not in told

    def hook(problem, original=sys.unraisablehook) -> None:
        if str(problem.exc_value) != "Event loop is closed":
            original(problem)

    logging.get_absl_logger().addFilter(wanted)
    getLogger("asyncio").addFilter(wanted)
    sys.unraisablehook = hook


def _ours(error: Exception) -> bool:
    """Whether the error was raised by this package itself (its messages are one line)."""
    if not isinstance(error, ValueError | FileNotFoundError):
        return False
    trace = error.__traceback__
    while trace.tb_next:
        trace = trace.tb_next
    return trace.tb_frame.f_globals.get("__name__", "").startswith("ssl_jax")


def _line(error: BaseException, hint: str = "") -> None:
    text = str(error) or "stopped; what was saved before is kept"
    print(f"ssl_jax: {' '.join(text.split())}{hint}", file=sys.stderr)


def _first(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def parse(program: str, argv: list[str]) -> Arguments:
    """Reads what follows `python -m ssl_jax.train` (or evaluate); ConfigError for any mistake."""
    parser = argparse.ArgumentParser(
        prog=f"python -m ssl_jax.{program}",
        description="Any knob of the config can be set: --config.optimizer.learning_rate=0.1",
        allow_abbrev=False,
        exit_on_error=False,
    )
    parser.add_argument("--config", required=True, help="config file, or FILE:variant")
    parser.add_argument("--workdir", required=True, help="folder of this run")
    if program in ("train", "evaluate"):
        parser.add_argument(
            "--distributed",
            action="store_true",
            help="one of several processes; Cloud TPU, Slurm, GKE and MPI need no more",
        )
        parser.add_argument("--coordinator", default="", help="HOST:PORT of process 0")
        parser.add_argument("--num_processes", type=int, default=0, help="how many there are")
        parser.add_argument("--process_id", type=int, default=-1, help="which this one is, from 0")
        parser.add_argument(
            "--heartbeat_seconds", type=int, default=100, help="a silent process counts as dead"
        )
    if program == "evaluate":
        parser.add_argument("--only", default="", help="names of evaluators, by commas")
        parser.add_argument(
            "--random_init", action="store_true", help="evaluate the method before training"
        )
        parser.add_argument("--step", type=int, help="which checkpoint; default: the newest")
    parser.set_defaults(only="", random_init=False, step=None, distributed=False)
    known = arguments_of(parser, [a for a in argv if not a.startswith("--config.")])
    config = configs.load(known.config)
    for argument in argv:
        if argument.startswith("--config."):
            path, equals, text = argument.removeprefix("--config.").partition("=")
            if not equals:
                raise ConfigError(f"write --config.{path}=VALUE")
            configs.override(config, path, _value(text))
    only = tuple(name for name in known.only.split(",") if name)
    cluster = None
    if known.distributed:
        cluster = Cluster(
            known.coordinator, known.num_processes, known.process_id, known.heartbeat_seconds
        )
    else:
        for name in ("coordinator", "num_processes", "process_id", "heartbeat_seconds"):
            if name in known and getattr(known, name) != parser.get_default(name):
                raise ConfigError(f"--{name} is of use with --distributed only")
    return Arguments(config, known.workdir, only, known.random_init, known.step, cluster)


def arguments_of(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """What the parser makes of it; options may stand among the others. ConfigError for a mistake.

    The parser is one with `exit_on_error=False`.
    """
    try:
        known, unknown = parser.parse_known_intermixed_args(argv)
    except argparse.ArgumentError as error:
        raise ConfigError(str(error)) from error
    if unknown:
        raise ConfigError(f"unknown argument {unknown[0]}; see --help")
    return known


def _value(text: str):
    """A Python literal where it is one (0.1, True, ('a', 'b')), otherwise the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False}.get(text.lower(), text)
