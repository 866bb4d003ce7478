"""Residual networks for images (He et al. 2016), as SimCLR trained them."""

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from ssl_jax.knobs import at_least, one_of
from ssl_jax.models.layers import check_trunk
from ssl_jax.ops.pooling import global_avg_pool, max_pool

# depth: blocks of the four stages, and whether blocks are bottlenecks (1x1, 3x3, 1x1).
DEPTHS = {
    10: ((1, 1, 1, 1), False),
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}


class ResNet(nn.Module):
    """ResNet v1 trunk (He et al. 2016; a bottleneck strides in its 3x3 convolution).

    Called with images (b h w c), returns their layers: stem (before its max pooling), stage1,
    stage2, stage3, stage4 (b h w c), and pool (b d), the mean of stage4 over space. All after
    ReLU. The defaults are those of SimCLR's code (Chen et al. 2020), but for `pool_padding`.

    Attributes:
      depth: 10, 18, 34, 50, 101 or 152.
      stem: 'imagenet' (7x7, stride 2, then 3x3 max pooling, stride 2) or 'cifar' (3x3, stride 1,
        no pooling; for images of 32 pixels).
      pool_padding: of the stem's max pooling: 1 at both ends, as in torchvision, or 'SAME' as in
        SimCLR's code (TensorFlow), which at a map of 112 pads the end only.
      project_first: the first block of every stage has a projection on its shortcut. If False,
        only where the shape changes, as in torchvision (stage1 of ResNet-18 and 34 has none).
      strides: of the four stages; (1, 2, 1, 1) keeps a map of 1/8 of the image's side.
      zero_init: the last BN scale of every block starts at zero, so that blocks start as identity.
      bn_momentum: fraction of the past in the running statistics.
      width: multiplies all widths.
      remat: recompute blocks in the backward pass: less memory, a third more time.
      dtype: of the computation.

    Raises:
      ConfigError: an unknown depth or stem.
    """

    depth: int = 50
    stem: str = "imagenet"
    pool_padding: int | str = 1
    project_first: bool = True
    strides: tuple[int, int, int, int] = (1, 2, 2, 2)
    zero_init: bool = True
    bn_momentum: float = 0.9
    width: float = 1.0
    remat: bool = False
    dtype: str = "float32"

    def __post_init__(self):
        check_trunk(self)
        one_of(self, "depth", DEPTHS)
        one_of(self, "stem", ("imagenet", "cifar"))
        at_least(self, 1, "strides")
        if isinstance(self.pool_padding, str):
            one_of(self, "pool_padding", ("SAME",))
        else:
            at_least(self, 0, "pool_padding")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> dict[str, Array]:
        blocks, bottleneck = DEPTHS[self.depth]
        size, stride = (7, 2) if self.stem == "imagenet" else (3, 1)
        channels = max(1, round(64 * self.width))
        layers = {}
        x = nn.Conv(
            channels,
            (size, size),
            stride,
            # Half the kernel at both ends, whatever the stride: 'SAME' would depend on the size.
            padding=size // 2,
            use_bias=False,
            dtype=self.dtype,
            name="stem_conv",
        )(x)
        x = nn.BatchNorm(
            use_running_average=not train,
            momentum=self.bn_momentum,
            epsilon=1e-5,
            dtype=self.dtype,
            name="stem_bn",
        )(x)
        x = layers["stem"] = jax.nn.relu(x)
        if self.stem == "imagenet":
            x = max_pool(x, 3, 2, padding=self.pool_padding)
        block_cls = nn.remat(ResNetBlock, static_argnums=(2,)) if self.remat else ResNetBlock
        for stage in range(4):
            for index in range(blocks[stage]):
                x = block_cls(
                    channels=channels * 2**stage,
                    stride=self.strides[stage] if index == 0 else 1,
                    bottleneck=bottleneck,
                    project=self.project_first and index == 0,
                    zero_init=self.zero_init,
                    bn_momentum=self.bn_momentum,
                    dtype=self.dtype,
                    name=f"stage{stage + 1}_block{index + 1}",
                )(x, train)
            layers[f"stage{stage + 1}"] = x
        layers["pool"] = global_avg_pool(x)
        return layers


class ResNetBlock(nn.Module):
    """relu(f(x) + shortcut(x)), where f is two 3x3 convolutions or a bottleneck.

    The shortcut is the identity, or a strided 1x1 convolution with BN where the shape changes or
    `project` asks for it. A bottleneck gives 4 times `channels`.
    """

    channels: int
    stride: int
    bottleneck: bool
    project: bool
    zero_init: bool
    bn_momentum: float
    dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 d"]:
        def conv_bn(x, name, features, size, stride, scale_init=nn.initializers.ones):
            x = nn.Conv(
                features,
                (size, size),
                stride,
                padding=size // 2,
                use_bias=False,
                dtype=self.dtype,
                name=f"{name}_conv",
            )(x)
            return nn.BatchNorm(
                use_running_average=not train,
                momentum=self.bn_momentum,
                epsilon=1e-5,
                scale_init=scale_init,
                dtype=self.dtype,
                name=f"{name}_bn",
            )(x)

        features = self.channels * (4 if self.bottleneck else 1)
        last = nn.initializers.zeros if self.zero_init else nn.initializers.ones
        if self.bottleneck:
            out = jax.nn.relu(conv_bn(x, "first", self.channels, 1, 1))
            out = jax.nn.relu(conv_bn(out, "second", self.channels, 3, self.stride))
            out = conv_bn(out, "third", features, 1, 1, last)
        else:
            out = jax.nn.relu(conv_bn(x, "first", self.channels, 3, self.stride))
            out = conv_bn(out, "second", features, 3, 1, last)
        if self.project or self.stride != 1 or x.shape[-1] != features:
            x = conv_bn(x, "shortcut", features, 1, self.stride)
        return jax.nn.relu(out + x)
