"""Pose from Action: which motion is shown, how much of it, and what each target says."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from ssl_jax.data.flow import flow_from_bytes
from ssl_jax.data.record import MediaError, Record
from ssl_jax.data.sampling import starts_apart
from ssl_jax.methods.video.pose_from_action import PoseFromAction
from ssl_jax.models.soft_argmax import SoftArgmaxTrunk
from ssl_jax.models.vgg_m import VGGM

TRUNK = tiny.TinyTrunk()
METHOD = PoseFromAction(TRUNK, TRUNK, fields=3, height=8, width=8, crop=8, bound=63.75, hidden=4)


def record_of(frames: int, strength=lambda number: 1.0) -> Record:
    """A video whose frames tell their number, and whose stored flow does in v.

    The right half is greener, so that a mirrored video is known.
    """
    video = np.zeros((frames, 8, 8, 3), np.uint8)
    video[:] = np.arange(frames)[:, None, None, None]
    video[:, :, 4:, 1] = 200
    flow = np.zeros((frames - 1, 8, 8, 2), np.float32)
    for number in range(frames - 1):
        flow[number, ..., 0] = 10 * strength(number)
        flow[number, ..., 1] = number

    def take(of):
        return lambda numbers: of[np.asarray(numbers)]

    return Record("video", 0, frames, 10.0, frames=take(video), extra={"flow": take(flow)})


def test_other_starts_of_the_worked_example():
    found = starts_apart(60, 20, 13)
    assert found.tolist() == [*range(8), *range(33, 48)]
    assert len(found) == 23
    assert starts_apart(13, 0, 13).size == 0


def drawn(method, record, count):
    for seed in range(count):
        made = method.views(record, np.random.default_rng(seed))
        flow = flow_from_bytes(made["flow"], method.bound)
        shown = made["vision"][:, 0, 0, 0].tolist()
        numbers = np.round(flow[:, 0, 0, 1]).astype(int).tolist()
        yield made, flow, shown, numbers


def test_flow_is_of_the_frames_or_shares_none_with_them():
    record, kinds, sides, apart = record_of(20), [], set(), set()
    for made, flow, (first, later), numbers in drawn(METHOD, record, 60):
        assert later == first + 3
        assert np.diff(numbers).tolist() == [1, 1]
        kinds.append(int(made["kind"]))
        if made["kind"] == 0:
            assert numbers[0] == first
        else:
            assert abs(numbers[0] - first) >= 4
            apart.add(numbers[0] - first)
        # In a mirrored video things move to the left.
        mirrored = made["vision"][0, 0, 0, 1] == 200
        assert np.sign(flow[0, 0, 0, 0]) == (-1 if mirrored else 1)
        sides.add(bool(mirrored))
    assert set(kinds) == {0, 1}
    assert 18 <= sum(kinds) <= 42  # half of them, within three deviations
    assert sides == {False, True}
    assert len(apart) > 8
    assert min(apart) < 0 < max(apart)


def test_the_shortest_video_has_one_other_motion():
    for made, _, (first, _), numbers in drawn(METHOD, record_of(8), 20):
        assert first in (0, 4)
        assert numbers[0] == (first if made["kind"] == 0 else 4 - first)
    with pytest.raises(MediaError, match="7 frames, 8 are needed"):
        METHOD.views(record_of(7), np.random.default_rng(0))


def test_about_as_much_moves_in_other_motion():
    # From frame 30 on everything moves five times as fast: too fast for the first half's frames.
    record = record_of(60, lambda number: 1.0 if number < 30 else 5.0)
    method = dataclasses.replace(METHOD, tries=60)
    seen = 0
    for made, _, (first, _), numbers in drawn(method, record, 40):
        if made["kind"] == 1 and not 26 < first < 30 and not 26 < numbers[0] < 30:
            assert (first < 30) == (numbers[0] < 30)
            seen += 1
    assert seen > 8
    # Where nothing is near enough, the nearest of those tried is taken.
    steep = record_of(12, lambda number: 3.0 ** (number // 4) / 10)
    for made, _, (first, _), numbers in drawn(method, steep, 30):
        if made["kind"] == 1 and first == 0:
            assert numbers[0] == 4


def batch_of(kinds) -> dict:
    rows = len(kinds)
    flow = jnp.broadcast_to(jnp.arange(rows)[:, None, None, None, None], (rows, 3, 4, 4, 2))
    vision = jnp.full((rows, 2, 4, 4, 3), 7, jnp.uint8)
    return {"vision": vision, "flow": flow.astype(jnp.uint8), "kind": jnp.asarray(kinds)}


def test_targets_and_motion_of_other_videos():
    made = METHOD.augment(batch_of([0, 1, 2, 0, 2]), {}, jax.random.key(0))
    assert made["target"].tolist() == [1, 0, 0, 1, 0]
    assert made["flow"][:, 0, 0, 0, 0].tolist() == [0, 1, 1, 3, 3]
    assert (made["vision"] == 7).all()
    blind = dataclasses.replace(METHOD, later=False).augment(batch_of([0]), {}, jax.random.key(0))
    assert (blind["vision"][:, 0] == 7).all()
    assert (blind["vision"][:, 1] == 128).all()
    assert METHOD.words(made)["target"][:2] == ["its motion", "other motion"]
    assert float(METHOD.pictures({"flow": jnp.full((1, 1), 128, jnp.uint8)})["flow"][0, 0]) == 0


def test_kinds_of_other_motion_are_as_frequent_as_asked_for():
    record, method = record_of(20), dataclasses.replace(METHOD, other_videos=0.5)
    kinds = [int(made["kind"]) for made, *_ in drawn(method, record, 120)]
    counts = np.bincount(kinds, minlength=3)
    assert abs(counts[0] - 60) < 17
    assert min(counts[1:]) > 15


def test_accuracy_is_told_for_each_kind():
    logits = jnp.array([[0.0, 1], [0, 1], [1, 0], [0, 1], [1, 0]])
    batch = {"kind": jnp.array([0, 1, 1, 2, 2]), "target": jnp.array([1, 0, 0, 0, 0])}
    _, plain = METHOD.objective(logits, batch)
    assert set(plain) == {"accuracy"}
    method = dataclasses.replace(METHOD, other_videos=0.5)
    _, found = method.objective(logits.at[3].set(jnp.array([1.0, 0])), batch)
    assert float(found["accuracy"]) == pytest.approx(4 / 5)
    assert float(found["time_accuracy"]) == pytest.approx(2 / 3)
    assert float(found["video_accuracy"]) == 1
    assert float(
        METHOD.objective(jnp.zeros((4, 2)), batch_of([0] * 4) | {"target": jnp.ones(4, jnp.int32)})[
            0
        ]
    ) == pytest.approx(np.log(2))


def test_flow_enters_as_u_and_v_in_turn_in_pixels():
    levels = jnp.arange(3 * 4 * 5 * 2, dtype=jnp.float32).reshape(1, 3, 4, 5, 2) + 60
    made = np.asarray(METHOD.prepare("flow", levels / 255))
    assert made.shape == (1, 4, 5, 6)
    pixels = flow_from_bytes(np.asarray(levels, np.uint8), METHOD.bound)
    for channel, (t, c) in enumerate(np.ndindex(3, 2)):
        np.testing.assert_allclose(made[..., channel], pixels[:, t, :, :, c], atol=1e-3)


def test_evaluation_reads_frames_and_as_many_fields_of_short_videos_too():
    record = record_of(20)
    seen = METHOD.clips(record, "flow", METHOD.times(record, "flow", 2))["flow"]
    numbers = np.round(flow_from_bytes(seen, METHOD.bound)[:, :, 0, 0, 1]).astype(int)
    assert numbers.tolist() == [[0, 1, 2], [16, 17, 18]]
    assert METHOD.clips(record, "vision", [0.0, 1.0])["vision"].shape == (2, 8, 8, 3)
    short = METHOD.clips(record_of(3), "flow", [0.0])["flow"]
    again = np.round(flow_from_bytes(short, METHOD.bound)[0, :, 0, 0, 1]).astype(int)
    assert again.tolist() == [0, 1, 1]


def sizes(module, *shape):
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    made = jax.eval_shape(lambda x: module.init_with_output(jax.random.key(0), x, False), x)
    return made[0], {name: _count(tree) for name, tree in made[1]["params"].items()}


def _count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_vgg_m_has_the_published_sizes():
    layers, counts = sizes(VGGM(), 1, 224, 224, 3)
    assert [layers[f"conv{n}"].shape[1] for n in range(1, 6)] == [109, 26, 13, 13, 13]
    assert layers["pool5"].shape == (1, 6, 6, 512)
    assert counts["fc6"] == 75_501_568
    assert counts["fc7"] == 8_390_656
    assert sum(counts.values()) == 90_420_864
    assert sum(sizes(VGGM(), 1, 224, 224, 24)[1].values()) == 90_519_648


def test_the_small_network_has_the_size_of_its_table():
    vision, flow = (SoftArgmaxTrunk(base="convs", convs=(), hidden=0) for _ in range(2))
    net = PoseFromAction(vision, flow, hidden=128).net
    batch = {
        "vision": jax.ShapeDtypeStruct((1, 2, 80, 80, 3), jnp.float32),
        "flow": jax.ShapeDtypeStruct((1, 80, 80, 12), jnp.float32),
    }
    outputs, made = jax.eval_shape(
        lambda x: net.init_with_output(jax.random.key(0), x, False), batch
    )
    assert outputs.shape == (1, 2)
    assert made["params"]["hidden"]["kernel"].shape == (384, 128)
    assert _count(made["params"]) == 172_770


def wandering(seed: int) -> Record:
    """A bright square that wanders over a dark frame, with its flow."""
    rng, size, count = np.random.default_rng(seed), 32, 60
    place, speed = rng.uniform(0, 24, 2), rng.uniform(-1.5, 1.5, 2)
    video = np.full((count, size, size, 3), 60, np.uint8)
    flow = np.zeros((count - 1, size, size, 2), np.float32)
    for number in range(count):
        y, x = np.round(place).astype(int)
        square = slice(y, y + 8), slice(x, x + 8)
        video[number][square] = 220
        speed = np.where((place + speed < 0) | (place + speed > 24), -speed, speed)
        if rng.random() < 0.1:
            speed = np.clip(place + rng.uniform(-1.5, 1.5, 2), 0, 24) - place
        place = place + speed
        if number < count - 1:
            flow[number][square] = speed[::-1]

    def take(of):
        return lambda numbers: of[np.asarray(numbers)]

    return Record(str(seed), seed, count, 15.0, frames=take(video), extra={"flow": take(flow)})


@pytest.mark.slow
def test_it_learns_where_a_single_thing_moves():
    vision, trunk = (
        SoftArgmaxTrunk(base="convs", convs=(), hidden=0, dropout=0.0, bn_momentum=0.9)
        for _ in range(2)
    )
    method = PoseFromAction(vision, trunk, height=32, width=32, crop=32, bound=5.0, hidden=128)
    records = [wandering(seed) for seed in range(328)]

    def batch(rows, seed):
        views = [method.views(row, np.random.default_rng([seed, row.index])) for row in rows]
        return {name: jnp.stack([view[name] for view in views]) for name in views[0]}

    variables = method.init(jax.random.key(0), batch(records[:16], 0), 200)
    params, optimizer = variables.pop("params"), optax.adam(optax.cosine_decay_schedule(3e-3, 250))
    moments = optimizer.init(params)

    @jax.jit
    def step(params, state, moments, batch):
        loss = jax.grad(lambda p: method.loss(p, state, batch, jax.random.key(0)), has_aux=True)
        gradient, (state, _) = loss(params)
        updates, moments = optimizer.update(gradient, moments, params)
        return optax.apply_updates(params, updates), state, moments

    rng = np.random.default_rng(0)
    for number in range(250):
        rows = [records[k] for k in rng.choice(200, 16, replace=False)]
        params, variables, moments = step(params, variables, moments, batch(rows, number))
    unseen = batch(records[200:], 0)
    _, (_, metrics) = method.loss(params, variables, unseen, jax.random.key(0), train=False)
    assert float(metrics["accuracy"]) > 0.8
