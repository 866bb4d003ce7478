"""Where a video is cut from one scene to the next, and which of its borders are black."""

import numpy as np
from jaxtyping import Float, UInt8

from ssl_jax.data import image

CUT = 0.2  # how different both sides of a cut are at least, of 0..1
ABOVE_MOTION = 2.0  # and how many times as different as neighbouring frames on either side
# Scenes of like colours differ less; between frames that hardly change that is a cut all the same.
FAINT_CUT, ABOVE_REST = 0.1, 8.0
MIN_SHOT_SECONDS = 0.5
BLACK = 24  # of 0..255: brighter than the noise of a black border, darker than any night scene


def looks(frames: UInt8[np.ndarray, "t h w 3"]) -> Float[np.ndarray, "t d"]:
    """What `find_cuts` compares: each frame's histogram of colours in every quarter of it.

    Of motion inside a quarter a histogram sees nothing, of a new scene it sees most. Its 8 levels
    a channel overlap, so that light that changes a little moves little from one to the next.
    """
    quarters = image.resize(frames, (32, 32)).astype(np.float32) * np.float32(7 / 255)
    quarters = quarters.reshape(len(frames), 2, 16, 2, 16, 3).transpose(0, 1, 3, 5, 2, 4)
    quarters = quarters.reshape(len(frames), 12, 256)
    share = np.maximum(0, 1 - np.abs(quarters[..., None] - np.arange(8, dtype=np.float32)))
    return (share.mean(2) / 12).reshape(len(frames), 96)


def find_cuts(look: Float[np.ndarray, "t d"], fps: float) -> list[int]:
    """The first frame of each scene but the video's first. Finds hard cuts; a slow fade is none.

    At a cut both frames before differ from both after, clearly more than either pair in itself:
    a flash of one frame changes one frame only, and a fast camera changes all of them alike. Of
    cuts closer than MIN_SHOT_SECONDS to one another the strongest count, and none counts that is as
    close to the video's ends.
    """
    if len(look) < 4:
        return []
    next_one = _differences(look, 1)  # [k]: frame k and k + 1
    nearest = max(2, round(MIN_SHOT_SECONDS * fps))
    over_three = np.minimum(_differences(look, 2)[:-1], _differences(look, 2)[1:])
    across = np.minimum(np.minimum(next_one[1:-1], _differences(look, 3)), over_three)
    inside = np.maximum(next_one[:-2], next_one[2:])
    clear = across >= np.maximum(CUT, ABOVE_MOTION * inside)
    faint = across >= np.maximum(FAINT_CUT, ABOVE_REST * inside)
    frames = np.flatnonzero(clear | faint) + 2
    cuts: list[int] = []
    for frame in frames[np.argsort(-across[frames - 2], kind="stable")].tolist():
        if min(abs(frame - other) for other in (0, len(look), *cuts)) >= nearest:
            cuts.append(frame)
    return sorted(cuts)


def _differences(look: np.ndarray, apart: int) -> np.ndarray:
    return 0.5 * np.abs(look[apart:] - look[:-apart]).sum(1)


def brightest_lines(frames: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "t n"]:
    """The brightest value in each of the h rows, then the w columns, of every frame; n = h + w."""
    brightest = frames.max(3)
    return np.concatenate([brightest.max(2), brightest.max(1)], axis=1)


def content_box(
    lines: UInt8[np.ndarray, "t n"], height: int, width: int
) -> tuple[int, int, int, int]:
    """(top, left, height, width) of what lies within the black borders of all these frames.

    A line is black if nothing in it is ever brighter than BLACK. A scene that is dark all over has
    no borders.
    """
    bright = lines.max(0) > BLACK
    rows, columns = np.flatnonzero(bright[:height]), np.flatnonzero(bright[height:])
    if len(rows) == 0:
        return 0, 0, height, width
    top, left = int(rows[0]), int(columns[0])
    return top, left, int(rows[-1]) + 1 - top, int(columns[-1]) + 1 - left
