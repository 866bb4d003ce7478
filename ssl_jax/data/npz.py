"""Files of numpy arrays, in which anything may be damaged."""

import numpy as np

from ssl_jax.data.media import errors_name
from ssl_jax.data.record import MediaError


def read_npz(path: str) -> dict[str, np.ndarray]:
    """All arrays of an npz file, by their names.

    MediaError of one line, with `path`, for whatever is wrong with the file: zip, zlib and numpy
    raise a dozen kinds.
    """
    with errors_name(path), open(path, "rb") as file:
        arrays = np.load(file)
        if not isinstance(arrays, np.lib.npyio.NpzFile):
            raise MediaError(f"{path}: is a single array, not an npz file")
        return {name: arrays[name] for name in arrays.files}


def read_npy(path: str) -> np.ndarray:
    """The array of an npy file. MediaError as for `read_npz`."""
    with errors_name(path), open(path, "rb") as file:
        return np.lib.format.read_array(file, allow_pickle=False)
