"""Trunks and heads: parameter counts and shapes, and what the knobs promise."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from ssl_jax.config import ConfigError
from ssl_jax.models.alexnet import CONVS, NORMED_DEEP, AlexNet, local_response_norm
from ssl_jax.models.audio import AudioNet
from ssl_jax.models.c3d import C3D
from ssl_jax.models.heads import Classifier, MLPHead, PairwiseOrderHead, ordered_pairs
from ssl_jax.models.l3 import L3Net
from ssl_jax.models.layers import GroupedConv
from ssl_jax.models.nin import NIN
from ssl_jax.models.resnet import ResNet
from ssl_jax.models.resnet3d import ResNet3D, middle_width

KEYS = {"params": jax.random.key(0), "dropout": jax.random.key(1)}


def shapes(module, *shape, train=False):
    """(outputs, variables) of a module as shapes, in the module's order; compiles nothing."""
    order = []

    def run(x):
        outputs, variables = module.init_with_output(KEYS, x, train=train)
        order.extend(outputs if isinstance(outputs, dict) else ())  # tracing sorts dicts
        return outputs, variables

    outputs, variables = jax.eval_shape(run, jax.ShapeDtypeStruct(shape, jnp.float32))
    return {name: outputs[name] for name in order} if order else outputs, variables


def count(module, *shape):
    """Number of parameters of a module that is called with this shape."""
    leaves = jax.tree.leaves(shapes(module, *shape)[1]["params"])
    return sum(int(np.prod(leaf.shape)) for leaf in leaves)


SHUFFLE_AND_LEARN = AlexNet(lrn=True, normed=NORMED_DEEP, bn_affine=False)
CROSS_AND_LEARN = AlexNet(
    normed=CONVS,
    bn_after_relu=True,
    conv1_padding=2,
    ceil_pooling=False,
    fc7=0,
    dropout_before=True,
)
ROTNET = AlexNet(
    channels=(64, 192, 384, 256, 256),
    groups=1,
    conv1_padding=2,
    ceil_pooling=False,
    fc_bias=False,
    dropout=0.0,
    weight_init="he",
)


def test_alexnet_counts():
    # Shuffle & Learn: three fc7 side by side are classified; its BN has no parameters.
    trunk, head = count(SHUFFLE_AND_LEARN, 1, 227, 227, 3), count(Classifier(2), 1, 3, 4096)
    assert trunk + head == 56_892_802
    # OPN without its BN.
    trunk = AlexNet(lrn=True, normed=(), fc6=1024, fc7=0)
    head = PairwiseOrderHead(classes=12, pair_order="distance")
    assert count(trunk, 1, 80, 80, 3) + count(head, 1, 4, 1024) == 4_469_644
    # The convolutions alone, by the number of channels of the input.
    for channels, parameters in ((3, 2_334_080), (12, 2_438_624), (15, 2_473_472), (20, 2_531_552)):
        assert count(AlexNet(normed=(), fc6=0, fc7=0), 1, 227, 227, channels) == parameters


def test_alexnet_layers():
    layers, _ = shapes(SHUFFLE_AND_LEARN, 2, 227, 227, 3)
    assert {name: layer.shape[1:] for name, layer in layers.items()} == {
        "conv1": (55, 55, 96),
        "pool1": (27, 27, 96),
        "conv2": (27, 27, 256),
        "pool2": (13, 13, 256),
        "conv3": (13, 13, 384),
        "conv4": (13, 13, 384),
        "conv5": (13, 13, 256),
        "pool5": (6, 6, 256),
        "fc6": (4096,),
        "fc7": (4096,),
    }
    assert [*layers][:4] + [*layers][-3:] == [
        *("conv1", "pool1", "conv2", "pool2"),
        *("pool5", "fc6", "fc7"),
    ]
    # OPN's patches of 80 pixels only work with pooling that rounds up.
    layers, _ = shapes(AlexNet(fc6=1024, fc7=0), 1, 80, 80, 3)
    sides = [layers[name].shape[1] for name in ("conv1", "pool1", "pool2", "pool5")]
    assert sides == [18, 9, 4, 2]
    assert [*layers][-1] == "fc6"
    for net in (CROSS_AND_LEARN, ROTNET):
        layers, _ = shapes(net, 1, 224, 224, 3)
        sides = [layers[name].shape[1] for name in ("conv1", "pool1", "pool2", "pool5")]
        assert sides == [55, 27, 13, 6]
    assert [layers[name].shape[-1] for name in CONVS] == [64, 192, 384, 256, 256]


def test_alexnet_order_of_norm_and_relu():
    x = jax.random.normal(jax.random.key(0), (4, 67, 67, 3))
    for after, expected in ((False, 0.0), (True, -0.1)):
        net = AlexNet(bn_after_relu=after, fc6=0, fc7=0, width=0.05)
        layers, _ = jax.jit(lambda x, net=net: net.init_with_output(KEYS, x, train=True))(x)
        for name in CONVS:
            assert (layers[name].min() < expected) == after
            mean = layers[name].mean((0, 1, 2))
            assert bool(jnp.all(jnp.abs(mean) < 1e-3)) == after  # BN comes last


def test_alexnet_dropout_before_or_after():
    x = np.random.default_rng(0).normal(size=(2, 67, 67, 3)).astype(np.float32)
    for before in (False, True):
        net = AlexNet(normed=(), fc6=512, fc7=0, width=0.25, dropout=0.5, dropout_before=before)

        @jax.jit
        def run(x, net=net):
            params = net.init(KEYS, x, train=False)["params"]
            # A bias far above the rest keeps ReLU open: zeros can only be dropped outputs.
            params["fc6"]["bias"] += 100.0
            return [
                net.apply({"params": params}, x, train=True, rngs={"dropout": key})["fc6"]
                for key in KEYS.values()
            ]

        first, second = run(x)
        zeros = float(jnp.mean(first == 0))
        assert zeros == 0 if before else 0.35 < zeros < 0.65
        assert not np.array_equal(first, second)


def test_alexnet_initial_weights():
    net = AlexNet(weight_init="caffe", one_biases=("conv2", "fc6"), normed=(), fc7=0, width=0.1)
    params = jax.jit(lambda x: net.init(KEYS, x, train=False))(jnp.zeros((1, 67, 67, 3)))["params"]
    assert float(params["conv3"]["kernel"].std()) == pytest.approx(0.01, rel=0.05)
    assert float(params["fc6"]["kernel"].std()) == pytest.approx(0.005, rel=0.05)
    ones = {name for name in params if bool(jnp.all(params[name]["bias"] == 1))}
    assert ones == {"conv2", "fc6"}
    assert all(bool(jnp.all(params[name]["bias"] == 0)) for name in set(params) - ones)


def test_grouped_convolution_equals_xla():
    x = jax.random.normal(jax.random.key(0), (2, 6, 5, 4))
    layer = GroupedConv(features=6, size=3, stride=2, padding=1, groups=2)
    variables = layer.init(jax.random.key(1), x)
    kernel = variables["params"]["kernel"]
    assert kernel.shape == (3, 3, 2, 6)
    expected = lax.conv_general_dilated(
        x,
        kernel,
        (2, 2),
        ((1, 1), (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=2,
    )
    np.testing.assert_allclose(layer.apply(variables, x), expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="do not divide into 4 groups"):
        GroupedConv(features=6, size=3, groups=4).init(jax.random.key(1), x)


def test_local_response_norm_is_caffes():
    x = np.random.default_rng(0).normal(size=(1, 2, 2, 7)).astype(np.float32) * 100
    expected = np.zeros_like(x)
    for c in range(7):
        near = x[..., max(0, c - 2) : c + 3]
        expected[..., c] = x[..., c] / (1 + 1e-4 / 5 * (near**2).sum(-1)) ** 0.75
    np.testing.assert_allclose(local_response_norm(jnp.asarray(x)), expected, rtol=1e-5)


def test_alexnet_bad_knobs_are_named():
    with pytest.raises(ValueError, match=r"normed=.*conv6.* must be one of conv1"):
        shapes(AlexNet(normed=("conv6",)), 1, 227, 227, 3)
    with pytest.raises(ValueError, match="fc7 needs fc6"):
        shapes(AlexNet(fc6=0), 1, 227, 227, 3)
    with pytest.raises(ValueError, match="weight_init='xavier' must be one of lecun, he, caffe"):
        shapes(AlexNet(weight_init="xavier"), 1, 227, 227, 3)
    with pytest.raises(ValueError, match="use a larger input"):
        shapes(AlexNet(), 1, 12, 12, 3)


def test_resnet_counts_and_layers():
    assert count(ResNet(18, stem="cifar"), 1, 32, 32, 3) == 11_173_056
    assert count(ResNet(18, stem="cifar", project_first=False), 1, 32, 32, 3) == 11_168_832
    assert count(ResNet(50), 1, 64, 64, 3) == 23_508_032
    assert count(ResNet(50, stem="cifar"), 1, 32, 32, 3) == 23_500_352
    layers, _ = shapes(ResNet(50), 2, 224, 224, 3)
    assert [(name, layer.shape) for name, layer in layers.items()] == [
        ("stem", (2, 112, 112, 64)),
        ("stage1", (2, 56, 56, 256)),
        ("stage2", (2, 28, 28, 512)),
        ("stage3", (2, 14, 14, 1024)),
        ("stage4", (2, 7, 7, 2048)),
        ("pool", (2, 2048)),
    ]
    layers, _ = shapes(ResNet(18, strides=(1, 2, 1, 1)), 1, 256, 256, 1)
    assert layers["stage4"].shape == (1, 32, 32, 512)
    layers, _ = shapes(ResNet(34, stem="cifar", width=0.25), 1, 32, 32, 3)
    assert [layer.shape[-1] for layer in layers.values()] == [16, 16, 32, 64, 128, 128]
    with pytest.raises(ValueError, match="depth=20 must be one of"):
        shapes(ResNet(20), 1, 32, 32, 3)
    with pytest.raises(ValueError, match="must be one of imagenet, cifar"):
        shapes(ResNet(18, stem="mnist"), 1, 32, 32, 3)


def test_resnet_starts_as_identity():
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    net = ResNet(10, stem="cifar", project_first=False, width=0.0625)
    layers, _ = jax.jit(lambda x: net.init_with_output(KEYS, x, train=True))(x)
    np.testing.assert_array_equal(layers["stage1"], layers["stem"])


@pytest.mark.parametrize(
    ("net", "blocks"), [(ResNet(18, width=0.1), 8), (ResNet3D(split=True, width=0.1), 8)]
)
def test_remat_recomputes_every_block_with_the_same_parameters(net, blocks):
    shape = (1, 32, 32, 3) if isinstance(net, ResNet) else (1, 8, 32, 32, 3)
    _, variables = shapes(net, *shape)
    remat = net.clone(remat=True)
    assert shapes(remat, *shape)[1] == variables
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), variables)
    for module, expected in ((net, 0), (remat, blocks)):
        jaxpr = jax.make_jaxpr(lambda x, module=module: module.apply(zeros, x, train=False))(
            jnp.zeros(shape)
        )
        names = [equation.primitive.name for equation in jaxpr.eqns]
        assert sum(name in ("remat2", "checkpoint", "remat") for name in names) == expected


def test_nin_counts_and_layers():
    assert count(NIN(blocks=4), 1, 32, 32, 3) + count(Classifier(4), 1, 192) == 1_411_140
    layers, _ = shapes(NIN(blocks=5), 1, 32, 32, 3)
    assert [(name, layer.shape[1:]) for name, layer in layers.items()] == [
        ("block1", (16, 16, 96)),
        ("block2", (8, 8, 192)),
        ("block3", (8, 8, 192)),
        ("block4", (8, 8, 192)),
        ("block5", (8, 8, 192)),
        ("pool", (192,)),
    ]
    layers, _ = shapes(NIN(pool_block3=True, width=0.25), 1, 32, 32, 3)
    assert (layers["block3"].shape, layers["pool"].shape) == ((1, 4, 4, 48), (1, 48))
    with pytest.raises(ValueError, match="blocks=2 must be at least 3"):
        shapes(NIN(blocks=2), 1, 32, 32, 3)


def test_c3d_counts_and_layers():
    assert count(C3D(), 1, 16, 112, 112, 3) == 27_661_440
    layers, _ = shapes(C3D(), 1, 16, 112, 112, 3)
    assert [(name, layer.shape[1:]) for name, layer in layers.items()] == [
        ("conv1", (16, 112, 112, 64)),
        ("conv2", (16, 56, 56, 128)),
        ("conv3", (8, 28, 28, 256)),
        ("conv4", (4, 14, 14, 512)),
        ("conv5", (2, 7, 7, 512)),
        ("pool", (512,)),
    ]


def split_pair(kernel, channels_in, middle, channels_out):
    """Weights of a convolution of space and one of time, without biases, and of their two BNs."""
    kt, kh, kw = kernel
    space = kh * kw * channels_in * middle + 2 * middle
    return space + kt * middle * channels_out + 2 * channels_out


def test_resnet3d_counts_and_layers():
    clip = (1, 16, 112, 112, 3)
    one = (1, 1, 1, 1)
    assert count(ResNet3D(one), *clip) == 14_361_792
    assert count(ResNet3D(one, split=True, split_shortcut=True), *clip) == 14_365_303
    # By arithmetic, as no publication prints it: Tran et al. 2018's layers, VMZ's stem of 45.
    total = split_pair((3, 7, 7), 3, 45, 64)
    for stage, wide in enumerate((64, 128, 256, 512)):
        narrow = wide // 2 if stage else wide
        for channels_in in (narrow, wide, wide, wide):  # two blocks of two convolutions
            middle = 27 * channels_in * wide // (9 * channels_in + 3 * wide)
            total += split_pair((3, 3, 3), channels_in, middle, wide)
        if stage:
            total += narrow * wide + 2 * wide  # the shortcut and its BN
    assert count(ResNet3D(split=True, stem_middle=45), *clip) == total == 33_165_639
    assert count(ResNet3D(split=True, stem_middle=45, share_middle=True), *clip) == 31_300_125
    # torchvision's mc3_18, 11,695,440, less its layer of 400 classes.
    mixed = ResNet3D(stages_3d=1)
    assert count(mixed, *clip) == 11_695_440 - (512 + 1) * 400
    assert shapes(mixed, *clip)[0]["stage4"].shape == (1, 16, 7, 7, 512)
    with pytest.raises(ConfigError, match="split=True has nothing to split"):
        ResNet3D(split=True, stages_3d=1)
    for net in (ResNet3D(one), ResNet3D(split=True)):
        layers, _ = shapes(net, *clip)
        assert [(name, layer.shape[1:]) for name, layer in layers.items()] == [
            ("stem", (16, 56, 56, 64)),
            ("stage1", (16, 56, 56, 64)),
            ("stage2", (8, 28, 28, 128)),
            ("stage3", (4, 14, 14, 256)),
            ("stage4", (2, 7, 7, 512)),
            ("pool", (512,)),
        ]


def test_middle_widths_of_r2plus1d():
    assert middle_width((3, 7, 7), 3, 64) == 83
    whole = [(64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512), (512, 512)]
    widths = [middle_width((3, 3, 3), *pair) for pair in whole]
    assert widths == [144, 230, 288, 460, 576, 921, 1152]
    shortcuts = [middle_width((1, 1, 1), c, 2 * c) for c in (64, 128, 256)]
    assert shortcuts == [42, 85, 170]


def test_l3_counts_and_layers():
    # By arithmetic, as no publication prints them: eight 3x3 convolutions, each with a bias and BN.
    for trunk, shape, channels, expected in (
        (L3Net(), (1, 224, 224, 3), 3, 4_689_216),
        (AudioNet(), (1, 200, 257), 1, 4_688_064),
    ):
        widths = (channels, 64, 64, 128, 128, 256, 256, 512, 512)
        total = sum(9 * a * b + 3 * b for a, b in itertools.pairwise(widths))
        assert count(trunk, *shape) == total == expected
    names = [f"conv{i}_{j}" for i in (1, 2, 3, 4) for j in (1, 2)]
    for stride, picture, sound in ((1, (28, 28), (24, 32)), (2, (14, 14), (12, 16))):
        vision, _ = shapes(L3Net(first_stride=stride), 1, 224, 224, 3)
        audio, _ = shapes(AudioNet(first_stride=stride), 1, 199, 257)
        assert [*vision] == [*audio] == [*names, "pool"]
        assert vision["conv4_2"].shape == (1, *picture, 512)
        assert audio["conv4_2"].shape == (1, *sound, 512)
        assert vision["pool"].shape == audio["pool"].shape == (1, 512)


TINY = {  # every trunk, narrow, with an input
    "alexnet": (AlexNet(lrn=True, fc6=640, fc7=640, width=0.05), (2, 67, 67, 3)),
    "resnet": (ResNet(10, stem="cifar", width=0.0625), (2, 8, 8, 3)),
    "resnet50": (ResNet(50, width=0.0625), (1, 32, 32, 3)),
    "nin": (NIN(blocks=3, width=0.05), (2, 8, 8, 3)),
    "c3d": (C3D(width=0.0625), (2, 8, 16, 16, 3)),
    "r3d": (ResNet3D((1, 1, 1, 1), width=0.0625), (2, 8, 16, 16, 3)),
    "r2plus1d": (
        ResNet3D((1, 1, 1, 1), split=True, split_shortcut=True, width=0.0625),
        (2, 8, 16, 16, 3),
    ),
    "l3": (L3Net(width=0.05), (2, 16, 16, 3)),
    "audio": (AudioNet(width=0.05), (2, 20, 33)),
}


@pytest.mark.parametrize("name", [*TINY])
def test_bfloat16_keeps_parameters_and_statistics_float32(name):
    trunk, shape = TINY[name]
    layers, variables = shapes(trunk.clone(dtype="bfloat16"), *shape, train=True)
    assert {layer.dtype.name for layer in layers.values()} == {"bfloat16"}
    assert {leaf.dtype.name for leaf in jax.tree.leaves(variables)} == {"float32"}
    same = jax.tree.map(jnp.shape, shapes(trunk, *shape)[1])
    assert jax.tree.map(jnp.shape, variables) == same


@pytest.mark.parametrize("name", ["alexnet", "r3d"])
def test_training_in_bfloat16_moves_statistics_and_reaches_every_weight(name):
    trunk, shape = TINY[name]
    trunk = trunk.clone(dtype="bfloat16")
    x = np.random.default_rng(0).normal(size=(4, *shape[1:])).astype(np.float32)

    @jax.jit
    def step(x):
        variables = trunk.init(KEYS, x, train=False)

        def loss(params):
            layers, state = trunk.apply(
                {**variables, "params": params},
                x,
                train=True,
                rngs={"dropout": KEYS["dropout"]},
                mutable=["batch_stats"],
            )
            last = [*layers.values()][-1].astype(jnp.float32)
            weights = jnp.sin(jnp.arange(last.size)).reshape(last.shape)
            return jnp.sum(last * weights), (layers, state)

        grads, (layers, state) = jax.grad(loss, has_aux=True)(variables["params"])
        return grads, layers, variables["batch_stats"], state["batch_stats"]

    grads, layers, before, after = step(x)
    for layer in layers.values():
        assert bool(jnp.all(jnp.isfinite(layer)))
    for name, leaves in grads.items():
        for leaf in jax.tree.leaves(leaves):
            assert leaf.dtype == jnp.float32
            assert bool(jnp.all(jnp.isfinite(leaf)))
        # BN takes a bias before it away again: only the kernel is sure to matter.
        weights = [leaves["kernel"]] if f"{name}_bn" in grads else jax.tree.leaves(leaves)
        assert all(bool(jnp.any(leaf != 0)) for leaf in weights), name
    moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), before, after)
    assert all(jax.tree.leaves(moved))


def test_mlp_head():
    assert count(MLPHead(hidden=(2048,), out=128), 2, 2048) == 4_460_672
    assert count(MLPHead(hidden=(2048, 2048), out=128), 2, 2048) == 8_659_072
    # Without BN the layers have biases.
    plain = MLPHead(hidden=(32,), out=8, norm_hidden=False, norm_out=False, init_std=0.0)
    assert count(plain, 2, 16) == 16 * 32 + 32 + 32 * 8 + 8
    x = jax.random.normal(jax.random.key(0), (64, 16))
    out, _ = MLPHead(hidden=(32,), out=8).init_with_output(KEYS, x, train=True)
    np.testing.assert_allclose(out.mean(0), 0, atol=1e-5)  # BN without offset is last


def test_order_of_pairs():
    assert ordered_pairs(3, "lexicographic") == [(0, 1), (0, 2), (1, 2)]
    assert ordered_pairs(4, "distance") == [(0, 1), (1, 2), (2, 3), (0, 2), (1, 3), (0, 3)]
    with pytest.raises(ValueError, match="'lexicographic' or 'distance'"):
        ordered_pairs(3, "random")


@pytest.mark.parametrize(("order", "items"), [("lexicographic", 3), ("distance", 4)])
def test_pairwise_head_equals_loops(order, items):
    x = jax.random.normal(jax.random.key(0), (2, items, 5))
    head = PairwiseOrderHead(classes=6, hidden=4, pair_order=order)
    out, variables = head.init_with_output(KEYS, x, train=False)
    pair, last = variables["params"]["pair"], variables["params"]["order"]
    features = [
        np.maximum(np.concatenate([x[:, i], x[:, j]], -1) @ pair["kernel"] + pair["bias"], 0)
        for i, j in ordered_pairs(items, order)
    ]
    expected = np.concatenate(features, -1) @ last["kernel"] + last["bias"]
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


def test_pairwise_head_counts_and_norms_every_pair_on_its_own():
    assert count(PairwiseOrderHead(classes=6), 1, 3, 512) == 534_022
    head = PairwiseOrderHead(classes=12, hidden=8, pair_order="distance", norm=True)
    variables = shapes(head, 4, 4, 16)[1]
    assert variables["params"]["pair_bn"]["scale"].shape == (6, 8)
    assert variables["batch_stats"]["pair_bn"]["mean"].shape == (6, 8)
    with pytest.raises(ValueError, match="at least 2 items"):
        shapes(head, 1, 1, 16)


def test_dropout_of_heads_needs_training():
    x = jnp.ones((4, 3, 8))
    for head in (PairwiseOrderHead(classes=2, hidden=64), Classifier(classes=2, dropout=0.5)):
        variables = head.init(KEYS, x, train=False)
        runs = [
            head.apply(variables, x, train=train, rngs={"dropout": jax.random.key(seed)})
            for train, seed in ((False, 0), (False, 1), (True, 0), (True, 1))
        ]
        np.testing.assert_array_equal(runs[0], runs[1])
        assert not np.array_equal(runs[2], runs[3])
