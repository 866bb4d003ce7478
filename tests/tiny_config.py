"""The experiment of tiny.py as a config file."""

import tiny

from ssl_jax.config import choose


def get_config(variant: str = ""):
    def small():
        return tiny.experiment(evaluators={"ridge": tiny.ridge()})

    return choose(variant, small)
