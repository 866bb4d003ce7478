"""Writes trunks.npz: what PyTorch makes of fixed weights, arranged as the papers describe them.

Nothing of the package is used here. Run by hand where PyTorch is installed, which no test needs:

    python tests/recorded/make_trunks.py
"""

import pathlib

import numpy as np
import torch
import weights
from torch.nn import functional as F

WIDTH = 8  # channels of the first stage, for the papers' 64


class Net:
    """Layers by path, of channels-first tensors in float64; sizes come from what flows in."""

    def __init__(self, name):
        x = weights.images(name)
        self.x = torch.tensor(np.moveaxis(x, -1, 1))
        self.layers = {}

    def keep(self, name, x):
        self.layers[name] = x.movedim(1, -1) if x.ndim > 2 else x
        return x

    def conv(self, x, path, out, size, stride=1, padding=None, groups=1, bias=False):
        size = size if isinstance(size, tuple) else (size,) * (x.ndim - 2)
        padding = tuple(s // 2 for s in size) if padding is None else padding
        kernel = weights.array(f"{path}/kernel", (*size, x.shape[1] // groups, out))
        kernel = torch.tensor(np.moveaxis(kernel, (-1, -2), (0, 1)).copy())
        shift = torch.tensor(weights.array(f"{path}/bias", (out,))) if bias else None
        call = F.conv3d if len(size) == 3 else F.conv2d
        return call(x, kernel, shift, stride, padding, groups=groups)

    def bn(self, x, path):
        shape = (x.shape[1],)
        mean, var, scale, bias = (
            torch.tensor(weights.array(f"{path}/{part}", shape))
            for part in ("mean", "var", "scale", "bias")
        )
        return F.batch_norm(x, mean, var, scale, bias, eps=1e-5)

    def fc(self, x, path, out, bias=True):
        kernel = torch.tensor(weights.array(f"{path}/kernel", (x.shape[1], out)))
        x = x @ kernel
        return x + torch.tensor(weights.array(f"{path}/bias", (out,))) if bias else x


def resnet(name, blocks, bottleneck=False, cifar=False, same=False, project=False):
    """He et al. 2016, strides in the 3x3; `same`: TensorFlow's padding of the pooling."""
    net = Net(name)
    size, stride = (3, 1) if cifar else (7, 2)
    x = net.bn(net.conv(net.x, "stem_conv", WIDTH, size, stride), "stem_bn").relu()
    net.keep("stem", x)
    if same:
        x = F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-torch.inf), 3, 2)
    elif not cifar:
        x = F.max_pool2d(x, 3, 2, 1)
    for stage, count in enumerate(blocks):
        for index in range(count):
            at = f"stage{stage + 1}_block{index + 1}"
            mid, stride = WIDTH * 2**stage, 2 if stage and not index else 1
            out = mid * 4 if bottleneck else mid
            sizes = [(mid, 1, 1), (mid, 3, stride), (out, 1, 1)]
            sizes = sizes if bottleneck else [(mid, 3, stride), (out, 3, 1)]
            y = x
            for part, (width, size, step) in zip(("first", "second", "third"), sizes, strict=False):
                y = net.bn(net.conv(y, f"{at}/{part}_conv", width, size, step), f"{at}/{part}_bn")
                y = y if part == ("third" if bottleneck else "second") else y.relu()
            if x.shape[1] != out or stride > 1 or (project and not index):
                x = net.conv(x, f"{at}/shortcut_conv", out, 1, stride)
                x = net.bn(x, f"{at}/shortcut_bn")
            x = (x + y).relu()
        net.keep(f"stage{stage + 1}", x)
    net.keep("pool", x.mean((2, 3)))
    return net.layers


def resnet3d(name, split, stages_3d=4):
    """Tran et al. 2018, 18 layers; `split` as torchvision: 45 in the stem, one middle a block.

    Behind `stages_3d` stages convolutions are 1x3x3 and time keeps its length.
    """
    net = Net(name)

    def conv_bn(x, at, out, size, stride, middle):
        if not middle:
            return net.bn(net.conv(x, f"{at}/whole_conv", out, size, stride), f"{at}/whole_bn")
        (kt, kh, kw), (st, sh, sw) = size, stride
        x = net.conv(x, f"{at}/space_conv", middle, (1, kh, kw), (1, sh, sw))
        x = net.bn(x, f"{at}/space_bn").relu()
        x = net.conv(x, f"{at}/time_conv", out, (kt, 1, 1), (st, 1, 1))
        return net.bn(x, f"{at}/time_bn")

    stem_middle = round(45 * WIDTH / 64) if split else 0
    x = net.keep("stem", conv_bn(net.x, "stem", WIDTH, (3, 7, 7), (1, 2, 2), stem_middle).relu())
    for stage in range(4):
        for index in range(2):
            at = f"stage{stage + 1}_block{index + 1}"
            out, stride = WIDTH * 2**stage, 2 if stage and not index else 1
            middle = (x.shape[1] * out * 27) // (x.shape[1] * 9 + 3 * out) if split else 0
            flat = stage >= stages_3d
            size, strides = (1 if flat else 3, 3, 3), (1 if flat else stride, stride, stride)
            y = conv_bn(x, f"{at}/first", out, size, strides, middle).relu()
            y = conv_bn(y, f"{at}/second", out, size, (1, 1, 1), middle)
            if stride > 1:
                x = conv_bn(x, f"{at}/shortcut", out, (1, 1, 1), strides, 0)
            x = (x + y).relu()
        net.keep(f"stage{stage + 1}", x)
    net.keep("pool", x.mean((2, 3, 4)))
    return net.layers


def c3d(name):
    """Tran et al. 2015, with BN after every convolution as VCOP (Xu et al. 2019)."""
    net = Net(name)
    x = net.x
    for number, (width, letters) in enumerate(((8, "a"), (16, "a"), (32, "ab"), (64, "ab")), 1):
        if number > 1:
            x = F.max_pool3d(x, (1, 2, 2) if number == 2 else 2)
        for letter in letters:
            at = f"conv{number}{letter}"
            x = net.bn(net.conv(x, at, width, 3, bias=True), f"{at}_bn").relu()
        net.keep(f"conv{number}", x)
    x = F.max_pool3d(x, 2)
    for letter in "ab":
        at = f"conv5{letter}"
        x = net.bn(net.conv(x, at, 64, 3, bias=True), f"{at}_bn").relu()
    net.keep("conv5", x)
    net.keep("pool", x.mean((2, 3, 4)))
    return net.layers


def alexnet(name, widths, groups, padding, ceil, lrn):
    """Krizhevsky et al. 2012: as CaffeNet (two groups, LRN behind the pooling), or torchvision."""
    net = Net(name)

    def pool(x):
        return F.max_pool2d(x, 3, 2, ceil_mode=ceil)

    def norm(x):
        return F.local_response_norm(x, 5, 1e-4, 0.75, 1.0) if lrn else x

    def conv(x, number, size, stride, padding, groups=1):
        at = f"conv{number}"
        x = net.conv(x, at, widths[number - 1], size, stride, padding, groups, bias=True)
        return net.keep(at, x.relu())

    x = net.keep("pool1", pool(conv(net.x, 1, 11, 4, padding)))
    x = net.keep("pool2", pool(conv(norm(x), 2, 5, 1, 2, groups)))
    x = conv(norm(x), 3, 3, 1, 1)
    x = conv(conv(x, 4, 3, 1, 1, groups), 5, 3, 1, 1, groups)
    x = net.keep("pool5", pool(x))
    x = x.movedim(1, -1).flatten(1)  # the package's order: rows, columns, channels
    x = net.keep("fc6", net.fc(x, "fc6", 512).relu())
    net.keep("fc7", net.fc(x, "fc7", 512).relu())
    return net.layers


def main():
    shallow, deep = (2, 2, 2, 2), (3, 4, 6, 3)
    networks = {
        "resnet18": resnet("resnet18", shallow),
        "resnet50": resnet("resnet50", deep, bottleneck=True),
        "resnet18_same": resnet("resnet18_same", shallow, same=True, project=True),
        "resnet18_cifar": resnet("resnet18_cifar", shallow, cifar=True),
        "r3d18": resnet3d("r3d18", split=False),
        "r2plus1d18": resnet3d("r2plus1d18", split=True),
        "mc3": resnet3d("mc3", split=False, stages_3d=1),
        "c3d": c3d("c3d"),
        "caffenet": alexnet("caffenet", (12, 32, 48, 48, 32), 2, 0, True, True),
        "alexnet": alexnet("alexnet", (8, 24, 48, 32, 32), 1, 2, False, False),
    }
    recorded = {
        f"{name}/{layer}": np.float32(weights.sampled(values.numpy()))
        for name, layers in networks.items()
        for layer, values in layers.items()
    }
    np.savez(pathlib.Path(__file__).with_name("trunks.npz"), **recorded)


if __name__ == "__main__":
    main()
