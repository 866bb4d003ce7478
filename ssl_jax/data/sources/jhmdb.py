"""JHMDB: videos of actions with the joints of the person in every frame, as it is distributed."""

import dataclasses
import functools

import numpy as np
from jaxtyping import Float64

from ssl_jax.data import decode, paths
from ssl_jax.data.media import errors_name
from ssl_jax.data.numbered_images import numbered_images, read_numbered
from ssl_jax.data.record import MediaError, Record
from ssl_jax.data.sources import split_files
from ssl_jax.data.spread import spread
from ssl_jax.knobs import at_least, one_of

FPS = 30.0  # of HMDB51's videos, of which these clips are parts


@dataclasses.dataclass(frozen=True)
class JhmdbSource:
    """Videos with `extra['joints']`, for `JointPropagation`: Jhuang et al. 2013.

    Reads the folders that the archives unpack to, in one:

      splits/catch_test_split1.txt                       lines 'NAME.avi 1': 1 trains, 2 tests
      joint_positions/catch/NAME/joint_positions.mat     pos_img (2, 15, t): x, y counted from 1
      Rename_Images/catch/NAME/00001.png                 or, where there is no Rename_Images,
      ReCompressed_Videos/catch/NAME.avi                 which is smaller, but lossy

    A record is a clip, its name 'catch/NAME'. `extra['joints']` is float64 (t 15 2), (x, y) in
    pixels from 0, as everywhere here; those out of the image are there too. A clip ends with the
    last frame that has both joints and an image. Labels are places in `label_names`.

    Attributes:
      path: the folder, or a URL that fsspec opens.
      split: 'train' or 'test'.
      fold: which of the three divisions into training and test clips.
      limit: at most so many clips, spread evenly over all (they are sorted by class); 0 for all.
      limits: what a video or image may ask of the machine; those beyond are refused.

    Raises:
      ConfigError: an unknown split, or its lists are not there or make no sense.
      MediaError: a clip's joints, images or video are damaged or not there; the file is named.
    """

    path: str
    split: str = "test"
    fold: int = 1
    limit: int = 0
    limits: decode.Limits = decode.LIMITS

    def __post_init__(self):
        one_of(self, "split", split_files.SPLITS)
        at_least(self, 1, "fold")
        at_least(self, 0, "limit")

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self.clips):
            raise IndexError(index)
        name, label = self.clips[index]
        joints = _read_joints(paths.join(self.path, f"joint_positions/{name}/joint_positions.mat"))
        if self._has_images:
            files = numbered_images(paths.join(self.path, f"Rename_Images/{name}"), ".png", 1)
            count, fps = min(len(joints), len(files)), FPS
            files = files[:count]
        else:
            file = paths.join(self.path, f"ReCompressed_Videos/{name}.avi")
            video = decode.probe(file, self.limits)
            count, fps = min(len(joints), video.num_frames), video.fps

        def frames(indices):
            if self._has_images:
                return read_numbered(files, indices, self.limits)
            return decode.frames_of(video, indices, self.limits)

        return Record(
            name=name,
            index=int(index),
            num_frames=count,
            fps=fps,
            frames=frames,
            duration=count / fps,
            label=label,
            extra={"split": self.split, "joints": joints[:count]},
        )

    @property
    def label_names(self) -> tuple[str, ...]:
        return self._listing[1]

    @functools.cached_property
    def clips(self) -> list[tuple[str, int]]:
        """('class/NAME', label) of every record, in their order."""
        clips = [
            (video.removesuffix(".avi"), label)
            for video, label, split in self._listing[0]
            if split == self.split
        ]
        return spread(clips, self.limit)

    @functools.cached_property
    def _listing(self) -> tuple[list[tuple[str, int, str]], tuple[str, ...]]:
        # The lists have the form of HMDB51's.
        return split_files.read(paths.join(self.path, "splits"), self.fold)

    @functools.cached_property
    def _has_images(self) -> bool:
        return paths.is_folder(paths.join(self.path, "Rename_Images"))


def _read_joints(file: str) -> Float64[np.ndarray, "t 15 2"]:
    from scipy.io import loadmat

    with errors_name(file), paths.opened(file) as stream:
        stored = loadmat(stream, variable_names=["pos_img"])
    found = np.asarray(stored.get("pos_img", ()))
    if found.ndim == 2:  # Matlab drops a last axis of one frame
        found = found[..., None]
    if found.shape[:2] != (2, 15) or found.dtype.kind not in "fiu" or not found.size:
        raise MediaError(f"{file}: pos_img has shape {found.shape}, not (2, 15, frames)")
    return found.transpose(2, 1, 0).astype(np.float64) - 1
