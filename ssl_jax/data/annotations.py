"""Masks, joints and labels that a record's `extra` may hold, in one form.

'mask': a function of a frame's number, or an array (t h w), of the object at every pixel: 0 (or
False) is none, 255 unknown.
'joints': a function of a frame's number, an array (k 2) or (t k 2), or text, of (x, y) in pixels;
not a number where a joint is not annotated. Text, as in a csv: 'x y x y ...', frames apart by ';'.
'xcoords' and 'ycoords' as TFDS' `flic` has them will do as well.
'labels': the numbers of all classes that a record shows, an array or text such as '3 17'.
"""

import numpy as np
from jaxtyping import Float, Int

from ssl_jax.data.record import MediaError, Record


def masks_of(record: Record) -> Int[np.ndarray, "t h w"]:
    """The objects at the pixels of every frame. MediaError if there are none."""
    found = record.extra["mask"] if "mask" in record.extra else None
    if found is None:
        raise MediaError(f"{record.name}: has no masks (extra['mask'])")
    if callable(found):
        found = np.stack([found(number) for number in range(record.num_frames)])
    masks = np.asarray(found).astype(np.int64)
    if masks.ndim != 3 or len(masks) != record.num_frames:
        raise MediaError(f"{record.name}: masks of shape {masks.shape}, not one a frame")
    return masks


def joints_of(record: Record) -> Float[np.ndarray, "t k 2"]:
    """The joints in every frame. MediaError if there are none."""
    if "xcoords" in record.extra:
        found = np.stack([record.extra["xcoords"], record.extra["ycoords"]], axis=-1)
    else:
        found = record.extra["joints"] if "joints" in record.extra else None
    if found is None or (isinstance(found, str) and not found.strip()):
        raise MediaError(f"{record.name}: has no joints (extra['joints'])")
    if callable(found):
        found = np.stack([found(number) for number in range(record.num_frames)])
    if isinstance(found, str):
        try:
            found = [np.reshape([float(x) for x in f.split()], (-1, 2)) for f in found.split(";")]
        except ValueError as error:
            raise MediaError(f"{record.name}: its joints are no pairs of numbers") from error
        if len({len(frame) for frame in found}) > 1:
            raise MediaError(f"{record.name}: its frames have different numbers of joints")
    joints = np.asarray(found, np.float64)
    joints = joints[None] if joints.ndim == 2 else joints
    if joints.ndim != 3 or joints.shape[2] != 2 or len(joints) != record.num_frames:
        raise MediaError(
            f"{record.name}: joints of shape {joints.shape}, not (joints, 2) for each of its "
            f"{record.num_frames} frames"
        )
    # Some sets write a coordinate that is missing alone, or infinite.
    known = np.isfinite(joints).all(axis=2, keepdims=True)
    return np.where(known, joints, np.nan)


def labels_of(record: Record) -> tuple[list[int], list[int]]:
    """The classes a record shows, and those of them that are 'difficult': shown, but only badly.

    extra['labels'] holds numbers, or text such as '3 17'. Where a record has
    extra['labels_no_difficult'], as in TFDS' `voc`, all others of them are difficult. Without
    extra['labels'] it is the record's one label. MediaError if there is none.
    """
    if "labels" not in record.extra:
        if record.label < 0:
            raise MediaError(f"{record.name}: has no labels (extra['labels'])")
        return [record.label], []
    shown = _numbers(record, "labels")
    if "labels_no_difficult" not in record.extra:
        return shown, []
    clear = set(_numbers(record, "labels_no_difficult"))
    return shown, [number for number in shown if number not in clear]


def group_of(record: Record) -> int:
    """extra['group'], a number that records of one kind share (say, of one game); 0 without."""
    return int(record.extra["group"]) if "group" in record.extra else 0


def fold_of(record: Record, key: str = "fold") -> int:
    """The fold of an official cross-validation. MediaError without one."""
    try:
        return int(record.extra[key])
    except (KeyError, TypeError, ValueError) as error:
        raise MediaError(
            f"{record.name}: has no fold (a whole number in extra[{key!r}]); give a test source"
        ) from error


def _numbers(record: Record, key: str) -> list[int]:
    found = record.extra[key]
    try:
        return [int(one) for one in (found.split() if isinstance(found, str) else found)]
    except (TypeError, ValueError) as error:
        raise MediaError(f"{record.name}: extra[{key!r}] holds no whole numbers") from error
