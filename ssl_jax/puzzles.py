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
from PIL import Image

from ssl_jax import command
from ssl_jax import config as configs
from ssl_jax.data.pipeline import train_dataset
from ssl_jax.drawing.columns import NUMBERS, below, beside, column, text_column
from ssl_jax.experiment import Experiment
from ssl_jax.method import Method, State, run_collection
from ssl_jax.ops.colour import lab_to_rgb
from ssl_jax.ops.spectrogram import log_spectrogram

TILES = 9  # of one column at most: views, tiles of a jigsaw, frames of a clip; so many: 3 x 3
FRAMES = 4  # of one clip at most, where an example has several


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
    picture = Image.fromarray(puzzle_picture(method, _state(experiment), dataset[number], rows))
    if path:
        picture.save(path, format="PNG")
    return picture


def _state(experiment: Experiment) -> State:
    """What `augment` reads before training; weights are not even made."""
    initialise = experiment.initialiser()
    made = jax.jit(lambda: {k: v for k, v in initialise().items() if k != "params"})()
    return {**made, **run_collection(0, experiment.steps)}


def puzzle_picture(
    method: Method,
    state: State,
    batch: dict[str, np.ndarray],
    rows: int = 8,
    seed: int = 0,
    tile: int = 96,
) -> UInt8[np.ndarray, "h w 3"]:
    """Augments a host batch and draws it as `show` does.

    Inputs that `prepare` does more to than to rescale (lightness, differences of frames, contrast
    of each patch) are drawn prepared too, or, where there are several in a row, prepared alone,
    with the whole picture that they were cut from. Nine pictures of an example, as of a jigsaw, lie
    three by three, numbered row by row. Maps of two channels are colours: a and b of Lab. A method
    that makes several rows of an example shows as many examples less. Tasks of a multitask stand
    one below the other. A method that is better shown otherwise says so by `Method.pictures`.

    Args:
      state: the method's, with 'run'.
      rows: how many at most.
      tile: height of a row in pixels.
    """
    # An even number: some methods make an item of two neighbouring rows.
    few = {k: jnp.asarray(v[: rows + rows % 2]) for k, v in batch.items()}

    @jax.jit
    def both(few):
        augmented = method.augment(few, state, jax.random.key(seed))
        return augmented, method.inputs(augmented)

    augmented, prepared = both(few)
    shown = method.pictures(augmented)
    if shown is not None:
        augmented = prepared = shown
    augmented, prepared = jax.device_get((augmented, prepared))
    count = len(next(iter(few.values())))
    # Not tables, such as weights of classes, which have no rows.
    augmented = {name: x for name, x in augmented.items() if x.ndim and len(x) % count == 0}
    blocks = []
    for task in dict.fromkeys(name.rpartition("/")[0] for name in augmented):
        columns, texts = [], []
        own = [x for name, x in augmented.items() if name.rpartition("/")[0] == task]
        # What lies three by three needs more room.
        height = tile * 3 // 2 if any(x.ndim == 5 and x.shape[1] == 9 for x in own) else tile
        for name in _in_order(augmented, _entries(method)):
            where, _, short = name.rpartition("/")
            if where != task:
                continue
            raw, ready = augmented[name][:rows], prepared[name][:rows]
            if _is_text(raw):
                texts.append((short, raw))
                continue
            whole = few.get(name)
            if raw.ndim == 5 and whole is not None and whole.ndim == 4 and len(whole) >= len(raw):
                columns.append(column("whole", _clips(np.asarray(whole[: len(raw)])), height))
            columns += [column(t, values, height) for t, values in _pictures(short, raw, ready)]
        if texts:
            texts.sort(key=lambda entry: entry[1][0].size)
            columns.insert(0, text_column(texts, height))
        blocks.append(beside(columns, title=task))
    return below(blocks)


def _entries(method: Method) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for own in method.streams.values() for name in own))


def _in_order(names: Iterable[str], inputs: tuple[str, ...]) -> list[str]:
    """The trunks' inputs first, in the trunks' order, then the rest."""
    last = len(inputs)
    places = {name: i for i, name in enumerate(inputs)}
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
    if raw.ndim == 2:  # a row of numbers
        return [(name, _clips(raw[:, None, :, None]))]
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
    if values.shape[-1] == 2:
        values = _ab_colours(values)
    if values.shape[-1] != 3:  # more channels (a stack of differences): the first stands for all
        values = np.repeat(values[..., :1], 3, axis=-1)
    values = _spread_out(values, 1, TILES)
    return _bytes(_spread_out(values, 2, FRAMES if values.shape[1] > 1 else TILES))


def _ab_colours(values: np.ndarray) -> np.ndarray:
    """Two channels as the colours a and b at middle lightness; small numbers are enlarged."""
    most = np.abs(values).max()
    ab = values.astype(np.float32) * (1 if 20 < most <= 110 else 80 / max(most, 1e-6))
    lab = np.concatenate([np.full_like(ab[..., :1], 60), ab], axis=-1)
    return np.round(255 * np.asarray(lab_to_rgb(jnp.asarray(lab)))).astype(np.uint8)


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


def main(arguments: command.Arguments) -> None:
    """Draws the command line's config."""
    folder = os.path.join(arguments.workdir, "pictures")
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "puzzles.png")
    show(arguments.config, path)
    print(f"puzzles are in {path}")


if __name__ == "__main__":
    command.run(main, "puzzles")
