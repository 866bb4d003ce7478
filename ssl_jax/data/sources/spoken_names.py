"""The names of Tux Paint's stamps, spoken in a dozen languages: speech for small runs."""

import collections
import dataclasses
import functools
import hashlib
import logging
import re
import zlib
from collections.abc import Sequence

from ssl_jax.config import ConfigError
from ssl_jax.data import decode, paths
from ssl_jax.data.record import Caption, MediaError, Record
from ssl_jax.data.sources.choices import check_several
from ssl_jax.data.sources.folder import record_of
from ssl_jax.data.sources.manifest import Item
from ssl_jax.data.spread import spread
from ssl_jax.knobs import at_least, one_of

SPOKEN = re.compile(r"(.+)_desc(?:_([A-Za-z_]+))?\.(?:ogg|wav)")
TEXT = re.compile(r"([A-Za-z_@]+)\.utf8=(.*)")
SPLITS = ("train", "test")


@dataclasses.dataclass(frozen=True)
class SpokenNames:
    """One record of audio for each spoken name, `NAME_desc_fr.ogg` (English: `NAME_desc.ogg`).

    The Debian package tuxpaint-stamps-default, unpacked into data/stamps, holds some 7400 of one
    or two seconds: 700 to 900 names in French, Russian, Romanian, Catalan, Bulgarian, Spanish,
    Belarusian and Greek, 320 in Danish, fewer than 100 in each of the others. Files of the same
    bytes and language, of which there are hundreds, are one record.

    A record's caption is the name as NAME.txt has it in that language (none where that lacks it).
    Of long texts some speakers, above all the Catalan one, read the first sentence only.
    `extra` holds 'language', 'name' (the English text) and 'folder' (animals, food, ...).

    Who speaks is not stated: as far as one hears it is one person or few in each language, with
    one microphone. What tells languages apart therefore also tells rooms and voices apart, and is
    no measure of language alone. What each label can measure:

      language  Test names are said in none of the training records, in no language, so that no
                word can be learnt by heart. A fifth of all names, by a hash of the English text.
      folder    The kind of thing that is named, with the same split: it can be told only from
                words that several names share ('bird').
      word      One class for each text of one language that was recorded at least twice (135 are
                left, 282 records). Of each the first, by the hash of its path, trains, the others
                test; recordings of exactly the same length are the same one, encoded twice, and
                only the first is kept. Because a class never extends over languages, voices help
                little: classes of one language have the same.

    Attributes:
      path: a folder, however far above the stamps; or a URL.
      languages: codes that are kept, as they stand in the files' names, and 'en'; () keeps all.
      label: 'language', 'folder' or 'word', see above.
      split: 'train' or 'test'; '' for both.
      sample_rate: audio is resampled to it; 0 keeps the files' own rates (mostly 44,100 Hz).
      limit: at most so many records, spread evenly over all; 0 for no limit.
      limits: what a file may ask of the machine. In the package 1.5 % of the files state a length
        of days; they are refused when opened, as broken files are.
    """

    path: str = "data/stamps"
    languages: tuple[str, ...] = ()
    label: str = "language"
    split: str = "train"
    sample_rate: int = 16000
    limit: int = 0
    limits: decode.Limits = decode.Limits()

    def __post_init__(self):
        check_several("languages", self.languages)
        one_of(self, "label", ("language", "folder", "word"))
        one_of(self, "split", ("", *SPLITS))
        at_least(self, 0, "sample_rate", "limit")

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self.items):
            raise IndexError(index)
        item = self.items[index]
        path = paths.join(self.path, item.path)
        return record_of(path, item, int(index), self.sample_rate, self.limits)

    @property
    def label_names(self) -> tuple[str, ...]:
        return self._listing[1]

    @property
    def has_labels(self) -> bool:
        return True

    @functools.cached_property
    def items(self) -> Sequence[Item]:
        """What the records are made of, in their order."""
        chosen = [item for item in self._listing[0] if self.split in ("", item.split)]
        if not chosen:
            raise ConfigError(f"{self.path}: no spoken name is left for split={self.split!r}")
        return spread(chosen, self.limit)

    @functools.cached_property
    def _listing(self) -> tuple[list[Item], tuple[str, ...]]:
        items = [item for item in self._spoken() if self._kept(item)]
        if not items:
            raise ConfigError(
                f"{self.path}: no spoken names (NAME_desc_fr.ogg) of languages={self.languages}; "
                "unpack the Debian package tuxpaint-stamps-default there "
                "(dpkg -x tuxpaint-stamps-default_*.deb data/stamps)"
            )
        items = self._without_copies(items)
        if self.label == "word":
            return self._said_twice(items)
        values = [dict(item.extra)[self.label] for item in items]
        names = tuple(sorted(set(values)))
        numbers = {name: number for number, name in enumerate(names)}
        return [
            item._replace(label=numbers[value], split=SPLITS[held_out(dict(item.extra)["name"])])
            for item, value in zip(items, values, strict=True)
        ], names

    def _kept(self, item: Item) -> bool:
        return not self.languages or dict(item.extra)["language"] in self.languages

    def _spoken(self):
        if not paths.is_folder(self.path):
            raise ConfigError(
                f"there is no folder {self.path!r}; unpack the Debian package "
                "tuxpaint-stamps-default there, or give the path of the stamps"
            )
        there = paths.below(self.path)
        known = set(there)
        texts: dict[str, dict[str, str]] = {}
        for path in there:
            match = SPOKEN.fullmatch(path)
            if not match:
                continue
            stem, language = match[1], match[2] or "en"
            if stem not in texts:
                file = f"{stem}.txt"
                texts[stem] = read_names(paths.join(self.path, file)) if file in known else {}
            in_languages = texts[stem]
            name = in_languages["en"] if "en" in in_languages else stem.rpartition("/")[2]
            folders = stem.partition("/stamps/")[2] or stem
            captions = ()
            if language in in_languages:
                captions = (Caption(in_languages[language], language=language),)
            extra = (("language", language), ("name", name), ("folder", folders.partition("/")[0]))
            yield Item(path, captions=captions, extra=extra)

    def _without_copies(self, items: list[Item]) -> list[Item]:
        """The first of the files of one language that hold the same bytes."""
        sizes = [
            (dict(item.extra)["language"], paths.state(paths.join(self.path, item.path))[0])
            for item in items
        ]
        shared = {size for size, count in collections.Counter(sizes).items() if count > 1}
        first = {}
        for item, size in zip(items, sizes, strict=True):
            key = (size, item.path)
            if size in shared:
                data = paths.read(paths.join(self.path, item.path))
                key = (size, hashlib.sha256(data).hexdigest())
            first.setdefault(key, item)
        return list(first.values())

    def _said_twice(self, items: list[Item]) -> tuple[list[Item], tuple[str, ...]]:
        """The texts of which there are two recordings or more, as classes."""
        said: dict[str, list[Item]] = {}
        for item in items:
            for caption in item.captions:
                said.setdefault(f"{caption.language}: {caption.text}", []).append(item)
        found = {}
        for name, recordings in sorted(said.items()):
            if len(recordings) > 1:
                lengths: dict[float, Item] = {}
                for item in sorted(recordings, key=lambda one: zlib.crc32(one.path.encode())):
                    lengths.setdefault(self._seconds(item), item)
                lengths.pop(0.0, None)
                if len(lengths) > 1:
                    found[name] = list(lengths.values())
        if not found:
            raise ConfigError(f"{self.path}: no name was recorded twice in the same language")
        return [
            item._replace(label=number, split=SPLITS[place > 0])
            for number, recordings in enumerate(found.values())
            for place, item in enumerate(recordings)
        ], tuple(found)

    def _seconds(self, item: Item) -> float:
        """A recording's length to a millisecond; 0 for a file that cannot be read."""
        try:
            found = decode.probe(paths.join(self.path, item.path), self.limits)
        except MediaError as error:
            logging.getLogger(__name__).warning("unreadable: %s", error)
            return 0.0
        return round(found.duration, 3)


def held_out(name: str) -> bool:
    """Whether a name is one of the fifth that tests; of capitals and full stops regardless."""
    return zlib.crc32(name.casefold().strip(" .").encode()) % 5 == 0


def read_names(file: str) -> dict[str, str]:
    """Language -> name, of a stamp's text: the first line is English, others are `fr.utf8=...`."""
    try:
        lines = paths.read_text(file).read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read as text in UTF-8 ({error})") from error
    found = {"en": lines[0].strip()} if lines and lines[0].strip() else {}
    for line in lines[1:]:
        match = TEXT.fullmatch(line)
        if match and match[2].strip():
            found[match[1]] = match[2].strip()
    return found
