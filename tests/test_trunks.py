"""Trunks against PyTorch's recorded outputs on the same weights; see recorded/make_trunks.py."""

import pathlib
import runpy

import jax
import numpy as np
import pytest

from ssl_jax.models.alexnet import AlexNet
from ssl_jax.models.c3d import C3D
from ssl_jax.models.resnet import ResNet
from ssl_jax.models.resnet3d import ResNet3D

FOLDER = pathlib.Path(__file__).parent / "recorded"
WEIGHTS = runpy.run_path(str(FOLDER / "weights.py"))
TORCHVISION = {"project_first": False, "width": 1 / 8}
TRUNKS = {
    "resnet18": ResNet(18, **TORCHVISION),
    "resnet50": ResNet(50, **TORCHVISION),
    "resnet18_same": ResNet(18, pool_padding="SAME", width=1 / 8),  # SimCLR's code
    "resnet18_cifar": ResNet(18, stem="cifar", **TORCHVISION),
    "r3d18": ResNet3D(width=1 / 8),
    "r2plus1d18": ResNet3D(split=True, stem_middle=45, share_middle=True, width=1 / 8),
    "mc3": ResNet3D(stages_3d=1, width=1 / 8),
    "c3d": C3D(width=1 / 8),
    "caffenet": AlexNet(lrn=True, normed=(), width=1 / 8),
    "alexnet": AlexNet(
        channels=(64, 192, 384, 256, 256),
        groups=1,
        conv1_padding=2,
        ceil_pooling=False,
        normed=(),
        width=1 / 8,
    ),
}


@pytest.mark.parametrize("name", TRUNKS)
def test_every_layer_is_that_of_an_independent_network(name):
    trunk, x = TRUNKS[name], jax.device_put(np.float32(WEIGHTS["images"](name)))
    shapes = jax.eval_shape(lambda: trunk.init(jax.random.key(0), x, False))

    def filled(path, leaf):
        path = jax.tree_util.keystr(path[1:], simple=True, separator="/")
        return np.float32(WEIGHTS["array"](path, leaf.shape))

    variables = jax.tree_util.tree_map_with_path(filled, shapes)
    layers = jax.jit(lambda v: trunk.apply(v, x, False))(variables)
    with np.load(FOLDER / "trunks.npz") as recorded:
        assert {key for key in recorded if key.split("/")[0] == name} == {
            f"{name}/{layer}" for layer in layers
        }
        for layer, values in layers.items():
            expected = recorded[f"{name}/{layer}"]
            assert np.abs(expected).max() > 0.01
            found = WEIGHTS["sampled"](np.asarray(values))
            np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())
