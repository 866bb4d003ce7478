"""CBT's visual part: its objective against sums over all rivals, its batches, what it sees."""

import dataclasses
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.methods.video.masked_features import MaskedFeatures
from ssl_jax.objectives.masked_features import masked_nce, neighbours

nce = jax.jit(masked_nce, static_argnums=(3, 4))


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# The objective


def test_the_golden_value():
    # One video; predictions are unit vectors, so features are rows of scores, turned.
    scores = np.array([[2.0, 0.0, 1.0], [1.0, 1.0, 0.0], [0.0, -1.0, 3.0]], np.float32)
    predicted, features = jnp.eye(3)[None], jnp.asarray(scores.T)[None]
    loss, _ = nce(predicted, features, jnp.arange(3)[None], 1.0, False)
    assert float(loss) == pytest.approx(0.4451615574, rel=1e-6)


@pytest.mark.parametrize("own_video", [False, True])
def test_a_hidden_step_is_told_from_all_rivals(own_video):
    b, m, n, d = 3, 2, 5, 4
    predicted, features = drawn(b, m, d), drawn(b, n, d, seed=1)
    target = np.array([[0, 3], [1, 4], [2, 3]], np.int32)
    losses, right, hidden, video = [], [], [], []
    for i, k in np.ndindex(b, m):
        scores = features @ predicted[i, k] / 0.5  # (b n)
        own = scores[i, target[i, k]]
        rivals = scores[i] if own_video else scores
        losses.append(scipy.special.logsumexp(rivals) - own)
        right.append(own == scores[i].max())
        hidden.append(own == scores[i, target[i]].max())
        video.append(own > np.delete(scores, i, axis=0).max())
    arrays = jnp.asarray(predicted), jnp.asarray(features), jnp.asarray(target)
    loss, metrics = nce(*arrays, 0.5, own_video)
    assert float(loss) == pytest.approx(np.mean(losses), rel=1e-5)
    expected = {"accuracy": right, "hidden_accuracy": hidden, "video_accuracy": video}
    for name, hits in expected.items():
        assert float(metrics[name]) == pytest.approx(np.mean(hits), abs=1e-6)
    assert 0 < np.mean(right) < np.mean(hidden)


def test_features_that_collapse_find_nothing():
    zeros, target = jnp.zeros((4, 6, 2)), jnp.array([[1, 5]] * 4)
    for own_video, rivals in ((False, 24), (True, 6)):
        loss, metrics = nce(zeros[:, :2], zeros, target, 1.0, own_video)
        assert float(loss) == pytest.approx(math.log(rivals), rel=1e-6)
        assert metrics["accuracy"] == 0
        assert metrics["hidden_accuracy"] == 0.5  # the first of two
        assert metrics["video_accuracy"] == 0


def test_the_mean_of_the_neighbours_is_what_has_to_be_beaten():
    # Features that turn evenly: every step lies between its neighbours, the ends beside one.
    angles = np.linspace(0, 3, 7)
    turning = np.stack([np.cos(angles), np.sin(angles)], axis=-1)[None].astype(np.float32)
    rates = jax.jit(neighbours)(jnp.asarray(turning), jnp.array([[1, 3, 5]]))
    assert rates == {"neighbours_accuracy": 1, "hidden_neighbours_accuracy": 1}
    features = drawn(3, 8, 4)
    places = np.array([[0, 4], [6, 7], [5, 6]])
    everywhere, among = [], []
    for row, own in zip(
        features / np.linalg.norm(features, axis=-1, keepdims=True), places, strict=True
    ):
        seen = [k for k in range(8) if k not in own]
        for place in own:
            near = [k for k in seen if k < place][-1:] + [k for k in seen if k > place][:1]
            scores = row @ row[near].mean(0)
            everywhere.append(scores.argmax() == place)
            among.append(scores[place] == scores[own].max())
    rates = jax.jit(neighbours)(jnp.asarray(features), jnp.asarray(places))
    assert float(rates["neighbours_accuracy"]) == pytest.approx(np.mean(everywhere), abs=1e-6)
    assert float(rates["hidden_neighbours_accuracy"]) == pytest.approx(np.mean(among), abs=1e-6)
    assert np.mean(among) > 0
    alone = jax.jit(neighbours)(jnp.asarray(features), jnp.array([[3]] * 3))
    assert set(alone) == {"neighbours_accuracy"}


# The method


class Mean(nn.Module):
    """A trunk whose features are a linear map of the clip's mean colour."""

    @nn.compact
    def __call__(self, x, train):
        return {"mean": nn.Dense(4)(x.mean((1, 2, 3)))}


def method(**knobs) -> MaskedFeatures:
    small = {"steps": 4, "frames": 2, "rate": 8.0, "gap": 1, "size": 8, "masked": 0.5}
    small |= {"blocks": 1, "heads": 2, "feed_forward": 8}
    return MaskedFeatures(vision=Mean(), **{**small, **knobs})


def numbered(frames: int, fps: float):
    """A video whose frames show their own number."""
    record = SyntheticSource(size=1, frames=frames, fps=fps, height=8, width=8)[0]
    shown = np.arange(frames, dtype=np.uint8)[:, None, None, None]
    whole = np.broadcast_to(shown, (frames, 8, 8, 3))
    return dataclasses.replace(record, frames=lambda numbers: whole[np.asarray(numbers)])


def test_steps_follow_one_another_at_the_rate_with_gaps_between():
    record = numbered(40, fps=16.0)  # every second frame is one at the rate
    starts = set()
    for seed in range(20):
        clips = method().views(record, np.random.default_rng(seed))["vision"]
        assert clips.shape == (4, 2, 8, 8, 3)
        shown = clips[:, :, 0, 0, 0].astype(int)
        first = shown[0, 0]
        # Start times are no whole frames, which may differ by one in the last.
        expected = first + 2 * (3 * np.arange(4)[:, None] + np.arange(2))
        assert np.abs(shown - expected).max() <= 1
        starts.add(first)
    assert len(starts) > 5
    own = method()
    for stream, shape in (("vision", (2, 8, 8, 3)), ("context", (4, 2, 8, 8, 3))):
        times = own.times(record, stream, 3)
        assert own.clips(record, stream, times)["vision"].shape == (3, *shape)
    short = numbered(8, fps=16.0)  # half a second, of 1.4 that a sequence takes
    (seen,) = own.clips(short, "context", own.times(short, "context", 1))["vision"]
    assert seen[:, :, 0, 0, 0].tolist() == [[0, 2], [6, 7], [7, 7], [7, 7]]


def test_different_steps_are_hidden_and_the_targets_are_these():
    own = method(steps=24, masked=0.15)
    batch = {"vision": jnp.zeros((200, 24, 1, 1, 1, 3), jnp.uint8)}
    made = own.augment(batch, {}, jax.random.key(0))
    hidden = np.asarray(made["hidden"])
    assert hidden.shape == (200, 1, 4)
    assert (np.diff(hidden, axis=2) > 0).all()
    counts = np.bincount(hidden.ravel(), minlength=24)
    assert counts.min() > 0
    assert counts.max() < 3 * 800 / 24
    np.testing.assert_array_equal(made["target"], hidden)
    one = method(steps=4, masked=0.0).augment(
        {"vision": batch["vision"][:, :4]}, {}, jax.random.key(0)
    )
    assert one["hidden"].shape == (200, 1, 1)
    assert own.words(made)["hidden"][0] == " ".join(map(str, hidden[0, 0]))


def test_steps_hidden_anew_in_the_same_video_count_as_often():
    clips = jax.random.uniform(jax.random.key(0), (3, 4, 2, 8, 8, 3))
    made = method(draws=2).augment({"vision": clips}, {}, jax.random.key(1))
    assert made["hidden"].shape == (3, 2, 2)
    assert (made["hidden"][:, 0] != made["hidden"][:, 1]).any()
    variables = jax.jit(lambda: method().init_net(jax.random.key(1), made))()

    @jax.jit
    def losses(places):
        batch = {"vision": clips, "hidden": places, "target": places}
        return method().objective(method().net.apply(variables, batch, False), batch)

    both = losses(made["hidden"])
    apart = [losses(made["hidden"][:, k : k + 1]) for k in range(2)]
    mean = jax.tree.map(lambda *values: np.mean(values), *apart)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), both, mean)


def test_what_is_hidden_does_not_reach_the_prediction():
    own = method()
    clips = jax.random.uniform(jax.random.key(0), (3, 4, 2, 8, 8, 3))
    places = jnp.array([[[0, 2]], [[1, 3]], [[1, 2]]])
    batch = {"vision": clips, "hidden": places, "target": places}
    variables = jax.jit(lambda: own.init_net(jax.random.key(1), batch))()
    variables["params"]["mask"] = jnp.ones(4)

    @jax.jit
    def outputs(clips):
        return own.net.apply(variables, {**batch, "vision": clips}, False)

    said, features = outputs(clips)
    hidden = (np.arange(4) == np.asarray(places)[:, 0, :, None]).any(1)[..., None, None, None, None]
    other, moved = outputs(jnp.where(hidden, 1 - clips, clips))
    np.testing.assert_allclose(other, said, atol=1e-6)
    assert np.abs(moved - features).max() > 1e-3
    seen, _ = outputs(jnp.where(hidden, clips, clips.at[:].multiply(0.5)))
    assert np.abs(seen - said).max() > 1e-4
    shown = own.pictures({**batch, "vision": jnp.round(255 * clips).astype(jnp.uint8)})
    assert (np.asarray(shown["vision"])[hidden[..., 0, 0, 0, 0]] == 0).all()
    assert shown["answer"].shape == (3, 2, 8, 8, 3)


def test_a_trunk_that_was_trained_before_can_be_kept_still():
    class Normed(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return {"mean": nn.BatchNorm(use_running_average=not train)(x.mean((1, 2, 3)))}

    clips = jax.random.uniform(jax.random.key(0), (3, 4, 2, 8, 8, 3))
    places = jnp.array([[[0, 2]], [[1, 3]], [[1, 2]]])
    own = dataclasses.replace(method(heads=3, still=True), vision=Normed())
    batch = {"vision": clips, "hidden": places, "target": places}

    still, moving = own, dataclasses.replace(own, still=False)

    @jax.jit
    def means():
        variables = own.init_net(jax.random.key(1), batch)
        params, state = variables["params"], {"batch_stats": variables["batch_stats"]}
        found = [one.outputs(params, state, batch, jax.random.key(2))[1] for one in (still, moving)]
        return [after["batch_stats"]["vision"]["BatchNorm_0"]["mean"] for after in found]

    kept, moved = means()
    assert (kept == 0).all()
    assert (moved != 0).all()
