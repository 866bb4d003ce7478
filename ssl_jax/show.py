"""Pictures of a pretext task as the network sees it: one row an example, one tile a view."""

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.method import Method


def puzzle_picture(
    method: Method, batch: dict[str, np.ndarray], rows: int = 8, seed: int = 0, tile: int = 96
) -> np.ndarray:
    """Augments a host batch and draws it.

    Every image-like array of the augmented batch becomes a strip of tiles: views and frames of
    clips side by side (at most 8 of them), waves as the spectrogram that `prepare` makes. The
    targets stand at the left.

    Returns uint8 pixels (h, w, 3).
    """
    few = {k: jnp.asarray(v[:rows]) for k, v in batch.items()}
    augmented = jax.device_get(jax.jit(method.augment)(few, jax.random.key(seed)))
    strips = _targets(augmented, tile)
    for name, values in augmented.items():
        if values.ndim >= 4:
            strips.append(_tiles(_pixels(values), tile))
        elif values.ndim in (2, 3) and name in method.modalities:  # a wave, or some, a row
            spectrograms = jax.device_get(method.prepare(name, jnp.asarray(values)))
            upright = np.flip(spectrograms.swapaxes(-1, -2), axis=-2)
            strips.append(_tiles(_pixels(upright[..., None]), tile))
    # Tasks of a multitask may have different numbers of rows.
    tallest = max(len(strip) for strip in strips)
    padded = [np.pad(strip, ((0, tallest - len(strip)), (0, 0), (0, 0))) for strip in strips]
    return np.concatenate(padded, axis=1)


def _pixels(values: np.ndarray) -> np.ndarray:
    """(b, ..., h, w, c) of any range -> uint8 (b, n, h, w, 3), at most 8 tiles a row."""
    values = values.reshape(len(values), -1, *values.shape[-3:])
    chosen = np.linspace(0, values.shape[1] - 1, min(8, values.shape[1])).round().astype(int)
    values = values[:, chosen]
    if values.dtype != np.uint8:
        values = np.nan_to_num(values.astype(np.float32), posinf=0, neginf=0)
        low, high = values.min(), values.max()
        values = (255 * (values - low) / max(high - low, 1e-6)).astype(np.uint8)
    if values.shape[-1] != 3:  # more channels (a stack of differences): the first stands for all
        values = np.repeat(values[..., :1], 3, axis=-1)
    return values


def _tiles(values: np.ndarray, tile: int) -> np.ndarray:
    """uint8 (b, n, h, w, 3) -> one picture of b rows and n columns of tiles."""
    import cv2

    scaled = [[cv2.resize(view, (tile, tile)) for view in row] for row in values]
    framed = [[np.pad(view, ((1, 1), (1, 1), (0, 0))) for view in row] for row in scaled]
    return np.concatenate([np.concatenate(row, axis=1) for row in framed], axis=0)


def _targets(batch: dict[str, np.ndarray], tile: int) -> list[np.ndarray]:
    """A column of the integers that each row is to be told apart by, if there are any."""
    from PIL import Image, ImageDraw

    names = [k for k, v in batch.items() if v.ndim == 1 and np.issubdtype(v.dtype, np.integer)]
    if not names:
        return []
    rows = len(batch[names[0]])
    picture = Image.new("RGB", (tile + 2, rows * (tile + 2)), "white")
    draw = ImageDraw.Draw(picture)
    for i in range(rows):
        text = "\n".join(f"{name} {batch[name][i]}" for name in names)
        draw.text((4, i * (tile + 2) + 4), text, fill="black")
    return [np.asarray(picture)]
