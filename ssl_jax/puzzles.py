"""Pictures of a pretext task as the network sees it: `show(config)`, `python -m ssl_jax.puzzles`.

--config=FILE[:variant]   --workdir=DIR   writes DIR/pictures/puzzles.png
"""

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict
from PIL import Image

from ssl_jax import command
from ssl_jax import config as configs
from ssl_jax.data.pipeline import train_dataset
from ssl_jax.drawing.layout import Tile, below, montage, page, written
from ssl_jax.drawing.pixels import as_bytes, spectrogram, three_channels, upright
from ssl_jax.experiment import Experiment
from ssl_jax.method import Method, Params, State, run_collection
from ssl_jax.training.guesses import guesses

TILES = 9  # of one column at most: views, tiles of a jigsaw, frames of a clip; so many: 3 x 3
FRAMES = 4  # of one clip at most, where an example has several
NUMBERS = 9  # of one line of text at most
LINES = 3  # of text at most, for one entry of an example


def show(
    config: ConfigDict | str, path: str | os.PathLike = "", rows: int = 8, number: int = 0
) -> Image.Image:
    """Draws puzzles of a config: what its method makes of the first examples of a batch.

    Each row is an example. At the left stand its targets: in the method's words ('90°', the order
    of frames), else numbers if they are few. Then come the views, each column under its name:
    images, clips as strips of frames, audio as spectrograms.

    Args:
      config: a config, or its file: 'configs/quickstart.py:tiny'.
      path: PNG file to write; '': none.
      rows: how many examples.
      number: which batch of the training set.

    Returns a picture that a notebook displays; `numpy.asarray` makes it uint8 (h, w, 3).
    Raises ConfigError for a mistake in the config, MediaError for data that cannot be read.
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
    params: Params | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """Augments a host batch and draws it as `show` does.

    Inputs that `prepare` does more to than rescale (lightness, differences of frames, contrast of
    each patch) are drawn prepared too, or, where an example has several, prepared alone, with the
    whole image that they were cut from. Nine images of an example, as of a jigsaw, lie three by
    three, row by row. Maps of two channels are colours: a and b of Lab. A method that makes several
    rows of an example shows fewer examples. Tasks of a multitask stand one below the other. A
    method that is better shown in another way says so by `Method.pictures`, and what its targets
    mean by `Method.words`.

    Args:
      state: the method's, with 'run'.
      rows: how many at most.
      tile: height of a row in pixels.
      params: the network's weights, to write its guess below each target; see `guesses`.
    """
    # An even number: some methods make an item of two neighbouring rows.
    few = {k: jnp.asarray(v[: rows + rows % 2]) for k, v in batch.items()}

    def made(few, state, params, key):
        augmented = method.augment(few, state, key)
        prepared = method.inputs(augmented)
        guessed = {} if params is None else guesses(method, params, state, prepared, key)
        return augmented, prepared, guessed

    # It runs once, so it had better be compiled quickly than run quickly.
    quickly = jax.jit(made, compiler_options={"xla_backend_optimization_level": 0})
    augmented, prepared, guessed = quickly(few, state, params, jax.random.key(seed))
    words = method.words(augmented)
    guess_words = method.words({**augmented, **guessed}) if guessed else {}
    shown = method.pictures(augmented)
    if shown is not None:
        augmented = prepared = shown
    augmented, prepared, guessed = jax.device_get((augmented, prepared, guessed))
    count = len(next(iter(few.values())))
    # Not tables, such as weights of classes, which have no rows.
    augmented = {name: x for name, x in augmented.items() if x.ndim and len(x) % count == 0}
    pages = []
    for task in dict.fromkeys(name.rpartition("/")[0] for name in augmented):
        own = _of_task(augmented, task)
        # What lies three by three needs more room.
        height = (
            tile * 3 // 2 if any(x.ndim == 5 and x.shape[1] == 9 for x in own.values()) else tile
        )
        said = _of_task(words, task)
        columns, numbers = [], {}
        for name in _in_order(own, _entries(method)):
            short = name.rpartition("/")[2]
            raw, ready = own[name][:rows], prepared[name][:rows]
            if _is_text(raw):
                numbers[short] = raw
                continue
            whole = np.asarray(few[name]) if name in few else raw
            if raw.ndim == 5 and whole.ndim == 4 and len(whole) >= len(raw):
                columns.append(("whole", _clips(whole[: len(raw)])))
            columns += _pictures(short, raw, ready)
        headings = [heading for heading, _ in columns]
        tiles = [[Tile(montage(row, height)) for row in values] for _, values in columns]
        texts = _words(said, rows) if said else _numbers(numbers)
        if _of_task(guessed, task):
            answers = _of_task(guess_words if said else guessed, task)
            texts = [*map("\n".join, zip(texts, _guessed(answers, rows), strict=True))]
        if texts:
            headings.insert(0, "")
            tiles.insert(0, [Tile(written(text, height)) for text in texts])
        pages.append(page([*itertools.zip_longest(*tiles)], height, headings, task))
    return below(pages)


def _of_task(entries: Mapping, task: str) -> dict:
    return {name: x for name, x in entries.items() if name.rpartition("/")[0] == task}


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
    if raw.ndim <= 3 and ready.ndim == raw.ndim + 1:  # audio (b s) or (b n s), prepared (.. t f)
        return [(name, _clips(upright(ready)))]
    if raw.ndim <= 3 and raw.shape[-1] > 512:  # a network that takes the wave itself
        return [(name, _clips(spectrogram(raw)))]
    if raw.ndim == 2:  # a row of numbers
        return [(name, _clips(raw[:, None, :, None]))]
    if raw.ndim == 3:  # a map without channels
        return [(name, _clips(raw[..., None]))]
    if _only_rescaled(raw, ready):
        return [(name, _clips(raw))]
    prepared = (f"{name}, prepared", _clips(ready))
    return [(name, _clips(raw)), prepared] if raw.ndim == 4 else [prepared]


def _only_rescaled(raw: np.ndarray, ready: np.ndarray) -> bool:
    """Whether `prepare` only shifts and scales each channel, the same for all images."""
    if raw.shape != ready.shape:
        return False
    channels = raw.shape[-1]
    # A run that is about to stop for what is not finite shall still be drawn.
    finite = (np.nan_to_num(v.astype(np.float64), posinf=0, neginf=0) for v in (raw, ready))
    x, y = (v.reshape(-1, channels) for v in finite)
    x, y = x - x.mean(0), y - y.mean(0)
    return bool(np.all((x * y).sum(0) ** 2 >= 0.999 * (x * x).sum(0) * (y * y).sum(0)))


def _clips(values: np.ndarray) -> UInt8[np.ndarray, "b n t h w 3"]:
    """Pixels of (b .. h w c): b rows of n clips of t frames; single images are clips of one."""
    clips = values.shape[1:-3] if values.ndim == 6 else (int(np.prod(values.shape[1:-3])), 1)
    values = three_channels(values.reshape(len(values), *clips, *values.shape[-3:]))
    values = _spread_out(values, 1, TILES)
    return as_bytes(_spread_out(values, 2, FRAMES if values.shape[1] > 1 else TILES))


def _spread_out(values: np.ndarray, axis: int, most: int) -> np.ndarray:
    """At most so many entries of an axis, first and last among them."""
    count = values.shape[axis]
    chosen = np.linspace(0, count - 1, min(most, count)).round().astype(int)
    return values.take(chosen, axis=axis)


def _words(entries: Mapping[str, Sequence[str]], rows: int) -> list[str]:
    """What the method says of each example."""
    lines = [
        [f"{name.rpartition('/')[2]} {x}".strip() for x in own] for name, own in entries.items()
    ]
    return ["\n".join(row) for row in list(zip(*lines, strict=True))[:rows]]


def _guessed(entries: Mapping[str, Sequence | np.ndarray], rows: int) -> list[str]:
    lines = [[f"guess {x}" for x in own[:rows]] for own in entries.values()]
    return ["\n".join(row) for row in zip(*lines, strict=True)]


def _numbers(entries: Mapping[str, np.ndarray]) -> list[str]:
    """The numbers of each example, short entries first."""
    ordered = sorted(entries.items(), key=lambda entry: entry[1][0].size)
    texts = [[_text(name, values) for values in own] for name, own in ordered]
    return ["\n".join(filter(None, x)) for x in itertools.zip_longest(*texts)]


def _text(name: str, values: np.ndarray | np.generic) -> str:
    """'target 3', or several numbers, those of each entry of the first axis on a line."""
    lines = np.reshape(values, (-1, values.shape[-1] if values.ndim else 1))
    rows = [
        " ".join(f"{x:.2f}" if np.issubdtype(lines.dtype, np.floating) else str(x) for x in line)
        + (" ..." if lines.shape[1] > NUMBERS else "")
        for line in lines[:LINES, :NUMBERS]
    ]
    more = ["..."] if len(lines) > LINES else []
    return f"{name} " + f"\n{' ' * 4}".join(rows + more)


def main(arguments: command.Arguments) -> None:
    """Draws the command line's config."""
    folder = os.path.join(arguments.workdir, "pictures")
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "puzzles.png")
    show(arguments.config, path)
    print(f"puzzles are in {path}")


if __name__ == "__main__":
    command.run(main, "puzzles")
