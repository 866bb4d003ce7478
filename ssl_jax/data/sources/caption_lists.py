"""The lists that sets of narrated and captioned video come with, and the videos they name.

    HowTo100M     caption.json or raw_caption.json, how2_de.json, ... (Multi-HowTo100M)
                  {YOUTUBE_ID: {"start": [...], "end": [...], "text": [...]}}; the language of the
                  latter is that of the file's name. Of HowTo100M_v1.csv the categories and the task
    YouCook2      youcookii_annotations_trainval.json
                  {"database": {YOUTUBE_ID: {"subset": ..., "annotations": [
                      {"segment": [start, end], "sentence": ...}]}}}
    MSR-VTT       train_val_videodatainfo.json, test_videodatainfo.json, or MSRVTT_data.json
                  {"videos": [{"video_id": "video0", "category": 9, "split": "train"}],
                   "sentences": [{"video_id": "video0", "caption": ...}]}
                  MSRVTT_JSFUSION_test.csv   key,vid_key,video_id,sentence: the test videos of 1k-A
                  NAME_de.json, ...          {video_id: [texts]}, translations
    VATEX         vatex_training_v1.0.json, vatex_validation_v1.0.json, ...
                  [{"videoID": "YOUTUBEID_000010_000020", "enCap": [...], "chCap": [...]}]
    ActivityNet   train.json, val_1.json, val_2.json
                  {"v_YOUTUBE_ID": {"duration": ..., "timestamps": [[start, end]], "sentences": []}}

Splits are called as in the lists. MSR-VTT is divided in two ways: 'train', 'validate' and 'test'
are those of the full division (6,513, 497 and 2,990 videos), '1k-A train' and '1k-A test' those of
1k-A (9,000 and 1,000, these with one caption each). VATEX' file of a split names it: 'training',
'validation', 'public_test'. ActivityNet's val_1 and val_2 are two descriptions of the same videos.

Videos are found by their names, wherever they lie below the folder of the media and whatever their
ending. Much of these sets is no longer to be had: what is missing is counted.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from ssl_jax.config import ConfigError
from ssl_jax.data import paths
from ssl_jax.data.record import Caption
from ssl_jax.data.sources.manifest import Item
from ssl_jax.data.sources.sound_lists import Listing, found_files
from ssl_jax.data.tables import read_table

SETS = "HowTo100M, YouCook2, MSR-VTT, VATEX or ActivityNet captions"
HOWTO = ("caption.json", "raw_caption.json")  # the latter with stop words
HOWTO_LANGUAGE = re.compile(r"how2_([a-z]{2})\.json")
YOUCOOK = "youcookii_annotations_trainval.json"
MSRVTT = re.compile(r"(train_val_|test_)videodatainfo\.json|MSRVTT_data\.json")
TRANSLATION = re.compile(r".+_([a-z]{2})\.json")
ONE_K_A = "MSRVTT_JSFUSION_test.csv"
VATEX = re.compile(r"vatex_(\w+?)(_english|_without_annotations)?(_v[\d.]+)?\.json")
ACTIVITYNET = ("train.json", "val_1.json", "val_2.json")


def read(
    folder: str, media: str, there: Sequence[str], kinds: Sequence[str], segments: bool, split: str
) -> Listing | None:
    """(records, names of classes) of the set whose lists are `there` in `folder`; None for others.

    Args:
      media: the folder of the videos.
      kinds: of files that are taken.
      segments: every described part of a video is a record of its own.
      split: that will be kept; of MSR-VTT it says which division counts.

    Raises:
      ConfigError: a file that makes no sense, or not one video of the lists is in `media`.
    """
    names: tuple[str, ...] = ()
    howto = [name for name in there if HOWTO_LANGUAGE.fullmatch(name)]
    howto += [name for name in HOWTO if name in there][:1]
    msrvtt = sorted((name for name in there if MSRVTT.fullmatch(name)), reverse=True)
    vatex = [name for name in there if VATEX.fullmatch(name)]
    if howto:
        wanted = _howto(folder, sorted(howto), there)
    elif YOUCOOK in there:
        wanted = _youcook(paths.join(folder, YOUCOOK))
    elif msrvtt:
        wanted, names = _msrvtt(
            folder, sorted(msrvtt, reverse=True), there, split.startswith("1k-A")
        )
    elif vatex:
        wanted = _vatex(folder, sorted(vatex))
    elif {"val_1.json", "val_2.json"} & set(there):
        wanted = _activitynet(folder, [name for name in ACTIVITYNET if name in there])
    else:
        return None
    items, names = found_files(folder, media, kinds, wanted, names)
    return (_cut(items) if segments else items), names


def _cut(items: list[Item]) -> list[Item]:
    """A record for each described part of a video, with all captions of these very seconds."""
    parts: dict[tuple, Item] = {}
    for item in items:
        for caption in item.captions:
            key = (item.path, item.split, caption.start, caption.end)
            alone = Caption(caption.text, language=caption.language)
            if key not in parts:
                span = {"start": caption.start, "end": caption.end}
                parts[key] = item._replace(captions=(), **span)
            parts[key] = parts[key]._replace(captions=(*parts[key].captions, alone))
    return list(parts.values())


def _howto(folder: str, files: list[str], there: Sequence[str]):
    known = {}
    if "HowTo100M_v1.csv" in there:
        columns = {"category_1": "category", "category_2": "subcategory", "task_id": "task"}
        for _, row in read_table(paths.join(folder, "HowTo100M_v1.csv"))[1]:
            extra = tuple((ours, row[theirs]) for theirs, ours in columns.items() if theirs in row)
            if "video_id" in row:
                known[row["video_id"]] = extra
    contents = []
    for name in files:
        match = HOWTO_LANGUAGE.fullmatch(name)
        file = paths.join(folder, name)
        contents.append((file, match[1] if match else "en", _load(file, dict)))
    videos = dict.fromkeys(video for _, _, content in contents for video in content)
    for video in videos:
        captions = []
        for file, language, content in contents:
            if video in content:
                where = f"{file}: {video}"
                texts, starts, ends = (_of(content[video], k, where) for k in _TIMED)
                if not len(texts) == len(starts) == len(ends):
                    raise ConfigError(f"{where}: has {len(texts)} texts and {len(starts)} starts")
                captions += _captions(where, zip(texts, starts, ends, strict=True), language)
        extra = known[video] if video in known else ()
        yield (video,), Item("", captions=_in_order(captions), extra=extra)


_TIMED = ("text", "start", "end")


def _youcook(file: str):
    for video, entry in _of(_load(file, dict), "database", file).items():
        where = f"{file}: {video}"
        rows = []
        for part in _of(entry, "annotations", where):
            start, end = _pair(_of(part, "segment", where), where)
            rows.append((_of(part, "sentence", where), start, end))
        captions = _in_order(_captions(where, rows, "en"))
        split, kind = _of(entry, "subset", where), _of(entry, "recipe_type", where)
        yield (video,), Item("", split=split, captions=captions, extra=(("recipe", str(kind)),))


def _msrvtt(folder: str, files: list[str], there: Sequence[str], one_k_a: bool):
    videos: dict[str, tuple[str, int]] = {}
    captions: dict[str, list[Caption]] = {}
    for name in files:
        file = paths.join(folder, name)
        content = _load(file, dict)
        for entry in _of(content, "videos", file):
            where = f"{file}: {entry}"[:100]
            videos[_of(entry, "video_id", where)] = (
                _of(entry, "split", where),
                int(_of(entry, "category", where)),
            )
        for entry in _of(content, "sentences", file):
            where = f"{file}: {entry}"[:100]
            text = Caption(_of(entry, "caption", where).strip())
            captions.setdefault(_of(entry, "video_id", where), []).append(text)
    chosen: dict[str, list[str]] = {}
    if one_k_a:
        file = paths.join(folder, ONE_K_A)
        if ONE_K_A not in there:
            raise ConfigError(f"{folder}: the division 1k-A needs {ONE_K_A}, which is not there")
        for line, row in read_table(file)[1]:
            where = f"{file}:{line}"
            chosen.setdefault(_of(row, "video_id", where), []).append(_of(row, "sentence", where))
    translated = list(_translations(folder, there))

    def wanted():
        for video, (split, category) in videos.items():
            own = captions[video] if video in captions else []
            if one_k_a:
                split = "1k-A test" if video in chosen else "1k-A train"
                own = [Caption(text) for text in chosen[video]] if video in chosen else own
            more = [c for table in translated if video in table for c in table[video]]
            yield (video,), Item("", category, split, captions=(*own, *more))

    last = max((category for _, category in videos.values()), default=-1)
    return wanted(), tuple(map(str, range(last + 1)))


def _translations(folder: str, there: Sequence[str]) -> Iterator[dict[str, list[Caption]]]:
    """{video: captions} of every file that is called after a language."""
    for name in sorted(there):
        match = TRANSLATION.fullmatch(name)
        if match and not MSRVTT.fullmatch(name):
            file = paths.join(folder, name)
            table = {}
            for video, texts in _load(file, dict).items():
                several = [texts] if isinstance(texts, str) else texts
                rows = [(text, 0.0, float("inf")) for text in several]
                table[video] = _captions(f"{file}: {video}", rows, match[1])
            yield table


def _vatex(folder: str, files: list[str]):
    for name in files:
        file, split = paths.join(folder, name), VATEX.fullmatch(name)[1]
        for entry in _load(file, list):
            where = f"{file}: {entry}"[:100]
            captions = [
                Caption(text.strip(), language=language)
                for key, language in (("enCap", "en"), ("chCap", "zh"))
                if key in entry
                for text in entry[key]
            ]
            yield (_of(entry, "videoID", where),), Item("", split=split, captions=tuple(captions))


def _activitynet(folder: str, files: list[str]):
    for name in files:
        file, split = paths.join(folder, name), name.removesuffix(".json")
        for video, entry in _load(file, dict).items():
            where = f"{file}: {video}"
            times, texts = (_of(entry, key, where) for key in ("timestamps", "sentences"))
            if len(times) != len(texts):
                raise ConfigError(f"{where}: has {len(texts)} sentences, {len(times)} timestamps")
            spans = [_pair(pair, where) for pair in times]
            rows = [(text, *span) for text, span in zip(texts, spans, strict=True)]
            captions = _in_order(_captions(where, rows, "en"))
            yield (video, video.removeprefix("v_")), Item("", split=split, captions=captions)


def _captions(where: str, rows, language: str) -> list[Caption]:
    """Of (text, start, end); texts without a letter and spans without length are left out."""
    found = []
    for text, start, end in rows:
        try:
            begin, stop = float(start), float(end)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{where}: {start!r} and {end!r} should be seconds") from error
        text = str(text).strip()
        if text and 0 <= begin < stop:
            found.append(Caption(text, begin, stop, language))
    return found


def _in_order(captions: Sequence[Caption]) -> tuple[Caption, ...]:
    return tuple(sorted(captions, key=lambda c: (c.start, c.end)))


def _load(file: str, kind: type) -> Any:
    try:
        content = json.loads(paths.read(file))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: cannot be read as json ({error})") from error
    if not isinstance(content, kind):
        raise ConfigError(f"{file}: is not as one of {SETS} has it: a {kind.__name__} was expected")
    return content


def _of(entry: Any, key: str, where: str) -> Any:
    if not isinstance(entry, dict) or key not in entry:
        raise ConfigError(f"{where}: has no {key!r}; it is not as one of {SETS} has it")
    return entry[key]


def _pair(span: Any, where: str) -> tuple[Any, Any]:
    if not isinstance(span, list) or len(span) != 2:
        raise ConfigError(f"{where}: {span!r} should be a start and an end in seconds")
    return span[0], span[1]
