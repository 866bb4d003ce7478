"""The lists that sets of videos with sound and of audio come with, and the files they name.

    ESC-50       esc50.csv                  1-100032-A-0.wav and its fold, target, category, ...
    AudioSet     NAME_segments.csv          YOUTUBE_ID, start, end, "classes"; NAME is the split
                 class_labels_indices.csv   numbers and names of the classes; without it their ids
    VGGSound     vggsound.csv               YOUTUBE_ID,start,class,split
    VGG-SS       vggss.json                 boxes of what sounds, for some of VGGSound's test videos
    AVE          Annotations.txt, trainSet.txt, ...   class&YOUTUBE_ID&quality&start&end
    Flickr       ID.xml                     boxes of what sounds, by several annotators
    LRS2         train.txt, pretrain.txt, ...   SPEAKER/NUMBER, a path without its ending, below the
                                            folder pretrain or main
    DCASE 2013   scenes_stereo/bus01.wav, ..., scenes_stereo_testset/...   needs no list

Videos are found by their names, wherever they lie below the folder of the media and whatever their
ending. Of AudioSet and VGGSound a file is the segment alone, called YOUTUBE_ID, or that and the
start in one of the usual forms: ID_30, ID_30.000, ID_000030, ID_30000, also with the end after it.
Much of these sets is no longer to be had: what is missing is counted.
"""

import csv
import json
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from xml.etree import ElementTree

from ssl_jax.config import ConfigError
from ssl_jax.data import paths
from ssl_jax.data.sources.manifest import Item, kind
from ssl_jax.data.tables import read_table

Listing = tuple[list[Item], tuple[str, ...]]
# Names that a file may have, without its ending, and the record that it would be.
Wanted = Iterable[tuple[Iterable[str], Item]]
AVE_SPLITS = {"trainSet.txt": "train", "valSet.txt": "val", "testSet.txt": "test"}
DCASE_SPLITS = {"scenes_stereo": "train", "scenes_stereo_testset": "test"}
LRS_SPLITS = ("pretrain", "trainval", "train", "val", "test")
FLICKR_SIDE = 256  # pixels, of the frames that were annotated
SETS = "ESC-50, AudioSet, VGGSound, VGG-SS, AVE, Flickr-SoundNet, LRS2 or DCASE 2013"


def read(folder: str, media: str, there: Sequence[str], kinds: Sequence[str]) -> Listing | None:
    """(records, names of classes) of the set whose lists are `there` in `folder`; None for others.

    Args:
      media: the folder of the files that the lists name.
      kinds: of files that are taken: a video's audio may lie beside it under the same name.

    Raises:
      ConfigError: a line or file that makes no sense, or not one file of the lists is in `media`.
    """
    lists = [name for name in there if name.endswith("_segments.csv")]
    spoken = [split for split in LRS_SPLITS if f"{split}.txt" in there]
    if "esc50.csv" in there:
        found = _esc50(paths.join(folder, "esc50.csv"))
    elif lists:
        found = _audioset(folder, lists, there)
    elif "vggsound.csv" in there or "vggss.json" in there:
        found = _vggsound(folder, there)
    elif "Annotations.txt" in there:
        found = _ave(folder, there)
    elif set(DCASE_SPLITS) <= set(there):
        return _dcase(media)
    elif any(name.endswith(".xml") for name in there):
        found = _flickr(folder, there)
    elif len(spoken) > 1:
        found = _lrs(folder, media, spoken)
    else:
        return None
    return found_files(folder, media, kinds, *found)


def found_files(
    folder: str, media: str, kinds: Sequence[str], wanted: Wanted, names: tuple[str, ...]
) -> Listing:
    """The records whose file is there, under the first of its possible names.

    `kinds` are 'video', 'image' or 'audio', or endings such as '.npy'.
    """
    files: dict[str, str] = {}
    for path in paths.below(media):
        if kind(path) in kinds or f".{path.rpartition('.')[2].lower()}" in kinds:
            # By the file's name, and with its folders: LRS' numbers repeat from speaker to speaker,
            # and speakers from 'pretrain' to 'main'.
            parts = path.rpartition(".")[0].split("/")
            for count in (1, 2, 3):
                files.setdefault("/".join(parts[-count:]), path)
    items, missing = [], []
    for stems, item in wanted:
        stems = tuple(stems)
        path = next((files[stem] for stem in stems if stem in files), "")
        if path:
            items.append(item._replace(path=path))
        else:
            missing.append(stems[0])
    count = len(items) + len(missing)
    if not items:
        raise ConfigError(
            f"{media}: holds none of the {count} files that the lists in {folder} name, such as "
            f"{', '.join(missing[:1])}"
        )
    if missing:
        logging.getLogger(__name__).warning(
            "%s: %d of the %d files that the lists in %s name are not there, such as %s",
            *(media, len(missing), count, folder, missing[0]),
        )
    return items, names


def _esc50(file: str):
    _, rows = read_table(file)
    names: dict[int, str] = {}
    wanted = []
    for line, row in rows:
        try:
            label, fold = int(row["target"]), str(int(row["fold"]))
            stem = row["filename"].rpartition(".")[0]
            names[label] = row["category"]
        except (KeyError, ValueError) as error:
            raise ConfigError(
                f"{file}:{line}: needs filename, fold, target and category, as ESC-50 has them"
            ) from error
        extra = tuple((k, row[k]) for k in ("esc10", "src_file", "take") if k in row)
        wanted.append(((stem,), Item("", label, extra=(("fold", fold), *extra))))
    last = max(names, default=-1)
    return wanted, tuple(names[n] if n in names else str(n) for n in range(last + 1))


def _audioset(folder: str, lists: list[str], there: Sequence[str]):
    known: dict[str, tuple[int, str]] = {}
    if "class_labels_indices.csv" in there:
        file = paths.join(folder, "class_labels_indices.csv")
        for line, row in read_table(file)[1]:
            try:
                known[row["mid"]] = (int(row["index"]), row["display_name"])
            except (KeyError, ValueError) as error:
                raise ConfigError(f"{file}:{line}: needs index, mid and display_name") from error
    rows = []
    for name in sorted(lists):
        split = name.removesuffix("_segments.csv")
        for where, fields in _rows(paths.join(folder, name)):
            try:
                youtube, start, end, classes = fields
                span = float(start), float(end)
            except ValueError as error:
                raise ConfigError(
                    f'{where}: YOUTUBE_ID, start, end, "classes" should stand there'
                ) from error
            rows.append((where, youtube, *span, classes.split(","), split))
    if not known:
        ids = sorted({one for row in rows for one in row[4]})
        known = {one: (number, one) for number, one in enumerate(ids)}

    def wanted():
        for where, youtube, start, end, classes, split in rows:
            unknown = [one for one in classes if one not in known]
            if unknown:
                raise ConfigError(f"{where}: {unknown[0]!r} is not in class_labels_indices.csv")
            shown = sorted(known[one][0] for one in classes)
            # Of several classes none is the label: evaluators of several read 'labels'.
            label = shown[0] if len(shown) == 1 else -1
            extra = (("labels", " ".join(map(str, shown))),)
            yield _segment_names(youtube, start, end), Item("", label, split, extra=extra)

    by_number = dict(known.values())
    last = max(by_number, default=-1)
    return wanted(), tuple(by_number[n] if n in by_number else str(n) for n in range(last + 1))


def _vggsound(folder: str, there: Sequence[str]):
    boxes = {}
    if "vggss.json" in there:
        file = paths.join(folder, "vggss.json")
        try:
            for one in json.loads(paths.read_text(file).read()):
                youtube, _, start = one["file"].rpartition("_")
                corners = [[float(x) for x in box] for box in one["bbox"]]
                boxes[f"{youtube}_{int(start):06d}"] = (one["class"], _as_text(corners))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{file}: is not as VGG-SS has it ({error})") from error
    rows = []
    if "vggsound.csv" in there:
        for where, fields in _rows(paths.join(folder, "vggsound.csv")):
            if len(fields) != 4 or not fields[1].isdigit():
                raise ConfigError(f"{where}: YOUTUBE_ID,start,class,split should stand there")
            youtube, start, name, split = fields
            rows.append((youtube, int(start), name, split))
    else:
        for file, (name, _) in boxes.items():
            youtube, _, start = file.rpartition("_")
            rows.append((youtube, int(start), name, "test"))
    names = tuple(sorted({row[2] for row in rows}))
    number = {name: place for place, name in enumerate(names)}

    def wanted():
        for youtube, start, name, split in rows:
            stem = f"{youtube}_{start:06d}"
            extra = (("boxes", boxes[stem][1]),) if stem in boxes else ()
            stems = _segment_names(youtube, float(start), start + 10.0)
            yield stems, Item("", number[name], split, extra=extra)

    return wanted(), names


def _ave(folder: str, there: Sequence[str]):
    rows = {}
    for name in ("Annotations.txt", *AVE_SPLITS):
        for where, line in lines_of(folder, name) if name in there else ():
            fields = line.split("&")
            if fields[0] == "Category":
                continue
            if len(fields) != 5:
                raise ConfigError(f"{where}: class&YOUTUBE_ID&quality&start&end should stand there")
            split = AVE_SPLITS[name] if name in AVE_SPLITS else ""
            # Of a video with several events the first counts.
            if fields[1] not in rows or (split and not rows[fields[1]][1]):
                rows[fields[1]] = (fields, split)
    names = tuple(sorted({fields[0] for fields, _ in rows.values()}))
    wanted = []
    for fields, split in rows.values():
        extra = (("event_start", fields[3]), ("event_end", fields[4]))
        stems = (fields[1], "&".join(fields))
        wanted.append((stems, Item("", names.index(fields[0]), split, extra=extra)))
    return wanted, names


def _flickr(folder: str, there: Sequence[str]):
    wanted = []
    for name in sorted(one for one in there if one.endswith(".xml")):
        file = paths.join(folder, name)
        try:
            found = ElementTree.fromstring(paths.read(file)).iter("bbox")
            # The first field of a box is its number.
            corners = [[int(field.text) / FLICKR_SIDE for field in box][1:] for box in found]
            boxes = _as_text(corners)
        except (ElementTree.ParseError, TypeError, ValueError) as error:
            raise ConfigError(f"{file}: has no boxes as Flickr-SoundNet has them ({error})") from (
                error
            )
        extra = (("boxes", boxes),)
        wanted.append(((name.removesuffix(".xml"),), Item("", split="test", extra=extra)))
    return wanted, ()


def _lrs(folder: str, media: str, splits: Sequence[str]):
    here = paths.whole(media).rstrip("/").rpartition("/")[2]
    wanted = []
    for split in splits:
        for where, line in lines_of(folder, f"{split}.txt"):
            path = line.split()[0]
            if path.count("/") != 1:
                raise ConfigError(f"{where}: SPEAKER/NUMBER should stand there, not {path!r}")
            extra = (("speaker", path.partition("/")[0]),)
            # Or `media` is that folder itself, and the other's list must not be looked for in it.
            inside = "pretrain" if split == "pretrain" else "main"
            stems = (f"{inside}/{path}", path) if here == inside else (f"{inside}/{path}",)
            wanted.append((stems, Item("", split=split, extra=extra)))
    return wanted, ()


def _dcase(media: str) -> Listing:
    found = []
    for path in paths.below(media):
        parts = path.split("/")
        scene = re.fullmatch(r"([a-z]+)\d+", parts[-1].rpartition(".")[0])
        splits = [DCASE_SPLITS[part] for part in parts[:-1] if part in DCASE_SPLITS]
        if splits and scene and kind(path) == "audio":
            found.append((path, scene[1], splits[-1]))
    names = tuple(sorted({scene for _, scene, _ in found}))
    if not found:
        raise ConfigError(f"{media}: has no recordings such as scenes_stereo/bus01.wav")
    return [Item(path, names.index(scene), split) for path, scene, split in found], names


def _segment_names(youtube: str, start: float, end: float) -> Iterator[str]:
    """What people call the file of a segment, the surest first."""
    forms = ("{:.0f}", "{:06.0f}", "{:.3f}")
    for a, b in ((start, end), (1000 * start, 1000 * end)):
        yield from (f"{youtube}_{form.format(a)}_{form.format(b)}" for form in forms)
        yield from (f"{youtube}_{form.format(a)}" for form in forms)
    yield from (youtube, f"Y{youtube}")


def _as_text(corners: Sequence[Sequence[float]]) -> str:
    """Boxes (left, top, right, bottom) as `annotations` has them; what is out of the frame is cut.

    ValueError for what is no box.
    """
    cut = [[min(max(x, 0.0), 1.0) for x in box] for box in corners]
    boxes = [(t, x, b, r) for x, t, r, b in cut if x < r and t < b]
    return "; ".join(" ".join(f"{x:.6g}" for x in box) for box in boxes)


def _rows(file: str) -> Iterator[tuple[str, list[str]]]:
    """('FILE:LINE', fields) of a csv without a header, but for empty lines and notes after '#'."""
    folder, _, name = file.rpartition("/")
    for where, line in lines_of(folder, name):
        if not line.startswith("#"):
            fields = next(csv.reader([line], skipinitialspace=True))
            yield where, [field.strip() for field in fields]


def lines_of(folder: str, name: str) -> Iterator[tuple[str, str]]:
    """('FILE:LINE', text) of every line that is not empty; ConfigError for what is no text."""
    file = paths.join(folder, name)
    try:
        text = paths.read_text(file).read()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read as text in UTF-8 ({error})") from error
    for line, content in enumerate(text.splitlines(), start=1):
        if content.strip():
            yield f"{file}:{line}", content.strip()
