"""The benchmark of augmentations: both sides do the same work, and all of its rows come out."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.benchmarks import augment
from ssl_jax.benchmarks.augment import Augment
from ssl_jax.methods.image.simclr import SimCLR
from ssl_jax.models.resnet import ResNet
from ssl_jax.ops.augment import change_colours

TINY = Augment(pictures=2, on_accelerator=2, size=16, stored=20, depth=10, turns=1)


def test_rows_on_a_cpu_and_elsewhere(monkeypatch):
    rows = dict(TINY.rows())
    assert len(rows) == 2
    assert all(value > 0 and "2 x 2 of 16x16" in name for name, value in rows.items())
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    rows = dict(dataclasses.replace(TINY, on_accelerator=4).rows())
    assert all("4 x 2 of 16x16" in name for name in rows)
    (share,) = (value for name, value in rows.items() if "share" in name)
    assert 0 < share < 1  # a step holds its augmentation and more


def test_pillow_and_we_draw_from_the_same_distribution():
    """Means and deviations over many views of a picture are the same on both sides."""
    image = augment.coloured(1, 24)[0]
    rng = np.random.default_rng(0)
    theirs = np.stack([augment.view(image, 16, rng) for _ in range(600)])
    method = SimCLR(ResNet(10), size=16, stored=24, blur=0.0)  # at 16 pixels ours does not blur
    batch = {"vision": np.repeat(image[None], 600, axis=0)}
    ours = np.asarray(jax.jit(method.augment)(batch, {}, jax.random.key(0))["vision"])
    assert theirs.shape == ours.shape
    assert (theirs.min(), theirs.max()) == (0, 1)
    np.testing.assert_allclose(theirs.mean((0, 1, 2)), ours.mean((0, 1, 2)), atol=0.03)
    bright = [views.mean((1, 2, 3)).std() for views in (theirs, ours)]
    assert abs(bright[0] - bright[1]) < 0.03


def test_the_hue_is_turned_as_ours_is():
    from PIL import Image

    image = augment.coloured(1, 16)[0]
    theirs = np.asarray(augment.turned(Image.fromarray(image), 0.1), np.float32) / 255
    ones, order = jnp.ones((1, 3)), jnp.array([[0, 1, 2, 3]])
    ours = change_colours(jnp.asarray(image[None]) / 255.0, ones, jnp.array([0.1]), order)
    assert np.abs(theirs - np.asarray(ours)[0]).mean() < 0.02  # theirs has 256 hues
