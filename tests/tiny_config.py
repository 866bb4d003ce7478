"""The experiment of tiny.py as a config file."""

import tiny

from ssl_jax.config import variant_of


def get_config(variant: str = ""):
    variant_of(variant, ("tiny",))
    return tiny.experiment(evaluators={"ridge": tiny.ridge()})
