"""Which knobs differ between two configs, such as those of a run when it began and now."""

import importlib
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from ssl_jax import config as configs

LONGEST = 60  # characters of a value that are shown
ABSENT = object()


def changed_knobs(before: ConfigDict, now: ConfigDict) -> dict[str, str]:
    """Every knob that differs, by its path: {'optimizer.learning_rate': '0.1 -> 5.0'}.

    Where something else is called, such as another trunk, that alone is named and not its knobs.
    A knob that was introduced since `before` had what is now its default.
    """
    before, now = configs.as_saved(_completed(before)), configs.as_saved(now)
    found = _differences(before, now, "")
    return {place: _arrow(old, new) for place, old, new in found}


def below(changes: dict[str, str], *groups: str) -> dict[str, str]:
    """The changes of these knobs, and of what is inside them."""
    return {
        place: change
        for place, change in changes.items()
        if any(f"{place}.".startswith(f"{group}.") for group in groups)
    }


def listed(changes: dict[str, str]) -> str:
    """'steps 4 -> 8, optimizer.learning_rate 0.1 -> 5.0'."""
    return ", ".join(f"{place} {change}" for place, change in changes.items())


def _completed(value: Any) -> Any:
    """A config with the defaults of knobs that it lacks, where this version has what it calls."""
    if isinstance(value, tuple):
        return tuple(_completed(entry) for entry in value)
    if not isinstance(value, ConfigDict):
        return value
    knobs = {name: _completed(entry) for name, entry in value.items() if name != "call"}
    if "call" not in value:
        return ConfigDict(knobs)
    module, _, name = value.call.partition(":")
    try:
        return configs.call(getattr(importlib.import_module(module), name), **knobs)
    except (ImportError, AttributeError, TypeError, ValueError):  # gone, or with other knobs
        return ConfigDict({**knobs, "call": value.call})


def _differences(before: Any, now: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    """(path, value before, value now); ABSENT for a knob that one of them lacks."""
    inside = _inside(before), _inside(now)
    if None in inside or _call(before) != _call(now):
        if before is ABSENT or now is ABSENT or before != now:
            yield place, before, now
        return
    old, new = inside
    for name in dict.fromkeys((*old, *new)):
        inner = f"{place}.{name}" if place else name
        yield from _differences(
            old[name] if name in old else ABSENT, new[name] if name in new else ABSENT, inner
        )


def _inside(value: Any) -> dict[str, Any] | None:
    """The knobs of a group, or of several things such as the sources of a mix; else None."""
    if isinstance(value, tuple) and any(isinstance(entry, ConfigDict) for entry in value):
        return {str(number): entry for number, entry in enumerate(value)}
    if isinstance(value, ConfigDict):
        return {name: entry for name, entry in value.items() if name != "call"}
    return None


def _call(value: ConfigDict | tuple) -> str:
    return value.call if isinstance(value, ConfigDict) and "call" in value else ""


def _arrow(old: Any, new: Any) -> str:
    shown = _shown(old), _shown(new)
    if shown[0] == shown[1]:  # of the same name, in another module
        shown = str(_call(old)) or shown[0], str(_call(new)) or shown[1]
    return " -> ".join(shown)


def _shown(value: Any) -> str:
    if value is ABSENT:
        return "(not there)"
    if isinstance(value, ConfigDict) and "call" in value:
        return value.call.partition(":")[2]
    text = repr(value.to_dict() if isinstance(value, ConfigDict) else value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
