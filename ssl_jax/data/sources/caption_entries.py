"""Entries of the lists of captioned video; what makes no sense is named with its file."""

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from ssl_jax.config import ConfigError
from ssl_jax.data import paths
from ssl_jax.data.record import Caption

SETS = "HowTo100M, YouCook2, MSR-VTT, VATEX or ActivityNet captions"


def captions_of(where: str, rows: Iterable[tuple], language: str) -> list[Caption]:
    """Of (text, start, end); empty texts and spans without length are skipped.

    Raises ConfigError, which begins with `where`, for what is no text or no number of seconds.
    """
    found = []
    for text, start, end in rows:
        try:
            begin, stop = float(start), float(end)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{where}: {start!r} and {end!r} should be seconds") from error
        if not isinstance(text, str | int | float):
            raise ConfigError(f"{where}: {text!r} should be a text")
        text = str(text).strip()
        if text and 0 <= begin < stop:
            found.append(Caption(text, begin, stop, language))
    return found


def untimed(where: str, texts: Any, language: str) -> list[Caption]:
    """Captions of a whole video. ConfigError for what is no list of texts."""
    if not isinstance(texts, list):
        raise ConfigError(f"{where}: {repr(texts)[:60]} should be a list of texts")
    return captions_of(where, [(text, 0.0, math.inf) for text in texts], language)


def joined(known: list[Caption], more: list[Caption]) -> list[Caption]:
    """Captions of two lists, without those of the second that are in the first."""
    there = set(known)
    return known + [caption for caption in more if caption not in there]


def in_order(captions: Sequence[Caption]) -> tuple[Caption, ...]:
    """By their starts, then by their ends."""
    return tuple(sorted(captions, key=lambda c: (c.start, c.end)))


def load(file: str, kind: type) -> Any:
    """What a json file holds. ConfigError if it is none, or holds what is not of a kind."""
    try:
        content = json.loads(paths.read(file))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: cannot be read as json ({error})") from error
    if not isinstance(content, kind):
        raise ConfigError(f"{file}: is not as one of {SETS} has it: a {kind.__name__} was expected")
    return content


def entry_of(entry: Any, key: str, where: str, kind: type = object) -> Any:
    """What stands under a key. ConfigError if nothing does, or what is not of a kind."""
    if not isinstance(entry, dict) or key not in entry:
        raise ConfigError(f"{where}: has no {key!r}; it is not as one of {SETS} has it")
    if not isinstance(entry[key], kind):
        found = repr(entry[key])[:60]
        raise ConfigError(f"{where}: {key!r} is {found}, not of type {kind.__name__}")
    return entry[key]


def span_of(span: Any, where: str) -> tuple[Any, Any]:
    """Start and end. ConfigError for what is no pair."""
    if not isinstance(span, list) or len(span) != 2:
        raise ConfigError(f"{where}: {span!r} should be a start and an end in seconds")
    return span[0], span[1]
