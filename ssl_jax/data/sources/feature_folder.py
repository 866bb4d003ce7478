"""Videos of which there are features alone, with the captions of the lists that their set has."""

import dataclasses
import functools
import io

import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data import paths
from ssl_jax.data.record import MediaError, Record
from ssl_jax.data.sources import caption_lists
from ssl_jax.data.sources.caption_entries import SETS
from ssl_jax.data.sources.manifest import Item
from ssl_jax.knobs import above


@dataclasses.dataclass(frozen=True)
class FeatureFolder:
    """Files YOUTUBE_ID.npy of (t d), a row for each moment, and the captions of these videos.

    Records have extra['features'], captions, and neither frames nor audio. Other files are skipped.

    Attributes:
      path: the folder of the files, at any depth.
      lists: the folder of the set's lists, see `caption_lists`, as a path from the folder.
      rate: rows per second.
      split: keep the videos of this split; '' keeps all.
      segments: every part of a video that a caption describes is a record of its own.
    """

    path: str
    lists: str
    rate: float = 1.0
    split: str = ""
    segments: bool = False

    def __post_init__(self):
        above(self, 0, "rate")
        if not paths.is_folder(self.path):
            raise ConfigError(f"there is no folder {self.path!r}; give that of your features")

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self._items):
            raise IndexError(index)
        item = self._items[index]
        path = paths.join(self.path, item.path)
        try:
            rows = np.load(io.BytesIO(paths.read(path)), allow_pickle=False)
        except (OSError, ValueError) as error:
            raise MediaError(f"{path}: cannot be read as an array of numpy ({error})") from error
        if rows.ndim != 2 or not len(rows):
            raise MediaError(f"{path}: has shape {rows.shape}, not (t d)")
        first = int(item.start * self.rate + 1e-6)
        last = min(len(rows), int(np.ceil(min(item.end, 1e9) * self.rate - 1e-6)))
        if first >= last:
            raise MediaError(f"{path}: lasts {len(rows) / self.rate:.2f} s, not {item.start:.2f} s")
        return Record(
            name=item.path,
            index=int(index),
            num_frames=0,
            fps=self.rate,
            duration=(last - first) / self.rate,
            captions=item.captions,
            label=item.label,
            extra={"split": item.split, **dict(item.extra), "features": rows[first:last]},
        )

    @functools.cached_property
    def _items(self) -> list[Item]:
        lists = paths.join(self.path, paths.home(self.lists))
        asked = (".npy",), self.segments, self.split
        found = caption_lists.read(lists, self.path, paths.names(lists), *asked)
        if found is None:
            raise ConfigError(f"{lists}: has the lists of none of {SETS}")
        items = [item for item in found[0] if self.split in ("", item.split)]
        if not items:
            splits = sorted({item.split for item in found[0]})
            raise ConfigError(f"{lists}: no split {self.split!r}, there is {splits}")
        return items
