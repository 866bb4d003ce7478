"""Relative position, the jigsaws and cluster transfer: geometry, published numbers, shortcuts."""

import hashlib
import itertools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax import config as configs
from ssl_jax.cluster import cluster
from ssl_jax.config import ConfigError, call
from ssl_jax.data.annotations import fingerprint
from ssl_jax.data.clusters_file import write_clusters
from ssl_jax.data.permutations_file import read_permutations
from ssl_jax.data.record import MediaError, Record
from ssl_jax.data.sampling import OFFSETS, neighbours
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.methods.image.cluster_transfer import ClusterTransfer
from ssl_jax.methods.image.jigsaw import Jigsaw
from ssl_jax.methods.image.relative_position import RelativePosition
from ssl_jax.models.alexnet import AlexNet
from ssl_jax.models.nin import NIN
from ssl_jax.objectives.permutations import (
    greedy_permutations,
    permutation_distances,
)
from ssl_jax.ops import patches
from ssl_jax.train import fit

KEY = jax.random.key(5)
TRUNK = NIN(blocks=3, width=0.05)


def coordinates(side: int, count: int = 1) -> np.ndarray:
    """Images (b side side 3) whose pixels hold their row, their column and the image."""
    rows, columns = np.mgrid[:side, :side]
    planes = [np.stack([rows, columns, np.full_like(rows, i)], axis=-1) for i in range(count)]
    return np.stack(planes).astype(np.float32)


def noise(seed: int, *shape: int) -> jax.Array:
    return jax.random.uniform(jax.random.key(seed), shape)


def noisy_bytes(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def augmented(method, images) -> dict[str, jax.Array]:
    return jax.jit(method.augment)({"vision": jnp.asarray(images)}, {}, KEY)


def picture(image: np.ndarray, index: int = 0, name: str = "picture") -> Record:
    frames = image[None].astype(np.uint8)
    return Record(name, index, 1, 1.0, frames=lambda numbers: frames[list(numbers)])


random_tiles = jax.jit(patches.random_tiles, static_argnums=(2, 3, 4))
drop_colours = jax.jit(patches.drop_colours)
pixelate = jax.jit(patches.pixelate, static_argnums=(2, 3))
standardise = jax.jit(patches.standardise, static_argnums=1)
project_colours = jax.jit(patches.project_colours)

# Permutations


def digest(table: np.ndarray) -> str:
    return hashlib.sha256(table.astype(np.int8).tobytes()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("rule", "count", "expected", "smallest", "mean"),
    [
        ("mean", 9, "60462dc97291caeb", 9, 9.0),
        ("mean", 100, "fc6ec3d76f90c633", 2, 8.08),
        ("mean", 1000, "f0beba7612796e7b", 2, 8.008),
        ("min", 100, "f106418522bdb91c", 6, 8.0796),
        ("min", 701, "e6e024faf2e39ae8", 5, 8.0114),
        ("min", 1000, "5bd966ef3ca719ce", 5, 8.0080),
    ],
)
def test_greedy_permutations_of_nine_tiles(rule, count, expected, smallest, mean):
    # A set begins with every smaller one.
    table = greedy_permutations(9, 1000, rule)[:count]
    distances = permutation_distances(table)[np.triu_indices(count, 1)]
    assert table[:4].tolist() == [
        [0, 1, 2, 3, 4, 5, 6, 7, 8],
        [1, 0, 3, 2, 5, 4, 7, 8, 6],
        [2, 3, 0, 1, 6, 7, 8, 4, 5],
        [3, 2, 1, 0, 7, 8, 5, 6, 4],
    ]
    assert digest(table) == expected
    assert distances.min() == smallest
    assert distances.mean() == pytest.approx(mean, abs=5e-5)
    if count == 1000:
        histogram = {
            "min": [0, 0, 0, 0, 0, 8597, 32925, 90800, 180743, 186435],
            "mean": [0, 0, 3266, 6273, 15191, 19337, 22311, 42170, 130428, 260524],
        }[rule]
        assert np.bincount(distances, minlength=10).tolist() == histogram


@pytest.mark.parametrize(
    ("count", "smallest", "mean"),
    [(504, 5, 8.0159), (71, 7, 8.1103), (35, 7, 8.2269), (10, 8, 8.8), (9, 9, 9.0)],
)
def test_smaller_sets_are_farther_apart(count, smallest, mean):
    table = greedy_permutations(9, 1000)[:count]
    distances = permutation_distances(table)[np.triu_indices(count, 1)]
    assert distances.min() == smallest
    assert distances.mean() == pytest.approx(mean, abs=5e-5)


def test_what_is_known_of_distances_between_permutations():
    """Random ones differ in 8 places of 9 on average; even ones, if at all, in three or more."""
    rng = np.random.default_rng(0)
    table = np.array([rng.permutation(9) for _ in range(1000)])
    upper = np.triu_indices(len(table), 1)
    distances = permutation_distances(table)[upper]
    assert distances.mean() == pytest.approx(8, abs=0.01)
    assert 1 not in distances
    swaps = [sum(a > b for a, b in itertools.combinations(row, 2)) for row in table.tolist()]
    even = np.unique(table[np.array(swaps) % 2 == 0], axis=0)
    assert permutation_distances(even)[np.triu_indices(len(even), 1)].min() == 3


@pytest.mark.parametrize("rule", ["min", "mean"])
def test_greedy_permutations_by_brute_force(rule):
    every = list(itertools.permutations(range(4)))
    chosen = [every[0]]
    while len(chosen) < 24:
        best = None
        for candidate in every:
            if candidate in chosen:
                continue
            distances = [sum(a != b for a, b in zip(candidate, c, strict=True)) for c in chosen]
            score = (min(distances), sum(distances)) if rule == "min" else (sum(distances),)
            if best is None or score > best[0]:
                best = (score, candidate)
        chosen.append(best[1])
    assert greedy_permutations(4, 24, rule).tolist() == [list(p) for p in chosen]
    slow = [[sum(a != b for a, b in zip(p, q, strict=True)) for q in chosen] for p in chosen]
    assert permutation_distances(np.array(chosen)).tolist() == slow


def test_published_sets_are_read_from_files(tmp_path):
    table = greedy_permutations(9, 2).astype(np.int64)
    np.save(tmp_path / "zero.npy", table)
    np.save(tmp_path / "one.npy", table + 1)
    (tmp_path / "lines.txt").write_text("\n".join(" ".join(map(str, row)) for row in table))
    (tmp_path / "commas.txt").write_text("\n".join(",".join(map(str, r + 1)) for r in table))
    (tmp_path / "two.bin").write_bytes(np.array([2, 9, *(table + 1).ravel()], "<i4").tobytes())
    for file in sorted(tmp_path.iterdir()):
        assert read_permutations(str(file)).tolist() == table.tolist(), file.name
    method = Jigsaw(TRUNK, file=str(tmp_path / "two.bin"))
    assert method.table.tolist() == table.tolist()
    with pytest.raises(ValueError, match="of 9 tiles, grid=2 of 4"):
        _ = Jigsaw(TRUNK, grid=2, file=str(tmp_path / "two.bin")).table


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("twice.txt", "0 1 2\n0 2 2\n", "row 1, .* is no permutation"),
        ("same.txt", "0 1 2\n0 1 2\n", "stands there twice"),
        ("ragged.txt", "0 1 2\n0 1\n", "cannot be read as permutations"),
        ("words.txt", "a b c\n", "cannot be read as permutations"),
        ("empty.txt", "", "no table of whole numbers"),
        ("short.bin", "ab", "cannot be read as permutations"),
        ("table.csv", "0 1 2\n", "should end in .npy, .txt or .bin"),
    ],
)
def test_a_bad_file_of_permutations_is_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        read_permutations(str(path))
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_bad_knobs_of_permutation_sets():
    with pytest.raises(ValueError, match="no file of permutations"):
        read_permutations("lost.npy")
    with pytest.raises(ValueError, match=r"one of \('min', 'mean'\)"):
        greedy_permutations(4, 2, "max")
    with pytest.raises(ValueError, match="have 24 permutations, 25"):
        greedy_permutations(4, 25)
    with pytest.raises(ValueError, match="2 to 9 tiles or a file"):
        greedy_permutations(16, 5)


# What is cut out and what is hidden


def test_tiles_lie_in_their_cells_at_every_place_and_never_meet():
    grid, size, cell = 3, 4, 6
    images = coordinates(cell * grid + 1, 64)
    tiles = np.asarray(random_tiles(KEY, jnp.asarray(images), grid, size))
    assert tiles.shape == (64, 9, size, size, 3)
    inside = set()
    for number, row in enumerate(tiles):
        for place, tile in enumerate(row):
            y, x = tile[0, 0, :2].astype(int)
            expected = images[number, y : y + size, x : x + size]
            np.testing.assert_array_equal(tile, expected)
            inside.add((y - place // grid * cell, x - place % grid * cell))
    assert inside == set(itertools.product(range(cell - size + 1), repeat=2))


def test_channels_are_moved_against_one_another_within_the_cell():
    cell, size, shift = 8, 5, 2
    rows, columns = np.mgrid[: 3 * cell, : 3 * cell]
    place = (rows * 100 + columns).astype(np.float32)
    images = jnp.asarray(np.repeat(place[None, :, :, None], 3, axis=-1).repeat(32, axis=0))
    tiles = np.asarray(random_tiles(KEY, images, 3, size, shift))
    corners = np.stack(np.divmod(tiles[:, :, 0, 0], 100), axis=-1)  # b n channel (y, x)
    assert np.all(tiles[:, :, -1, -1] == tiles[:, :, 0, 0] + (size - 1) * 101)  # still windows
    apart = corners[:, :, :, None] - corners[:, :, None]
    assert set(np.unique(apart)) == {-2, -1, 0, 1, 2}
    own = np.array(list(itertools.product(range(3), repeat=2)))[None, :, None] * cell
    assert (corners - own).min() == 0
    assert (corners - own).max() == cell - size


def test_tiles_that_leave_their_cells_are_refused():
    # As released: tiles of 64 moved by up to 21 and their channels by 2 more, in cells of 85.
    with pytest.raises(ValueError, match="do not fit the 3x3 cells of 85"):
        random_tiles(KEY, jnp.zeros((1, 255, 255, 3)), 3, 84, 2)
    images = jax.ShapeDtypeStruct((1, 255, 255, 3), jnp.float32)
    tiles = jax.eval_shape(lambda x: patches.random_tiles(KEY, x, 3, 64, 2), images)
    assert tiles.shape == (1, 9, 64, 64, 3)


def test_projecting_green_against_magenta_away():
    matrix = [[5 / 6, 1 / 3, -1 / 6], [1 / 3, 1 / 3, 1 / 3], [-1 / 6, 1 / 3, 5 / 6]]
    np.testing.assert_allclose(
        project_colours(jnp.eye(3)[None, None]).reshape(3, 3), matrix, atol=1e-6
    )
    colours = jnp.array([[100.0, 150, 50], [-1, 2, -1], [70, 70, 70]])[None, None]
    once = project_colours(colours)
    np.testing.assert_allclose(once[0, 0], [[125, 100, 75], [0, 0, 0], [70, 70, 70]], atol=1e-4)
    np.testing.assert_allclose(project_colours(once), once, atol=1e-4)


def test_one_channel_is_kept_and_the_others_tell_nothing():
    x = noise(1, 24, 4, 12, 12, 3)
    dropped = np.asarray(drop_colours(KEY, x))
    deviation = dropped.std(axis=(2, 3))
    kept = deviation.argmax(-1)
    assert set(np.unique(kept)) == {0, 1, 2}
    assert any(len(set(row)) > 1 for row in kept)  # each patch of a picture has its own
    own = np.take_along_axis(np.asarray(x), kept[..., None, None, None], axis=-1)
    found = np.take_along_axis(dropped, kept[..., None, None, None], axis=-1)
    np.testing.assert_allclose(found, own - own.mean((2, 3), keepdims=True), atol=1e-5)
    share = np.sort(deviation, axis=-1)[..., :2] / deviation.max(-1, keepdims=True)
    assert share.max() < 0.014
    assert share.mean() == pytest.approx(0.01, rel=0.05)
    # The noise follows neither the kept channel nor the one it stands for.
    for channel in range(3):
        hidden = kept != channel
        a, b = dropped[hidden][..., channel].ravel(), np.asarray(x)[hidden][..., channel].ravel()
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.03


def test_standardised_patches_have_neither_brightness_nor_contrast():
    x = noise(2, 5, 3, 8, 8, 3)
    for rms in (1.0, 50.0):
        found = np.asarray(standardise(x, rms))
        np.testing.assert_allclose(found.mean(axis=(2, 3, 4)), 0, atol=1e-4 * rms)
        np.testing.assert_allclose(found.std(axis=(2, 3, 4)), rms, rtol=1e-4)
        np.testing.assert_allclose(standardise(0.5 * x + 0.1, rms), found, atol=1e-3 * rms)
    flat = standardise(jnp.full((2, 4, 4, 3), 0.8))
    np.testing.assert_allclose(flat, 0, atol=1e-4)
    # Less than a step of a byte is no contrast.
    faint = standardise(0.8 + 0.5 / 255 * jnp.sign(noise(3, 2, 4, 4, 3) - 0.5))
    assert 0.3 < np.abs(faint).max() < 1
    gradient = jax.jit(jax.grad(lambda x: standardise(x)[0, 0, 0, 0]))(jnp.ones((1, 2, 2, 3)))
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("side", [4, 7, 12])
def test_coarsening_is_shrinking_and_enlarging(side):
    size = 12
    image = noise(3, 2, size, size, 3)
    change = np.asarray(jax.jit(patches.coarsened, static_argnums=1)(jnp.array([side]), size))[0]
    found = np.einsum("ij,bjkc,lk->bilc", change, image, change)
    shapes = ((2, side, side, 3), image.shape)
    small = jax.image.resize(image, shapes[0], "linear", antialias=True)
    expected = jax.image.resize(small, shapes[1], "linear")
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_pixelated_patches():
    image = noise(4, 200, 2, 12, 12, 3)
    found = pixelate(KEY, image, 0.33, 3)
    changed = np.abs(np.asarray(found - image)).max(axis=(2, 3, 4)) > 1e-5
    assert changed.mean() == pytest.approx(0.33, abs=0.08)
    assert changed.any(axis=1).mean() > changed.mean()  # patches of a picture draw for themselves
    np.testing.assert_array_equal(pixelate(KEY, image, 0.0, 3), image)
    flat = pixelate(KEY, jnp.full((20, 12, 12, 3), 0.3), 1.0, 1)
    np.testing.assert_allclose(flat, 0.3, rtol=1e-5)  # no dark border
    with pytest.raises(ValueError, match="coarsest=13"):
        patches.pixelate(KEY, image, 1.0, coarsest=13)


# Relative position


def test_sides_and_pairs_of_a_grid():
    pairs, classes = neighbours(centre_only=False)
    assert np.bincount(classes).tolist() == [4, 6, 4, 6, 6, 4, 6, 4]
    assert len({tuple(pair) for pair in pairs}) == 40
    known = {tuple(pair): label for pair, label in zip(pairs.tolist(), classes, strict=True)}
    assert all(known[b, a] == 7 - label for (a, b), label in known.items())
    pairs, classes = neighbours(centre_only=True)
    assert set(pairs[:, 0]) == {4}
    assert pairs[:, 1].tolist() == [0, 1, 2, 3, 5, 6, 7, 8]
    assert classes.tolist() == list(range(8))


@pytest.mark.parametrize("pairs", ["one", "centre", "all"])
@pytest.mark.parametrize("shape", [(60, 60), (60, 200)])
def test_patches_lie_on_the_side_that_the_class_says_with_a_gap(pairs, shape):
    # At this area the picture is not resized, so that pixels tell where they were.
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    record = picture(np.stack([rows, columns, columns * 0], axis=-1))
    area = (shape[0] * shape[1],) * 2
    method = RelativePosition(TRUNK, patch=10, gap=6, jitter=2, area=area, pairs=pairs)
    rng, gaps, seen = np.random.default_rng(0), set(), set()
    for _ in range(200 if pairs == "one" else 30):
        view = method.views(record, rng)
        corners = view["vision"][:, 0, 0, :2].astype(int)
        for patch, (y, x) in zip(view["vision"], corners, strict=True):
            np.testing.assert_array_equal(patch[..., 0], rows[y : y + 10, x : x + 10])
            np.testing.assert_array_equal(patch[..., 1], columns[y : y + 10, x : x + 10])
        for (first, second), label in zip(view["places"], view["target"], strict=True):
            away = corners[second] - corners[first]
            seen.add(int(label))
            for moved, side in zip(away, OFFSETS[label], strict=True):
                assert abs(moved - 16 * side) <= 4
                if side:
                    gaps.add(abs(moved) - 10)
    assert seen == set(range(8))
    assert (min(gaps), max(gaps)) == (2, 10)


def test_the_papers_patches_are_34_to_62_pixels_apart():
    method = RelativePosition(TRUNK, area=(450 * 500,) * 2, pairs="all")
    rows, columns = np.mgrid[:450, :500]
    # Rows and columns above 255 as two bytes, which do not blur: nothing is resized.
    record = picture(np.stack([rows // 2, columns // 2, rows % 2 * 2 + columns % 2], axis=-1))
    rng, gaps = np.random.default_rng(0), []
    for _ in range(60):
        view = method.views(record, rng)
        assert view["vision"].shape == (9, 96, 96, 3)
        half, low = view["vision"][:, 0, 0, :2].astype(int), view["vision"][:, 0, 0, 2].astype(int)
        corners = 2 * half + np.stack([low // 2, low % 2], axis=-1)
        grid = corners.reshape(3, 3, 2)
        gaps += [np.diff(grid[..., 0], axis=0) - 96, np.diff(grid[..., 1], axis=1).T - 96]
    assert (np.min(gaps), np.max(gaps)) == (34, 62)


def test_a_random_pair_has_every_side_equally_often_and_small_pictures_are_enlarged():
    method = RelativePosition(TRUNK, patch=10, gap=6, jitter=2, area=(400, 400))
    record = picture(np.zeros((15, 40, 3)))
    rng = np.random.default_rng(1)
    counts = np.bincount([method.views(record, rng)["target"][0] for _ in range(800)])
    assert len(counts) == 8
    assert np.abs(counts - 100).max() < 40  # four deviations
    with pytest.raises(ValueError, match="jitter=4 closes the gap=6"):
        RelativePosition(TRUNK, gap=6, jitter=4)
    with pytest.raises(ValueError, match="colour='gray' must be one of"):
        RelativePosition(TRUNK, colour="gray")


def test_colours_cannot_tell_where_in_the_picture_a_patch_was():
    images = noise(6, 3, 2, 12, 12, 3)
    grey = augmented(RelativePosition(TRUNK, colour="grey", pixelation=0.0), images)["vision"]
    np.testing.assert_allclose(grey[..., :1] + np.zeros(3), grey, atol=1e-5)
    projected = augmented(RelativePosition(TRUNK, colour="project", pixelation=0.0), images)
    green = np.asarray(projected["vision"]) @ patches.GREEN_MAGENTA
    np.testing.assert_allclose(green, 0, atol=1e-5)
    method = RelativePosition(TRUNK)
    seen = np.asarray(method.prepare("vision", augmented(method, images)["vision"]))
    np.testing.assert_allclose(np.sqrt(np.mean(seen**2, axis=(2, 3, 4))), 50, rtol=1e-4)


def fresh(method, batch):
    """Variables of the method's net, and the net as a jitted function."""
    variables = jax.jit(lambda: method.net.init(KEY, batch, train=False))()
    return variables, jax.jit(lambda variables, b: method.net.apply(variables, b, train=False))


def test_swapping_a_pair_swaps_what_the_network_compares():
    """Row m of `places` says which patches meet: a pair's answer depends on those two alone."""
    method = RelativePosition(TRUNK, embedding=8, hidden=(8,), normed=())
    places = jnp.array([[[0, 1], [1, 0], [0, 2]]])
    batch = {"vision": noise(7, 1, 3, 12, 12, 3), "places": places}
    variables, apply = fresh(method, batch)
    logits = apply(variables, batch)
    swapped = {"vision": batch["vision"][:, jnp.array([1, 0, 2])], "places": places[:, :2]}
    other = apply(variables, swapped)
    np.testing.assert_allclose(other[0, 0], logits[0, 1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(other[0, 1], logits[0, 0], rtol=1e-4, atol=1e-5)
    assert np.abs(logits[0, 0] - logits[0, 1]).max() > 1e-3


# Jigsaw


def puzzle(puzzles: int = 1, **knobs) -> Jigsaw:
    plain = {"channel_shift": 0, "grey": 0.0, "permutations": 24}
    return Jigsaw(TRUNK, stored=24, size=24, tile=8, puzzles=puzzles, **{**plain, **knobs})


def test_undoing_the_permutation_gives_the_picture_back():
    method = puzzle(puzzles=3)
    images = noisy_bytes(8, 5, 24, 24, 3)
    batch = augmented(method, images)
    assert batch["target"].shape == (5, 3)
    assert len(np.unique(batch["target"])) > 6
    whole = images.reshape(5, 3, 8, 3, 8, 3).swapaxes(2, 3).reshape(5, 9, 8, 8, 3)
    for row in range(5):
        shown = np.asarray(255 * batch["vision"][row]).round()
        for target, places in zip(batch["target"][row], batch["places"][row], strict=True):
            order = method.table[target]
            # Slot s shows tile order[s], in the first puzzle as laid out, in others as looked up.
            np.testing.assert_array_equal(shown[np.asarray(places)], whole[row][order])
            undone = np.empty_like(shown)
            undone[order] = shown[np.asarray(places)]
            np.testing.assert_array_equal(undone, whole[row])
        assert batch["places"][row, 0].tolist() == list(range(9))


def test_many_puzzles_in_one_pass_are_the_same_as_each_alone():
    method = puzzle(puzzles=2, embedding=8, hidden=(8,), dropout=0.0)
    batch = augmented(method, noise(9, 2, 24, 24, 3))
    batch["vision"] = standardise(batch["vision"])
    variables, apply = fresh(method, batch)
    both = apply(variables, batch)
    second = [tiles[at] for tiles, at in zip(batch["vision"], batch["places"][:, 1], strict=True)]
    alone = {"vision": jnp.stack(second), "places": batch["places"][:, :1]}
    np.testing.assert_allclose(apply(variables, alone)[:, 0], both[:, 1], rtol=1e-4, atol=1e-5)


def test_grey_puzzles_and_standardised_tiles():
    images = noisy_bytes(10, 40, 24, 24, 3)
    tiles = augmented(puzzle(grey=0.3), images)["vision"]
    spread = np.ptp(np.asarray(tiles), axis=-1).max(axis=(2, 3))
    grey = spread.max(axis=1) < 1e-5
    assert np.all(grey | (spread.min(axis=1) > 1 / 255))  # an image is grey as a whole
    assert 2 <= grey.sum() <= 24
    prepared = np.asarray(puzzle().prepare("vision", tiles))
    np.testing.assert_allclose(prepared.mean(axis=(2, 3, 4)), 0, atol=1e-5)
    np.testing.assert_allclose(prepared.std(axis=(2, 3, 4)), 1, rtol=1e-4)


def test_published_siamese_networks():
    trunk = AlexNet(lrn=True, normed=(), conv1_stride=2, fc6=0, fc7=0)
    method = Jigsaw(trunk)
    batch = jax.eval_shape(
        lambda x: method.inputs(method.augment({"vision": x}, {}, KEY)),
        jax.ShapeDtypeStruct((2, 255, 255, 3), jnp.uint8),
    )
    assert batch["vision"].shape == (2, 9, 64, 64, 3)
    shapes = jax.eval_shape(lambda b: method.net.init(KEY, b, train=False), batch)["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 46_544_232
    assert shapes["fc6"]["kernel"].shape == (3 * 3 * 256, 1024)
    whole = jax.ShapeDtypeStruct((1, 255, 255, 3), jnp.uint8)
    encode = lambda p, x: method.encode({"params": p}, "vision", {"vision": x})  # noqa: E731
    layers = jax.eval_shape(encode, shapes, whole)
    assert list(layers)[-1] == "pool5"
    assert layers["conv5"].shape == (1, 30, 30, 256)

    context = AlexNet(
        lrn=True, normed=(), groups=1, conv1_padding=5, fc6=0, fc7=0
    )  # patches of 96 end as 3x3 under Caffe's rounding
    last = jax.eval_shape(
        lambda x: context.init_with_output(KEY, x, False)[0]["pool5"], jnp.zeros((1, 96, 96, 3))
    )
    assert last.shape == (1, 3, 3, 256)


# Jigsaw++


def test_up_to_two_tiles_are_another_pictures_and_the_class_can_still_be_told():
    knobs = {"stored": 24, "size": 24, "tile": 8, "channel_shift": 0, "permutations": 100}
    method = Jigsaw(TRUNK, grey=0.0, foreign=2, **knobs)
    assert method.table.shape == (100, 9)
    # Every tile of every picture has a value of its own.
    values = np.arange(40 * 9, dtype=np.float32).reshape(40, 3, 1, 3, 1, 1)
    images = np.broadcast_to(values, (40, 3, 8, 3, 8, 3)).reshape(40, 24, 24, 3)
    batch = augmented(method, images)
    shown = np.asarray(batch["vision"])[:, :, 0, 0, 0].round().astype(int)
    foreign = []
    for row, slots in enumerate(shown):
        own = slots // 9 == row
        foreign.append(int((~own).sum()))
        assert len(set(slots)) == 9  # no tile twice
        assert set(slots[~own] // 9) <= {(row - 1) % 40}
        fitting = np.all((method.table == slots % 9) | ~own, axis=1)
        assert np.flatnonzero(fitting).tolist() == [int(batch["target"][row, 0])]
    assert set(foreign) == {0, 1, 2}
    places = np.bincount(np.nonzero(shown // 9 != np.arange(40)[:, None])[1], minlength=9)
    assert (places > 0).sum() >= 7  # everywhere


def test_every_number_of_foreign_tiles_is_equally_likely():
    own, other = jnp.zeros((600, 9, 1, 1, 1)), jnp.ones((600, 9, 1, 1, 1))
    replace = jax.jit(patches.replace_tiles, static_argnums=3)
    np.testing.assert_array_equal(replace(KEY, own, other, 0), own)
    counts = replace(KEY, own, other, 2)
    shares = np.bincount(np.asarray(counts).sum(axis=(1, 2, 3, 4)).astype(int)) / 600
    np.testing.assert_allclose(shares, 1 / 3, atol=0.08)


def test_permutations_that_hidden_tiles_make_alike_are_refused():
    table = Jigsaw(TRUNK, permutations=701, foreign=2).table
    assert permutation_distances(table)[np.triu_indices(701, 1)].min() == 5
    with pytest.raises(ConfigError, match="foreign=5 tiles can hide all by which two of 701"):
        _ = Jigsaw(TRUNK, permutations=701, foreign=5).table


# Clusters


def test_clusters_go_to_the_records_that_they_were_made_of(tmp_path):
    path = str(tmp_path / "clusters.npz")
    prints = np.array([fingerprint(name) for name in ("a.jpg", "b.jpg")], np.uint32)
    write_clusters(path, np.array([3, 1]), prints)
    method = ClusterTransfer(TRUNK, path, classes=4, stored=8, size=8)
    image = np.zeros((8, 8, 3))
    rng = np.random.default_rng(0)
    targets = [
        int(method.views(picture(image, i, name), rng)["target"])
        for i, name in enumerate(("a.jpg", "b.jpg"))
    ]
    assert targets == [3, 1]
    for index, name in ((1, "c.jpg"), (2, "b.jpg")):
        with pytest.raises(MediaError, match="made for other records"):
            method.target(picture(image, index, name))
    with pytest.raises(MediaError, match="3, is not one of classes=2"):
        ClusterTransfer(TRUNK, path, classes=2).target(picture(image, 0, "a.jpg"))
    with pytest.raises(ConfigError, match=r"make it with python -m ssl_jax\.cluster"):
        ClusterTransfer(TRUNK, str(tmp_path / "lost.npz")).target(picture(image))
    with pytest.raises(MediaError, match="label, -1, is not one of classes=4"):
        ClusterTransfer(TRUNK, "", classes=4).target(picture(image))


def test_a_teachers_clusters_are_learnt_by_another_network(tmp_path, monkeypatch):
    monkeypatch.chdir(pathlib.Path(__file__).parent.parent)
    teacher = configs.load("configs/image/jigsaw_plus_imagenet.py:tiny")
    teacher.steps = 1
    teacher.evaluators = {}
    teacher.sharding.devices = 1
    fit(teacher, tmp_path / "teacher")
    student = configs.load("configs/image/cluster_transfer_imagenet.py:tiny")
    student.method.clusters = str(tmp_path / "clusters.npz")
    student.method.layer = "block3"
    student.evaluators = {}
    student.sharding.devices = 1
    labels = cluster(student, tmp_path / "teacher")
    assert labels.shape == (24,)
    assert set(labels) == set(range(4))
    method = configs.build(student.method)
    source = configs.build(student.source)
    assert [method.target(source[i]) for i in range(24)] == labels.tolist()
    student.steps = 1
    fit(student, tmp_path / "student")
    student.method.layer = "conv9"
    with pytest.raises(ConfigError, match=r"no layer 'conv9' in vision; it has .*block1"):
        cluster(student, tmp_path / "teacher")
    student.method = call(Jigsaw, vision=call(NIN))
    with pytest.raises(ConfigError, match="should be of a ClusterTransfer"):
        cluster(student, tmp_path / "teacher")


def test_whole_pictures_have_features_of_every_layer_whatever_their_brightness():
    record = SyntheticSource(size=1, frames=1, height=40, width=40)[0]
    variables = jax.jit(lambda: TRUNK.init(KEY, jnp.zeros((1, 24, 24, 3)), False))()
    nested = {name: {"vision": tree} for name, tree in variables.items()}
    for method in (puzzle(), RelativePosition(TRUNK, patch=10, whole=24, rms=1.0)):
        images = method.clips(record, "vision", [0.0, 0.0])["vision"]
        assert images.shape == (2, 24, 24, 3)
        encode = jax.jit(lambda x, method=method: method.encode(nested, "vision", {"vision": x}))
        layers = encode(images)
        assert list(layers) == ["block1", "block2", "block3", "pool"]
        assert layers["block3"].shape[:3] == (2, 6, 6)
        np.testing.assert_allclose(encode(images / 510 + 0.2)["pool"], layers["pool"], atol=1e-3)
