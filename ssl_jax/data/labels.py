"""Classes of two sources: by their names, because every source numbers its own.

A test folder that lacks one class of the training folder numbers all later ones differently. So
whoever compares two sets brings the labels of one into the numbering of the other:

  1. Where both sources name their classes (`label_names`), names decide. A class that the other
     source lacks gets a number of its own, which is none of the other's.
  2. Where neither does, numbers decide. The names '0', '1', '2', ... are no more than numbers.
  3. Where only one does, numbers decide too, and that is logged.
"""

import dataclasses
import unicodedata
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from ssl_jax.config import ConfigError
from ssl_jax.data.record import MediaError, Record, Source
from ssl_jax.data.warn_once import warn_once

# Records that are looked at for a label before training.
LOOKED_AT = 64


@runtime_checkable
class Named(Protocol):
    """A source that knows the names of its classes, in the order of their numbers."""

    @property
    def label_names(self) -> tuple[str, ...]: ...


@runtime_checkable
class KnowsLabels(Protocol):
    """A source that knows without opening a file whether any of its records has a label."""

    @property
    def has_labels(self) -> bool: ...


def label_names(source: Source | None) -> tuple[str, ...]:
    """The names of a source's classes; () where it has none."""
    return source.label_names if isinstance(source, Named) else ()


def has_labels(source: Source) -> bool:
    """False if no record has a label. Of sources that do not know, `LOOKED_AT` records tell."""
    if isinstance(source, KnowsLabels):
        return source.has_labels
    count = min(len(source), LOOKED_AT)
    try:
        shown = any(source[i * len(source) // count].label >= 0 for i in range(count))
    except MediaError:  # a broken file tells nothing
        return True
    return shown or len(source) > LOOKED_AT


def check_labelled(test: Source, train: Source | None = None, role: str = "test") -> None:
    """Raises ConfigError, before anything is trained, if labels cannot be compared.

    That is if none of a source's records has one, or if no class of `test` is known in `train`.
    `role` is what messages call `test`.
    """
    for name, source in (("train", train), (role, test)):
        if source is not None and not has_labels(source):
            raise ConfigError(
                f"{name}: no record of {source} has a label, and this evaluator needs them: sort "
                "the files into folders of classes, or give a manifest with the column 'label'"
            )
    check_common_class(test, train)


def check_common_class(test: Source, train: Source | None) -> None:
    """ConfigError if both sources name their classes and no class of `test` is one of `train`."""
    own, known = label_names(test), label_names(train)
    if own and known:
        numbers = renumbered(np.arange(len(own)), own, known)
        if not (numbers < len(known)).any():
            raise ConfigError(no_common_class(own, known))


def no_common_class(test: Sequence[str], train: Sequence[str]) -> str:
    return (
        f"test: none of its classes ({_some(test)}) is one of train ({_some(train)}); names must "
        "be the same"
    )


def renumbered(
    labels: Int[np.ndarray, "n"], own: Sequence[str], other: Sequence[str]
) -> Int[np.ndarray, "n"]:
    """Labels of a set whose classes are called `own`, in the numbering of `other`; -1 stays.

    A class that is not in `other` gets a number from len(other) on. ConfigError for a label that
    has no name.
    """
    if _plain(own) and _plain(other):
        return labels
    if (_plain(own) and not _numerals(other)) or (_plain(other) and not _numerals(own)):
        named, bare = (other, "test") if _plain(own) else (own, "train")
        warn_once(
            f"the classes of {bare} have numbers only, those of the other set names "
            f"({_some(named)}): they are compared by their numbers"
        )
        return labels
    highest = int(labels.max(initial=-1))
    if own and highest >= len(own):
        raise ConfigError(f"label {highest} has no name, label_names holds {len(own)}")
    places = {_key(name): place for place, name in enumerate(other)}
    numbers = {}
    for label in np.unique(labels).tolist():
        name = _key(own[label] if own else str(label))
        if _plain(other):
            numbers[label] = int(name)
        else:
            numbers[label] = places[name] if name in places else len(other) + label
    numbers[-1] = -1
    return np.array([numbers[label] for label in labels.tolist()], np.int64)


def numbered_as(source: Source, names: Sequence[str]) -> Source:
    """The source with its labels in the numbering of `names`, -1 for a class not among them."""
    own = label_names(source)
    return _Renumbered(source, own, tuple(names)) if own and names and own != names else source


@dataclasses.dataclass(frozen=True)
class _Renumbered:
    """A source whose records have the labels that other names of classes give them."""

    source: Source
    own: tuple[str, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Record:
        record = self.source[index]
        label = int(renumbered(np.array([record.label]), self.own, self.names)[0])
        return dataclasses.replace(record, label=label if label < len(self.names) else -1)


def _plain(names: Sequence[str]) -> bool:
    """Whether names say no more than the numbers do."""
    return all(name == str(place) for place, name in enumerate(names))


def _numerals(names: Sequence[str]) -> bool:
    return all(name.isdecimal() for name in names)


def _key(name: str) -> str:
    # File systems differ in how they write an accent.
    return unicodedata.normalize("NFC", name)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
