"""DAVIS 2016 and 2017: videos with the objects of every frame, as the set is distributed."""

import dataclasses
import functools

import numpy as np
from jaxtyping import UInt8

from ssl_jax.config import ConfigError
from ssl_jax.data import paths
from ssl_jax.data.image_files import DEFAULT_LIMITS, opened_image
from ssl_jax.data.media import Limits, errors_name
from ssl_jax.data.numbered_images import numbered_images, read_numbered
from ssl_jax.data.record import MediaError, Record
from ssl_jax.data.spread import spread
from ssl_jax.knobs import at_least

FPS = 24.0


@dataclasses.dataclass(frozen=True)
class DavisSource:
    """Videos with `extra['mask']`, for `MaskPropagation`.

    Pont-Tuset et al. 2017, Perazzi et al. 2016.

    Reads the folder that the archives unpack to:

      ImageSets/2017/val.txt                 a name a line; likewise 2016, in the archive of 2017
      ImageSets/480p/val.txt                 a frame a line, in the archive of 2016
      JPEGImages/480p/bear/00000.jpg
      Annotations/480p/bear/00000.png        images with a palette: its places are the objects

    A record is a video and has its name. `extra['mask']` is a function of a frame's number: the
    object at every pixel, 0 for none, 255 for pixels that do not count. Of 2016 there is one
    object, 1, whatever the file has for it (255 as a rule). Test sets have the first frame's mask
    only, or none: asking for another is the error, not the video.

    Attributes:
      path: the folder, or a URL that fsspec opens.
      split: the list's name: 'train', 'val', 'test-dev', ...
      year: of the lists; 2016 makes all objects one.
      resolution: the folder below JPEGImages and Annotations: '480p', 'Full-Resolution' or '1080p'.
      limit: at most so many videos, spread evenly over all; 0 for all.
      limits: what a frame or mask may ask of the machine; those beyond are refused.

    Raises:
      ConfigError: there is no such list or resolution; what there is, is named.
      MediaError: a frame or mask is damaged or not there; it is named.
    """

    path: str
    split: str = "val"
    year: int = 2017
    resolution: str = "480p"
    limit: int = 0
    limits: Limits = DEFAULT_LIMITS

    def __post_init__(self):
        at_least(self, 2016, "year")
        at_least(self, 0, "limit")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self.names):
            raise IndexError(index)
        name = self.names[index]
        files = numbered_images(self._folder("JPEGImages", name), ".jpg", 0)
        masks = self._folder("Annotations", name)
        return Record(
            name=name,
            index=int(index),
            num_frames=len(files),
            fps=FPS,
            frames=lambda indices: read_numbered(files, indices, self.limits),
            duration=len(files) / FPS,
            extra={
                "split": self.split,
                "mask": lambda number: _mask(
                    paths.join(masks, f"{number:05d}.png"), self.year, self.limits
                ),
            },
        )

    @functools.cached_property
    def names(self) -> list[str]:
        """The videos, in the order of the list."""
        lists = paths.join(self.path, f"ImageSets/{self.year}")
        if self.year == 2016 and not paths.is_folder(lists):
            lists = paths.join(self.path, f"ImageSets/{self.resolution}")
        file = paths.join(lists, f"{self.split}.txt")
        try:
            lines = paths.read_text(file).read().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            sets = paths.join(self.path, "ImageSets")
            raise ConfigError(
                f"{file}: cannot be read ({error}); {sets} has {_there(sets)}, {lists} has "
                f"{_there(lists)}; give the folder that DAVIS unpacks to as path"
            ) from error
        names = list(dict.fromkeys(_name_of(line) for line in lines if line.strip()))
        if not names or any(name in ("", ".", "..") for name in names):
            raise ConfigError(f"{file}: holds {names[:3]}, not the names of videos")
        images = paths.join(self.path, "JPEGImages")
        if self.resolution not in _there(images):
            raise ConfigError(
                f"{images}: has no folder {self.resolution!r}, there is {_there(images)}"
            )
        return spread(names, self.limit)

    def _folder(self, kind: str, name: str) -> str:
        return paths.join(self.path, f"{kind}/{self.resolution}/{name}")


def _name_of(line: str) -> str:
    """'bear' of the lines 'bear' and '/JPEGImages/480p/bear/00000.jpg /Annotations/480p/...'."""
    parts = line.split()[0].split("/")
    return parts[-2] if len(parts) > 1 else parts[0]


def _there(folder: str) -> list[str]:
    try:
        return paths.names(folder)
    except OSError:
        return []


def _mask(file: str, year: int, limits: Limits) -> UInt8[np.ndarray, "h w"]:
    with (
        errors_name(file),
        paths.opened(file) as stream,
        opened_image(stream, file, limits, to_read=True) as image,
    ):
        places = np.array(image)  # of the palette, as long as nobody converts the image to RGB
    if year == 2016:
        # Some of its files have three channels, all the same.
        return (places.reshape(*places.shape[:2], -1)[..., 0] > 0).astype(np.uint8)
    if places.ndim != 2 or places.dtype != np.uint8:
        raise MediaError(
            f"{file}: is an image of mode {image.mode}, not of a palette whose places are objects"
        )
    return places
