"""What a knob takes and is called: types, names, and ranges for the `__post_init__` of a dataclass.

    def __post_init__(self):
        at_least(self, 1, "steps", "batch_size")
        one_of(self, "pairs", ("crops", "clips"))

`config.build` puts where the knob stands before the message.
"""

import collections.abc
import difflib
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict


class ConfigError(ValueError):
    """A mistake in a config or a command line. The message is one line for the user."""


# Names that are proposed in place of one that does not exist, at most.
MOST = 3

# What a value should be, in words. Everything else goes by its name.
WORDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
    type(None): "None",
}


def hints_of(target: Callable) -> dict[str, Any]:
    """Argument -> annotation, of a class or function; {} where they cannot be resolved."""
    made = target.__init__ if inspect.isclass(target) else target
    try:
        hints = typing.get_type_hints(made)
    except (NameError, TypeError):  # annotations as text that names nothing known here
        return {}
    return {name: hint for name, hint in hints.items() if name != "return"}


def fits(value: Any, hint: Any) -> bool:
    """Whether a built value is what an annotation says. A whole number is a number, a bool is none.

    Annotations without a meaning for values, such as a protocol's, fit everything.
    """
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, one) for one in inside)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if inside[-1] is Ellipsis:
            return all(fits(entry, inside[0]) for entry in value)
        return len(value) == len(inside) and all(map(fits, value, inside))
    if origin is typing.Literal:
        return value in inside
    if origin in (dict, Mapping):
        return isinstance(value, Mapping) and all(fits(v, inside[1]) for v in value.values())
    if origin is collections.abc.Callable:
        return callable(value)
    if hint in (int, float):
        return type(value) in (int, hint)
    if hint is None:
        return value is None
    try:
        return not isinstance(hint, type) or isinstance(value, hint)
    except TypeError:  # a protocol that is not checked at run time
        return True


def in_words(hint: Any) -> str:
    """What an annotation asks for: 'a whole number', 'a tuple of text', 'Trunk or None'."""
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(in_words, inside))
    if origin is tuple:
        if inside[-1] is Ellipsis:
            return f"a tuple of {in_words(inside[0])}"
        return f"a tuple of {len(inside)} ({', '.join(map(in_words, inside))})"
    if origin in (dict, Mapping):
        return f"a mapping to {in_words(inside[1])}"
    if hint in WORDS:
        return WORDS[hint]
    return hint.__name__ if isinstance(hint, type) else str(hint)


def shown(value: Any) -> str:
    """A value as a message shows it; of an object only its class."""
    plain = isinstance(value, bool | int | float | str | tuple | Mapping | ConfigDict | None)
    text = repr(value) if plain else type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}..."


def at_least(owner: object, least: int | float, *names: str) -> None:
    """ConfigError for the first of these knobs that is less, or not a number (NaN).

    Here and below, of a tuple every entry counts.
    """
    _each(owner, names, lambda value: value >= least, f"be at least {least}")


def above(owner: object, bound: int | float, *names: str) -> None:
    """ConfigError for the first of these knobs that is not larger than the bound."""
    _each(owner, names, lambda value: value > bound, f"be above {bound}")


def below(owner: object, bound: int | float, *names: str) -> None:
    """ConfigError for the first of these knobs that is not smaller than the bound."""
    _each(owner, names, lambda value: value < bound, f"be below {bound}")


def within(owner: object, low: int | float, high: int | float, *names: str) -> None:
    """ConfigError for the first of these knobs that is not between the two, both allowed."""
    _each(owner, names, lambda value: low <= value <= high, f"be from {low} to {high}")


def one_of(owner: object, name: str, choices: Iterable[Any]) -> None:
    """ConfigError for a knob that is none of the choices."""
    known = tuple(choices)
    _each(owner, (name,), lambda value: value in known, f"be one of {', '.join(map(str, known))}")


def _each(owner: object, names: Iterable[str], fine: Callable[[Any], bool], what: str) -> None:
    for name in names:
        value = getattr(owner, name)
        several = isinstance(value, tuple | list)
        if not all(map(fine, value if several else (value,))):
            raise ConfigError(f"{name}={value!r}{': each' if several else ''} must {what}")


def given(owner: object, *names: str) -> None:
    """ConfigError for the first of these knobs, tuples, that is empty."""
    for name in names:
        if not getattr(owner, name):
            raise ConfigError(f"{name} is empty: give at least one")


def ascending(owner: object, *names: str) -> None:
    """ConfigError for the first of these knobs, pairs, whose second number is the smaller one."""
    for name in names:
        low, high = getattr(owner, name)
        if not low <= high:
            raise ConfigError(f"{name}={(low, high)} must be the smallest and the largest")


def no_larger(owner: object, name: str, room: str) -> None:
    """ConfigError for a knob that is larger than another, in which it has to fit."""
    value, most = getattr(owner, name), getattr(owner, room)
    if value > most:
        raise ConfigError(f"{name}={value} must be at most {room}={most}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """'; did you mean 'every_steps'?': names that begin like it, else the one that looks like it.

    With none of either, all that there are.
    """
    names = [k for k in known if k != "call"]
    near = [k for k in names if k.startswith(name.lower())] if name else []
    near = near or difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if near:
        return _question(near)
    return f"; it has {', '.join(names)}" if names else ""


def did_you_mean_knob(name: str, group: Any, place: str) -> str:
    """The same for a knob of a config's group at `place`, which may lie further inside."""
    known = group if isinstance(group, ConfigDict) else {}
    inside = [f"{place}.{path}" for path in _paths(known, name)]
    return _question(inside) if inside else did_you_mean(name, known)


def _paths(group: Mapping | ConfigDict, name: str) -> Iterator[str]:
    """Where inside of a group there is a knob of this name: 'optimizer.learning_rate'."""
    for key, value in group.items():
        if isinstance(value, ConfigDict):
            if name in value:
                yield f"{key}.{name}"
            yield from (f"{key}.{path}" for path in _paths(value, name))


def _question(names: list[str]) -> str:
    return f"; did you mean {' or '.join(repr(name) for name in names[:MOST])}?"
