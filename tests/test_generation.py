"""VGAN: published sizes and losses, who learns from what, and what its evaluator measures."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_models import count, shapes

from ssl_jax.config import ConfigError, build, load
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.evals.generated_videos import GeneratedVideos, moving_mask
from ssl_jax.method import run_collection
from ssl_jax.methods.video.generation import Generation
from ssl_jax.models.leaky_c3d import LeakyC3D
from ssl_jax.models.two_stream_generator import TwoStreamGenerator, layered
from ssl_jax.objectives.video_generation import video_generation
from ssl_jax.ops.conv3d_transpose import conv3d_transpose

KEY = jax.random.key(0)


def parameters(tree) -> int:
    return sum(math.prod(x.shape) for x in jax.tree.leaves(tree))


# Sizes


def test_the_generator_has_the_published_layers():
    made, variables = shapes(TwoStreamGenerator(), 2, 100)
    assert {name: x.shape for name, x in made.items()} == {
        "video": (2, 32, 64, 64, 3),
        "foreground": (2, 32, 64, 64, 3),
        "mask": (2, 32, 64, 64, 1),
        "background": (2, 64, 64, 3),
    }
    params = variables["params"]

    def of(stream: str) -> int:
        return parameters({k: tree for k, tree in params.items() if k.startswith(stream)})

    heads = {name: parameters(params[f"foreground_{name}"]) for name in ("image", "mask")}
    assert heads == {"image": 12_291, "mask": 4097}
    assert of("foreground") - sum(heads.values()) == 12_651_328
    assert of("background") == 3_577_667
    assert parameters(params) == 16_245_383


def test_the_discriminator_has_the_published_layers():
    layers, _ = shapes(LeakyC3D(), 1, 32, 64, 64, 3)
    assert {name: x.shape[1:] for name, x in layers.items()} == {
        "conv1": (16, 32, 32, 64),
        "conv2": (8, 16, 16, 128),
        "conv3": (4, 8, 8, 256),
        "conv4": (2, 4, 4, 512),
    }
    assert count(LeakyC3D(), 1, 32, 64, 64, 3) == 11_025_088


@pytest.mark.parametrize(
    ("variant", "generator", "discriminator"),
    [("flickr", 16_245_383, 11_057_858), ("arcade", 1_223_495, 670_306)],
)
def test_both_networks_together(variant, generator, discriminator):
    method = build(load(f"configs/video/generation_flickr.py:{variant}").method)
    clips = (2, method.frames, method.size, method.size, 3)
    batch = {"vision": jax.ShapeDtypeStruct(clips, jnp.uint8)}
    params = jax.eval_shape(lambda x: method.init(KEY, x, 2), batch)["params"]
    assert parameters(params["generator"]) == generator
    assert parameters((params["vision"], params["answer"])) == discriminator


def test_it_is_fine_tuned_with_one_layer_on_all_of_the_last_map():
    method = build(load("configs/finetune/ucf101.py:generation").method)
    clips = {"vision": jax.ShapeDtypeStruct((1, 32, 64, 64, 3), jnp.float32)}
    variables = jax.eval_shape(lambda x: method.net.init(KEY, x, False), clips)
    assert parameters(variables["params"]) == 12_679_973


# Maths


@pytest.mark.parametrize("impl", ["native", "fold"])
def test_a_transposed_convolution_adds_every_cell_times_the_kernel(impl):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 2, 3, 1, 2)), rng.normal(size=(4, 4, 4, 2, 3))
    # What is beyond the ends is cut off: one cell there, as padding 1 says.
    whole = np.zeros((2, 6, 8, 4, 3))
    for t, h, w in np.ndindex(2, 3, 1):
        place = np.s_[:, 2 * t : 2 * t + 4, 2 * h : 2 * h + 4, 2 * w : 2 * w + 4]
        turned = kernel[::-1, ::-1, ::-1]
        whole[place] += np.einsum("bc,ijkco->bijko", x[:, t, h, w], turned)
    arrays = jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)
    found = conv3d_transpose(*arrays, impl)
    np.testing.assert_allclose(found, whole[:, 1:-1, 1:-1, 1:-1], atol=1e-5)
    with pytest.raises(ConfigError, match="impl is one of"):
        conv3d_transpose(*arrays, "fast")


def test_the_losses_of_both_players():
    real = jnp.array([[1.0, -1.0], [0.0, 0.5]])
    generated = jnp.array([[0.2, 0.1], [-1.0, 1.0]])
    mask = jnp.broadcast_to(jnp.array([[0.25], [1.0], [0.0]]), (2, 1, 1, 3, 1))
    loss, metrics = video_generation(real, generated, generated, mask, 0.1)
    assert metrics["discriminator"] == pytest.approx(0.4930824166, rel=1e-6)
    assert metrics["generator"] == pytest.approx(1.3856623356, rel=1e-6)
    assert loss - metrics["discriminator"] - metrics["generator"] == pytest.approx(
        0.0416667, abs=1e-6
    )
    assert metrics["discriminator_accuracy"] == 0.5
    zeros = jnp.zeros((2, 2))
    _, even = video_generation(zeros, zeros, zeros, mask, 0.1)
    assert even["discriminator"] == pytest.approx(math.log(2), rel=1e-6)
    assert even["generator"] == pytest.approx(math.log(2), rel=1e-6)


def test_the_mask_lays_the_foreground_over_the_background():
    mask, foreground = jnp.array([0.25, 1.0, 0.0]), jnp.array([0.8, -0.5, 0.9])
    shown = layered(
        mask.reshape(1, 1, 1, 3, 1),
        foreground.reshape(1, 1, 1, 3, 1),
        jnp.array([-0.4, 0.2, 0.1]).reshape(1, 1, 3, 1),
    )
    np.testing.assert_allclose(shown.ravel(), (-0.1, -0.5, 0.1), atol=1e-6)
    foreground = jax.random.normal(KEY, (1, 4, 2, 2, 3))
    background = jnp.ones((1, 2, 2, 3))
    ones = jnp.ones((1, 4, 2, 2, 1))
    still = layered(0 * ones, foreground, background)
    assert (still == still[:, :1]).all()
    np.testing.assert_array_equal(layered(ones, foreground, background), foreground)


# Who learns from what


def small(**knobs) -> Generation:
    return Generation(
        LeakyC3D(channels=(3, 4)),
        TwoStreamGenerator(channels=(4, 3)),
        **{"frames": 8, "size": 16, "latent": 3, "stabilise": False, **knobs},
    )


@functools.cache
def started():
    """Random weights, the state and a prepared batch."""
    method = small()
    raw = {"vision": jax.random.randint(KEY, (4, 8, 16, 16, 3), 0, 256, jnp.uint8)}
    batch = method.inputs(method.augment(raw, {}, KEY))
    variables = jax.eval_shape(lambda: method.init_net(KEY, batch))
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: jnp.asarray(0.3 * rng.standard_normal(x.shape, np.float32)), variables["params"]
    )
    stats = jax.tree_util.tree_map_with_path(
        lambda path, x: jnp.full(x.shape, float(path[-1].key == "var")), variables["batch_stats"]
    )
    return method, params, {"batch_stats": stats, **run_collection(0, 1)}, batch


@functools.cache
def played():
    """Gradients of the discriminator's loss and of the rest; outputs and new state."""
    method, params, state, batch = started()

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def gradient(params, weights):
        outputs, after = method.outputs(params, state, batch, KEY)
        loss, metrics = method.objective(outputs, batch)
        parts = metrics["discriminator"], loss - metrics["discriminator"]
        return weights[0] * parts[0] + weights[1] * parts[1], (outputs, after)

    discriminator, (outputs, after) = gradient(params, (1.0, 0.0))
    rest, _ = gradient(params, (0.0, 1.0))
    return {"discriminator": discriminator, "rest": rest}, outputs, after


def test_each_player_learns_by_its_own_loss():
    gradients, outputs, _ = played()
    learners = {
        loss: {name for name, part in of.items() if any(map(jnp.any, jax.tree.leaves(part)))}
        for loss, of in gradients.items()
    }
    assert learners == {"discriminator": {"vision", "answer"}, "rest": {"generator"}}
    np.testing.assert_allclose(outputs["generated"], outputs["fooled"], rtol=1e-5)
    assert np.abs(outputs["generated"] - outputs["real"]).max() > 1e-3


def test_the_trunks_statistics_are_those_of_real_clips():
    method, params, state, batch = started()
    _, outputs, after = played()

    @jax.jit
    def alone(clips):
        own = {"params": params["vision"], "batch_stats": state["batch_stats"]["vision"]}
        return method.vision.apply(own, clips, True, mutable=["batch_stats"])

    layers, expected = alone(batch["vision"])
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
        after["batch_stats"]["vision"],
        expected["batch_stats"],
    )
    answer = params["answer"]
    flat = np.asarray(layers["conv2"]).reshape(4, -1)
    logits = flat @ answer["kernel"] + answer["bias"]
    np.testing.assert_allclose(outputs["real"], logits, rtol=1e-4, atol=1e-5)
    generated = after["batch_stats"]["of_generated"]["batch_stats"]["bn2"]["mean"]
    assert np.abs(generated - expected["batch_stats"]["bn2"]["mean"]).max() > 1e-4
    moved = after["batch_stats"]["generator"]["background_bn1"]["mean"]
    assert np.abs(moved - state["batch_stats"]["generator"]["background_bn1"]["mean"]).max() > 0


# Clips


def test_clips_are_frames_in_a_row_and_every_record_has_its_latent():
    record = SyntheticSource(size=3, frames=20, height=16, width=16)[2]
    whole = record.frames(np.arange(20))
    seen = small(stride=2).views(record, np.random.default_rng(0))["vision"]
    starts = [k for k in range(20 - 14) if np.array_equal(whole[k : k + 15 : 2], seen)]
    assert len(starts) == 1
    method = small(latent=2000)
    clips = jnp.zeros((6, 1, 1, 1, 3), jnp.uint8)
    drawn = np.asarray(method.augment({"vision": clips}, {}, KEY)["latent"])
    assert drawn.mean() == pytest.approx(0, abs=4 / math.sqrt(drawn.size))
    assert drawn.std() == pytest.approx(1, rel=0.05)
    latents = method.clips(record, "generated", [0.0, 1.0])["latent"]
    assert latents.shape == (2, 2000)
    np.testing.assert_array_equal(latents, method.clips(record, "generated", [5.0, 6.0])["latent"])
    other = SyntheticSource(size=3, frames=20)[1]
    assert (latents != method.clips(other, "generated", [0.0, 1.0])["latent"]).all()
    assert (latents[0] != latents[1]).all()


def test_a_panned_video_rests_once_it_is_stabilised():
    rng = np.random.default_rng(0)
    scene = np.kron(rng.integers(0, 256, (20, 24, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    panned = np.stack([scene[20:148, k : k + 128] for k in range(0, 24, 3)])
    record = SyntheticSource(size=1, frames=8)[0]
    record = record.__class__(**{**vars(record), "frames": lambda numbers: panned[numbers]})

    def change(method) -> float:
        seen = method.views(record, np.random.default_rng(0))["vision"].astype(float)
        return float(np.abs(np.diff(seen, axis=0)).mean())

    assert change(small(stabilise=True)) < 0.3 * change(small())


def test_the_generator_must_draw_what_is_seen():
    with pytest.raises(ConfigError, match=r"frames=8 and size=32 .* 8 and 16"):
        small(size=32)


# The evaluator


def test_the_mask_is_weighted_by_what_moves():
    video, mask = np.zeros((2, 4, 1, 2, 3)), np.zeros((2, 4, 1, 2, 1))
    video[0, :, 0, 0] = np.array([0, 1, 0, 1])[:, None]  # of the first video the left place moves
    mask[0, :, 0, 0], mask[0, :, 0, 1] = 0.8, 0.2
    mask[1, :, 0, 0], mask[1, :, 0, 1] = 0.5, 0.1
    assert moving_mask(video, mask) == pytest.approx((0.8 + 0.3) / 2)


class Given:
    """Stands for a frozen network whose videos are known."""

    def __init__(self, **layers):
        self.layers = layers

    def inputs(self, source, stream, limit):
        assert (stream, limit) == ("generated", 2)
        return {"latent": np.zeros((2, 1, 3), np.float32)}, np.arange(2)

    def maps(self, stream, inputs, layers):
        assert inputs["latent"].shape == (2, 3)
        return {name: self.layers[name] for name in layers}


def test_generated_videos_are_measured_and_drawn():
    rng = np.random.default_rng(0)
    parts = {"foreground": rng.random((2, 5, 6, 6, 3)), "background": rng.random((2, 6, 6, 3))}
    parts |= {"mask": rng.random((2, 5, 6, 6, 1))}
    video = np.array(layered(**{k: jnp.asarray(v) for k, v in parts.items()}))
    evaluator = GeneratedVideos(SyntheticSource(size=2), records=2, drawn=1, frames=3, tile=20)
    found = dict(evaluator.run(Given(video=video, **parts)))
    assert found["mask"] == pytest.approx(parts["mask"].mean(), rel=1e-5)
    assert found["background"] == pytest.approx(
        np.abs(parts["background"] - np.median(video, axis=1)).mean(), rel=1e-5
    )
    assert 0 < found["mask/moving"] < 1
    assert found["videos"].dtype == np.uint8
    with pytest.raises(FloatingPointError, match="diverged"):
        list(evaluator.run(Given(video=np.full_like(video, np.nan), **parts)))
