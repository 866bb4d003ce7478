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

What several lists of a set say of one video is put together; a caption that an earlier list has
already is skipped. Equal captions within a list stay: protocols count them.

Videos are found by their names, wherever they lie below the folder of the media and whatever their
ending. Much of these sets is no longer to be had: what is missing is counted.
"""

import re
from collections.abc import Iterator, Sequence

from ssl_jax.config import ConfigError
from ssl_jax.data import paths
from ssl_jax.data.record import Caption
from ssl_jax.data.sources.caption_entries import (
    captions_of,
    entry_of,
    in_order,
    joined,
    load,
    span_of,
    untimed,
)
from ssl_jax.data.sources.manifest import Item
from ssl_jax.data.sources.sound_lists import Listing, found_files
from ssl_jax.data.tables import read_table

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
      kinds: of files that are taken, or endings such as '.npy'.
      segments: every described part of a video is a record of its own.
      split: that will be kept; of MSR-VTT it says which division counts.

    Raises:
      ConfigError: a file that makes no sense, or not one video of the lists is in `media`.
    """
    names: tuple[str, ...] = ()
    howto = [name for name in there if HOWTO_LANGUAGE.fullmatch(name)]
    howto += [name for name in HOWTO if name in there][:1]
    msrvtt = [name for name in there if MSRVTT.fullmatch(name)]
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
        contents.append((file, match[1] if match else "en", load(file, dict)))
    videos = dict.fromkeys(video for _, _, content in contents for video in content)
    for video in videos:
        captions: list[Caption] = []
        for file, language, content in contents:
            if video in content:
                where = f"{file}: {video}"
                texts, starts, ends = (entry_of(content[video], k, where, list) for k in _TIMED)
                if not len(texts) == len(starts) == len(ends):
                    raise ConfigError(f"{where}: has {len(texts)} texts and {len(starts)} starts")
                rows = zip(texts, starts, ends, strict=True)
                captions = joined(captions, captions_of(where, rows, language))
        extra = known[video] if video in known else ()
        yield (video,), Item("", captions=in_order(captions), extra=extra)


_TIMED = ("text", "start", "end")


def _youcook(file: str):
    for video, entry in entry_of(load(file, dict), "database", file, dict).items():
        where = f"{file}: {video}"
        rows = []
        for part in entry_of(entry, "annotations", where, list):
            start, end = span_of(entry_of(part, "segment", where), where)
            rows.append((entry_of(part, "sentence", where), start, end))
        captions = in_order(captions_of(where, rows, "en"))
        split = entry_of(entry, "subset", where, str)
        kind = entry_of(entry, "recipe_type", where)
        yield (video,), Item("", split=split, captions=captions, extra=(("recipe", str(kind)),))


def _msrvtt(folder: str, files: list[str], there: Sequence[str], one_k_a: bool):
    videos: dict[str, tuple[str, int]] = {}
    captions: dict[str, list[Caption]] = {}
    for name in files:
        file = paths.join(folder, name)
        content = load(file, dict)
        for entry in entry_of(content, "videos", file, list):
            where = f"{file}: {str(entry)[:60]}"
            video, split = (entry_of(entry, key, where, str) for key in ("video_id", "split"))
            videos[video] = split, entry_of(entry, "category", where, int)
        own: dict[str, list[Caption]] = {}
        for entry in entry_of(content, "sentences", file, list):
            where = f"{file}: {str(entry)[:60]}"
            texts = untimed(where, [entry_of(entry, "caption", where)], "en")
            own.setdefault(entry_of(entry, "video_id", where, str), []).extend(texts)
        for video, more in own.items():
            captions[video] = joined(captions[video] if video in captions else [], more)
    chosen: dict[str, list[Caption]] = {}
    if one_k_a:
        file = paths.join(folder, ONE_K_A)
        if ONE_K_A not in there:
            raise ConfigError(f"{folder}: the division 1k-A needs {ONE_K_A}, which is not there")
        for line, row in read_table(file)[1]:
            where = f"{file}:{line}"
            texts = untimed(where, [entry_of(row, "sentence", where)], "en")
            chosen.setdefault(entry_of(row, "video_id", where), []).extend(texts)
    translated = list(_translations(folder, there))

    def wanted():
        for video, (split, category) in videos.items():
            own = captions[video] if video in captions else []
            if one_k_a:
                split = "1k-A test" if video in chosen else "1k-A train"
                own = chosen[video] if video in chosen else own
            for table in translated:
                own = joined(own, table[video] if video in table else [])
            yield (video,), Item("", category, split, captions=tuple(own))

    last = max((category for _, category in videos.values()), default=-1)
    return wanted(), tuple(map(str, range(last + 1)))


def _translations(folder: str, there: Sequence[str]) -> Iterator[dict[str, list[Caption]]]:
    """{video: captions} of every file that is called after a language."""
    for name in sorted(there):
        match = TRANSLATION.fullmatch(name)
        if match and not MSRVTT.fullmatch(name):
            file = paths.join(folder, name)
            yield {
                video: untimed(f"{file}: {video}", [x] if isinstance(x, str) else x, match[1])
                for video, x in load(file, dict).items()
            }


def _vatex(folder: str, files: list[str]):
    found: dict[tuple[str, str], list[Caption]] = {}
    for name in files:
        file, split = paths.join(folder, name), VATEX.fullmatch(name)[1]
        for entry in load(file, list):
            where = f"{file}: {str(entry)[:60]}"
            video = entry_of(entry, "videoID", where, str)
            captions = []
            for key, language in (("enCap", "en"), ("chCap", "zh")):
                if key in entry:
                    captions += untimed(f"{where}, {key}", entry[key], language)
            known = found[video, split] if (video, split) in found else []
            found[video, split] = joined(known, captions)
    for (video, split), captions in found.items():
        yield (video,), Item("", split=split, captions=tuple(captions))


def _activitynet(folder: str, files: list[str]):
    for name in files:
        file, split = paths.join(folder, name), name.removesuffix(".json")
        for video, entry in load(file, dict).items():
            where = f"{file}: {video}"
            times = entry_of(entry, "timestamps", where, list)
            texts = entry_of(entry, "sentences", where, list)
            if len(times) != len(texts):
                raise ConfigError(f"{where}: has {len(texts)} sentences, {len(times)} timestamps")
            spans = [span_of(pair, where) for pair in times]
            rows = [(text, *span) for text, span in zip(texts, spans, strict=True)]
            captions = in_order(captions_of(where, rows, "en"))
            yield (video, video.removeprefix("v_")), Item("", split=split, captions=captions)
