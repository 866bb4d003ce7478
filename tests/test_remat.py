"""`remat`: the same network, recomputed in the backward pass instead of kept for it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.models.audio import AudioNet
from ssl_jax.models.c3d import C3D
from ssl_jax.models.l3 import L3Net
from ssl_jax.models.nin import NIN
from ssl_jax.models.resnet import ResNet
from ssl_jax.models.resnet3d import ResNet3D
from ssl_jax.models.resnet_v2 import ResNetV2
from ssl_jax.models.vgg import DilatedVGG

KEY = jax.random.key(0)
PICTURE, CLIP, SOUND = (2, 32, 32, 3), (2, 8, 16, 16, 3), (2, 32, 33)
TRUNKS = {
    "resnet": (ResNet(10, stem="cifar", width=0.05), PICTURE),
    "resnet v2": (ResNetV2(units=(1, 2), width=0.05), PICTURE),
    "r3d": (ResNet3D(layers=(1, 1, 1, 1), width=0.05), CLIP),
    "r(2+1)d": (ResNet3D(layers=(1, 1, 1, 1), split=True, width=0.05), CLIP),
    "c3d": (C3D(width=0.05), CLIP),
    "l3": (L3Net(width=0.05), PICTURE),
    "sound": (AudioNet(width=0.05), SOUND),
    "nin": (NIN(blocks=3, width=0.05), PICTURE),
    "vgg": (DilatedVGG(width=0.05), PICTURE),
}


def lowered(trunk, variables, x):
    """The gradient of a loss of all layers; its state."""
    params, state = variables["params"], {k: v for k, v in variables.items() if k != "params"}

    def loss(params, x):
        layers, after = trunk.apply({"params": params, **state}, x, True, mutable=list(state))
        return sum(jnp.mean(jnp.cos(layer)) for layer in layers.values()), after

    return jax.jit(jax.value_and_grad(loss, has_aux=True)).lower(params, x)


@pytest.mark.parametrize("name", TRUNKS)
def test_layers_statistics_and_gradients_are_the_same(name):
    trunk, shape = TRUNKS[name]
    x = jax.random.normal(KEY, shape)
    remat = trunk.clone(remat=True)
    variables = jax.jit(lambda: trunk.init(KEY, x, False))()
    again = jax.eval_shape(lambda: remat.init(KEY, x, False))
    assert jax.tree.structure(again) == jax.tree.structure(variables)
    params = variables["params"]
    plain, recomputed = (lowered(t, variables, x) for t in (trunk, remat))
    # Recomputing convolutions is what it is about, and shows in the program.
    assert recomputed.as_text().count("stablehlo.convolution") > plain.as_text().count(
        "stablehlo.convolution"
    )
    for mine, theirs in zip(
        jax.tree.leaves(recomputed.compile()(params, x)),
        jax.tree.leaves(plain.compile()(params, x)),
        strict=True,
    ):
        assert np.linalg.norm(mine - theirs) <= 1e-5 * max(1, np.linalg.norm(theirs))


@pytest.mark.parametrize("name", TRUNKS)
def test_less_is_kept_for_the_backward_pass(name):
    # Not the compiled program's memory: on a CPU XLA finds what is computed twice, and keeps it.
    trunk, (_, *shape) = TRUNKS[name]
    x = jax.ShapeDtypeStruct((16, *shape), jnp.float32)
    variables = jax.eval_shape(lambda: trunk.init(KEY, jnp.zeros((1, *shape)), False))
    recomputed, plain = (kept(t, variables, x) for t in (trunk.clone(remat=True), trunk))
    assert recomputed < 0.75 * plain


def kept(trunk, variables, x) -> int:
    """Bytes that the forward pass of a loss of the last layer leaves for the backward pass."""

    def loss(variables, x):
        layers, _ = trunk.apply(variables, x, True, mutable=["batch_stats"])
        return jnp.mean(jnp.cos(layers[list(layers)[-1]]))

    backward = jax.eval_shape(lambda v, x: jax.vjp(lambda v: loss(v, x), v)[1], variables, x)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(backward))
