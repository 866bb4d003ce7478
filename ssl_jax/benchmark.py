"""Benchmarks: python -m ssl_jax.benchmark [--only=input,...]

Each compares this library with others, or with a plain loop that does the same, in one process and
in turns, so that the ratios hold on a busy machine too.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

from ssl_jax.benchmarks.augment import Augment
from ssl_jax.benchmarks.evals import Evals
from ssl_jax.benchmarks.input import Input
from ssl_jax.benchmarks.losses import Losses
from ssl_jax.benchmarks.words import Words
from ssl_jax.command import arguments_of, enter, parser_of
from ssl_jax.config import ConfigError


@runtime_checkable
class Benchmark(Protocol):
    """A frozen dataclass; its fields say how much work it does."""

    def rows(self) -> Iterator[tuple[str, float]]:
        """Names and numbers, as they are measured."""


BENCHMARKS: dict[str, Benchmark] = {
    "input": Input(),
    "augment": Augment(),
    "evals": Evals(),
    "losses": Losses(),
    "words": Words(),
}


def table(rows: list[tuple[str, float]]) -> str:
    """Names and numbers, one under the other."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name.ljust(width)}  {value:12,.3f}" for name, value in rows)


def main(argv: Sequence[str], benchmarks: Mapping[str, Benchmark] = BENCHMARKS) -> None:
    """Runs the benchmarks that the command line names and prints their tables."""
    known = ",".join(benchmarks)
    parser = parser_of("benchmark", __doc__)
    parser.add_argument("--only", default=known, help=f"some of {known}, separated by commas")
    names = [name for name in arguments_of(parser, argv).only.split(",") if name]
    unknown = [name for name in names if name not in benchmarks]
    if unknown or not names:
        wrong = unknown[0] if unknown else ""
        raise ConfigError(f"no benchmark '{wrong}'; there is {known}")
    for name in names:
        print(f"{name}\n{table(list(benchmarks[name].rows()))}", flush=True)


if __name__ == "__main__":
    enter(main, "benchmark")
