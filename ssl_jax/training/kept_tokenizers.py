"""The tokenizers of a run: kept in its workdir, and no others when it resumes or is evaluated.

    workdir/tokenizers/list.json       what each is, by the place of its knob in the config
    workdir/tokenizers/1a2b3c4d.model  a copy of the file, for machines that lack it

Every knob called `tokenizer` is one, wherever it is in the config.
"""

import json
import os
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from ssl_jax import config as configs
from ssl_jax.config import ConfigError
from ssl_jax.data import paths

# What a run keeps to its end; evaluators may change.
TRAINED = ("method", "source")


def with_kept(config: ConfigDict, *folders: str, always: bool = False) -> ConfigDict:
    """The config with the copies in runs' folders for the tokenizers whose files are gone.

    Args:
      folders: of the runs; '' for none. The first that has a copy gives it.
      always: take the copies of all, as the config is the run's own.
    """
    config = config.copy_and_resolve_references()
    for folder in filter(None, map(paths.home, folders)):
        kept = _listed(folder)
        by_path = {entry["path"]: entry for entry in kept.values()}
        for place, recorded in list(tokenizers_in(config)):
            if "path" not in recorded or (not always and is_there(recorded.path)):
                continue
            entry = kept[place] if place in kept else None
            if entry is None and recorded.path in by_path:  # such as of a new evaluator
                entry = by_path[recorded.path]
            if entry and entry["file"] and entry["call"] == recorded.call:
                copy = os.path.join(folder, "tokenizers", entry["file"])
                configs.override(config, f"{place}.path", copy)
    return config


def is_there(path: str) -> bool:
    """Whether a tokenizer's file can be read from this machine."""
    try:
        return paths.exists(path)
    except OSError:  # a URL of no store that can be read from here
        return False


def check_tokenizers(config: ConfigDict, folder: str = "") -> None:
    """ConfigError unless the method and all sources have one tokenizer, and it is the run's own.

    Args:
      folder: of the run that resumes or is evaluated; '' if there is none. Where files are gone its
        copies stand in, see `with_kept`.
    """
    config = with_kept(config, folder)
    found = _fingerprints(config)
    named = {place: _name(recorded) for place, recorded in tokenizers_in(config)}
    own = "method.tokenizer"
    for place, fingerprint in found.items():
        if own in found and fingerprint != found[own]:
            raise ConfigError(
                f"{place} is {named[place]} ({fingerprint}) but {own} is {named[own]} "
                f"({found[own]}): a network reads the tokens of one"
            )
    for place, entry in _listed(folder).items():
        if not place.startswith(TRAINED) or place not in found:
            continue
        if found[place] != entry["fingerprint"]:
            raise ConfigError(
                f"{folder} was trained with {place}={entry['name']} ({entry['fingerprint']}), now "
                f"it is {named[place]} ({found[place]}), which numbers text in another way: give "
                "the run's own, or begin a run in a new --workdir"
            )


def keep_tokenizers(config: ConfigDict, workdir: str) -> None:
    """Writes down what a config's tokenizers are, with copies of their files."""
    folder, entries, kept = os.path.join(workdir, "tokenizers"), {}, _listed(workdir)
    config = with_kept(config, workdir, config.resume)
    fingerprints = _fingerprints(config)
    for place, recorded in tokenizers_in(config):
        path, file = recorded.path if "path" in recorded else "", ""
        fingerprint = fingerprints[place]
        if place in kept and kept[place]["fingerprint"] == fingerprint:
            entries[place] = kept[place]
            continue
        if path:
            # The ending says what kind of file it is.
            file = f"{fingerprint}{os.path.splitext(path)[1]}"
            _write(folder, file, paths.read(path))
        entries[place] = {
            "name": _name(recorded),
            "call": recorded.call,
            "path": path,
            "fingerprint": fingerprint,
            "file": file,
        }
    if entries:
        _write(folder, "list.json", json.dumps(entries, indent=2).encode())


def only_moved(changes: dict[str, str], config: ConfigDict) -> dict[str, str]:
    """Those of the changed knobs that are where the file of a tokenizer is, see `changed_knobs`.

    They change nothing, as a tokenizer that maps another way is refused.
    """
    places = {f"{place}.path" for place, _ in tokenizers_in(config)}
    return {place: change for place, change in changes.items() if place in places}


def tokenizers_in(config: Any, place: str = "") -> Iterator[tuple[str, ConfigDict]]:
    """(place, recorded call) of every tokenizer."""
    if isinstance(config, ConfigDict):
        inside = {name: config[name] for name in config if name != "call"}
    elif isinstance(config, tuple):
        inside = {str(number): entry for number, entry in enumerate(config)}
    else:
        return
    for name, entry in inside.items():
        there = f"{place}.{name}" if place else name
        if name == "tokenizer" and isinstance(entry, ConfigDict) and "call" in entry:
            yield there, entry
        else:
            yield from tokenizers_in(entry, there)


def _fingerprints(config: ConfigDict) -> dict[str, str]:
    """The fingerprint of every tokenizer by its place; each different one is read once."""
    known: dict[str, str] = {}
    found = {}
    for place, recorded in tokenizers_in(config):
        same = repr(recorded)
        if same not in known:
            known[same] = configs.build(recorded, place=place).fingerprint
        found[place] = known[same]
    return found


def _name(recorded: ConfigDict) -> str:
    path = recorded.path if "path" in recorded else ""
    return f"{recorded.call.partition(':')[2]}({path})"


def _listed(folder: str) -> dict[str, dict[str, str]]:
    path = os.path.join(folder, "tokenizers", "list.json")
    if not folder or not os.path.isfile(path):
        return {}
    with open(path) as file:
        return json.load(file)


def _write(folder: str, name: str, content: bytes) -> None:
    """Writes all of a file or nothing, unless it is there already."""
    path = os.path.join(folder, name)
    if os.path.isfile(path):
        with open(path, "rb") as file:
            if file.read() == content:
                return
    os.makedirs(folder, exist_ok=True)
    with open(f"{path}.part", "wb") as file:
        file.write(content)
    os.replace(f"{path}.part", path)
