"""Pictures of a pretext task as the network sees it: `show(config)`, `python -m ssl_jax.puzzles`.

--config=FILE[:variant]   --workdir=DIR   writes DIR/pictures/puzzles.png
"""

import os
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict
from PIL import Image, ImageDraw, ImageFont

from ssl_jax import command
from ssl_jax import config as configs
from ssl_jax.data.pipeline import train_dataset
from ssl_jax.experiment import Experiment
from ssl_jax.method import Method
from ssl_jax.ops.spectrogram import log_spectrogram

TILES = 9  # of one column at most: views, tiles of a jigsaw, frames of a clip
FRAMES = 4  # of one clip at most, where an example has several
NUMBERS = 9  # of one line of text at most
PAPER = "gainsboro"  # so that a white tile has a border
LINES = 3  # of text at most, for one entry of an example


def show(
    config: ConfigDict | str, path: str | os.PathLike = "", rows: int = 8, number: int = 0
) -> Image.Image:
    """Draws puzzles of a config: what its method makes of the first examples of a batch.

    Each row is an example. At the left stand its targets, if they are few numbers; then come the
    views, each column under its name: pictures, clips as strips of frames, sound as spectrograms.

    Args:
      config: a config, or its file: 'configs/quickstart.py:tiny'.
      path: PNG file to write; '': none.
      rows: how many examples.
      number: which batch of the training set.

    Returns a picture that a notebook displays; `numpy.asarray` makes it uint8 (h, w, 3).
    Raises ConfigError for a config that is none, MediaError for data that cannot be read.
    """
    experiment: Experiment = configs.build(
        configs.load(config) if isinstance(config, str) else config
    )
    method = experiment.trained_method()
    size = min(rows, experiment.batch_size)
    dataset = train_dataset(experiment.source, method.views, size + size % 2, experiment.seed)
    picture = Image.fromarray(puzzle_picture(method, dataset[number], rows))
    if path:
        picture.save(path, format="PNG")
    return picture


def puzzle_picture(
    method: Method, batch: dict[str, np.ndarray], rows: int = 8, seed: int = 0, tile: int = 96
) -> UInt8[np.ndarray, "h w 3"]:
    """Augments a host batch and draws it as `show` does.

    Inputs that `prepare` does more to than to rescale (lightness, differences of frames, contrast
    of each patch) are drawn prepared too, or, where there are several in a row, prepared alone. A
    method that makes several rows of an example shows as many examples less. Tasks of a multitask
    stand one below the other.

    Args:
      rows: how many at most.
      tile: height of a row in pixels.
    """
    # An even number: some methods make an item of two neighbouring rows.
    few = {k: jnp.asarray(v[: rows + rows % 2]) for k, v in batch.items()}

    @jax.jit
    def both(few):
        augmented = method.augment(few, jax.random.key(seed))
        return augmented, method.inputs(augmented)

    augmented, prepared = jax.device_get(both(few))
    blocks = []
    for task in dict.fromkeys(name.rpartition("/")[0] for name in augmented):
        columns, texts = [], []
        for name in _in_order(augmented, method.modalities):
            where, _, short = name.rpartition("/")
            if where != task:
                continue
            raw, ready = augmented[name][:rows], prepared[name][:rows]
            if _is_text(raw):
                texts.append((short, raw))
            else:
                columns += [_column(t, values, tile) for t, values in _pictures(short, raw, ready)]
        if texts:
            texts.sort(key=lambda entry: entry[1][0].size)
            columns.insert(0, _text_column(texts, tile))
        blocks.append(_beside(columns, title=task))
    return _below(blocks)


def _in_order(names: Iterable[str], modalities: tuple[str, ...]) -> list[str]:
    """The trunks' inputs first, in the trunks' order, then the rest."""
    last = len(modalities)
    places = {name: i for i, name in enumerate(modalities)}
    return sorted(names, key=lambda name: places.get(name.rpartition("/")[2], last))


def _is_text(values: np.ndarray) -> bool:
    """Whether an example of it is to be written, not drawn: whole numbers, or a few of any."""
    whole = np.issubdtype(values.dtype, np.integer) and values.dtype != np.uint8
    return (whole and values.ndim <= 3) or values[0].size <= NUMBERS


def _pictures(
    name: str, raw: np.ndarray, ready: np.ndarray
) -> list[tuple[str, UInt8[np.ndarray, "b n t h w 3"]]]:
    """Titles and pixels of an input, as it is or as it comes out of `prepare`: what tells more."""
    if raw.ndim <= 3 and ready.ndim == raw.ndim + 1:  # sound (b s) or (b n s), prepared (.. t f)
        return [(name, _clips(_upright(ready)))]
    if raw.ndim <= 3 and raw.shape[-1] > 512:  # a network that takes the wave itself
        sound = log_spectrogram(jnp.asarray(raw), 256, 128, 256)
        return [(name, _clips(_upright(np.asarray(sound))))]
    if raw.ndim == 3:  # a map without channels
        return [(name, _clips(raw[..., None]))]
    if _only_rescaled(raw, ready):
        return [(name, _clips(raw))]
    prepared = (f"{name}, prepared", _clips(ready))
    return [(name, _clips(raw)), prepared] if raw.ndim == 4 else [prepared]


def _only_rescaled(raw: np.ndarray, ready: np.ndarray) -> bool:
    """Whether `prepare` only shifts and scales each channel, the same for all pictures."""
    if raw.shape != ready.shape:
        return False
    channels = raw.shape[-1]
    # A run that is about to stop for what is not finite shall still be drawn.
    finite = (np.nan_to_num(v.astype(np.float64), posinf=0, neginf=0) for v in (raw, ready))
    x, y = (v.reshape(-1, channels) for v in finite)
    x, y = x - x.mean(0), y - y.mean(0)
    return bool(np.all((x * y).sum(0) ** 2 >= 0.999 * (x * x).sum(0) * (y * y).sum(0)))


def _clips(values: np.ndarray) -> UInt8[np.ndarray, "b n t h w 3"]:
    """Pixels of (b .. h w c): b rows of n clips of t frames; single pictures are clips of one."""
    clips = values.shape[1:-3] if values.ndim == 6 else (int(np.prod(values.shape[1:-3])), 1)
    values = values.reshape(len(values), *clips, *values.shape[-3:])
    if values.shape[-1] == 2:  # two channels: two pictures
        values = np.moveaxis(values, -1, 2).reshape(len(values), -1, *values.shape[2:-1], 1)
    if values.shape[-1] != 3:  # more channels (a stack of differences): the first stands for all
        values = np.repeat(values[..., :1], 3, axis=-1)
    values = _spread_out(values, 1, TILES)
    return _bytes(_spread_out(values, 2, FRAMES if values.shape[1] > 1 else TILES))


def _upright(spectrograms: np.ndarray) -> np.ndarray:
    """(.. t f) -> (.. f t 1), low pitches below."""
    return np.flip(spectrograms.swapaxes(-1, -2), axis=-2)[..., None]


def _spread_out(values: np.ndarray, axis: int, most: int) -> np.ndarray:
    """At most so many entries of an axis, first and last among them."""
    count = values.shape[axis]
    chosen = np.linspace(0, count - 1, min(most, count)).round().astype(int)
    return values.take(chosen, axis=axis)


def _bytes(values: np.ndarray) -> np.ndarray:
    """Values of any range as uint8; those in 0..1 or 0..255 keep their brightness."""
    if values.dtype == np.uint8:
        return values
    values = np.nan_to_num(values.astype(np.float32), posinf=0, neginf=0)
    low, high = values.min(), values.max()
    if low >= 0 and (0.5 < high <= 1 or 64 < high <= 255):
        low, high = 0.0, 1.0 if high <= 1 else 255.0
    else:  # stretched; the few that stick out would leave the rest without contrast
        low, high = np.percentile(values, (0.5, 99.5))
    return (255 * (values - low) / max(high - low, 1e-6)).clip(0, 255).round().astype(np.uint8)


def _column(name: str, values: UInt8[np.ndarray, "b n t h w 3"], tile: int) -> Image.Image:
    """Rows of clips of frames under their name; a wider gap between clips than between frames."""
    b, n, t, h, w, _ = values.shape
    width = round(tile * min(max(w / h, 0.75), 3.0))
    clip = t * (width + 2) + (6 if t > 1 else 0)
    total = max(n * clip + 8, _width(name) + 8)
    column = Image.new("RGB", (total, _top() + b * (tile + 4)), PAPER)
    ImageDraw.Draw(column).text((2, 2), name, fill="black", font=_font())
    enlarged = h <= tile and w <= width
    how = Image.Resampling.NEAREST if enlarged else Image.Resampling.BOX
    for row, i, k in np.ndindex(b, n, t):
        frame = Image.fromarray(values[row, i, k]).resize((width, tile), how)
        column.paste(frame, (i * clip + k * (width + 2), _top() + row * (tile + 4)))
    return column


def _text_column(entries: list[tuple[str, np.ndarray]], tile: int) -> Image.Image:
    """What is to be written of every example."""
    count = max(len(values) for _, values in entries)
    texts = [
        "\n".join(_text(name, values[row]) for name, values in entries if row < len(values))
        for row in range(count)
    ]
    width = max(_width(text) for text in texts)
    column = Image.new("RGB", (width + 16, _top() + count * (tile + 4)), PAPER)
    draw = ImageDraw.Draw(column)
    for row, text in enumerate(texts):
        draw.text((4, _top() + row * (tile + 4)), text, fill="black", font=_font())
    return column


def _text(name: str, values: np.ndarray | np.generic) -> str:
    """'target 3', or several numbers, those of each entry of the first axis on a line."""
    lines = np.reshape(values, (-1, values.shape[-1] if values.ndim else 1))
    written = [
        " ".join(f"{x:.2f}" if np.issubdtype(lines.dtype, np.floating) else str(x) for x in line)
        + (" ..." if lines.shape[1] > NUMBERS else "")
        for line in lines[:LINES, :NUMBERS]
    ]
    more = ["..."] if len(lines) > LINES else []
    return f"{name} " + f"\n{' ' * 4}".join(written + more)


def _beside(columns: list[Image.Image], title: str) -> Image.Image:
    """Columns next to each other, under a title if there is one."""
    top = _top() if title else 0
    size = (sum(c.width for c in columns), top + max(c.height for c in columns))
    block = Image.new("RGB", size, PAPER)
    ImageDraw.Draw(block).text((2, 2), title, fill="darkred", font=_font())
    x = 0
    for column in columns:
        block.paste(column, (x, top))
        x += column.width
    return block


def _below(blocks: list[Image.Image]) -> UInt8[np.ndarray, "h w 3"]:
    size = (max(b.width for b in blocks), sum(b.height for b in blocks))
    picture = Image.new("RGB", size, PAPER)
    y = 0
    for block in blocks:
        picture.paste(block, (0, y))
        y += block.height
    return np.array(picture)


def _width(text: str) -> int:
    """Of written lines, in pixels."""
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    return int(measure.multiline_textbbox((0, 0), text, font=_font())[2])


def _font():
    return ImageFont.load_default(size=14)


def _top() -> int:
    """Height of a line of text above pictures."""
    return 22


def main(arguments: command.Arguments) -> None:
    """Draws the command line's config."""
    folder = os.path.join(arguments.workdir, "pictures")
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "puzzles.png")
    show(arguments.config, path)
    print(f"puzzles are in {path}")


if __name__ == "__main__":
    command.run(main, "puzzles")
