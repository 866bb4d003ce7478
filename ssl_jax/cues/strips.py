"""Drawings of a cue: rows of a batch as they are, without it, and in its control."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8

from ssl_jax.cues.cue import on_unit_scale
from ssl_jax.drawing.layout import Tile, montage, page
from ssl_jax.drawing.pixels import as_bytes, spectrogram, three_channels

ROWS = 4
IMAGES = 4  # of a row, at most
HEIGHT = 96


def strips(
    drawn: Mapping[str, Mapping[str, np.ndarray]], entry: str, title: str
) -> UInt8[np.ndarray, "h w 3"]:
    """One entry of the augmented batches, a column for each way; waves as spectrograms.

    The rows that the removal changes most.

    Args:
      drawn: way -> augmented batch.
    """
    values = {way: on_unit_scale(np.asarray(batch[entry])) for way, batch in drawn.items()}
    apart = np.abs(values["as_is"] - values["removed"]).reshape(len(values["as_is"]), -1).mean(1)
    rows = np.argsort(-apart, kind="stable")[:ROWS]
    columns = [[Tile(montage(_clips(drawn[way][entry][row]), HEIGHT)) for row in rows]
               for way in drawn]  # fmt: skip
    headings = [way.replace("_", " ") for way in drawn]
    return page([*zip(*columns, strict=True)], HEIGHT, headings, title)


def _clips(row: np.ndarray) -> UInt8[np.ndarray, "n t h w 3"]:
    if row.shape[-1] > 512 and row.ndim <= 2:
        row = spectrogram(np.atleast_2d(row))
    images = as_bytes(three_channels(row.reshape(-1, *row.shape[-3:])))
    count = 9 if len(images) == 9 else min(IMAGES, len(images))
    chosen: Sequence[int] = np.linspace(0, len(images) - 1, count).round().astype(int)
    return images[chosen][:, None]
