"""One table of several runs of the same config: mean and deviation over their seeds.

    python -m ssl_jax.seeds WORKDIR WORKDIR ...

Reads the results.json and config.json that training (or evaluation) left in each.
"""

import json
import os
from collections.abc import Sequence

import numpy as np

from ssl_jax.command import arguments_of, enter, parser_of
from ssl_jax.config import ConfigError
from ssl_jax.data.paths import home
from ssl_jax.evals.table import Table


def over_seeds(workdirs: list[str]) -> tuple[Table, list[str]]:
    """Means over runs, with deviations (of the sample, n - 1); and the knobs in which they differ.

    Deviations of a single run, over its draws, are not part of it. Results that some of the runs
    lack are left out. Raises ConfigError for a folder without results, and if a run or a seed
    is given twice.
    """
    workdirs = [home(workdir) for workdir in workdirs]
    runs = [_read(workdir, "results.json") for workdir in workdirs]
    if len({os.path.realpath(workdir) for workdir in workdirs}) < len(workdirs):
        raise ConfigError("a run is named twice")
    configs = [_flat(_read(workdir, "config.json")) for workdir in workdirs]
    seeds = [config["seed"] for config in configs]
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"the runs have the seeds {seeds}: some are the same run twice")
    knobs = sorted(set().union(*configs) - {"seed"})
    differ = [knob for knob in knobs if any(_other(knob, c, configs[0]) for c in configs)]
    parts = {}
    for part in ("trained", "random_init"):
        parts[part] = {}
        for name in runs[0][part]:
            if not name.endswith("/std") and all(name in run[part] for run in runs):
                values = [run[part][name] for run in runs]
                parts[part][name] = float(np.mean(values))
                parts[part][f"{name}/std"] = float(np.std(values, ddof=1))
    if not parts["trained"]:
        raise ConfigError("the runs have no result in common")
    first = Table.read(os.path.join(workdirs[0], "results.json"))
    return Table(**parts, settings=first.settings, layers=first.layers), differ


def _read(workdir: str, name: str) -> dict:
    path = os.path.join(workdir, name)
    if not os.path.isfile(path):
        raise ConfigError(f"{path} is missing: give workdirs of finished runs, or evaluate them")
    with open(path) as file:
        return json.load(file)


def _other(knob: str, one: dict, two: dict) -> bool:
    """Whether it has two values, or is in one of them only."""
    return (knob in one) != (knob in two) or (knob in one and one[knob] != two[knob])


def _flat(config: dict, prefix: str = "") -> dict:
    """'optimizer.learning_rate' -> 0.1."""
    flat = {}
    for name, value in config.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def main(argv: Sequence[str]) -> None:
    """Prints the table of the runs that the command line names."""
    parser = parser_of("seeds", __doc__)
    parser.add_argument("workdirs", nargs="*", metavar="WORKDIR")
    workdirs = arguments_of(parser, argv).workdirs
    if len(workdirs) < 2:
        raise ConfigError("a deviation takes two runs or more: seeds WORKDIR WORKDIR")
    table, differ = over_seeds(workdirs)
    print(f"mean ± deviation over {len(workdirs)} runs\n\n{table}")
    if differ:
        print(f"\nNot only the seed differs, but also: {', '.join(differ)}")


if __name__ == "__main__":
    enter(main, "seeds")
