"""BiGAN: who learns from what, the published sizes and losses, and what reconstructions measure."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.config import ConfigError
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.evals import reconstructions
from ssl_jax.evals.reconstructions import Reconstructions, distance_ratio
from ssl_jax.method import run_collection
from ssl_jax.methods.image.adversarial_features import AdversarialFeatures
from ssl_jax.methods.image.autoencoder import Autoencoder
from ssl_jax.models.bigan import latent_of
from ssl_jax.models.encoders import DenseEncoder
from ssl_jax.models.generators import ConvGenerator, DenseGenerator
from ssl_jax.models.joint_discriminators import ConvDiscriminator, DenseDiscriminator
from ssl_jax.models.latent_norm import LatentNorm
from ssl_jax.models.leaky_encoders import LeakyAlexNet, LeakyDense
from ssl_jax.objectives.adversarial_features import (
    discriminator_loss,
    inverse_loss,
    latent_cross_entropy,
    right_answers,
)

KEY = jax.random.key(0)


def dense(**knobs) -> AdversarialFeatures:
    """The smallest one, of images of 6 x 6."""
    return AdversarialFeatures(
        LeakyDense((12, 12)),
        DenseGenerator((12, 12), size=6),
        DenseDiscriminator((12, 12)),
        **{"size": 6, "stored": 6, "latent": 3, "black": 0.0, **knobs},
    )


def uniform(seed: int, *shape: int, low: float = 0.0) -> jax.Array:
    return jax.random.uniform(jax.random.key(seed), shape, minval=low)


@functools.cache
def started(method: AdversarialFeatures, rows: int = 8):
    """Random weights, the collections and a prepared batch. (The logit's own start is 0.)"""
    side = method.stored
    raw = {"vision": jax.random.randint(KEY, (rows, side, side, 3), 0, 256, jnp.uint8)}
    batch = method.inputs(method.augment(raw, {}, KEY))
    variables = jax.jit(lambda: method.init_net(KEY, batch))()
    params, state = variables["params"], {"batch_stats": variables["batch_stats"]}
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    leaves = [0.5 * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(tree, leaves), {**state, **run_collection(0, 1)}, batch


@functools.cache
def applied(method: AdversarialFeatures, train: bool = True):
    """`method.outputs` of weights and a batch, compiled once."""
    _, state, _ = started(method)
    return jax.jit(lambda params, batch: method.outputs(params, state, batch, KEY, train))


@functools.cache
def gradients(method: AdversarialFeatures) -> dict:
    """Of each part of the loss: network -> largest absolute entry of its gradient."""
    params, state, batch = started(method)

    def parts(params):
        outputs, _ = method.outputs(params, state, batch, KEY)
        (real, generated), zero = outputs["fooled"], jnp.zeros(len(batch["latent"]))
        _, metrics = method.objective(outputs, batch)
        del metrics["discriminator_accuracy"]
        halves = {"of real": (real, zero), "of generated": (zero, generated)}
        return {**metrics, **{name: inverse_loss(half) for name, half in halves.items()}}

    found = jax.jit(jax.jacobian(parts))(params)
    return {
        part: {
            name: max(float(jnp.abs(x).max()) for x in jax.tree.leaves(tree))
            for name, tree in networks.items()
        }
        for part, networks in found.items()
    }


def learners(method: AdversarialFeatures, part: str) -> set[str]:
    return {name for name, most in gradients(method)[part].items() if most > 0}


# Losses


def test_the_losses_of_both_sides():
    logits = jnp.array([2.0, -1.0]), jnp.array([0.5, -2.0])
    assert discriminator_loss(logits) == pytest.approx(0.6352986735, rel=1e-6)
    assert inverse_loss(logits) == pytest.approx(1.2602986735, rel=1e-6)
    assert right_answers(logits) == 0.5
    zero = jnp.zeros(3), jnp.zeros(3)
    assert discriminator_loss(zero) == pytest.approx(math.log(2))
    assert inverse_loss(zero) == pytest.approx(math.log(2))


def test_the_latent_regressors_loss():
    latents, logits = jnp.array([[0.2, -0.6, 1.0]]), jnp.array([[0.5, -1.0, 3.0]])
    assert latent_cross_entropy(logits, latents) == pytest.approx(0.4119753411, rel=1e-6)
    each = [latent_cross_entropy(logits[:, i : i + 1], latents[:, i : i + 1]) for i in range(3)]
    np.testing.assert_allclose(each, (0.67407698, 0.51326169, 0.04858735), rtol=1e-6)
    perfect = jnp.array([[math.log(1.2 / 0.8), math.log(0.4 / 1.6), 60.0]])
    assert latent_cross_entropy(perfect, latents) == pytest.approx(0.3911380302, rel=1e-6)
    assert latent_cross_entropy(jnp.zeros((1, 3)), latents) == pytest.approx(math.log(2))
    # Of uniform latents the perfect answer costs half a nat.
    even = (np.arange(20_000) + 0.5) / 10_000 - 1
    latents, own = jnp.float32(even)[None], jnp.float32(2 * np.arctanh(even))[None]
    assert latent_cross_entropy(own, latents) == pytest.approx(0.5, abs=1e-4)


def test_a_code_is_a_sigmoid_stretched_to_minus_one_to_one():
    logits = jnp.array([0.5, -1.0, 3.0])
    np.testing.assert_allclose(latent_of(logits), (0.24491866, -0.46211716, 0.90514825), rtol=1e-6)
    many = jnp.linspace(-9, 9, 101)
    np.testing.assert_allclose(latent_of(many), 2 * jax.nn.sigmoid(many) - 1, atol=1e-6)


# Sizes


@pytest.mark.parametrize(
    ("method", "encoder", "generator", "discriminator"),
    [
        (
            AdversarialFeatures(LeakyAlexNet(), ConvGenerator(), ConvDiscriminator()),
            3_154_464,
            6_050_880,
            4_494_784,
        ),
        (
            AdversarialFeatures(
                LeakyAlexNet(), ConvGenerator(), ConvDiscriminator(), size=112, stored=128
            ),
            4_844_064,
            6_050_880,
            4_494_784,
        ),
        (
            AdversarialFeatures(
                LeakyDense(), DenseGenerator(), DenseDiscriminator(), 28, 28, 50, black=0.0
            ),
            1_902_592,
            1_953_792,
            1_903_616,
        ),
    ],
    ids=["64 pixels", "112 pixels", "MNIST"],
)
def test_the_networks_have_the_published_numbers_of_weights(
    method, encoder, generator, discriminator
):
    side = method.stored
    images = jax.ShapeDtypeStruct((2, side, side, 3), jnp.uint8)
    params = jax.eval_shape(lambda x: method.init(KEY, {"vision": x}, 2), images)["params"]
    sizes = {k: sum(x.size for x in jax.tree.leaves(tree)) for k, tree in params.items()}
    assert sizes["vision"] + sizes["code"] == encoder
    assert sizes["generator"] == generator
    assert sizes["discriminator"] == discriminator


def test_the_encoders_convolutions_have_the_published_shapes():
    for side, first, last in ((64, 16, 4), (112, 28, 7)):
        images = jax.ShapeDtypeStruct((1, side, side, 3), "float32")
        layers, variables = jax.eval_shape(
            lambda x: LeakyAlexNet().init_with_output(KEY, x, train=False), images
        )
        assert layers["conv1"].shape == (1, first, first, 96)
        assert layers["pool1"].shape == (1, first // 2, first // 2, 96)
        assert layers["conv5"].shape == (1, last, last, 256)
        assert sum(x.size for x in jax.tree.leaves(variables["params"])) == 2_335_264
    tuned = LeakyAlexNet(conv1_padding=0, pool_padding=0)  # as it is fine-tuned
    images = jax.ShapeDtypeStruct((1, 227, 227, 3), "float32")
    layers = jax.eval_shape(lambda x: tuned.init_with_output(KEY, x, train=False)[0], images)
    assert [layers[k].shape[1] for k in ("conv1", "pool1", "pool2", "conv5")] == [55, 27, 13, 13]


# Who learns from what


def test_the_game_starts_undecided():
    method = dense()
    _, _, batch = started(method)
    params = jax.jit(lambda: method.init_net(KEY, batch))()["params"]
    _, metrics = method.objective(applied(method)(params, batch)[0], batch)
    for name in ("discriminator", "inverse"):
        assert metrics[name] == pytest.approx(math.log(2))


def test_one_loss_trains_each_network_by_its_own_part():
    method = dense()
    assert learners(method, "discriminator") == {"discriminator"}
    assert learners(method, "inverse") == {"vision", "code", "generator"}
    assert learners(method, "of real") == {"vision", "code"}
    assert learners(method, "of generated") == {"generator"}
    assert gradients(method)["inverse"]["vision"] > 1e-6


def test_the_regressor_trains_the_encoder_alone_or_a_share_of_the_generator():
    alone, joint, whole = (dense(game="images", joint=share) for share in (0.0, 0.25, 1.0))
    assert learners(alone, "inverse") == {"generator"}  # the discriminator sees no codes
    assert learners(alone, "regressor") == {"vision", "code"}
    assert learners(joint, "regressor") == {"vision", "code", "generator"}
    share = [gradients(m)["regressor"]["generator"] for m in (joint, whole)]
    assert share[0] == pytest.approx(0.25 * share[1], rel=1e-5)
    params, _, batch = started(alone)
    params = {**params, "code": jax.tree.map(jnp.zeros_like, params["code"])}
    outputs, _ = applied(alone)(params, batch)
    loss, metrics = alone.objective(outputs, batch)
    assert metrics["regressor"] == pytest.approx(math.log(2), rel=1e-6)
    three = metrics["discriminator"] + metrics["inverse"] + metrics["regressor"]
    assert loss == pytest.approx(float(three), rel=1e-6)


@pytest.mark.parametrize("kind", [DenseDiscriminator((12, 12)), ConvDiscriminator((4, 6))])
def test_the_discriminator_notices_whose_latent_it_is(kind):
    images, latents = uniform(0, 8, 8, 8, 1), uniform(1, 8, 3, low=-1.0)
    variables = jax.jit(lambda: kind.init(KEY, images, latents, "real", False))()
    params = {**variables["params"], "logit": {"kernel": uniform(2, kind_width(kind), 1, low=-1.0)}}

    @jax.jit
    def loss(latents):
        own = {**variables, "params": params}
        logits, _ = kind.apply(own, images, latents, "real", True, mutable=["batch_stats"])
        return discriminator_loss((logits, jnp.zeros(8)))

    assert abs(float(loss(latents) - loss(jnp.roll(latents, 1, axis=0)))) > 1e-4


def kind_width(discriminator) -> int:
    return 12 if isinstance(discriminator, DenseDiscriminator) else 2 * 2 * 6


# BatchNorm


def test_a_latent_is_added_before_the_norm():
    x, latents = uniform(0, 5, 2, 3, 4), uniform(1, 5, 3, low=-1.0)
    layer = LatentNorm()
    variables = jax.jit(lambda: layer.init(KEY, x, latents, True))()
    params = {
        "latent": {"kernel": uniform(2, 3, 4)},
        "scale": uniform(3, 4),
        "bias": uniform(4, 4),
    }
    own = {**variables, "params": params}
    found, _ = jax.jit(lambda: layer.apply(own, x, latents, True, mutable=["batch_stats"]))()
    added = np.asarray(latents) @ np.asarray(params["latent"]["kernel"])
    summed = np.asarray(x) + added[:, None, None, :]
    centred = summed - summed.mean((0, 1, 2))
    expected = centred / np.sqrt((centred**2).mean((0, 1, 2)) + 1e-5)
    expected = expected * np.asarray(params["scale"]) + np.asarray(params["bias"])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_real_and_generated_pairs_are_normalised_apart_and_counted_once():
    method = dense()
    params, state, batch = started(method)
    outputs, after = applied(method)(params, batch)
    # A real pair's logit does not depend on what the generator makes of which latents.
    other = {**batch, "latent": -batch["latent"]}
    changed, _ = applied(method)(params, other)
    np.testing.assert_array_equal(changed["judged"][0], outputs["judged"][0])
    assert (changed["judged"][1] != outputs["judged"][1]).any()
    for side in (0, 1):  # both sides of the game see the same numbers
        np.testing.assert_allclose(outputs["judged"][side], outputs["fooled"][side], atol=1e-6)
    # One step of a hundredth towards the statistics of a single pass, of each kind its own.
    variables = {"params": params, **state}

    @jax.jit
    def once(images):
        codes, _ = method.net.apply(
            variables, images, True, method="encode", mutable=["batch_stats"]
        )
        own = {k: tree["discriminator"] for k, tree in variables.items() if k != "run"}
        return method.discriminator.apply(
            own, images, codes, "real", True, mutable=["batch_stats"]
        )[1]["batch_stats"]["dense2_norm"]["real"]["mean"]

    norms = after["batch_stats"]["discriminator"]["dense2_norm"]
    expected = once(batch["vision"])
    np.testing.assert_allclose(norms["real"]["mean"], expected, rtol=1e-5, atol=1e-6)
    assert np.abs(norms["real"]["mean"] - norms["generated"]["mean"]).max() > 1e-4


def test_judging_without_training_leaves_statistics_alone():
    method = dense()
    params, state, batch = started(method)
    outputs, after = applied(method, False)(params, batch)
    jax.tree.map(np.testing.assert_array_equal, after["batch_stats"], state["batch_stats"])
    np.testing.assert_allclose(outputs["judged"][0], outputs["fooled"][0], atol=1e-6)


# Images


def test_the_latents_are_uniform_and_images_are_cropped_and_ranged():
    method = dense(size=6, stored=9, latent=500)
    raw = jax.random.randint(KEY, (20, 9, 9, 3), 0, 256, jnp.uint8)
    out = jax.jit(method.augment)({"vision": raw}, {}, KEY)
    assert out["vision"].shape == (20, 6, 6, 3)
    latents = np.asarray(out["latent"])
    assert latents.min() >= -1
    assert latents.max() < 1
    assert latents.mean() == pytest.approx(0, abs=4 / math.sqrt(3 * latents.size))
    assert latents.var() == pytest.approx(1 / 3, rel=0.05)
    images = jnp.zeros((1, 2, 2, 3)).at[0, 0, 0].set(jnp.array([1.0, 1.0, 0.7]))
    grey = method.prepare("vision", images)
    assert grey.shape == (1, 2, 2, 1)
    assert grey[0, 0, 0, 0] == pytest.approx(0.9)
    colour = AdversarialFeatures(LeakyAlexNet(), ConvGenerator(), ConvDiscriminator())
    np.testing.assert_allclose(colour.prepare("vision", images), 2 * images - 1, atol=1e-6)


@pytest.mark.parametrize("black", [0.0, -1.0])
def test_reconstructions_are_what_the_networks_say(black):
    method = dense(black=black)
    params, state, _ = started(method)
    variables = {"params": params, **state}
    raw = jax.random.randint(jax.random.key(5), (4, 6, 6, 3), 0, 256, jnp.uint8)
    encode = jax.jit(method.encode, static_argnums=1)
    found = encode(variables, "reconstruction", {"vision": raw})
    pixels = np.asarray(raw).mean(-1, keepdims=True) / 255
    np.testing.assert_allclose(found["target"], pixels, atol=1e-6)

    def part(name, x):
        own = {k: tree[name] for k, tree in variables.items() if name in tree}
        return getattr(method, name).apply(own, x, train=False)

    @jax.jit
    def back(pixels):
        hidden = part("vision", black + (1 - black) * jnp.asarray(pixels))["dense2"]
        return part("generator", jnp.tanh(hidden @ params["code"]["kernel"] / 2))

    np.testing.assert_allclose(found["image"], back(pixels), atol=1e-5)
    record = SyntheticSource(size=3, height=8, width=8)[2]
    inputs = method.clips(record, "generated", [0.0, 0.0])
    again = method.clips(record, "generated", [0.0, 0.0])
    np.testing.assert_array_equal(inputs["latent"], again["latent"])
    assert inputs["latent"].shape == (2, 3)
    assert np.abs(inputs["latent"]).max() <= 1
    found = encode(variables, "generated", inputs)
    made = part("generator", jnp.asarray(inputs["latent"]))
    assert np.abs(np.asarray(found["target"] - made)).max() <= 0.5 / 255 + 1e-6
    np.testing.assert_allclose(found["image"], back(found["target"]), atol=1e-5)


def test_the_generator_may_draw_smaller_images_than_the_encoder_sees():
    method = AdversarialFeatures(
        LeakyAlexNet(width=0.05),
        ConvGenerator((8, 4)),
        ConvDiscriminator((4, 8)),
        size=28,
        stored=28,
        latent=5,
    )
    images = jax.ShapeDtypeStruct((2, 28, 28, 3), jnp.uint8)
    variables = jax.eval_shape(lambda x: method.init(KEY, {"vision": x}, 2), images)
    found = jax.eval_shape(
        lambda v, x: method.encode(v, "reconstruction", {"vision": x}), variables, images
    )
    assert {x.shape for x in found.values()} == {(2, 16, 16, 3)}
    with pytest.raises(ConfigError, match="size=16"):
        dataclasses.replace(method, game="images")
    with pytest.raises(ConfigError, match="game='images'"):
        dense(joint=0.5)


def test_an_autoencoder_gives_back_what_its_decoder_says():
    method = Autoencoder(DenseEncoder((6,), 3, sparse=0), 5, decoder=(6,), sparse=0)
    raw = jax.random.randint(KEY, (4, 5, 5, 3), 0, 256, jnp.uint8)

    @jax.jit
    def both(raw):
        variables, batch = method.init(KEY, raw, 4), method.inputs(raw)
        found = method.encode(variables, "reconstruction", raw)
        return found, method.net.apply(variables, batch, train=False)

    found, logits = both({"vision": raw})
    np.testing.assert_allclose(found["image"].reshape(4, 25), jax.nn.sigmoid(logits), atol=1e-6)
    np.testing.assert_allclose(
        found["target"], np.asarray(raw).mean(-1, keepdims=True) / 255, atol=1e-6
    )


# The evaluator


@dataclasses.dataclass(frozen=True)
class Given:
    """Stands for a frozen network that gives these back."""

    target: np.ndarray
    image: np.ndarray

    def inputs(self, source, stream, limit):
        assert (stream, limit) == ("reconstruction", 2000)
        return {"vision": np.zeros((len(source), 1, 4, 4, 3), np.uint8)}, np.arange(len(source))

    def maps(self, stream, inputs, layers):
        assert inputs["vision"].shape == (len(self.target), 4, 4, 3)
        return {name: getattr(self, name) for name in layers}

    def check_layers(self, stream, layers, source):
        if stream != "reconstruction":
            raise ConfigError("no such stream")


def test_reconstructions_are_measured_and_drawn(monkeypatch):
    rng = np.random.default_rng(0)
    target, noise = rng.random((6, 4, 4, 1)), rng.normal(0, 0.1, (6, 4, 4, 1))
    source = SyntheticSource(size=6, height=4, width=4)
    rows = []
    draw = reconstructions.page
    monkeypatch.setattr(
        reconstructions, "page", lambda r, *a, **k: rows.extend(r) or draw(r, *a, **k)
    )
    evaluator = Reconstructions(source, drawn=3)
    evaluator.check(Given(target, target))
    results = dict(evaluator.run(Given(target, target + noise)))
    assert results["reconstruction/squared_error"] == pytest.approx(np.mean(noise**2), rel=1e-5)
    own = [np.linalg.norm(noise[i]) for i in range(6)]
    other = [np.linalg.norm(target[i - 3] - target[i] - noise[i]) for i in range(6)]
    assert results["reconstruction/ratio"] == pytest.approx(np.mean(own) / np.mean(other), rel=1e-5)
    assert results["reconstruction"].dtype == np.uint8
    tiles = [tile.pixels for row in rows for tile in row]
    assert len(tiles) == 3
    for tile, record in zip(tiles, (0, 2, 4), strict=True):
        pair = np.concatenate([target[record], (target + noise)[record]], axis=1).clip(0, 1)
        np.testing.assert_allclose(tile, np.repeat(255 * pair, 3, axis=-1), atol=0.51)


def test_the_ratio_is_zero_of_perfect_images_and_one_of_the_mean_image():
    target = np.random.default_rng(1).random((9, 3, 3, 1))
    assert distance_ratio(target, target) == 0
    mean = np.repeat(target.mean(0, keepdims=True), 9, axis=0)
    assert distance_ratio(target, mean) == pytest.approx(1)
    assert distance_ratio(mean, mean) == 1


def test_reconstructions_need_two_records_and_a_stream_that_gives_back():
    two = SyntheticSource(size=2, height=4, width=4)
    frozen = Given(np.zeros((2, 4, 4, 1)), np.full((2, 4, 4, 1), np.nan))
    with pytest.raises(ConfigError, match="two"):
        Reconstructions(SyntheticSource(size=1, height=4, width=4)).check(frozen)
    with pytest.raises(ConfigError, match="no such stream"):
        Reconstructions(two, streams=("vision",)).check(frozen)
    with pytest.raises(FloatingPointError, match="diverged"):
        list(Reconstructions(two).run(frozen))
