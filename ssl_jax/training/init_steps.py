"""How `init_from` is spelt: a run, steps that look at data, or both, joined by '+'."""

import re

from ssl_jax.config import ConfigError
from ssl_jax.solvers.data_dependent_init import FILTERS

RESCALE = "rescale"


def init_steps(where: str) -> tuple[str, tuple[str, ...]]:
    """'runs/a+data:rescale' -> ('runs/a', ('rescale',)); 'data:kmeans' -> ('', ('kmeans',)).

    Raises ConfigError for an unknown step, or for filters that would replace what came before.
    """
    run, *steps = re.split(r"(?:^|\+)data:", where)
    for number, step in enumerate(steps):
        if step not in (*FILTERS, RESCALE):
            known = ", ".join(f"data:{name}" for name in (*FILTERS, RESCALE))
            raise ConfigError(f"init_from={where}: no data:{step}; there are {known}")
        if step != RESCALE and (run or number):
            raise ConfigError(
                f"init_from={where}: data:{step} replaces all weights; after others only "
                "data:rescale has a meaning"
            )
    return run, tuple(steps)
