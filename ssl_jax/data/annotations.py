"""Annotations of a record, its `extra`, in one form: masks, joints, labels, folds, groups.

'mask': a function of a frame's number, or an array (t h w), of the object at every pixel: 0 (or
False) is none, 255 unknown.
'joints': a function of a frame's number, an array (k 2) or (t k 2), or text, of (x, y) in pixels;
NaN where a joint is not annotated. Text, as in a csv: 'x y x y ...', frames separated by ';'.
'xcoords' and 'ycoords' as TFDS' `flic` has them work too.
'scale': a number of pixels that distances of joints are measured in. 'head': the box (x1, y1, x2,
y2) around a person's head, numbers or text.
'labels': the numbers of all classes that a record shows, an array or text such as '3 17'.
'overlays': boxes (top, left, bottom, right), as shares of height and width, of what is written over
all frames, such as a score: an array (k 4), or text, boxes separated by ';'.
'boxes': likewise, around what annotators marked; two of them may have marked the same.
'spans': seconds (begin, end) in which something holds, say that the person in view speaks: an array
(k 2), or text, spans separated by ';'; '' is none.
'views': functions like `Record.frames`, the same frames as other cameras see them.
'group': a number that records of one kind share. 'fold': that of an official cross-validation.
'speaker': who is heard, a name or a number.

Functions named `..._fact` are for `Frozen.features(facts=...)`: arrays of the same shape for every
record.
"""

import dataclasses
import re
import zlib
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float, Int, Shaped

from ssl_jax.config import ConfigError
from ssl_jax.data.record import MediaError, Record

MOST_LABELS = 64  # of one record, as a fact
MOST_CLASSES = 100_000  # of a table with a column a class
MOST_BYTES = 512  # of a record's name, as a fact

Facts = dict[str, Shaped[np.ndarray, "..."] | np.generic]
Boxes = tuple[tuple[float, float, float, float], ...]


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
            raise MediaError(f"{record.name}: its joints are not pairs of numbers") from error
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


def labels_fact(record: Record) -> Facts:
    """`labels_of` as 'shown' and 'difficult': int32 (MOST_LABELS), filled up by -1.

    `presence` makes a table of them. MediaError for more labels, or one below 0.
    """
    rows = {}
    for name, labels in zip(("shown", "difficult"), labels_of(record), strict=True):
        if len(labels) > MOST_LABELS or min(labels, default=0) < 0:
            raise MediaError(f"{record.name}: needs 0 to {MOST_LABELS} labels from 0: {labels}")
        rows[name] = np.full(MOST_LABELS, -1, np.int32)
        rows[name][: len(labels)] = labels
    return rows


def shown_fact(record: Record) -> Facts:
    """'shown' of `labels_fact`; -1 throughout for a record without labels."""
    if "labels" not in record.extra and record.label < 0:
        return {"shown": np.full(MOST_LABELS, -1, np.int32)}
    return {"shown": labels_fact(record)["shown"]}


def presence(facts: Mapping[str, np.ndarray], classes: int = 0) -> Int[np.ndarray, "n k"]:
    """1 where a record shows a class, 0 where it is difficult, -1 where not, as in VOC's files.

    Args:
      facts: of n records, `labels_fact`.
      classes: how many there are; 0 for those up to the largest number that occurs.

    Raises ConfigError for a label beyond them, or of MOST_CLASSES and more.
    """
    largest = int(max(facts["shown"].max(initial=-1), facts["difficult"].max(initial=-1)))
    if not classes and largest >= MOST_CLASSES:
        raise ConfigError(f"label {largest} is too large for a table of classes; count from 0")
    if classes and largest >= classes:
        raise ConfigError(f"label {largest} is none of the {classes} classes")
    table = np.full((len(facts["shown"]), classes or largest + 1), -1)
    for name, value in (("shown", 1), ("difficult", 0)):
        rows, places = np.nonzero(facts[name] >= 0)
        table[rows, facts[name][rows, places]] = value
    return table


def scale_of(record: Record) -> float:
    """extra['scale'], in pixels. MediaError if there is none."""
    return float(_floats(record, "scale", 1)[0])


def head_of(record: Record) -> Float[np.ndarray, "4"]:
    """extra['head'], the box (x1, y1, x2, y2) in pixels. MediaError if there is none."""
    return _floats(record, "head", 4)


def overlays_of(record: Record) -> Boxes | None:
    """extra['overlays']: boxes (top, left, bottom, right) in 0..1; None if the source knows none.

    MediaError for anything else.
    """
    return _boxes(record, "overlays")


def boxes_of(record: Record) -> Boxes | None:
    """extra['boxes'], likewise: what annotators marked."""
    return _boxes(record, "boxes")


def _boxes(record: Record, key: str) -> Boxes | None:
    found = record.extra[key] if key in record.extra else None
    if found is None:
        return None
    try:
        if isinstance(found, str):
            found = [[float(x) for x in _parts(box)] for box in found.split(";") if box.strip()]
        boxes = np.asarray(found, np.float64).reshape(-1, 4)
    except (TypeError, ValueError) as error:
        raise MediaError(f"{record.name}: extra['{key}'] holds no boxes of 4 numbers") from error
    if not ((boxes >= 0) & (boxes <= 1)).all() or (boxes[:, :2] >= boxes[:, 2:]).any():
        raise MediaError(
            f"{record.name}: extra['{key}'] holds boxes that are not (top, left, bottom, right) in "
            "0..1"
        )
    return tuple((a, b, c, d) for a, b, c, d in boxes.tolist())


def spans_of(record: Record) -> list[tuple[float, float]]:
    """extra['spans']. MediaError without, or for what are no spans."""
    found = record.extra["spans"] if "spans" in record.extra else None
    if found is None:
        raise MediaError(f"{record.name}: has no spans (extra['spans'])")
    try:
        if isinstance(found, str):
            found = [[float(x) for x in _parts(span)] for span in found.split(";") if span.strip()]
        spans = np.asarray(found, np.float64).reshape(-1, 2)
    except (TypeError, ValueError) as error:
        raise MediaError(f"{record.name}: extra['spans'] holds no pairs of seconds") from error
    if not (spans[:, 0] < spans[:, 1]).all():
        raise MediaError(f"{record.name}: extra['spans'] holds a span that ends before it begins")
    return [(begin, end) for begin, end in spans.tolist()]


def views_of(record: Record, at_least: int = 1) -> list[Callable]:
    """Decoders of the record's own frames and of those of its extra['views'].

    MediaError if there are fewer than `at_least`.
    """
    others = record.extra["views"] if "views" in record.extra else ()
    if 1 + len(others) < at_least:
        raise MediaError(
            f"{record.name}: has {1 + len(others)} view(s), {at_least} are needed (extra['views'])"
        )
    return [record.need_frames(), *others]


def group_of(record: Record) -> int:
    """extra['group'], a number that records of one kind share (say, of one game); 0 without."""
    return int(record.extra["group"]) if "group" in record.extra else 0


def speaker_of(record: Record) -> int:
    """A number from 0 on that records of one extra['speaker'] share. MediaError without one."""
    name = str(record.extra["speaker"]).strip() if "speaker" in record.extra else ""
    if not name:
        raise MediaError(f"{record.name}: has no speaker (extra['speaker'])")
    return fingerprint(name) >> 1  # within int32


def fold_of(record: Record, key: str = "fold") -> int:
    """The fold of an official cross-validation. MediaError without one."""
    try:
        return int(record.extra[key])
    except (KeyError, TypeError, ValueError) as error:
        raise MediaError(
            f"{record.name}: has no fold (a whole number in extra[{key!r}]); give a test source"
        ) from error


@dataclasses.dataclass(frozen=True)
class FoldFact:
    """`fold_of` as 'fold', int32.

    A class, because features are kept by their facts: two of these that are equal share them.
    """

    key: str = "fold"

    def __call__(self, record: Record) -> Facts:
        return {"fold": np.int32(fold_of(record, self.key))}


def fingerprint(name: str) -> int:
    """32 bits of a record's name, to distinguish records by."""
    return zlib.crc32(name.encode())


def fingerprint_fact(record: Record) -> Facts:
    """'fingerprint', uint32."""
    return {"fingerprint": np.uint32(fingerprint(record.name))}


def name_fact(record: Record) -> Facts:
    """'name': its last MOST_BYTES bytes, uint8; `names_of` is the way back."""
    text = record.name.encode()[-MOST_BYTES:]
    return {"name": np.frombuffer(text.ljust(MOST_BYTES, b"\0"), np.uint8)}


def names_of(facts: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """The records' names, from `name_fact`."""
    return tuple(bytes(row).rstrip(b"\0").decode(errors="replace") for row in facts["name"])


def _floats(record: Record, key: str, count: int) -> Float[np.ndarray, "k"]:
    found = record.extra[key] if key in record.extra else ""
    try:
        numbers = np.array(_parts(found) if isinstance(found, str) else found, np.float64).ravel()
    except (TypeError, ValueError) as error:
        raise MediaError(f"{record.name}: extra['{key}'] holds no numbers") from error
    if len(numbers) != count:
        raise MediaError(f"{record.name}: has no extra['{key}'] of {count} number(s)")
    return numbers


def _numbers(record: Record, key: str) -> list[int]:
    found = record.extra[key]
    try:
        parts = _parts(found) if isinstance(found, str) else found
        numbers = [int(float(one)) if isinstance(one, str) else int(one) for one in parts]
        if any(float(one) != number for one, number in zip(parts, numbers, strict=True)):
            raise ValueError("a fraction")
    except (TypeError, ValueError, OverflowError) as error:
        raise MediaError(f"{record.name}: extra[{key!r}] holds no whole numbers") from error
    return numbers


def _parts(text: str) -> list[str]:
    """Numbers in text: '3 17', '3,17', '3;17' or '[3, 17]'."""
    return re.sub(r"[\[\](),;|]", " ", text).split()
