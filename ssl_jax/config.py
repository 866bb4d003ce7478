"""Configs: recorded constructor calls, so that every knob is listed, checked and overridable.

call(Optimizer, learning_rate=0.1)   records the call as a ConfigDict, all defaults written out
build(config)                        makes the object
load('quickstart.py:tiny')           runs a config file's get_config('tiny')
"""

import dataclasses
import difflib
import importlib
import importlib.util
import inspect
import json
import os
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from ssl_jax.data.paths import home
from ssl_jax.knobs import (
    ConfigError,
    did_you_mean,
    did_you_mean_knob,
    fits,
    hints_of,
    in_words,
    shown,
)

# Fields of every Linen module beside its own, which are no knobs.
LINEN = ("parent", "name")


# Annotations of values that are no objects with knobs of their own; `empty`: none is given.
PLAIN = (bool, int, float, str, tuple, list, dict, object, inspect.Parameter.empty)


def call(target: Callable, /, **arguments) -> ConfigDict:
    """Records `target(**arguments)` with every default written out.

    Raises ConfigError for a misspelt, missing or wrongly typed argument.
    """
    parameters = dict(inspect.signature(target).parameters)
    if "parent" in parameters:  # a Linen module
        parameters = {name: p for name, p in parameters.items() if name not in LINEN}
    factories = {
        f.name: f.default_factory
        for f in (dataclasses.fields(target) if dataclasses.is_dataclass(target) else ())
        if f.default_factory is not dataclasses.MISSING
    }
    for name in arguments:
        if name not in parameters:
            raise ConfigError(
                f"{target.__name__} has no argument '{name}'{did_you_mean(name, parameters)}"
            )
    recorded = {"call": f"{target.__module__}:{target.__qualname__}"}
    for name, parameter in parameters.items():
        if name in arguments:
            value = arguments[name]
        elif name in factories:
            value = factories[name]()
        elif parameter.default is not inspect.Parameter.empty:
            value = parameter.default
        else:
            raise ConfigError(f"{target.__name__} needs the argument '{name}'")
        recorded[name] = _typed(target, name, parameter.annotation, value)
    return ConfigDict(recorded)


def _typed(target: Callable, name: str, annotation: Any, value: Any) -> Any:
    """`value` as its annotation says, an int where a float is meant made one."""
    _refuse_dict(f"{target.__name__}.{name}", annotation, value)
    if annotation is float and type(value) is int:
        return float(value)
    if annotation in (bool, int, float, str) and type(value) is not annotation:
        raise ConfigError(f"{target.__name__}.{name} is a {annotation.__name__}, got {value!r}")
    if isinstance(value, ConfigDict):  # a copy, or an override here would reach its other homes
        return value.copy_and_resolve_references()
    if isinstance(value, tuple):
        return tuple(_typed(target, name, None, entry) for entry in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # A default that is itself an object (a nested group of knobs) is recorded too.
        names = [f.name for f in dataclasses.fields(value) if f.init and f.name not in LINEN]
        return call(type(value), **{name: getattr(value, name) for name in names})
    return value


def _refuse_dict(place: str, annotation: Any, value: Any) -> None:
    """ConfigError for a dict where an object belongs: such as a recorded call of `Optimizer`."""
    if not isinstance(value, Mapping | ConfigDict):
        return
    if typing.get_origin(annotation) is Mapping:  # of objects by their names, such as evaluators
        *_, inside = typing.get_args(annotation)
        for name, entry in value.items():
            _refuse_dict(f"{place}.{name}", inside, entry)
    elif (
        isinstance(annotation, type)
        and annotation not in PLAIN
        and not issubclass(annotation, Mapping)
        and "call" not in value
    ):
        raise ConfigError(f"{place} is a dict: write call({annotation.__name__}, ...)")


def build(config: Any, path: str = "", place: str = "") -> Any:
    """Makes the object that `call` recorded, and those inside it. Plain values pass through.

    A text that begins with ~ is a path from the home folder.

    Args:
      path: the run's config.json that the config was read from, for the message if something that
        it names is gone.
      place: where in the whole config this one stands, such as 'optimizer', for messages.

    Raises ConfigError for what is gone, for a value of another type than the knob's, and for a
    ValueError of the constructor: a knob that cannot work.
    """
    if isinstance(config, ConfigDict):
        inside = f"{place}." if place else ""
        fields = {
            name: build(value, path, f"{inside}{name}")
            for name, value in config.items()
            if name != "call"
        }
        if "call" not in config:
            return fields
        module, _, name = config.call.partition(":")
        try:
            target = getattr(importlib.import_module(module), name)
            parameters = inspect.signature(target).parameters
            inspect.signature(target).bind(**fields)
        except (ImportError, AttributeError, TypeError) as error:
            where = path or "config"
            hint = "; train again, or use the version of ssl_jax that made this run" if path else ""
            raise ConfigError(f"{where} asks for {config.call}: {error}{hint}") from error
        for knob, value in config.items():
            if knob in parameters:
                _refuse_dict(f"{name}.{knob}", parameters[knob].annotation, value)
        for knob, hint in hints_of(target).items():
            if knob in fields and not fits(fields[knob], hint):
                where = f"{inside}{knob}={shown(fields[knob])}"
                raise ConfigError(f"{where}: {name} takes {in_words(hint)}")
        try:
            return target(**fields)
        except (ValueError, FileNotFoundError) as error:  # a knob that cannot work
            if type(error) not in (ValueError, FileNotFoundError, ConfigError):
                raise  # it says so itself: MediaError
            said = str(error)
            if place and not said.startswith(place):
                said = f"{place}: {said}"
            raise ConfigError(said) from error
    if isinstance(config, list | tuple):
        return tuple(build(value, path, f"{place}.{i}") for i, value in enumerate(config))
    return home(config) if isinstance(config, str) else config


def load(name: str) -> ConfigDict:
    """The config of `FILE` or `FILE:variant`.

    FILE is a path, or the name of a config that comes with the package, such as
    'image/simclr_cifar10.py'. A file of that path in the working folder comes first. Raises
    ConfigError if there is none.
    """
    path, _, variant = home(name).partition(":")
    return load_module(path).get_config(variant)


def load_module(path: str) -> types.ModuleType:
    """The config file as a module, of which another config may use functions; see `load`."""
    spec = importlib.util.spec_from_file_location("ssl_jax_config", find(path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise ConfigError(f"{path} has no function get_config(variant)")
    return module


def find(path: str) -> str:
    """Where the config file is; see `load`."""
    if not path.endswith(".py"):
        raise ConfigError(f"{path} is no config file: it should be Python (.py) with a get_config")
    folder = installed()
    inside = path.removeprefix("configs/")
    for place in (path, os.path.join(folder, inside)):
        if os.path.isfile(place):
            return place
    known = [
        os.path.relpath(os.path.join(where, file), folder).replace(os.sep, "/")
        for where, _, files in os.walk(folder)
        for file in files
        if file.endswith(".py") and file != "__init__.py"
    ]
    names = difflib.get_close_matches(inside, known, n=1, cutoff=0.5)
    hint = f"; did you mean '{names[0]}'?" if names else ""
    raise ConfigError(f"no config file {path}, here or among those of the package{hint}")


def installed() -> str:
    """The folder of the configs that come with the package."""
    package = os.path.dirname(os.path.abspath(__file__))
    inside = os.path.join(package, "configs")  # a wheel; a checkout has them beside the package
    return inside if os.path.isdir(inside) else os.path.join(os.path.dirname(package), "configs")


def choose(variant: str, paper: Callable[[], ConfigDict], *others: Callable) -> ConfigDict:
    """The config of a variant: that of `paper` for '', of another by the function's name.

    `paper` goes by its own name too. Raises ConfigError for an unknown variant.
    """
    known = {make.__name__: make for make in (paper, *others)}
    if not variant:
        return paper()
    if variant not in known:
        raise ConfigError(f"unknown variant ':{variant}'; there is {', '.join(known)}")
    return known[variant]()


def override(config: ConfigDict, path: str, value: Any) -> None:
    """Sets `config.a.b.c` for path 'a.b.c'; ConfigError for an unknown path or a wrong type."""
    *parents, last = path.split(".")
    node = config
    for depth, name in enumerate([*parents, last]):
        if isinstance(node, tuple) and depth < len(parents) and name in map(str, range(len(node))):
            node = node[int(name)]  # one of several, such as the sources of a mix
            continue
        if not isinstance(node, ConfigDict) or name not in node:
            where = ".".join(["config", *parents[:depth]])
            raise ConfigError(f"{where} has no '{name}'{did_you_mean_knob(name, node, where)}")
        if depth < len(parents):
            node = node[name]
    hint = _hint(node, last)
    if not isinstance(value, Mapping) and not fits(value, hint):
        raise ConfigError(f"config.{path}={shown(value)}: it takes {in_words(hint)}")
    takes_mappings = any(typing.get_origin(one) is Mapping for one in typing.get_args(hint))
    try:
        if takes_mappings or isinstance(value, tuple):  # of numbers, some of them whole ones
            with node.ignore_type():
                node[last] = ConfigDict(value) if isinstance(value, Mapping) else value
        else:
            node[last] = value
    except TypeError as error:
        raise ConfigError(f"config.{path}: {error}".replace("\n", " ")) from error


def _hint(node: ConfigDict, name: str) -> Any:
    """The annotation of a knob; Any where it has none."""
    if "call" not in node:
        return Any
    module, _, target = node.call.partition(":")
    hints = hints_of(getattr(importlib.import_module(module), target))
    return hints[name] if name in hints else Any


def save(config: ConfigDict, path: str | os.PathLike) -> None:
    """Writes the config as json, which `read` takes back."""
    part = f"{os.fspath(path)}.part"  # a kill in between leaves the old file whole
    with open(part, "w") as file:
        json.dump(plain(config), file, indent=2)
    os.replace(part, path)


def plain(value: Any) -> Any:
    """The same of dicts, lists and values alone, for json; ConfigDict does not look into tuples."""
    if isinstance(value, ConfigDict):
        return {name: plain(entry) for name, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, tuple | list) else value


def read(path: str | os.PathLike) -> ConfigDict:
    """A config that `save` wrote; ConfigError for any other file."""
    try:
        with open(path) as file:
            found = _recorded(json.load(file))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{os.fspath(path)} cannot be read: {error}") from error
    if not isinstance(found, ConfigDict):
        raise ConfigError(f"{os.fspath(path)} holds no config")
    return found


def as_saved(config: ConfigDict) -> ConfigDict:
    """The config as `read` gives it back: what can be compared with one that was saved."""
    return _recorded(json.loads(json.dumps(plain(config))))


def from_plain(value: dict) -> ConfigDict:
    """The config of which `plain` made dicts and lists, as `read` gives it back."""
    return _recorded(value)


def _recorded(value: Any) -> Any:
    """json has no tuples: every list was one."""
    if isinstance(value, dict):
        return ConfigDict({name: _recorded(entry) for name, entry in value.items()})
    return tuple(_recorded(entry) for entry in value) if isinstance(value, list) else value
