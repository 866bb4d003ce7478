"""What was meant by a name that does not exist: the end of a message for the user."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

MOST = 3  # names that are proposed


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
