"""Ambient sound: statistics of textures, what classes are made of them, and when."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from sklearn.decomposition import PCA
from tiny import TinyTrunk

from ssl_jax.config import ConfigError
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.methods.audio.ambient_sound import AmbientSound
from ssl_jax.objectives.sound_classes import nearest_centre, sides
from ssl_jax.ops.sound_texture import GROUPS, MODULATIONS, sound_texture
from ssl_jax.ops.subbands import envelopes
from ssl_jax.solvers.sound_classes import group_scales, principal_directions

RATE = 20_000
SECOND = np.arange(RATE) / RATE
TONE = 0.5 * np.sin(2 * np.pi * 1000 * SECOND) * (1 + 0.5 * np.sin(2 * np.pi * 4 * SECOND)) / 1.5


def groups(texture) -> dict[str, np.ndarray]:
    parts = np.split(np.asarray(texture), list(GROUPS.values())[:-1])
    return dict(zip(GROUPS, parts, strict=True))


def test_statistics_of_a_tone_that_swells_four_times_a_second():
    found = groups(sound_texture(TONE, RATE))
    assert {name: x.size for name, x in found.items()} == {
        "mean": 32,
        "deviation": 32,
        "correlation": 117,
        "modulation": 320,
        "loudness": 1,
    }
    np.testing.assert_allclose(found["mean"][12:15], [0.000049, 0.681118, 0.570653], atol=6e-7)
    assert found["mean"].argmax() == 13
    assert found["deviation"][13] == pytest.approx(0.112464, abs=1e-6)
    row = found["modulation"].reshape(32, 10)[13]
    expected = [0, 0, 0, 0.732093, 0.571805, 0.326301, 0.172397, 0.089247, 0.045954, 0.023628]
    np.testing.assert_allclose(row, expected, atol=1e-6)
    assert found["loudness"] == 0


def test_correlations_and_modulations_are_those_of_the_definition():
    wave = np.random.default_rng(0).normal(0, 0.1, 10_000) * (1 + SECOND[:10_000])
    found, x = groups(sound_texture(wave, RATE)), envelopes(wave, RATE)
    table = np.corrcoef(x.T)
    pairs = [table[i, i + d] for d in (1, 2, 3, 5) for i in range(32 - d)]
    np.testing.assert_allclose(found["correlation"], pairs, atol=1e-6)
    # A filter, there and back again.
    f = np.fft.rfftfreq(200, 1 / 400)
    squares = np.zeros(len(f))
    for centre in MODULATIONS:
        squares += np.where((f > 0) & (f < 2 * centre), np.sin(np.pi * f / (2 * centre)), 0) ** 2
    middle = squares[(f >= MODULATIONS[3]) & (f <= MODULATIONS[6])].mean()
    bank = np.sin(np.pi * f / (2 * MODULATIONS[5])) * ((f > 0) & (f < 2 * MODULATIONS[5]))
    through = np.fft.irfft(np.fft.rfft(x[:, 20]) * bank / np.sqrt(middle), 200)
    expected = np.sqrt(np.mean(through**2) / x[:, 20].var())
    assert found["modulation"].reshape(32, 10)[20, 5] == pytest.approx(expected, rel=1e-4)


def test_loudness_is_divided_out_and_told():
    quiet = groups(sound_texture(0.1 * TONE, RATE, by_loudness=True))
    loud = groups(sound_texture(TONE, RATE, by_loudness=True))
    np.testing.assert_allclose(quiet["mean"][13:15], loud["mean"][13:15], rtol=1e-4)
    # Amplitudes to the power 0.3.
    assert loud["loudness"][0] / quiet["loudness"][0] == pytest.approx(10**0.3, rel=1e-4)
    assert np.isfinite(sound_texture(np.zeros(4000), 8000, by_loudness=True)).all()
    with pytest.raises(ConfigError, match="too few"):
        sound_texture(np.zeros(10), RATE)


def test_a_wave_of_another_rate_is_as_loud_in_each_band():
    other = groups(sound_texture(scipy.signal.resample(TONE, 30_000), 30_000))
    np.testing.assert_allclose(other["mean"], groups(sound_texture(TONE, RATE))["mean"], atol=1e-6)


def test_groups_weigh_alike_and_what_never_varies_weighs_nothing():
    x = np.random.default_rng(0).normal(3, 1, (50, 5)) * [1, 10, 1, 5, 0]
    mean, scale = group_scales(x, {"first": 2, "second": 4, "third": 5})
    variance = ((x - mean) * scale).var(0)
    np.testing.assert_allclose([variance[:2].sum(), variance[2:4].sum()], 1, rtol=1e-5)
    assert scale[0] == scale[1]
    assert scale[4] == 0


def test_bits_are_the_sides_of_principal_directions():
    x = np.random.default_rng(0).normal(size=(40, 6)) * [5, 4, 3, 2, 1, 0.5]
    x = x - x.mean(0)
    found, pca = principal_directions(x, 3), PCA(3).fit(x)
    signs = np.sign((found * pca.components_).sum(1))
    np.testing.assert_allclose(found * signs[:, None], pca.components_, atol=1e-5)
    bits = np.asarray(sides(jnp.asarray(x, jnp.float32), jnp.asarray(found)))
    np.testing.assert_array_equal(bits, np.sign(pca.transform(x) * signs))
    centres = x[:4]
    near = nearest_centre(jnp.asarray(x, jnp.float32), jnp.asarray(centres, jnp.float32))
    away = ((x[:, None] - centres) ** 2).sum(-1)
    np.testing.assert_array_equal(near, away.argmin(1))


@pytest.mark.parametrize("targets", ["clusters", "bits"])
def test_classes_are_made_of_the_textures_of_the_training_records(targets):
    """Of tones of four pitches four clusters, each a pitch; or bits that differ between them."""
    source = SyntheticSource(size=24, frames=8, height=16, width=16)
    own = AmbientSound(TinyTrunk(), targets, 4, 0.25, short_side=16, crop=16)
    times = [own.times(record, "texture", 1) for record in source]
    rows = [own.clips(r, "texture", t)["texture"] for r, t in zip(source, times, strict=True)]
    textures = np.concatenate(rows)

    class Seen:
        def features(self, asked, stream, layers):
            assert (asked, stream, layers) == (source, "texture", ("texture",))
            return types.SimpleNamespace(layers={"texture": textures})

        def k_means(self, x, clusters, key, restarts):
            pitch = np.array([record.label for record in source])
            centres = np.stack([x[pitch == k].mean(0) for k in range(clusters)])
            return pitch, centres, 0.0

    new = own.refresh(Seen(), source, jax.random.key(0))
    assert not new.params
    batch = {"vision": jnp.zeros((24, 16, 16, 3), jnp.uint8), "texture": jnp.asarray(textures)}
    state = jax.tree.map(jnp.asarray, new.state)
    target = np.asarray(own.augment(batch, state, jax.random.key(0))["target"])
    pitch = np.array([record.label for record in source])
    if targets == "clusters":
        np.testing.assert_array_equal(target, pitch)
    else:
        assert target.shape == (24, 4)
        assert set(np.unique(target)) == {-1, 1}
        kinds = [{tuple(row) for row in target[pitch == k].tolist()} for k in range(4)]
        assert not kinds[0] & kinds[3]  # the lowest and the highest


def test_the_frame_lies_in_the_middle_of_its_audio():
    source = SyntheticSource(size=1, frames=32, height=16, width=16)
    own = AmbientSound(TinyTrunk(), seconds=0.5, short_side=16, crop=16)
    example = own.views(source[0], np.random.default_rng(0))
    assert example["vision"].shape == (16, 16, 3)
    assert example["texture"].shape == (502,)
    assert own.clips(source[0], "vision", own.times(source[0], "vision", 3))["vision"].shape[0] == 3
