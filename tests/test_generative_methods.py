"""Inpainting and autoencoders: what is hidden, what is given back, and who learns from whom."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.config import ConfigError
from ssl_jax.methods.image.autoencoder import Autoencoder
from ssl_jax.methods.image.inpainting import Inpainting
from ssl_jax.models.alexnet import AlexNet
from ssl_jax.models.decoders import (
    Adversary,
    ChannelwiseDense,
    Critic,
    DenseDecoder,
    ImageDecoder,
)
from ssl_jax.models.encoders import ContextEncoder, DenseEncoder, sparse_normal
from ssl_jax.objectives.reconstruction import adversarial, binary_cross_entropy, weighted_squares
from ssl_jax.ops import corruption
from ssl_jax.ops.corruption import random_blocks, random_regions, square_mask

FILL = np.array([117, 104, 123]) / 255


def uniform(seed: int, *shape: int) -> jax.Array:
    return jax.random.uniform(jax.random.key(seed), shape)


def pictures(rows: int, side: int, seed: int = 0) -> jax.Array:
    return jax.random.randint(jax.random.key(seed), (rows, side, side, 3), 0, 256, jnp.uint8)


def count(tree) -> int:
    return sum(x.size for x in jax.tree.leaves(tree))


def shapes(module, *inputs, **options):
    """Shapes of a module's outputs and variables, nothing being computed."""
    inputs = [jax.ShapeDtypeStruct(shape, "float32") for shape in inputs]
    key = jax.random.key(0)
    return jax.eval_shape(lambda *x: module.init_with_output(key, *x, **options), *inputs)


# Masks


def test_the_authors_rectangles():
    for hole, first, last in ((64, 32, 95), (56, 36, 91)):
        mask = np.asarray(square_mask(128, hole))[..., 0]
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert (rows[0], rows[-1], columns[0], columns[-1]) == (first, last, first, last)
        assert mask.sum() == hole**2


def test_random_regions_hide_a_fifth_to_three_tenths_each_in_its_own_shape():
    masks = np.asarray(jax.jit(random_regions, static_argnums=(1, 2))(jax.random.key(0), 40, 64))
    assert set(np.unique(masks)) == {0.0, 1.0}
    shares = masks.mean((1, 2, 3))
    assert 0.199 < shares.min() < 0.22
    assert 0.28 < shares.max() < 0.301
    assert len(np.unique(masks.reshape(40, -1), axis=0)) == 40
    # Blobs, not dust: most neighbours agree, where independent pixels would in 63 % of places.
    assert np.mean(masks[:, 1:] == masks[:, :-1]) > 0.9


def test_random_blocks_hide_at_most_a_quarter_by_whole_squares():
    masks = np.asarray(jax.jit(random_blocks, static_argnums=(1, 2))(jax.random.key(0), 40, 64))
    shares = masks.mean((1, 2, 3))
    side = int(64 * math.sqrt(0.25 / 5))
    assert shares.max() <= 0.25
    assert shares.min() >= (side / 64) ** 2
    assert shares.max() > 0.19
    single = np.asarray(random_blocks(jax.random.key(1), 8, 32, 0.25, 1))
    assert (single.sum((1, 2, 3)) == 16**2).all()


# Inpainting


@pytest.mark.parametrize("holes", ["centre", "block", "region"])
def test_what_is_hidden_never_reaches_the_encoder(holes):
    critic = (8, 8) if holes == "centre" else ()
    method = Inpainting(ContextEncoder(), holes, size=32, stored=32, overlap=2, critic=critic)
    augment = jax.jit(method.augment)
    images = pictures(6, 32)
    out = jax.device_get(augment({"vision": images}, {}, jax.random.key(0)))
    hidden = (np.abs(out["vision"] - FILL) < 1e-6).all(-1)
    if holes == "centre":
        assert (hidden == np.asarray(square_mask(32, 12))[None, :, :, 0].astype(bool)).all()
        seen = ~hidden[:, 8:24, 8:24]
        assert (out["vision"][:, 8:24, 8:24][seen] == out["target"][seen]).all()
    else:
        assert (hidden == (out["weight"][..., 0] > 0)).all()
        assert (out["vision"][~hidden] == out["target"][~hidden]).all()
        # The mean over hidden pixels.
        np.testing.assert_allclose(out["weight"].mean((1, 2, 3)), 1, rtol=1e-5)
    # Whatever stood there: a picture that differs in the hole alone gives the same input.
    whole = np.asarray(images) / np.float32(255)
    shown = np.where(hidden[..., None], whole, out["vision"])  # as if nothing were hidden
    flipped = (np.abs(shown - whole) > 1e-6).any((1, 2, 3))
    assert 0 < flipped.sum() < 6
    place = np.where(flipped[:, None, None], hidden[:, :, ::-1], hidden)
    spoilt = jnp.where(place[..., None], 255 - images, images)
    again = augment({"vision": spoilt}, {}, jax.random.key(0))
    assert (again["vision"] == out["vision"]).all()
    assert (again["target"] != out["target"]).any()


def test_the_hole_of_the_authors_code():
    method = Inpainting(ContextEncoder(), stored=128)
    images = pictures(2, 128)
    out = jax.device_get(jax.jit(method.augment)({"vision": images}, {}, jax.random.key(3)))
    hole = out["vision"][:, 36:92, 36:92]
    np.testing.assert_allclose(hole, np.broadcast_to(FILL, hole.shape), atol=1e-6)
    assert out["target"].shape == (2, 64, 64, 3)
    assert (np.abs(out["vision"] - FILL) < 1e-6).all(-1)[:, 35].mean() < 0.01
    weight = out["weight"][0, ..., 0]
    assert (weight[4:60, 4:60] == 1).all()
    assert weight.sum() == 10 * (64**2 - 56**2) + 56**2
    np.testing.assert_allclose(out["vision"][:, 32:36, 32:96], out["target"][:, :4], atol=0)
    ready = jax.jit(method.inputs)(out)  # in the range of the decoder
    for name in ("vision", "target"):
        np.testing.assert_allclose(ready[name], 2 * out[name] - 1, atol=1e-6)
    np.testing.assert_allclose(  # the authors' fill
        ready["vision"][0, 60, 60], (-0.0823529, -0.1843137, -0.0352941), atol=1e-6
    )


def test_context_encoder_decoder_and_critic_have_the_published_shapes():
    layers, _ = shapes(ContextEncoder(), (2, 128, 128, 3), train=False)
    assert layers["conv1"].shape == (2, 64, 64, 64)
    assert layers["conv5"].shape == (2, 4, 4, 512)
    assert layers["code"].shape == (2, 4000)
    made, variables = shapes(ImageDecoder(), (2, 4000), train=False)
    assert made.shape == (2, 64, 64, 3)
    assert variables["params"]["unfold"]["kernel"].size == 4000 * 512 * 16
    logit, variables = shapes(Critic(), (2, 64, 64, 3), train=False)
    assert logit.shape == (2,)
    kernels = [v["kernel"].size for k, v in variables["params"].items() if "bn" not in k]
    assert kernels == [3072, 131_072, 524_288, 2_097_152, 8192]
    features = ImageDecoder((256, 128, 64, 64, 32))
    made, variables = shapes(features, (2, 6, 6, 256), train=False)
    assert made.shape == (2, 192, 192, 3)
    assert variables["params"]["channelwise"]["kernel"].size == 331_776


def test_channelwise_layer_keeps_channels_apart_and_joins_all_places():
    layer, x = ChannelwiseDense(), uniform(0, 2, 3, 3, 4)
    variables = layer.init(jax.random.key(1), x)
    apply = jax.jit(layer.apply)
    y = apply(variables, x)
    changed = apply(variables, x.at[:, 0, 0, 2].add(1.0))
    difference = np.abs(np.asarray(changed - y)).max(0)
    assert (difference[..., [0, 1, 3]] == 0).all()
    assert (difference[..., 2] > 0).all()
    kernel, expected = np.asarray(variables["params"]["kernel"]), np.zeros((2, 9, 4))
    for b, c in np.ndindex(2, 4):
        expected[b, :, c] = np.asarray(x)[b, :, :, c].ravel() @ kernel[c]
    np.testing.assert_allclose(np.asarray(y).reshape(2, 9, 4), expected, atol=1e-5)


def test_one_backward_pass_trains_critic_and_generator_apart():
    module = Adversary((4, 8))
    real, noise = uniform(1, 4, 8, 8, 3), uniform(2, 4, 8, 8, 3)
    variables = jax.jit(lambda: module.init(jax.random.key(0), real, noise, False))()

    def losses(params, shift):
        answers, _ = module.apply(
            {**variables, "params": params}, real, noise + shift, True, mutable=["batch_stats"]
        )
        critic, generator, _ = adversarial(*answers)
        return jnp.stack([critic, generator, critic + 0.3 * generator]), answers

    of_params, of_shift = jax.jit(
        lambda p, s: jax.jacobian(lambda p, s: losses(p, s)[0], argnums=(0, 1))(p, s)
    )(variables["params"], 0.1)
    by_loss = [jax.tree.map(lambda x, i=i: np.asarray(x[i]), of_params) for i in range(3)]
    assert all((x == 0).all() for x in jax.tree.leaves(by_loss[1]))
    assert all((x != 0).any() for x in jax.tree.leaves(by_loss[0]))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), by_loss[0], by_loss[2]
    )
    assert of_shift[0] == 0
    assert of_shift[1] != 0
    assert of_shift[2] == pytest.approx(0.3 * float(of_shift[1]), rel=1e-5)
    _, (_, fake, fooled) = losses(variables["params"], 0.1)
    np.testing.assert_allclose(fake, fooled, atol=1e-6)


def test_adversarial_losses_by_hand():
    zero = jnp.zeros(3)
    critic, generator, metrics = adversarial(zero, zero, zero)
    assert critic == pytest.approx(2 * math.log(2))
    assert generator == pytest.approx(math.log(2))
    assert metrics["critic_accuracy"] == 0.5  # it takes all for generated
    real, fake = jnp.array([2.0, -1.0]), jnp.array([-3.0, -0.5])
    critic, generator, metrics = adversarial(real, fake, fake)

    def entropy(logits, real):
        p = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
        return -np.log(p if real else 1 - p).mean()

    assert critic == pytest.approx(entropy(real, True) + entropy(fake, False), rel=1e-5)
    assert generator == pytest.approx(entropy(fake, True), rel=1e-5)
    assert metrics["critic_accuracy"] == 0.75


def test_the_share_of_the_adversarial_loss():
    method = Inpainting(ContextEncoder(), size=16, adversarial=0.25)
    made, target = uniform(0, 2, 8, 8, 3), uniform(1, 2, 8, 8, 3)
    batch = {"target": target, "weight": jnp.ones((2, 8, 8, 1))}
    answers = (jnp.ones(2), jnp.zeros(2), jnp.full(2, 3.0))
    loss, metrics = method.objective((made, answers), batch)
    parts = 0.75 * metrics["squared_error"] + 0.25 * metrics["generator"] + metrics["critic"]
    assert loss == pytest.approx(float(parts), rel=1e-6)
    assert metrics["generator"] == pytest.approx(math.log1p(math.exp(-3)), rel=1e-5)
    alone, _ = method.objective((made, None), batch)
    assert alone == pytest.approx(float(jnp.mean((made - target) ** 2)), rel=1e-5)


@pytest.mark.parametrize("holes", ["centre", "region"])
def test_apply_to_fills_the_hole_and_nothing_else(holes):
    trunk = ContextEncoder((8, 8, 8), code=16)
    critic = (4,) if holes == "centre" else ()
    decoder = (8, 8) if holes == "centre" else (8, 8, 8)
    method = Inpainting(trunk, holes, size=32, stored=32, overlap=2, decoder=decoder, critic=critic)
    images = pictures(2, 32)
    variables = jax.jit(method.init, static_argnums=2)(jax.random.key(0), {"vision": images}, 2)
    apply_to = jax.jit(method.apply_to)
    filled = np.asarray(apply_to(variables, images))
    assert filled.dtype == np.uint8
    inside = np.asarray(square_mask(32, 12))[..., 0] > 0
    assert (filled[:, ~inside] == np.asarray(images)[:, ~inside]).all()
    assert (filled[:, inside] != np.asarray(images)[:, inside]).mean() > 0.9
    spoilt = jnp.where(jnp.asarray(inside)[None, ..., None], 7, images).astype(jnp.uint8)
    np.testing.assert_array_equal(apply_to(variables, spoilt), filled)
    wide = jax.random.randint(jax.random.key(1), (1, 32, 40, 3), 0, 256, jnp.uint8)
    cut = np.asarray(apply_to(variables, wide))  # its middle square
    assert cut.shape == (1, 32, 32, 3)
    assert (cut[:, ~inside] == np.asarray(wide)[:, :, 4:36][:, ~inside]).all()


def test_inpainting_rejects_what_cannot_work():
    with pytest.raises(ConfigError, match="one of centre, block, region"):
        Inpainting(AlexNet(), holes="square")
    with pytest.raises(ConfigError, match="critic"):
        Inpainting(AlexNet(), holes="region")


# Reconstruction


def test_reconstruction_errors_against_numpy():
    arrays = uniform(0, 3, 4, 4, 2), uniform(1, 3, 4, 4, 2), uniform(2, 3, 4, 4, 1)
    a, b, weight = (np.asarray(x, np.float64) for x in arrays)
    squares = weighted_squares(*arrays)
    assert squares == pytest.approx(np.mean(weight * (a - b) ** 2), rel=1e-5)
    p = 1 / (1 + np.exp(-(8 * a - 4)))
    slow = -(b * np.log(p) + (1 - b) * np.log(1 - p)).reshape(3, -1).sum(1).mean()
    assert binary_cross_entropy(8 * arrays[0] - 4, arrays[1]) == pytest.approx(slow, rel=1e-5)
    # It is least where sigmoid(logits) is the target: there it is the target's own entropy.
    own = -(b * np.log(b) + (1 - b) * np.log(1 - b)).reshape(3, -1).sum(1).mean()
    least = binary_cross_entropy(jnp.log(arrays[1] / (1 - arrays[1])), arrays[1])
    assert least == pytest.approx(own, rel=1e-5)
    nothing = binary_cross_entropy(jnp.zeros((2, 784)), jnp.ones((2, 784)))
    assert nothing == pytest.approx(784 * math.log(2), rel=1e-5)


# Corruption and autoencoders


def test_corruption_rates():
    images, key, amount = 0.25 + 0.5 * uniform(0, 20, 16, 16, 1), jax.random.key(1), 0.3
    within = 4 * math.sqrt(amount * (1 - amount) / images.size)
    corrupt = jax.jit(corruption.corrupt, static_argnums=(2, 3))
    masked = np.asarray(corrupt(key, images, "masking", amount))
    assert np.mean(masked == 0) == pytest.approx(amount, abs=within)
    assert (masked[masked != 0] == np.asarray(images)[masked != 0]).all()
    salted = np.asarray(corrupt(key, images, "salt_pepper", amount))
    for value in (0.0, 1.0):
        assert np.mean(salted == value) == pytest.approx(amount / 2, abs=within)
    untouched = (salted != 0) & (salted != 1)
    assert (salted[untouched] == np.asarray(images)[untouched]).all()
    noise = np.asarray(corrupt(key, images, "gaussian", amount)) - np.asarray(images)
    assert noise.std() == pytest.approx(amount, rel=0.05)
    assert noise.mean() == pytest.approx(0, abs=4 * amount / math.sqrt(noise.size))
    assert corruption.corrupt(key, images, "none", amount) is images
    with pytest.raises(ValueError, match="salt_pepper"):
        corrupt(key, images, "pepper", amount)


def test_a_denoising_autoencoder_gives_back_the_clean_picture_moved_or_not():
    batch = {"vision": pictures(4, 12)}
    clean = np.asarray(batch["vision"]).mean(-1, keepdims=True) / 255
    method = Autoencoder(DenseEncoder(), 12, corruption="masking", amount=0.4)
    out = jax.jit(method.augment)(batch, {}, jax.random.key(0))
    np.testing.assert_allclose(out["target"], clean, atol=1e-6)
    assert np.mean(out["vision"] == 0) > 0.3
    seen = np.asarray(out["vision"]) != 0
    assert (np.asarray(out["vision"])[seen] == np.asarray(out["target"])[seen]).all()
    plain = jax.jit(Autoencoder(DenseEncoder(), 12).augment)(batch, {}, jax.random.key(0))
    assert (plain["vision"] == plain["target"]).all()
    for noise in ("masking", "gaussian", "salt_pepper"):  # none of it: a plain autoencoder
        none = Autoencoder(DenseEncoder(), 12, corruption=noise, amount=0.0)
        out = jax.jit(none.augment)(batch, {}, jax.random.key(0))
        np.testing.assert_array_equal(out["vision"], plain["vision"])
    moving = Autoencoder(DenseEncoder(), 12, shift=0.2, degrees=15.0, scale=(0.9, 1.1))
    moved = jax.jit(moving.augment)(batch, {}, jax.random.key(0))
    assert (moved["vision"] == moved["target"]).all()
    assert np.abs(np.asarray(moved["target"]) - clean).max() > 0.1


def test_the_loss_of_an_autoencoder_is_the_one_named():
    logits, target = 4 * uniform(0, 3, 16) - 2, uniform(1, 3, 4, 4, 1)
    losses = {}
    for name in ("cross_entropy", "squares"):
        method = Autoencoder(DenseEncoder(), 4, criterion=name)
        losses[name], metrics = method.objective(logits, {"target": target})
    assert losses["cross_entropy"] == metrics["cross_entropy"]
    assert losses["squares"] == metrics["squared_error"]
    error = jnp.mean((jax.nn.sigmoid(logits) - target.reshape(3, 16)) ** 2)
    assert losses["squares"] == pytest.approx(float(error), rel=1e-5)
    with pytest.raises(ConfigError, match="criterion='l1'"):
        Autoencoder(DenseEncoder(), criterion="l1")
    with pytest.raises(ConfigError, match="corruption='blur'"):
        Autoencoder(DenseEncoder(), corruption="blur")


def test_caffes_stack():
    layers, encoder = shapes(DenseEncoder(), (2, 28, 28, 1), train=False)
    widths = {name: x.shape[1] for name, x in layers.items()}
    assert widths == {"dense1": 1000, "dense2": 500, "dense3": 250, "code": 30}
    logits, decoder = shapes(DenseDecoder((250, 500, 1000), 784), (2, 30))
    assert logits.shape == (2, 784)
    assert count(encoder) + count(decoder) == 2_837_314


def test_about_fifteen_weights_of_a_unit_start_apart_from_zero():
    weights = np.asarray(sparse_normal(15)(jax.random.key(0), (784, 400)))
    kept = (weights != 0).sum(0)
    assert kept.mean() == pytest.approx(15, abs=4 * math.sqrt(15 / 400))
    assert weights[weights != 0].std() == pytest.approx(1, rel=0.05)
    dense = np.asarray(sparse_normal(0)(jax.random.key(0), (784, 400)))
    assert (dense != 0).all()
