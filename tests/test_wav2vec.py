"""wav2vec 2.0's trunk: equal to another library's, its sizes, padding, weights from files."""

import dataclasses
import functools
import pathlib
import types
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ssl_jax import config as configs
from ssl_jax.config import ConfigError
from ssl_jax.method import Method
from ssl_jax.models.text_encoder import TextEncoder
from ssl_jax.models.transformer import Transformer
from ssl_jax.models.wav2vec import ConvPositions, Wav2Vec, means, standardised
from ssl_jax.models.wave_encoder import WaveEncoder
from ssl_jax.ops.grouped_conv import grouped_conv
from ssl_jax.training.published import published
from ssl_jax.training.start import starter, trunks_of, with_trunks

RECORDED = pathlib.Path(__file__).parent / "recorded"
CONFIG = "configs/audio/masked_contrast_librispeech.py"
LARGE = {"norm": "layer", "use_bias": True}


def narrow(kind: str, **knobs) -> Wav2Vec:
    """As tests/recorded/make_wav2vec.py has it: norms as in Base ('group') or Large ('layer')."""
    large = kind == "layer"
    return Wav2Vec(
        encoder=WaveEncoder(channels=(8,) * 7, **(LARGE if large else {})),
        transformer=Transformer(blocks=2, heads=4, hidden=24, norm_first=large),
        width=16,
        position_taps=6,
        position_groups=4,
        **knobs,
    )


def quickly(function):
    """Compiled, for one call: it had better compile than run quickly."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


@pytest.mark.parametrize("kind", ["group", "layer"])
def test_it_equals_another_library_on_the_same_weights(kind):
    """A whole wave, the same with masked steps, and a shorter one, behind which lies anything."""
    with np.load(RECORDED / "wav2vec.npz") as recorded:
        seen = dict(recorded)
    model = narrow(kind)
    params = model.imported(load_file(RECORDED / f"wav2vec_{kind}.safetensors"))
    waves = np.repeat(seen["wave"], 3, axis=0)
    waves[2, 3000:] = 9.0
    masked = seen["masked"] & (np.arange(3) == 1)[:, None]
    inputs = {"audio": waves, "samples": np.array([4000, 4000, 3000]), "masked": masked}
    call = quickly(lambda p, x: model.apply({"params": p}, x, False))
    found = call(params, jax.tree.map(jnp.asarray, inputs))
    top = "norm" if kind == "layer" else "block2"
    for ours, theirs in (("features", "features"), ("block1", "block1"), (top, "last")):
        np.testing.assert_allclose(found[ours][:1], seen[f"{kind}/{theirs}"], atol=2e-5)
    np.testing.assert_allclose(found[top][1:2], seen[f"{kind}/last_masked"], atol=2e-5)
    short = seen[f"{kind}/last_short"]
    assert short.shape[1] < found[top].shape[1]
    np.testing.assert_allclose(found[top][2:, : short.shape[1]], short, atol=2e-5)


def test_means_and_waves_are_of_what_is_there():
    rng = np.random.default_rng(0)
    layers = {"conv1": rng.normal(size=(2, 9, 3)), "top": rng.normal(size=(2, 5, 3))}
    layers = jax.tree.map(jnp.float32, layers)
    found = means(layers, jnp.array([5, 2]))
    assert [*found] == ["top"]
    expected = [layers["top"][0].mean(0), layers["top"][1, :2].mean(0)]
    np.testing.assert_allclose(found["top"], expected, atol=1e-6)
    np.testing.assert_allclose(means(layers, None)["top"], layers["top"].mean(1), atol=1e-6)
    wave = 3 + 5 * rng.normal(size=(2, 400)).astype(np.float32)
    even = np.asarray(standardised(jnp.asarray(wave), jnp.array([400, 100])))
    assert not even[1, 100:].any()
    for row, count in zip(even, (400, 100), strict=True):
        assert row[:count].mean() == pytest.approx(0, abs=1e-5)
        assert row[:count].std() == pytest.approx(1, rel=1e-4)


def test_a_standardised_wave_is_as_by_hand():
    rng = np.random.default_rng(3)
    waves = (3 + 5 * rng.normal(size=(2, 4000))).astype(np.float32)
    samples = np.array([4000, 3000])
    by_hand = np.zeros_like(waves)
    for row, (wave, count) in enumerate(zip(waves, samples, strict=True)):
        by_hand[row, :count] = (wave[:count] - wave[:count].mean()) / wave[:count].std()
    params = narrow("layer").imported(load_file(RECORDED / "wav2vec_layer.safetensors"))

    def top(waves, standardise):
        model = narrow("layer", standardise=standardise)
        inputs = {"audio": jnp.asarray(waves), "samples": jnp.asarray(samples)}
        return quickly(lambda p, x: model.apply({"params": p}, x, False)["norm"])(params, inputs)

    expected = top(by_hand, False)
    np.testing.assert_allclose(top(waves, True), expected, atol=1e-4)
    assert np.abs(top(waves, False) - expected).max() > 1e-2


# The Large of LibriSpeech lacks the biases of 7 convolutions and the norms of all but the first.
@pytest.mark.parametrize(
    ("variant", "count"),
    [
        ("", 94_371_712),
        (":large", 315_438_720 - 7 * 512 - 6 * 2 * 512),
        (":large_lv60k", 315_438_720),
    ],
)
def test_sizes_are_the_published_ones(variant, count):
    model = configs.build(configs.load(CONFIG + variant).method).audio
    wave = jax.ShapeDtypeStruct((1, 8000), jnp.float32)
    made = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, False), wave)
    assert sum(leaf.size for leaf in jax.tree.leaves(made)) == count


def test_steps_of_a_wave():
    lengths = [399, 400, 719, 720, 16_000, 32_000, 160_000, 250_000, 320_000]
    expected = [0, 1, 1, 2, 49, 99, 499, 781, 999]
    encoder = WaveEncoder()
    assert [encoder.steps(samples) for samples in lengths] == expected
    np.testing.assert_array_equal(encoder.steps(np.array(lengths)), expected)


def test_the_encoder_learns_by_a_tenth():
    short = {"channels": (4,), "kernels": (10,), "strides": (5,), "padding": (0,)}
    wave = jax.random.normal(jax.random.key(0), (1, 100))

    def trunk(factor):
        return Wav2Vec(
            WaveEncoder(**short),
            Transformer(blocks=1, heads=1, hidden=4),
            width=4,
            position_taps=3,
            position_groups=1,
            encoder_gradient=factor,
        )

    def gradient(params, factor):
        def loss(params):  # with weights, or the last norm would let nothing through
            return (trunk(factor).apply(params, wave, False)["block1"] * jnp.arange(4.0)).sum()

        found = jax.grad(loss)(params)["params"]
        return found["convolutions"]["conv1"]["kernel"], found["projection"]["kernel"]

    shapes = jax.eval_shape(lambda: trunk(1.0).init(jax.random.key(1), wave, False))
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda x: rng.standard_normal(x.shape, np.float32), shapes)
    both = quickly(lambda p: (gradient(p, 1.0), gradient(p, 0.1)))
    (whole, same), (tenth, other) = both(params)
    assert np.abs(whole).max() > 0
    np.testing.assert_allclose(tenth, 0.1 * whole, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(other, same, rtol=1e-4, atol=1e-7)


def test_both_forms_of_the_grouped_convolution_are_sums_over_taps():
    rng = np.random.default_rng(2)
    x, kernel = rng.normal(size=(2, 7, 6)), rng.normal(size=(4, 3, 8))
    padded = np.pad(x, ((0, 0), (2, 2), (0, 0)))
    expected = np.zeros((2, 8, 8))
    for step, tap in np.ndindex(8, 4):
        for group in range(2):
            own = padded[:, step + tap, 3 * group : 3 * group + 3]
            expected[:, step, 4 * group : 4 * group + 4] += own @ kernel[tap, :, 4 * group :][:, :4]
    for impl in ("native", "fourier"):
        found = grouped_conv(jnp.float32(x), jnp.float32(kernel), 2, impl)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    with pytest.raises(ConfigError, match="do not divide"):
        grouped_conv(jnp.zeros((1, 5, 6)), jnp.zeros((3, 4, 8)))
    with pytest.raises(ConfigError, match="position_groups=16 must divide width=24"):
        ConvPositions().init(jax.random.key(0), jnp.zeros((1, 5, 24)))


def begun(kind: str, file: str):
    """The state of a run of that trunk that begins with a file: shapes but for what it has."""
    experiment, state = fresh(kind)
    return with_trunks(state, dataclasses.replace(experiment, init_from=file))


@functools.cache
def fresh(kind: str):
    """An experiment with that trunk, and the shapes of its state."""
    experiment = configs.build(configs.load(f"{CONFIG}:tiny"))
    method = dataclasses.replace(experiment.method, audio=narrow(kind))
    experiment = dataclasses.replace(experiment, method=method)
    optimizer = experiment.optimizer.build(experiment.steps)
    return experiment, jax.eval_shape(starter(optimizer, experiment))


def test_a_run_begins_with_a_published_file():
    for kind, prefix, name in (
        ("group", "wav2vec2.", "positions_norm"),
        ("layer", "", "blocks/norm"),
    ):
        path = RECORDED / f"wav2vec_{kind}.safetensors"
        params = begun(kind, str(path)).params
        assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(params["audio"]))
        assert not isinstance(params["quantizer"]["codebooks"], np.ndarray)
        arrays, node = load_file(path), params["audio"]
        for part in name.split("/"):
            node = node[part]
        np.testing.assert_array_equal(node["scale"], arrays[f"{prefix}encoder.layer_norm.weight"])


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16])
def test_published_weights_of_half_precision_become_float32(tmp_path, dtype):
    path = RECORDED / "wav2vec_group.safetensors"
    halved = {name: x.astype(dtype) for name, x in load_file(path).items()}
    save_file(halved, tmp_path / "half.safetensors")
    params = begun("group", str(tmp_path / "half.safetensors")).params["audio"]
    assert {x.dtype for x in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    name = "wav2vec2.feature_projection.projection.bias"
    np.testing.assert_array_equal(params["projection"]["bias"], np.float32(halved[name]))


def test_each_trunk_takes_the_file_that_is_its_own(tmp_path):
    net = types.SimpleNamespace(audio=narrow("group"), text=TextEncoder(Transformer()))
    method = mock.Mock(spec=Method, trunks=("audio", "text"), net=net)
    assert [*published(str(RECORDED / "wav2vec_group.safetensors"), method)] == ["audio"]
    save_file({"other": np.zeros(2, np.float32)}, tmp_path / "other.safetensors")
    with pytest.raises(ConfigError, match=r"other\.safetensors: audio: no weights.*; text: "):
        published(str(tmp_path / "other.safetensors"), method)


def test_a_file_that_does_not_fit_is_one_line(tmp_path):
    group = str(RECORDED / "wav2vec_group.safetensors")
    with pytest.raises(ConfigError, match="has no audio/convolutions/conv2_norm"):
        begun("layer", group)
    bare = str(tmp_path / "bare.safetensors")
    kept = {k: x for k, x in load_file(group).items() if "masked_spec" not in k}
    save_file(kept, bare)
    np.testing.assert_array_equal(begun("group", bare).params["audio"]["mask"], np.zeros(16))
    save_file({"bert.pooler.weight": np.zeros(2, np.float32)}, bare)
    with pytest.raises(ConfigError, match="no weights of wav2vec"):
        begun("group", bare)
    with pytest.raises(ConfigError, match=r"there is no file .*gone\.safetensors"):
        begun("group", str(tmp_path / "gone.safetensors"))
    pathlib.Path(bare).write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="is no safetensors file"):
        begun("group", bare)
    with pytest.raises(ConfigError, match="names of another library, unknown to"):
        trunks_of(bare)
