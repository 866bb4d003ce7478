"""Videos stored as a folder of images, one per frame: 00000.jpg, 00001.jpg, ..."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from ssl_jax.data import decode, paths
from ssl_jax.data.media import errors_name
from ssl_jax.data.record import MediaError


def numbered_images(folder: str, ending: str, first: int) -> list[str]:
    """The files of a video's frames in their order, of which the first has the number `first`.

    Raises:
      MediaError: there are none, or one between them is not there; it is named.
    """
    with errors_name(folder):
        # Only numbers: an archive made on a Mac brings '._00000.jpg' beside each file.
        known = (name.removesuffix(ending) for name in paths.names(folder) if name.endswith(ending))
        found = [f"{number}{ending}" for number in known if number.isdigit()]
    expected = [f"{first + place:05d}{ending}" for place in range(max(1, len(found)))]
    missing = sorted(set(expected) - set(found))
    if missing:
        raise MediaError(
            f"{folder}: has no {missing[0]} among its {len(found)} images ({ending}); "
            "unpack the set again"
        )
    return [paths.join(folder, name) for name in expected]


def read_numbered(
    files: Sequence[str],
    indices: Sequence[int] | np.ndarray,
    limits: decode.Limits = decode.LIMITS,
) -> UInt8[np.ndarray, "t h w 3"]:
    """The frames of these places in `files`, in this order, repeats allowed.

    MediaError names a file that is damaged or of another size than the others.
    """
    numbers = np.asarray(indices, np.int64).reshape(-1).tolist()
    frames: dict[int, np.ndarray] = {}
    for number in dict.fromkeys(numbers):
        if not 0 <= number < len(files):
            raise MediaError(f"{files[0]}: frame {number} was asked for, there are {len(files)}")
        frames[number] = decode.read_frames(files[number], [0], limits)[0]
        if frames[number].shape != frames[numbers[0]].shape:
            (height, width), (high, wide) = (frames[n].shape[:2] for n in (number, numbers[0]))
            raise MediaError(
                f"{files[number]}: {width}x{height} pixels, {files[numbers[0]]} {wide}x{high}"
            )
    if not frames:
        return np.zeros((0, 1, 1, 3), np.uint8)
    return np.stack([frames[number] for number in numbers])
