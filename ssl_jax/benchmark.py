"""Benchmarks: python -m ssl_jax.benchmark [--only=input,...]

Each compares this library with others, or with a plain loop that does the same, in one run and by
turns, so the ratios hold on a busy machine too.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from typing import Protocol, runtime_checkable

from ssl_jax.benchmarks.augment import Augment
from ssl_jax.benchmarks.evals import Evals
from ssl_jax.benchmarks.input import Input


@runtime_checkable
class Benchmark(Protocol):
    """A frozen dataclass; its fields say how much work it does."""

    def rows(self) -> Iterator[tuple[str, float]]:
        """Names and numbers, as they are measured."""


BENCHMARKS: dict[str, Benchmark] = {
    "input": Input(),
    "augment": Augment(),
    "evals": Evals(),
}


def table(rows: list[tuple[str, float]]) -> str:
    """Names and numbers, one under the other."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name.ljust(width)}  {value:12,.3f}" for name, value in rows)


def main(argv: list[str], benchmarks: Mapping[str, Benchmark] = BENCHMARKS) -> int:
    """Runs the benchmarks that `argv` asks for; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ssl_jax.benchmark")
    known = ",".join(benchmarks)
    parser.add_argument("--only", default=known, help=f"some of {known}, by commas")
    names = [name for name in parser.parse_args(argv).only.split(",") if name]
    unknown = [name for name in names if name not in benchmarks]
    if unknown or not names:
        wrong = unknown[0] if unknown else ""
        print(f"ssl_jax: no benchmark '{wrong}'; there is {known}", file=sys.stderr)
        return 2
    for name in names:
        print(f"{name}\n{table(list(benchmarks[name].rows()))}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
