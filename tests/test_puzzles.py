"""Pictures of puzzles: every config's can be drawn, and they show what the networks see."""

import dataclasses
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from PIL import Image

import ssl_jax
from ssl_jax import command, puzzles
from ssl_jax.data.record import Record
from ssl_jax.drawing.layout import written
from ssl_jax.method import Method
from ssl_jax.methods.image.jigsaw import Jigsaw
from ssl_jax.methods.image.relative_position import RelativePosition
from ssl_jax.methods.image.rotation import Rotation
from ssl_jax.methods.image.split_brain import SplitBrain
from ssl_jax.methods.label_tasks import Joints, OneLabel, SeveralLabels
from ssl_jax.methods.multitask import Multitask
from ssl_jax.methods.video.clip_order import ClipOrder
from ssl_jax.methods.video.order_prediction import OrderPrediction
from ssl_jax.models.dense_alexnet import DenseAlexNet
from ssl_jax.ops.spectrogram import log_spectrogram
from ssl_jax.puzzles import puzzle_picture

ROOT = pathlib.Path(__file__).parent.parent
CONFIGS = sorted(str(f.relative_to(ROOT)) for f in (ROOT / "configs").rglob("*.py"))
TINY = tiny.TinyTrunk()
TOP, PITCH, TILE = 22, 100, 96  # of the layout, in pixels


@pytest.mark.parametrize("path", CONFIGS)
def test_every_config_can_be_shown(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    picture = ssl_jax.show(f"{path}:tiny", rows=2)
    pixels = np.asarray(picture)
    assert pixels.dtype == np.uint8
    assert picture.mode == "RGB"
    assert pixels.shape[0] >= TOP + 2 * PITCH
    rows = pixels[TOP : TOP + TILE], pixels[TOP + PITCH : TOP + PITCH + TILE]
    assert all(np.ptp(row.astype(int)) > 50 for row in rows)
    assert not np.array_equal(*rows)


def test_rotations_are_drawn_turned_beside_their_targets(tmp_path):
    path = tmp_path / "puzzles.png"
    picture = ssl_jax.show(f"{ROOT}/configs/image/rotation_cifar10.py:tiny", path, rows=4)
    pixels = np.asarray(picture)
    with Image.open(path) as file:
        np.testing.assert_array_equal(np.asarray(file), pixels)
    left = pixels.shape[1] - TILE - 10
    tiles = [pixels[y : y + TILE, left : left + TILE] for y in range(TOP, TOP + 4 * PITCH, PITCH)]
    for turns, tile in enumerate(tiles):
        np.testing.assert_array_equal(tile, np.rot90(tiles[0], turns))
    words = [pixels[y : y + TILE, :left] for y in range(TOP, TOP + 4 * PITCH, PITCH)]
    assert all(np.sum(word < 128) > 50 for word in words)
    assert len({word.tobytes() for word in words}) == 4  # 0°, 90°, 180°, 270°


def test_another_batch_shows_other_puzzles_and_the_same_batch_the_same():
    config = tiny.experiment()
    first, again, other = (np.asarray(ssl_jax.show(config, number=n)) for n in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@dataclasses.dataclass(frozen=True)
class Stub(Method):
    """What drawing asks of a method."""

    stream: str
    made: Callable

    @property
    def streams(self):
        return {self.stream: (self.stream,)}

    def prepare(self, name, x):
        return self.made(x)

    net = views = objective = None


def test_sound_is_a_spectrogram_with_low_pitches_below():
    t = np.arange(4000) / 8000
    waves = np.stack([np.sin(2 * np.pi * pitch * t) for pitch in (400, 3600)]).astype(np.float32)
    spectrogram = lambda wave: log_spectrogram(wave, 256, 128, 256)  # noqa: E731
    for prepare in (spectrogram, lambda wave: wave):
        pixels = puzzle_picture(Stub("audio", prepare), {}, {"audio": waves})
        low, high = (pixels[y : y + TILE, 10:30, 0].mean(1) for y in (TOP, TOP + PITCH))
        assert low.argmax() > 0.8 * TILE
        assert high.argmax() < 0.2 * TILE


def test_what_prepare_does_more_than_rescaling_is_drawn_beside():
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    batch = {"vision": images}
    scaled = puzzle_picture(
        Stub("vision", lambda x: x / 255.0 - jnp.array([0.4, 0.5, 0.6])), {}, batch
    )
    grey = puzzle_picture(Stub("vision", lambda x: x.mean(-1, keepdims=True)), {}, batch)
    same_shape = Stub("vision", lambda x: jnp.repeat(x.mean(-1, keepdims=True), 3, axis=-1))
    assert scaled.shape[1] * 2 <= grey.shape[1]
    np.testing.assert_array_equal(puzzle_picture(same_shape, {}, batch), grey)
    np.testing.assert_array_equal(grey[TOP:, : scaled.shape[1]], scaled[TOP:])
    shown = grey[TOP : TOP + TILE : 12, scaled.shape[1] : scaled.shape[1] + TILE : 12]
    np.testing.assert_allclose(shown[..., 0], images[0].mean(-1), atol=1)
    # A row of tiles is drawn once: as the network gets it.
    tiles = np.repeat(images[:, None], 3, axis=1)
    assert puzzle_picture(same_shape, {}, {"vision": tiles}).shape[1] == 3 * (TILE + 2) + 8


def test_nine_tiles_lie_three_by_three_beside_the_picture_they_are_of():
    """Tiles in true order, each next to its neighbours, make up the whole again."""
    images = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 3), dtype=np.uint8)
    tiles = images.reshape(2, 3, 2, 3, 2, 3).swapaxes(2, 3).reshape(2, 9, 2, 2, 3)

    class Puzzle(Stub):
        def augment(self, batch, state, key):
            return {"vision": jnp.asarray(tiles)}

    pixels = puzzle_picture(Puzzle("none", lambda x: x), {}, {"vision": images}, tile=72)
    side, cell = 108, 34  # of a row; of a tile, with gaps of 2
    left = pixels.shape[1] - (3 * (cell + 2) + 8)
    for row, y, x in np.ndindex(2, 3, 3):
        top = TOP + row * (side + 4) + y * (cell + 2)
        shown = pixels[top : top + cell : 17, left + x * 36 : left + x * 36 + cell : 17]
        np.testing.assert_array_equal(shown, tiles[row, 3 * y + x])
        whole = pixels[TOP + row * (side + 4) :, :side][: side // 3 * 3 : 18, ::18]
        np.testing.assert_array_equal(whole[:6, :6], images[row])


def test_two_channels_are_colours():
    ab = np.zeros((2, 4, 4, 2), np.float32) + np.array([[70.0, 55], [-60, 50]])[:, None, None]
    pixels = puzzle_picture(Stub("none", lambda x: x), {}, {"target": ab}).astype(int)
    red, green = pixels[TOP + 5, 5], pixels[TOP + PITCH + 5, 5]
    assert red[0] > 200 > 60 + red[1:].max()
    assert green[1] > 120 > 40 + green[0]
    # Small numbers, as of a flow, are enlarged.
    small = puzzle_picture(Stub("none", lambda x: x), {}, {"target": ab / 70})
    assert np.ptp(small[TOP + 5, 5].astype(int)) > 100


def test_a_method_that_says_what_to_draw_is_shown_that_way():
    image = np.full((2, 40, 40, 3), (200, 60, 30), np.uint8)
    method = SplitBrain(DenseAlexNet(), size=33, stored=40)
    pixels = puzzle_picture(method, {}, {"vision": image}, seed=0)
    columns = [pixels[TOP + 40, x] for x in range(40, pixels.shape[1], 106)]
    assert len(columns) == 5  # the picture, what is seen of it and what is to be predicted
    whole, *grey_and_colour = (column.astype(int) for column in columns)
    np.testing.assert_array_equal(whole, (200, 60, 30))
    for grey, colour in zip(grey_and_colour[::2], grey_and_colour[1::2], strict=True):
        assert np.ptp(grey) <= 1
        assert colour[0] > colour[1] + 80


def test_clips_are_strips_of_frames_and_long_ones_are_thinned_out():
    clips = np.zeros((2, 3, 16, 4, 4, 3), np.uint8) + 10 * np.arange(16)[:, None, None, None]
    pixels = puzzle_picture(Stub("none", jnp.square), {}, {"clips": clips.astype(np.uint8)})
    starts = [i * (4 * (TILE + 2) + 6) + k * (TILE + 2) for i in range(3) for k in range(4)]
    assert [pixels[TOP + 5, x + 5, 0] for x in starts] == [0, 50, 100, 150] * 3


def test_what_targets_mean_is_written_in_place_of_the_numbers():
    class Saying(Stub):
        def words(self, batch):
            return {"target": ["upper left" if k == 3 else "below" for k in batch["target"]]}

    images = np.zeros((3, 4, 4, 3), np.uint8)

    def drawn(method, targets):
        return puzzle_picture(method, {}, {"vision": images, "target": np.array(targets)})

    saying = drawn(Saying("vision", lambda x: x), [3, 4, 5])
    np.testing.assert_array_equal(saying, drawn(Saying("vision", lambda x: x), [3, 7, 8]))
    assert not np.array_equal(saying, drawn(Saying("vision", lambda x: x), [4, 4, 5]))
    assert saying.shape[1] > drawn(Stub("vision", lambda x: x), [3, 4, 5]).shape[1]
    # Those of the tasks of a multitask stand on their pages.
    tasks = Multitask(
        {"one": Saying("vision", lambda x: x), "two": Stub("vision", lambda x: x)}, ()
    )
    batch = {f"{task}/target": jnp.array([3, 4]) for task in ("one", "two")}
    assert tasks.words(batch) == {"one/target": ["upper left", "below"]}


def test_more_lines_than_there_is_room_for_end_in_dots():
    lines = [f"line {k}" for k in range(9)]
    np.testing.assert_array_equal(
        written("\n".join(lines), 96), written("\n".join([*lines[:4], "..."]), 96)
    )


def numbers(words: str) -> list[int]:
    return [int(word) for word in words.split() if word.isdigit()]


def test_words_of_rotations_undo_them():
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    method = Rotation(TINY, size=8, padding=0, turns=(1, 3))
    batch = method.augment({"vision": jnp.asarray(images)}, {}, jax.random.key(0))
    words = method.words(batch)["target"]
    assert words == ["90°", "270°"] * 2
    upright = [
        np.rot90(x, k) for x, k in zip(np.asarray(batch["vision"]), (-1, -3) * 2, strict=True)
    ]
    np.testing.assert_array_equal(upright[0::2], upright[1::2])


def test_words_of_orders_are_the_frames_that_are_shown():
    frames = np.tile(np.arange(4, dtype=np.uint8)[:, None, None, None], (8, 1, 6, 6, 3))
    method = OrderPrediction(TINY, crop=4, shift=1, window=6)
    batch = method.augment({"vision": jnp.asarray(frames)}, {}, jax.random.key(0))
    for words, shown in zip(method.words(batch)["order"], batch["vision"], strict=True):
        assert shown[:, 0, 0, 0].tolist() in [numbers(way) for way in words.split("\n")]
    clips = frames[:, :3, None]
    method = ClipOrder(TINY, crop=4)
    batch = method.augment({"vision": jnp.asarray(clips)}, {}, jax.random.key(0))
    shown = batch["vision"][:, :, 0, 0, 0, 0].tolist()
    assert [numbers(words) for words in method.words(batch)["order"]] == shown
    assert len({tuple(order) for order in shown}) > 1


def test_words_of_a_jigsaw_are_its_tiles():
    cells = np.arange(9, dtype=np.uint8).reshape(3, 3).repeat(4, 0).repeat(4, 1)
    images = np.tile(cells[:, :, None], (4, 1, 1, 3))
    method = Jigsaw(TINY, 12, 12, tile=3, channel_shift=0, grey=0.0, permutations=20)
    batch = method.augment({"vision": jnp.asarray(images)}, {}, jax.random.key(0))
    shown = np.rint(255 * np.asarray(batch["vision"])[:, :, 0, 0, 0]).astype(int).tolist()
    words = method.words(batch)["tiles"]
    assert [numbers(text) for text in words] == shown
    assert all(len(text.strip().split("\n")) == 3 for text in words)


@pytest.mark.parametrize(("pairs", "count"), [("one", 1), ("centre", 8)])
def test_words_of_relative_position_say_where_the_second_patch_lies(pairs, count):
    y, x = np.mgrid[:64, :64].astype(np.uint8)
    image = np.stack([y, x, 0 * x], axis=-1)[None]
    record = Record("place", 0, 1, 1.0, frames=lambda numbers: image)
    method = RelativePosition(
        TINY, patch=8, gap=8, jitter=2, area=(4096, 4096), pairs=pairs, colour="keep"
    )
    for seed in range(4):
        example = method.views(record, np.random.default_rng(seed))
        (text,) = method.words(
            {name: jnp.asarray(values[None]) for name, values in example.items()}
        )[""]
        assert len(text.split("\n")) == count
        corners = example["vision"][:, 0, 0, :2].astype(int)
        for line in text.split("\n"):
            pair, side = line.split(": ")
            first, second = numbers(pair)
            down, right = corners[second] - corners[first]
            across = "left" if right < -6 else "right" if right > 6 else ""
            level = -1 if down < -6 else 1 if down > 6 else 0
            alone = {-1: "above", 0: across, 1: "below"}[level]
            both = f"{'upper' if level < 0 else 'lower'} {across}"
            assert side == (both if level and across else alone)


def test_words_of_labels():
    assert OneLabel(5).words(np.int32(3)) == "label 3"
    several = SeveralLabels(5)
    assert several.words(np.array([-1, 1, 0, 1, -1])) == "labels 1 3\nleft out 2"
    assert several.words(np.array([-1, -1])) == "labels none"
    places = np.array([[0.25, 0.5], [np.nan, np.nan]], np.float32)
    assert Joints(2).words(places) == "joint 0: 25% right, 50% down\njoint 1: unknown"


def test_few_numbers_are_written_and_do_not_need_a_picture_of_their_own():
    batch = {"vision": np.zeros((2, 4, 4, 3), np.uint8), "score": np.array([0.25, 0.5], np.float32)}
    with_score = puzzle_picture(Stub("vision", lambda x: x), {}, batch)
    without = puzzle_picture(Stub("vision", lambda x: x), {}, {"vision": batch["vision"]})
    assert 40 < with_score.shape[1] - without.shape[1] < 120


def test_tables_which_have_no_rows_are_left_out():
    class Weighing(Stub):
        def augment(self, batch, state, key):
            return {**batch, "weights": state["weights"]}

    batch = {"vision": np.zeros((2, 4, 4, 3), np.uint8)}
    state = {"weights": jnp.arange(5.0)}
    pixels = puzzle_picture(Weighing("vision", lambda x: x), state, batch)
    np.testing.assert_array_equal(pixels, puzzle_picture(Stub("vision", lambda x: x), {}, batch))


def test_the_command_writes_a_file(tmp_path, capsys):
    config = pathlib.Path(__file__).parent / "tiny_config.py"
    puzzles.main(command.parse("puzzles", [f"--config={config}", f"--workdir={tmp_path}/run"]))
    path = f"{tmp_path}/run/pictures/puzzles.png"
    assert path in capsys.readouterr().out
    with Image.open(path) as file:
        assert file.width > TILE
