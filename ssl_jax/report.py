"""One page on a run, to be mailed or printed: `python -m ssl_jax.report WORKDIR...`.

    python -m ssl_jax.report WORKDIR [WORKDIR ...] [--output=report.html]

A single HTML file without scripts, which needs no network: was the run good, its curves, puzzles
with the network's guesses, results, shortcuts, pictures, and how to repeat it. Several workdirs are
runs of one config with different seeds. Needs the extra `report`: pip install 'ssl_jax[report]'.
"""

import importlib.util
import os
import sys
import traceback
from collections.abc import Sequence

from ml_collections import ConfigDict

from ssl_jax.command import arguments_of, enter, parser_of
from ssl_jax.config import ConfigError
from ssl_jax.data.paths import home
from ssl_jax.training.checkpoint import TrainState
from ssl_jax.training.draw_guesses import draw_guesses

EXTRA = ("jinja2", "matplotlib")
INSTALL = "a page on a run needs pip install 'ssl_jax[report]'"


def report(workdirs: Sequence[str | os.PathLike], output: str | os.PathLike) -> None:
    """Writes the page on these runs; nothing in it depends on when it is written.

    A run that is not finished has a page of what is there. Raises ConfigError without the extra
    `report`, and for a folder that no run has begun in.
    """
    if not installed():
        raise ConfigError(INSTALL)
    from ssl_jax.reporting.page import page
    from ssl_jax.reporting.run import read_run

    text = page([read_run(home(os.fspath(workdir))) for workdir in workdirs])
    part = f"{os.fspath(output)}.part"
    with open(part, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(part, output)


def leave_report(config: ConfigDict, state: TrainState, workdir: str) -> None:
    """Draws a finished run's guesses, and writes WORKDIR/report.html where the extra is installed.

    Otherwise it says how to have one. An error is reported and costs the page alone: the run is
    whole.
    """
    try:
        draw_guesses(config, state, workdir)
        if installed():
            report([workdir], os.path.join(workdir, "report.html"))
        else:
            print(f"no report.html: {INSTALL}")
    except Exception as error:
        traceback.print_exception(error)
        print(f"ssl_jax: no report.html; the run is whole in {workdir}", file=sys.stderr)


def installed() -> bool:
    """Whether the extra `report` is."""
    return all(importlib.util.find_spec(name) for name in EXTRA)


def main(argv: Sequence[str]) -> None:
    """Writes the page on the runs that the command line names."""
    parser = parser_of("report", __doc__)
    parser.add_argument("workdirs", nargs="*", metavar="WORKDIR")
    parser.add_argument("--output", default="", help="default: report.html in the first workdir")
    known = arguments_of(parser, argv)
    if not known.workdirs:
        raise ConfigError("say of which run: report WORKDIR")
    output = known.output or os.path.join(known.workdirs[0], "report.html")
    report(known.workdirs, output)
    print(f"the report is {output}")


if __name__ == "__main__":
    enter(main, "report")
