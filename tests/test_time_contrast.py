"""Time-contrastive networks: losses, the place of a maximum, sizes, cameras, alignment."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.config import ConfigError
from ssl_jax.data.annotations import views_of
from ssl_jax.data.record import MediaError, Record
from ssl_jax.data.sources.cameras import Cameras, SecondCamera
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.evals.alignment import Alignment
from ssl_jax.evaluator import Read
from ssl_jax.features import Features
from ssl_jax.methods.control import Control
from ssl_jax.methods.video.time_contrast import TimeContrast
from ssl_jax.models.inception import InceptionV3
from ssl_jax.models.soft_argmax import SoftArgmaxTrunk, soft_argmax
from ssl_jax.objectives.time_contrast import n_pairs, time_triplet
from ssl_jax.scores.alignment import alignment_error, chance_alignment

SMALL = SoftArgmaxTrunk(base="convs", convs=(), hidden=128)
POINTS = np.array([(0, 0), (0.3, 0), (0.9, 0), (0.2, 0.1), (1, 1)], np.float32)


def slow_triplet(points, times, positive, negative, margin):
    """The loss by its definition, and the number of pairs."""
    losses = []
    for i, j in np.ndindex(len(points), len(points)):
        if i == j or abs(times[i] - times[j]) > positive:
            continue
        own = np.sum((points[i] - points[j]) ** 2)
        others = [
            np.sum((points[i] - point) ** 2)
            for point, time in zip(points, times, strict=True)
            if abs(times[i] - time) > negative
        ]
        if others:
            farther = [x for x in others if x > own]
            losses.append(max(0, margin + own - (min(farther) if farther else max(others))))
    return np.mean(losses), len(losses)


@pytest.mark.parametrize(
    ("margin", "with_the_trap", "of_the_trap"), [(0.2, 0.45875, 1.26), (1.0, 0.95875, 2.86)]
)
def test_semi_hard_triplets_of_the_worked_example(margin, with_the_trap, of_the_trap):
    # The released code counts the middle frame's two pairs, which have no negative.
    loss, _ = time_triplet(jnp.asarray(POINTS[None]), jnp.arange(5)[None], 1, 2, margin, False)
    assert (6 * float(loss) + of_the_trap) / 8 == pytest.approx(with_the_trap, abs=1e-6)
    assert float(loss) == pytest.approx(slow_triplet(POINTS, range(5), 1, 2, margin)[0], abs=1e-6)


def test_semi_hard_triplets_are_what_a_slow_loop_finds():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(3, 9, 4)).astype(np.float32)
    times = np.stack([rng.permutation(20)[:9] for _ in points])
    loss, _ = time_triplet(jnp.asarray(points), jnp.asarray(times), 3, 5, 0.7)
    units = points / np.linalg.norm(points, axis=-1, keepdims=True)
    expected = [slow_triplet(*both, 3, 5, 0.7) for both in zip(units, times, strict=True)]
    assert min(count for _, count in expected) > 0
    assert float(loss) == pytest.approx(np.mean([value for value, _ in expected]), rel=1e-5)


def test_collapsed_embeddings_cost_the_margin_and_gradients_stay_finite():
    def loss(points):
        return time_triplet(points, jnp.arange(6)[None], 1, 2)[0]

    for points in (jnp.ones((1, 6, 3)), jnp.zeros((1, 6, 3))):
        value, gradient = jax.value_and_grad(loss)(points)
        assert float(value) == pytest.approx(0.2, abs=1e-6)
        assert np.isfinite(gradient).all()
    # No frame has a negative: nothing to learn, and no NaN.
    value, gradient = jax.value_and_grad(lambda x: time_triplet(x, jnp.arange(3)[None], 1, 2)[0])(
        jnp.eye(3)[None]
    )
    assert float(value) == 0
    assert not np.asarray(gradient).any()


def test_moments_in_order_are_told_apart():
    around = np.linspace(0, np.pi, 20)
    points = jnp.asarray(np.stack([np.cos(around), np.sin(around)], -1)[None])
    _, metrics = time_triplet(points, jnp.arange(20)[None], 2, 4)
    assert float(metrics["accuracy"]) == 1


def test_n_pairs_of_the_worked_example():
    a = jnp.array([[(1.0, 0), (0, 1), (1, 1)]])
    p = jnp.array([[(1.0, 0), (0, 2), (1, 0)]])
    own = jnp.arange(3)[None]
    assert float(n_pairs(a, p, own)[0]) == pytest.approx(0.8859947614, abs=1e-6)
    assert float(n_pairs(a, p, own, 0.0)[0]) == pytest.approx(0.8843280947, abs=1e-6)
    # Videos do not meet: two of the same cost as much as one.
    twice = n_pairs(a.repeat(2, 0), p.repeat(2, 0), own.repeat(2, 0))[0]
    assert float(twice) == pytest.approx(0.8859947614, abs=1e-6)


def test_the_place_of_a_maximum():
    one = jnp.array([[0.0, 0], [0, np.log(3)]])[None, :, :, None]
    np.testing.assert_allclose(soft_argmax(one), [[1 / 3, 1 / 3]], atol=1e-6)
    peak = jnp.zeros((1, 3, 5, 2)).at[0, 0, 4, 0].set(99).at[0, 2, 0, 1].set(99)
    np.testing.assert_allclose(soft_argmax(peak), [[1, -1, -1, 1]], atol=1e-6)


def sizes(trunk, side):
    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    shapes, variables = jax.eval_shape(
        lambda x: trunk.init_with_output(jax.random.key(0), x, False), image
    )
    counts = {
        name: sum(leaf.size for leaf in jax.tree.leaves(tree))
        for name, tree in variables["params"].items()
    }
    return {name: x.shape for name, x in shapes.items()}, counts


def test_the_networks_have_the_published_sizes():
    shapes, counts = sizes(SoftArgmaxTrunk(), 299)
    base = counts.pop("base")
    assert sum(counts.values()) == 5_852_192
    assert counts["hidden"] == 2_099_200
    assert counts["embedding"] == 65_568
    assert shapes["mixed5d"] == (1, 35, 35, 288)
    assert shapes["places"] == (1, 1024)
    assert shapes["embedding"] == (1, 32)
    # (kernel, from, to) of Inception v3 up to Mixed_5d; every convolution has an offset.
    table = [(3, 3, 32), (3, 32, 32), (3, 32, 64), (1, 64, 80), (3, 80, 192)]
    for width, pool in ((192, 32), (256, 64), (288, 64)):
        table += [(1, width, 64), (1, width, 48), (5, 48, 64), (1, width, 64), (3, 64, 96)]
        table += [(3, 96, 96), (1, width, pool)]
    assert base == sum(k * k * i * o + o for k, i, o in table)
    assert sizes(InceptionV3(), 75)[0]["mixed5d"] == (1, 7, 7, 288)
    assert sizes(SMALL, 64)[1]["base"] == 58_016


def test_a_still_base_gets_no_gradient_and_keeps_its_statistics():
    trunk = SoftArgmaxTrunk(
        base="convs", still=True, convs=(4,), hidden=4, embedding=2, width=0.1, dropout=0.0
    )
    x = jax.random.normal(jax.random.key(0), (2, 12, 12, 3))
    variables = jax.jit(lambda: trunk.init(jax.random.key(1), x, False))()

    def loss(params):
        state = {"batch_stats": variables["batch_stats"]}
        found, new = trunk.apply({"params": params, **state}, x, True, mutable=["batch_stats"])
        return jnp.sum(found["embedding"] ** 2), new["batch_stats"]

    gradient, moved = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(gradient["base"]))
    assert np.asarray(gradient["conv1_conv"]["kernel"]).any()
    before = variables["batch_stats"]["base"]
    jax.tree.map(np.testing.assert_array_equal, moved["base"], before)


def numbered(frames, event="", camera=0, name="video"):
    """A video whose frames hold their number and their camera's."""

    def decode(numbers):
        shown = np.zeros((len(numbers), 8, 8, 3), np.uint8)
        shown[..., 0], shown[..., 1] = np.asarray(numbers)[:, None, None], camera
        return shown

    extra = {"event": event} if event else {}
    return Record(name, 0, frames, 10.0, frames=decode, duration=frames / 10, extra=extra)


def test_a_window_of_one_camera_is_frames_in_a_row():
    method = TimeContrast(SMALL, frames=5, stride=3, positive=3, negative=6, stored=8, size=8)
    made = method.views(numbered(40), np.random.default_rng(0))
    assert set(np.diff(made["time"])) == {3}
    np.testing.assert_array_equal(made["vision"][:, 0, 0, 0], made["time"])
    batch = {"vision": jnp.asarray(made["vision"])[None], "time": jnp.asarray(made["time"])[None]}
    still = dataclasses.replace(method, zoom=1.0)
    augmented = still.augment(batch, {}, jax.random.key(0))
    assert sorted(augmented["time"][0].tolist()) == made["time"].tolist()
    assert augmented["vision"].shape == (1, 5, 8, 8, 3)
    first = int(augmented["time"].min())
    assert method.words(augmented)["frame"] == [
        " ".join(str(int(t) - first) for t in augmented["time"][0])
    ]


def test_frames_keep_their_times_when_they_are_mixed():
    method = TimeContrast(SMALL, frames=4, positive=1, negative=2, stored=8, size=8, zoom=1.0)
    # So different in red that a change of colours cannot hide which is which.
    shades = jnp.array([0, 80, 160, 240], jnp.uint8)
    clips = jnp.broadcast_to(shades[None, :, None, None, None], (6, 4, 8, 8, 3))
    batch = {"vision": clips, "time": jnp.broadcast_to(jnp.arange(4), (6, 4))}
    made = method.augment(batch, {}, jax.random.key(0))
    shown = np.asarray(made["vision"]).mean((2, 3, 4))
    # Brightness moves by up to 1/8, frames are 80/255 apart.
    np.testing.assert_array_equal(np.argsort(shown, 1), np.argsort(made["time"], 1))
    assert len({tuple(row) for row in made["time"].tolist()}) > 1


def test_pairs_of_two_cameras_show_the_same_moments():
    videos = [numbered(30, "a", 0, "a0"), numbered(25, "a", 1, "a1"), numbered(30, "b", 5, "b")]
    videos += [numbered(30, "a", 2, "a2")]
    source = Cameras(videos)
    assert len(source) == 1
    assert source[0].num_frames == 25
    assert source[0].duration == 2.5
    method = TimeContrast(SMALL, "cameras", "npairs", frames=12, window=20, stored=8, size=8)
    seen = set()
    for seed in range(6):
        made = method.views(source[0], np.random.default_rng(seed))
        number, camera = made["vision"][:, 0, 0, 0], made["vision"][:, 0, 0, 1]
        np.testing.assert_array_equal(number, made["time"])
        np.testing.assert_array_equal(number[0::2], number[1::2])
        assert len(set(number[0::2].tolist())) == 6
        assert number.max() - number.min() < 20
        assert (camera[0::2] != camera[1::2]).all()
        seen |= set(camera.tolist())
    assert seen == {0, 1, 2}
    with pytest.raises(MediaError, match="b: has 1 view"):
        method.views(videos[2], np.random.default_rng(0))
    with pytest.raises(ConfigError, match="no two videos"):
        len(Cameras(videos[1:3]))
    with pytest.raises(MediaError, match="video: has no extra"):
        len(Cameras([numbered(3)]))


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"criterion": "npairs"}, "needs pairs='cameras'"),
        ({"frames": 5}, "hold no negative"),
        ({"pairs": "cameras", "frames": 5}, "frames=5 must be two of each"),
        ({"positive": 13}, "positive=13 must be at most negative=12"),
    ],
)
def test_settings_that_cannot_work(knobs, message):
    with pytest.raises(ConfigError, match=message):
        TimeContrast(SMALL, **knobs)


def test_a_second_camera_is_the_same_for_all_frames_and_another_for_each_record():
    source = SecondCamera(SyntheticSource(size=2, frames=3, height=32, width=32))
    first, second = views_of(source[0])
    again = views_of(source[0])[1]
    np.testing.assert_array_equal(second([2, 0]), again([0, 2])[::-1])
    assert np.abs(first([0]).astype(float) - second([0])).mean() > 2
    still = SecondCamera(source.source, cut=0.0, turn=0.0, colour=0.0)
    np.testing.assert_array_equal(views_of(still[1])[1]([1]), still[1].frames([1]))


def test_alignment_of_the_worked_example():
    a = np.array([0.0, 1, 2, 3])[:, None]
    b = np.array([0.1, 2.1, 1.2, 3])[:, None]
    assert alignment_error(a, b) == 0.125
    assert chance_alignment(4) == 0.3125
    n = 7
    brute = np.mean([abs(i - j) / n for i in range(n) for j in range(n)])
    assert chance_alignment(n) == pytest.approx(brute)


@dataclasses.dataclass(frozen=True)
class Listed:
    """Stands for a frozen network whose layer is the red of a frame's first pixel."""

    def features(self, source, stream, layers, clips, pool, average, facts=None):
        rows = []
        for record in source:
            shown = record.frames(np.arange(clips))[:, 0, 0].astype(np.float32)
            rows.append(shown)
        rows = np.stack(rows)
        found = {"red": rows[..., 0], "input": rows[..., 1] + rows[..., 0]}
        assert not average
        count = np.arange(len(rows))
        return Features(found, count, count, count, {}, source, tuple)


def test_alignment_of_every_pair_of_views():
    order = np.array([0, 2, 1, 3])

    def shuffled(numbers):
        return numbered(4).frames(order[np.asarray(numbers)])

    record = numbered(4)
    record.extra = {"views": (record.frames, shuffled)}
    source = (record, record)
    found = dict(Alignment(source, Read(layers=("red",), clips=4)).run(Listed()))
    # Views 0 and 1 are the same; 2 has two frames swapped, one place off of four each.
    assert found["red"] == pytest.approx((0 + 0.125 + 0.125) / 3)
    assert found["red/backward"] == pytest.approx((0 + 0.125 + 0.125) / 3)
    assert found["chance"] == 0.3125
    with pytest.raises(MediaError, match="has 1 view"):
        dict(Alignment((numbered(4),), Read(clips=4)).run(Listed()))
    with pytest.raises(ConfigError, match="2 frames or more"):
        Alignment(source, Read(clips=1))


@pytest.mark.parametrize("criterion", ["triplet", "npairs"])
def test_the_control_of_two_cameras_has_nothing_true_to_learn(criterion):
    method = TimeContrast(
        SMALL, pairs="cameras", criterion=criterion, frames=12, stored=8, size=8, zoom=1.0
    )
    rng = np.random.default_rng(0)
    times = np.stack([rng.permutation(40)[:6].repeat(2) for _ in range(2)]).astype(np.int32)
    batch = {"vision": jnp.zeros((2, 12, 8, 8, 3), jnp.uint8), "time": jnp.asarray(times)}

    def loss(shown):
        # Perfect: the embedding is the frame's true moment, whatever the batch says it is.
        places = np.asarray(shown["place"])
        embeddings = jnp.asarray(10 * np.eye(40, dtype=np.float32)[places])
        return float(method.objective(embeddings, shown)[0])

    for seed in range(3):
        key = jax.random.key(seed)
        true = method.augment(batch, {}, key)
        shuffled = Control(method, ("time",)).augment(batch, {}, jax.random.key(seed))
        own = method.augment(batch, {}, jax.random.split(key)[0])["time"]
        assert loss({**true, "place": true["time"]}) < 0.6
        if not np.array_equal(shuffled["time"], own):  # rows may fall on themselves
            assert loss({**shuffled, "place": own}) > 2 * loss({**true, "place": true["time"]})
