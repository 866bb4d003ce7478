"""The command line of `python -m ssl_jax.train` and `python -m ssl_jax.evaluate`.

    --config=FILE[:variant]  --workdir=DIR  [--config.x.y=value ...]

A mistake of the user costs one line on stderr and exit code 2, never a traceback.
"""

import argparse
import ast
import dataclasses
import signal
import sys
from collections.abc import Callable

from absl import flags, logging
from ml_collections import ConfigDict

from ssl_jax import config as configs
from ssl_jax.config import ConfigError
from ssl_jax.data.record import MediaError


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What the user asked for, the overrides already applied to the config."""

    config: ConfigDict
    workdir: str
    only: tuple[str, ...]
    random_init: bool


def run(main: Callable[[Arguments], None], program: str) -> None:
    """Parses, calls `main`, and turns errors that the user can mend into one line.

    Exit codes: 0 done, or saved on SIGTERM; 2 a mistake in the arguments, config or data;
    3 training diverged; 130 stopped by Ctrl-C.
    """
    flags.FLAGS.mark_as_parsed()  # grain and orbax read absl flags of their own
    logging.set_verbosity(logging.WARNING)
    try:
        main(parse(program, sys.argv[1:]))
    except (ConfigError, MediaError, ValueError, FileNotFoundError) as error:
        # Errors of our own are one line; a ValueError from below may be more, and is a bug to see.
        if not isinstance(error, ConfigError | MediaError) and not _ours(error):
            raise
        sys.exit(_line(error, 2))
    except FloatingPointError as error:
        sys.exit(_line(error, 3))
    except KeyboardInterrupt as error:
        by_ctrl_c = getattr(error, "by", signal.SIGINT) == signal.SIGINT
        sys.exit(_line(error, 130 if by_ctrl_c else 0))


def _ours(error: Exception) -> bool:
    """Whether the error was raised by this package itself (its messages are one line)."""
    trace = error.__traceback__
    while trace.tb_next:
        trace = trace.tb_next
    return trace.tb_frame.f_globals.get("__name__", "").startswith("ssl_jax")


def _line(error: BaseException, code: int) -> int:
    text = str(error) or "stopped; what was saved before is kept"
    print(f"ssl_jax: {' '.join(text.split())}", file=sys.stderr)
    return code


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
    if program == "evaluate":
        parser.add_argument("--only", default="", help="names of evaluators, by commas")
        parser.add_argument(
            "--random_init", action="store_true", help="evaluate the method before training"
        )
    parser.set_defaults(only="", random_init=False)
    plain = [a for a in argv if not a.startswith("--config.")]
    try:
        known, unknown = parser.parse_known_args(plain)
    except argparse.ArgumentError as error:
        raise ConfigError(str(error)) from error
    if unknown:
        raise ConfigError(f"unknown argument {unknown[0]}; see --help")
    config = configs.load(known.config)
    for argument in argv:
        if argument.startswith("--config."):
            path, equals, text = argument.removeprefix("--config.").partition("=")
            if not equals:
                raise ConfigError(f"write --config.{path}=VALUE")
            configs.override(config, path, _value(text))
    only = tuple(name for name in known.only.split(",") if name)
    return Arguments(config, known.workdir, only, known.random_init)


def _value(text: str):
    """A Python literal where it is one (0.1, True, ('a', 'b')), otherwise the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False}.get(text.lower(), text)
