"""A handful of video, image and audio files, given by their paths."""

import dataclasses

from ssl_jax.data import decode
from ssl_jax.data.record import Record
from ssl_jax.data.sources.choices import check_several
from ssl_jax.data.sources.folder import record_of
from ssl_jax.data.sources.manifest import Item
from ssl_jax.knobs import at_least


@dataclasses.dataclass(frozen=True)
class FilesSource:
    """Media files in the order of `paths`, without labels.

    A file that is missing or cannot be read raises MediaError when its record is asked for.

    Attributes:
      paths: local paths, or URLs that fsspec opens.
      sample_rate: audio is resampled to it; 0 keeps the files' own rates.
      limits: what a file may ask of the machine; those beyond are refused.
    """

    paths: tuple[str, ...]
    sample_rate: int = 0
    limits: decode.Limits = decode.Limits()

    def __post_init__(self):
        at_least(self, 0, "sample_rate")
        check_several("paths", self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self.paths):
            raise IndexError(index)
        path = self.paths[index]
        return record_of(path, Item(path), int(index), self.sample_rate, self.limits)
