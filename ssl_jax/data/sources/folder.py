"""A folder of videos, images and audio files, with or without lists that describe them."""

import dataclasses
import functools
import logging

import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data import decode, paths
from ssl_jax.data.record import MediaError, Record
from ssl_jax.data.sources import (
    caption_lists,
    emoji_lists,
    sound_lists,
    speech_lists,
    split_files,
)
from ssl_jax.data.sources.choices import check_choices
from ssl_jax.data.sources.lengths import Length, lengths
from ssl_jax.data.sources.manifest import ENDINGS, KIND, Item, kind, read_manifest
from ssl_jax.data.spread import spread
from ssl_jax.knobs import at_least


@dataclasses.dataclass(frozen=True)
class FolderSource:
    """Media files below a folder, in the order of their paths, or those that a csv or lists name.

    Without a manifest every file with a known ending counts, whatever its case; hidden files and
    linked folders do not. Files in sub-folders are labelled by their first sub-folder: the sorted
    names are `label_names`, a label is a place in it. Other files have label -1.

    The manifest is a csv in UTF-8 with a header, separated by commas, tabs or semicolons; only the
    column `path` (relative to the folder, with '/') is required, and an empty field is as good as
    none. Its rows become records so:
      1. A row with `start` or `end` (seconds) but no `caption` is a segment: a record of its own,
         whose frames and audio count from the segment's first frame.
      2. All other rows of one path with the same split and label are one record of the whole file.
         Each caption among them, with its start, end and `language`, is one of its captions.
    Labels are whole numbers from 0 (1.0 is 1), or names, which are sorted and numbered. They are
    numbered over the whole manifest, so all splits agree. 'nan', 'None', 'NA' and 'null' are no
    labels. Columns of other names go to `extra` as text; a name that is nearly one of ours, such as
    'lable', is refused, as it would be passed over.

    A segment's audio outside of the segment is the video's, not silence.

    UCF101 and HMDB51 come with lists of their own, see `split_files`, and so do AudioSet, VGGSound,
    AVE, ESC-50 and others, see `sound_lists`, LibriSpeech and Speech Commands, see `speech_lists`,
    HowTo100M, YouCook2, MSR-VTT, VATEX and ActivityNet, see `caption_lists`, and emoji, see
    `emoji_lists`: give the lists' folder as `lists` in place of a manifest ('.' where they lie in
    the folder itself).

    Attributes:
      path: the folder; or a URL that fsspec opens, as gs://bucket/videos (with gcsfs installed).
      manifest: the csv, as a path from the folder; '' for none.
      lists: the folder of the lists that a set is distributed with, as a path from the folder
        ('../ucfTrainTestlist'); '' for none.
      fold: of UCF101 and HMDB51, which of the three divisions into training and test videos.
      segments: of `caption_lists`: every part of a video that a caption describes is a record of
        its own, as text-video retrieval on YouCook2 wants it; else a video has all its captions.
      split: keep the manifest's rows, or the lists' videos, of this split; '' keeps all.
      kinds: which files to take, by their ending: 'video', 'image', 'audio'.
      need: leave out files without 'frames' or 'audio', and broken ones. Opens every file once,
        but for images; what was found is kept in the user's cache folder ($XDG_CACHE_HOME/ssl_jax
        or ~/.cache/ssl_jax) until a file's size or time changes.
      min_seconds: leave out what is shorter (an image lasts one second); with need=('audio',) also
        what has less audio. Opens every file once.
      min_frames: leave out what has fewer frames, say too few for a method's clips. Opens as well.
      sample_rate: audio is resampled to it; 0 keeps the files' own rates.
      limit: at most so many records, spread evenly over all; 0 for no limit.
      limits: what a file may ask of the machine; those beyond are refused.
    """

    path: str
    manifest: str = ""
    lists: str = ""
    fold: int = 1
    segments: bool = False
    split: str = ""
    kinds: tuple[str, ...] = ("video", "image", "audio")
    need: tuple[str, ...] = ()
    min_seconds: float = 0.0
    min_frames: int = 0
    sample_rate: int = 0
    limit: int = 0
    limits: decode.Limits = decode.Limits()

    def __post_init__(self):
        at_least(self, 1, "fold")
        at_least(self, 0, "min_seconds", "min_frames", "sample_rate", "limit")
        try:
            there = paths.is_folder(self.path)
        except OSError as error:  # a URL of no store that can be read
            raise ConfigError(str(error)) from error
        if not there:
            raise ConfigError(f"there is no folder {self.path!r}; give the path of your data")
        check_choices("kinds", self.kinds, tuple(ENDINGS))
        check_choices("need", self.need, ("frames", "audio"))
        if self.manifest and self.lists:
            raise ConfigError("give a manifest or lists, not both")
        if self.segments and not self.lists:
            raise ConfigError("segments=True is for the lists of captioned video; give lists")
        if self.split and not (self.manifest or self.lists):
            raise ConfigError(
                f"split={self.split!r} needs a manifest with a column 'split'; "
                "for folders named train, test, ... give the path of one of them"
            )

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
        """The name of each label; the numbers themselves if the manifest has numbers.

        () where these go into the 100,000.
        """
        return self._listing[1]

    @property
    def has_labels(self) -> bool:
        """Whether any file has a label; opens none of them."""
        return any(item.label >= 0 for item in self._listing[0])

    @functools.cached_property
    def _listing(self) -> tuple[list[Item], tuple[str, ...]]:
        if self.manifest:
            items, names = read_manifest(paths.join(self.path, paths.home(self.manifest)))
        elif self.lists:
            items, names = self._by_lists(paths.join(self.path, paths.home(self.lists)))
        else:
            items, names = _walk(self.path)
        chosen = items
        if set(self.kinds) != set(ENDINGS):
            chosen = [i for i in items if kind(i.path) in self.kinds]
        if self.split:
            splits = sorted({item.split for item in items})
            chosen = [i for i in chosen if i.split == self.split]
            if self.split not in splits:
                where = self.manifest or self.lists
                raise ConfigError(f"{where}: no split {self.split!r}, there is {splits}")
        if not chosen:
            raise ConfigError(
                f"{self.path}: no files of kinds={self.kinds} among {len(items)} media files; "
                f"known endings are {' '.join(sorted(KIND))}"
            )
        return chosen, names

    def _by_lists(self, lists: str) -> tuple[list[Item], tuple[str, ...]]:
        try:
            there = paths.names(lists)
        except OSError as error:
            raise ConfigError(f"{lists}: cannot be read as a folder of lists ({error})") from error
        found = sound_lists.read(lists, self.path, there, self.kinds)
        if found is None:
            found = speech_lists.read(lists, self.path, there, self.split)
        if found is None:
            asked = (self.kinds, self.segments, self.split)
            found = caption_lists.read(lists, self.path, there, *asked)
        if found is None:
            found = emoji_lists.read(lists, self.path, there, self.kinds)
        if found is not None:
            return found
        videos, names = split_files.read(lists, self.fold)
        return [Item(path, label, split) for path, label, split in videos], names

    @functools.cached_property
    def items(self) -> list[Item]:
        """What the records are made of, in their order."""
        items = self._listing[0]
        if self.need or self.min_seconds > 0 or self.min_frames > 0:
            walked = not (self.manifest or self.lists)
            found = lengths(self.path, items, walked, str(self.limits), self._length)
            lacks = [(self._lack(length), length.error) for length in found]
            for line in dict.fromkeys(line for _, line in lacks if line):
                logging.getLogger(__name__).warning("unreadable: %s", line)
            reasons = [reason for reason, _ in lacks]
            kept = [i for i, reason in zip(items, reasons, strict=True) if not reason]
            counts = {r: reasons.count(r) for r in sorted(set(reasons)) if r}
            if counts:
                left_out = ", ".join(f"{count} {reason}" for reason, count in counts.items())
                logging.getLogger(__name__).warning(
                    "%s: %d of %d records; left out: %s", self.path, len(kept), len(items), left_out
                )
            if not kept:
                raise ConfigError(
                    f"{self.path}: nothing is left after need={self.need} and "
                    f"min_seconds={self.min_seconds}, min_frames={self.min_frames}: {left_out}"
                )
            items = kept
        return spread(items, self.limit)

    def _length(self, item: Item) -> Length:
        media = decode.probe(paths.join(self.path, item.path), self.limits)
        first, last, start, duration = segment(item, media)
        begin, end = media.audio_span(start, duration)
        return Length(last - first, duration, end - begin)

    def _lack(self, length: Length) -> str:
        """Why a record is left out, '' if it is not."""
        if length.error:
            return "unreadable"
        if "frames" in self.need and length.frames == 0:
            return "without frames"
        if "audio" in self.need and length.audio <= 0:
            return "without audio"
        if "audio" in self.need and length.audio < self.min_seconds <= length.seconds:
            return "audio too short"
        short = length.seconds < self.min_seconds or length.frames < self.min_frames
        return "too short" if short else ""


def record_of(path: str, item: Item, index: int, sample_rate: int, limits: decode.Limits) -> Record:
    """The record of an item whose file is at `path`; the file is probed, and decoded when asked.

    Raises MediaError for a file that cannot be read.
    """
    media = decode.probe(path, limits)
    first, last, start, duration = segment(item, media)
    extra = {"path": media.path, "split": item.split, **dict(item.extra)}
    rate = (sample_rate or media.sample_rate) if media.has_audio else 0

    def frames(indices):
        return _frames(media, first, last, indices, limits)

    def audio(begin, end):
        return _audio(media, start, rate, float(begin), float(end), limits)

    return Record(
        name=item.path,
        index=index,
        num_frames=last - first,
        fps=(last - first) / duration,
        times=media.times[first:last] - start if media.has_frames else None,
        frames=frames if media.has_frames else None,
        audio=audio if media.has_audio else None,
        sample_rate=rate,
        duration=duration,
        audio_span=media.audio_span(start, duration) if media.has_audio else None,
        captions=item.captions,
        label=item.label,
        extra=extra,
    )


def segment(item: Item, media: decode.Media) -> tuple[int, int, float, float]:
    """First frame, frame after the last, time of the zero and duration of a record."""
    if item.start == 0 and item.end >= media.duration:
        return 0, media.num_frames, 0.0, media.duration
    end = min(item.end, media.duration)
    if item.start >= end:
        raise MediaError(
            f"{media.path}: lasts {media.duration:.2f} s, its segment begins at {item.start:.2f} s"
        )
    if not media.has_frames:
        return 0, 0, item.start, end - item.start
    # A microsecond off: 0.28 in a csv is not quite 7 / 25.
    first, last = np.searchsorted(media.times, [item.start - 1e-6, end - 1e-6]).tolist()
    if first >= last:
        raise MediaError(f"{media.path}: no frame between {item.start:.2f} s and {end:.2f} s")
    start = float(media.times[first])
    stop = media.duration if last == media.num_frames else float(media.times[last])
    return first, last, start, stop - start


def _frames(
    media: decode.Media, first: int, last: int, indices, limits: decode.Limits
) -> np.ndarray:
    numbers = np.asarray(indices, np.int64).reshape(-1).tolist()
    for number in numbers:
        if not 0 <= number < last - first:
            raise MediaError(f"{media.path}: frame {number} was asked for, it has {last - first}")
    return decode.frames_of(media, [first + number for number in numbers], limits)


def _audio(
    media: decode.Media, zero: float, rate: int, start: float, stop: float, limits: decode.Limits
) -> np.ndarray:
    # Exactly this many samples: two roundings of moved times could give one more.
    count = round((stop - start) * rate)
    begin = round((zero + start) * rate)
    return decode.audio_of(media, begin / rate, (begin + count) / rate, rate, limits)


def _walk(folder: str) -> tuple[list[Item], tuple[str, ...]]:
    there = paths.below(folder)
    known = [bool(kind(path)) for path in there]
    found = [path for path, taken in zip(there, known, strict=True) if taken]
    others = [path for path, taken in zip(there, known, strict=True) if not taken]
    if others:
        logging.getLogger(__name__).warning(
            "%s: %d files of unknown endings are passed over, such as %s",
            *(folder, len(others), others[0]),
        )
    names = sorted({path.partition("/")[0] for path in found if "/" in path})
    numbers = {name: number for number, name in enumerate(names)}
    items = [Item(p, numbers[p.partition("/")[0]] if "/" in p else -1) for p in found]
    return items, tuple(names)
