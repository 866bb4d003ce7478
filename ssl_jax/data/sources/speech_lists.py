"""Sets of speech as they are distributed, which are their own lists.

    LibriSpeech       SPEAKERS.TXT   ID | SEX | SUBSET | MINUTES | NAME
                      train-clean-100/SPEAKER/CHAPTER/SPEAKER-CHAPTER-0000.flac, ...
                      train-clean-100/SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt
                          SPEAKER-CHAPTER-0000 CHAPTER SIXTEEN I MIGHT HAVE TOLD YOU ...
    Libri-light       1h/0/clean/SPEAKER/CHAPTER/..., 9h/... likewise: its limited training set
    Speech Commands   yes/SPEAKER_nohash_0.wav, ...; validation_list.txt, testing_list.txt

LibriSpeech's splits are its folders, labels its speakers (numbered over all splits), captions its
transcripts. Libri-light's splits are '10min' (1h/0), '1h' and '10h' (both folders). Speech
Commands' splits are 'train', 'val' and 'test', labels and captions its words; `_background_noise_`
is left out. All have `extra['speaker']`. Transcripts without a recording and recordings without a
transcript are counted in the log.
"""

import logging
import re
from collections.abc import Iterator, Sequence

from ssl_jax.config import ConfigError
from ssl_jax.data import paths
from ssl_jax.data.record import Caption
from ssl_jax.data.sources.manifest import Item, kind
from ssl_jax.data.sources.sound_lists import Listing, lines_of

SPEAKERS = "SPEAKERS.TXT"
COMMANDS = {"validation_list.txt": "val", "testing_list.txt": "test"}
SUBSET = re.compile(r"(train|dev|test)-(clean|other)(-\d+)?")
NOISE = "_background_noise_"
LIMITED = {"10min": ("1h/0",), "1h": ("1h",), "10h": ("1h", "9h")}
Extra = tuple[tuple[str, str], ...]
Captions = tuple[Caption, ...]


def read(folder: str, media: str, there: Sequence[str], split: str) -> Listing | None:
    """(records, names of classes) of the set whose lists are `there` in `folder`; None for others.

    Args:
      media: the folder of the audio.
      split: that will be kept: of LibriSpeech no other is looked at. '': all.

    Raises:
      ConfigError: a line that makes no sense, or no recording that the lists name.
    """
    if SPEAKERS in there:
        return _librispeech(folder, media, split)
    if {"1h", "9h"} <= set(there):
        return _libri_light(media, split or "10h")
    if set(COMMANDS) <= set(there):
        return _commands(folder, media)
    return None


def _librispeech(folder: str, media: str, split: str) -> Listing:
    sexes = {}
    for where, line in lines_of(folder, SPEAKERS):
        if line.startswith(";"):
            continue
        fields = [field.strip() for field in line.split("|")]
        if len(fields) < 3 or not fields[0].isdigit():
            raise ConfigError(f"{where}: 'ID | SEX | SUBSET | ...' should stand there")
        sexes[fields[0]] = fields[1]
    names = tuple(sorted(sexes, key=int))
    numbers = {speaker: number for number, speaker in enumerate(names)}
    subsets = [name for name in paths.names(media) if SUBSET.fullmatch(name)]
    if not subsets or (split and split not in subsets):
        raise ConfigError(f"{media}: has no folder {split or 'train-clean-100'}; it has {subsets}")
    items = []
    for subset in [split] if split else subsets:
        for where, path, speaker, extra, captions in _utterances(media, subset):
            if speaker not in numbers:
                raise ConfigError(f"{where}: speaker {speaker} is not in {SPEAKERS}")
            extra = (*extra, ("sex", sexes[speaker]))
            items.append(Item(path, numbers[speaker], subset, captions, extra=extra))
    if not items:
        raise ConfigError(f"{media}: holds no recording with a transcript; split={split!r}")
    return items, names


def _libri_light(media: str, split: str) -> Listing:
    if split not in LIMITED:
        raise ConfigError(f"{media}: no split {split!r}, there is {[*LIMITED]}")
    found = [one for folder in LIMITED[split] for one in _utterances(media, folder)]
    names = tuple(sorted({speaker for _, _, speaker, _, _ in found}, key=int))
    numbers = {speaker: number for number, speaker in enumerate(names)}
    if not found:
        raise ConfigError(f"{media}: holds no recording with a transcript; split={split!r}")
    return [
        Item(path, numbers[speaker], split, captions, extra=extra)
        for _, path, speaker, extra, captions in found
    ], names


def _utterances(media: str, inside: str) -> Iterator[tuple[str, str, str, Extra, Captions]]:
    """('FILE:LINE', path, speaker, `extra`, captions) of every recording with a transcript.

    At the end it logs how many transcripts have no recording, and how many recordings none.
    """
    files = paths.below(paths.join(media, inside))
    silent: list[str] = []
    heard = {f.rpartition("/")[2].rpartition(".")[0]: f for f in files if kind(f) == "audio"}
    for file in files:
        if not file.endswith(".trans.txt"):
            continue
        folder, _, name = file.rpartition("/")
        for where, line in lines_of(paths.join(media, f"{inside}/{folder}"), name):
            stem, _, text = line.partition(" ")
            speaker, _, rest = stem.partition("-")
            if not text or not speaker.isdigit():
                raise ConfigError(f"{where}: 'SPEAKER-CHAPTER-NUMBER TEXT' should stand there")
            if stem not in heard:
                silent.append(stem)
                continue
            extra = (("speaker", speaker), ("chapter", rest.partition("-")[0]))
            yield where, f"{inside}/{heard.pop(stem)}", speaker, extra, (Caption(text.strip()),)
    lacking = ("transcripts", "recording", silent), ("recordings", "transcript", [*heard])
    for what, partner, stems in lacking:
        if stems:
            logging.getLogger(__name__).warning(
                "%s/%s: %d %s have no %s and are left out, such as %s",
                *(media, inside, len(stems), what, partner, stems[0]),
            )


def _commands(folder: str, media: str) -> Listing:
    splits = {line: split for file, split in COMMANDS.items() for _, line in lines_of(folder, file)}
    files = [
        path
        for path in paths.below(media)
        if path.count("/") == 1 and kind(path) == "audio" and not path.startswith(NOISE)
    ]
    names = tuple(sorted({path.partition("/")[0] for path in files}))
    numbers = {word: number for number, word in enumerate(names)}
    if not files:
        raise ConfigError(f"{media}: has no recordings such as yes/0a7c2a8d_nohash_0.wav")
    items = []
    for path in files:
        word, _, file = path.partition("/")
        split = splits[path] if path in splits else "train"
        extra = (("speaker", file.partition("_")[0]),)
        items.append(Item(path, numbers[word], split, (Caption(word),), extra=extra))
    return items, names
