"""Knobs of sources that take several of a few words."""

from collections.abc import Sequence

from ssl_jax.config import ConfigError


def check_choices(knob: str, values: Sequence[str], allowed: Sequence[str]) -> None:
    """ConfigError unless `values` is a tuple (or list) of allowed words."""
    check_several(knob, values)
    wrong = [value for value in values if value not in allowed]
    if wrong:
        raise ConfigError(f"{knob}={values}: {wrong[0]!r} is none of {tuple(allowed)}")


def check_several(knob: str, values: object) -> None:
    """ConfigError if one text stands where several belong: its letters would be taken for them."""
    if not isinstance(values, tuple | list):
        raise ConfigError(f"{knob}={values!r} must be a tuple, such as {knob}=({values!r},)")
