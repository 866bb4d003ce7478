"""Deep InfoMax: estimators by hand and by the golden numbers, published sizes, who learns what."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.config import ConfigError
from ssl_jax.methods.control import Control
from ssl_jax.methods.image.mutual_information import MutualInformation
from ssl_jax.models.infomax import (
    ConcatScorer,
    DenseCritic,
    InfomaxEncoder,
    PriorCritic,
    ScoreBlock,
    near_identity,
)
from ssl_jax.objectives.mutual_information import (
    concat_scores,
    dot_scores,
    dv,
    found_share,
    jsd,
    nce,
)
from ssl_jax.objectives.reconstruction import adversarial
from ssl_jax.training.micro_batches import loss_and_gradients

CODES = jnp.array([[1.0, 1.0], [0.0, 1.0]])
PARTS = jnp.array([[[1.0, 0.0], [0.0, 1.0]], [[-1.0, 0.0], [2.0, 0.0]]])
STL = InfomaxEncoder((96, 192, 384, 384, 192), 3, 1, 1, (1, 2, 5), (4096, 4096))


def sizes(module, *inputs, **options) -> tuple[dict, int]:
    """Shapes of a module's outputs, and the number of its parameters; nothing is computed."""
    inputs = [jax.ShapeDtypeStruct(shape, "float32") for shape in inputs]
    key = jax.random.key(0)
    out, made = jax.eval_shape(lambda *x: module.init_with_output(key, *x, **options), *inputs)
    return out, sum(x.size for x in jax.tree.leaves(made["params"]))


# Objectives


def test_the_golden_scores_and_estimates():
    scores = dot_scores(CODES, PARTS)
    np.testing.assert_allclose(scores, [[[1, 1], [-1, 2]], [[0, 1], [0, 0]]], atol=1e-6)
    assert jsd(scores) == pytest.approx(0.2285597146, rel=1e-5)
    assert jsd(scores) + 2 * math.log(2) == pytest.approx(1.6148540757, rel=1e-6)
    assert nce(scores) == pytest.approx(1.4502424214, rel=1e-6)
    assert nce(scores, own=-math.inf) == pytest.approx(1.4502284653, rel=1e-6)
    assert dv(scores) == pytest.approx(0.5538953374, rel=1e-5)


def test_estimates_against_their_definitions():
    scores = np.asarray(2 * jax.random.normal(jax.random.key(0), (4, 4, 3)), np.float64)
    positive = [scores[i, i, k] for i in range(4) for k in range(3)]
    negative = [scores[i, j, k] for i in range(4) for j in range(4) for k in range(3) if i != j]
    own = np.log1p(np.exp(-np.array(positive))).mean()
    others = np.log1p(np.exp(np.array(negative))).mean()
    given = jnp.asarray(scores, jnp.float32)
    assert jsd(given) == pytest.approx(own + others - 2 * math.log(2), rel=1e-4)
    bound = np.log(np.exp(negative).mean()) - np.mean(positive)
    assert dv(given) == pytest.approx(bound, rel=1e-4)
    slow = []
    for i in range(4):
        rest = np.exp(np.where(np.arange(4)[:, None] == i, -10, scores[i])).sum()
        slow += [np.log(np.exp(u) + rest) - u for u in scores[i, i]]
    assert nce(given) == pytest.approx(np.mean(slow), rel=1e-5)
    found = scores.mean(2).argmax(1) == np.arange(4)
    assert found_share(given) == pytest.approx(found.mean())
    with pytest.raises(ConfigError, match="no negative"):
        jsd(given[:1, :1])


@pytest.mark.parametrize(("places", "start"), [(64, 8.302266), (49, 8.035279)])
def test_the_values_that_training_starts_from(places, start):
    nothing = jnp.zeros((64, 64, places))
    assert nce(nothing) == pytest.approx(start, abs=1e-5)
    assert jsd(nothing) == pytest.approx(0, abs=1e-6)
    assert dv(nothing) == pytest.approx(0, abs=1e-5)


def test_large_scores_give_finite_losses_and_slopes():
    scores = 500 * dot_scores(CODES, PARTS)
    for estimator in (jsd, nce, dv):
        loss, slopes = jax.value_and_grad(estimator)(scores)
        assert np.isfinite(loss)
        assert np.isfinite(slopes).all()


def test_the_golden_losses_of_the_prior():
    real, fake = jnp.array([1.0, -0.5]), jnp.array([0.3, -1.2])
    critic, encoder, _ = adversarial(real, fake, fake)
    assert critic == pytest.approx(1.2024881918, rel=1e-6)
    assert encoder == pytest.approx(1.0088188559, rel=1e-6)


def test_concatenated_pairs_are_scored_as_by_a_network_on_each():
    codes = jax.random.normal(jax.random.key(0), (3, 4))
    parts = jax.random.normal(jax.random.key(1), (3, 2, 5))
    scorer = ConcatScorer(6)
    variables = scorer.init(jax.random.key(2), codes, parts, True)
    variables = jax.tree.map(lambda x: x + 0.1, variables)  # biases that are not 0
    scores = jax.jit(lambda v: concat_scores(**scorer.apply(v, codes, parts, True)))(variables)
    p = jax.tree.map(np.asarray, variables["params"])
    first = np.concatenate([p["codes"]["kernel"], p["parts"]["kernel"]])
    for i, j, k in np.ndindex(3, 3, 2):
        x = np.concatenate([codes[i], parts[j, k]])
        x = np.maximum(x @ first + p["parts"]["bias"], 0)
        x = np.maximum(x @ p["kernel"] + p["bias"], 0)
        assert scores[i, j, k] == pytest.approx(x @ p["out"] + p["offset"], rel=1e-4, abs=1e-5)


# Networks


def test_encoders_have_the_published_sizes():
    layers, count = sizes(InfomaxEncoder(), (2, 32, 32, 3), train=False)
    assert count == 4_921_280
    assert layers["conv2"].shape == (2, 8, 8, 128)
    assert layers["embedding"].shape == (2, 64)
    mnist = InfomaxEncoder((64, 128), kernel=5, padding=2)
    layers, count = sizes(mnist, (2, 28, 28, 1), train=False)
    assert count == 6_696_960
    assert layers["conv2"].shape == (2, 7, 7, 128)
    small = InfomaxEncoder((32, 64), kernel=5, padding=2, fc=(256,))
    assert sizes(small, (2, 28, 28, 1), train=False)[1] == 871_968
    layers, _ = sizes(STL, (2, 64, 64, 3), train=False)
    assert [layers[f"pool{n}"].shape[1] for n in (1, 2, 5)] == [31, 15, 7]
    assert layers["conv3"].shape == (2, 15, 15, 384)
    assert layers["fc2"].shape == (2, 4096)


def test_score_networks_and_critic_have_the_published_sizes():
    assert sizes(ScoreBlock(2048), (2, 3, 128), train=False)[1] == 4_728_832
    assert sizes(ScoreBlock(2048), (2, 64), train=False)[1] == 4_466_688
    assert 2 * sizes(ScoreBlock(256), (2, 64), train=False)[1] == 199_168
    assert sizes(DenseCritic(), (2, 64))[1] == 265_401
    shortcut = np.asarray(near_identity(jax.random.key(0), (3, 5)))
    assert 0 < np.abs(shortcut - np.eye(3, 5)).max() <= 0.01


def test_one_backward_pass_trains_critic_and_encoder_apart():
    codes, prior = (jax.random.uniform(jax.random.key(k), (4, 3)) for k in range(2))
    module = PriorCritic((5, 4))
    variables = module.init(jax.random.key(2), prior, codes)

    def answers(variables, codes):
        return jax.tree.map(jnp.sum, module.apply(variables, prior, codes))

    jacobian = jax.jit(jax.jacobian(answers, argnums=(0, 1)))(variables, codes)
    by_weights, by_codes = ({k: v[side] for k, v in jacobian.items()} for side in range(2))
    for name in ("real", "fake", "penalty"):
        assert (by_codes[name] == 0).all()
        assert any((x != 0).any() for x in jax.tree.leaves(by_weights[name]))
    assert all((x == 0).all() for x in jax.tree.leaves(by_weights["fooled"]))
    assert (by_codes["fooled"] != 0).any()
    # A row's slope is the product of the layers' weights, of the units that are on.
    p = jax.tree.map(np.asarray, variables["params"]["critic"])
    squares = np.zeros(4)
    for x in (prior, codes):
        first = np.asarray(x) @ p["dense1"]["kernel"]
        second = np.maximum(first, 0) @ p["dense2"]["kernel"]
        for row in range(4):
            slope = (p["dense1"]["kernel"] * (first[row] > 0)) @ p["dense2"]["kernel"]
            squares[row] += (((slope * (second[row] > 0)) @ p["logit"]["kernel"]) ** 2).sum()
    found = module.apply(variables, prior, codes)
    np.testing.assert_allclose(found["penalty"], squares, rtol=1e-4, atol=1e-6)


# The method


def small(**knobs) -> MutualInformation:
    trunk = InfomaxEncoder((4, 6, 8), fc=(10,), embedding=5)
    defaults = {"size": 16, "stored": 16, "units": 7, "critic": (6, 4)}
    return MutualInformation(trunk, **{**defaults, **knobs})


def images(rows: int, side: int = 16) -> dict[str, jax.Array]:
    shape = (rows, side, side, 3)
    return {"vision": jax.random.randint(jax.random.key(0), shape, 0, 256, jnp.uint8)}


def test_the_terms_are_weighed_and_only_those_asked_for_are_there():
    method = small(alpha=0.5, beta=2.0, gamma=0.3)
    variables = jax.jit(method.init, static_argnums=2)(jax.random.key(1), images(4), 4)
    state = {"batch_stats": variables["batch_stats"]}
    loss = jax.jit(method.loss, static_argnames="train")
    value, (_, m) = loss(variables["params"], state, images(4), jax.random.key(2))
    parts = 0.5 * m["global"] + 2 * m["local"] + 0.3 * m["prior"] + m["critic"] + m["penalty"]
    assert value == pytest.approx(float(parts), rel=1e-5)
    for knobs, there in (
        ({"gamma": 0.0}, {"vision", "local"}),
        ({"alpha": 1.0, "beta": 0.0}, {"vision", "global", "upper", "prior"}),
    ):
        shapes = jax.eval_shape(lambda k=knobs: small(**k).init(jax.random.key(0), images(4), 4))
        assert set(shapes["params"]) == there
    with pytest.raises(ConfigError, match="nothing is learnt"):
        small(beta=0.0)
    with pytest.raises(ConfigError, match="one of conv1, conv2, conv3"):
        small(layer="fc1")
    with pytest.raises(ConfigError, match="pool1, pool2, conv3"):
        dataclasses.replace(small(), vision=STL, layer="conv1")


def test_the_control_gives_codes_the_parts_of_other_images():
    method, state, key = small(), {}, jax.random.key(3)
    plain = method.augment(images(6), state, key)
    np.testing.assert_array_equal(plain["partner"], np.arange(6))
    mixed = Control(method, ("partner",)).augment(images(6), state, key)["partner"]
    assert sorted(mixed) == list(range(6))
    assert (mixed != np.arange(6)).any()
    codes = jax.random.normal(jax.random.key(4), (6, 7))
    parts = jax.random.normal(jax.random.key(5), (6, 2, 7))
    outputs = {"local": {"codes": codes, "parts": parts}}
    method = small(gamma=0.0)
    _, shuffled = method.objective(outputs, {"partner": mixed})
    _, moved = method.objective(
        {"local": {"codes": codes, "parts": parts[mixed]}}, {"partner": jnp.arange(6)}
    )
    assert shuffled["local"] == pytest.approx(float(moved["local"]), rel=1e-6)


def test_stl_crops_and_mirrors_and_grey_is_one_channel():
    method = small(size=8, stored=16, flip=1.0, grey=True)
    batch = images(3)
    out = method.augment(batch, {}, jax.random.key(0))
    whole, seen = np.asarray(batch["vision"])[:, :, ::-1], np.asarray(out["vision"])
    for picture, crop in zip(whole, seen, strict=True):
        places = [(y, x) for y in range(9) for x in range(9)]
        assert any((picture[y : y + 8, x : x + 8] == crop).all() for y, x in places)
    ready = method.inputs(out)["vision"]
    np.testing.assert_allclose(ready[..., 0], seen.mean(-1) / 127.5 - 1, atol=1e-5)
    assert ready.shape == (3, 8, 8, 1)


def test_micro_batches_have_the_losses_of_the_whole_batch():
    """Every image stands twice, once in either part: then BatchNorm sees the same in both."""
    trunk = InfomaxEncoder((4, 6), fc=(), embedding=5)
    method = dataclasses.replace(small(scorer="concat"), vision=trunk)
    batch = {"vision": jnp.repeat(images(3)["vision"], 2, axis=0)}
    variables = jax.jit(method.init, static_argnums=2)(jax.random.key(1), batch, 6)
    state = {"batch_stats": variables["batch_stats"]}
    run = jax.jit(
        lambda parts: loss_and_gradients(
            method, variables["params"], state, batch, jax.random.key(2), parts
        ),
        static_argnums=0,
    )
    ((whole, _), slopes), ((parts, _), other) = run(1), run(2)
    assert parts == pytest.approx(float(whole), rel=1e-4)
    for a, b in zip(jax.tree.leaves(slopes), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-4)
