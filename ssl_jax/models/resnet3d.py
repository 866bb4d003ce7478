"""Residual networks for clips: R3D, and R(2+1)D, whose convolutions are split into space and time.

The knobs that make the published networks (parameters without classifier):

    R3D of VCOP         layers=(1, 1, 1, 1)                                        14,361,792
    R(2+1)D of VCOP     layers=(1, 1, 1, 1), split=True, split_shortcut=True       14,365,303
    R(2+1)D-18, VMZ     layers=(2, 2, 2, 2), split=True, stem_middle=45            33,165,639
      (XDC)
    R(2+1)D-18,         layers=(2, 2, 2, 2), split=True, stem_middle=45,
      torchvision         share_middle=True                                        31,300,125
    MC3-18 (AVTS)       layers=(2, 2, 2, 2), stages_3d=1                           11,490,240
"""

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from ssl_jax.config import ConfigError
from ssl_jax.knobs import above, at_least, within
from ssl_jax.models.layers import Conv3D, check_trunk
from ssl_jax.ops.pooling import global_avg_pool


class ResNet3D(nn.Module):
    """R3D, R(2+1)D or MC trunk (Tran et al. 2018).

    Called with clips (b t h w c), returns their layers: stem, stage1, stage2, stage3, stage4
    (b t h w c), and pool (b d), the mean of stage4 over time and space. All after ReLU. The stem
    halves space; stages 2 to 4 each halve time and space: 16 frames of 112 pixels end as 2x7x7, as
    16x7x7 with stages_3d=1.

    Attributes:
      layers: blocks of the four stages; (2, 2, 2, 2) is the network of 18 layers.
      split: R(2+1)D: every convolution is one of space, BN, ReLU and one of time. Between them are
        as many channels as give the split pair the parameters of the whole.
      split_shortcut: the 1x1x1 convolutions of the shortcuts are split too (VCOP).
      stem_middle: channels between the two halves of the split stem, before `width`; 0: by the
        rule above, which gives 83.
      share_middle: both convolutions of a block have the middle width of its first (torchvision).
      stages_3d: stages whose convolutions see three frames; those behind them see one at a time and
        keep time whole (mixed convolutions; MC3: 1).
      bn_momentum: fraction of the past in the running statistics.
      bn_eps: added to BN's variance; VMZ's and XDC's is 1e-3.
      width: multiplies all widths.
      remat: recompute blocks in the backward pass: less memory, a third more time.
      dtype: of the computation.
    """

    layers: tuple[int, int, int, int] = (2, 2, 2, 2)
    split: bool = False
    split_shortcut: bool = False
    stem_middle: int = 0
    share_middle: bool = False
    stages_3d: int = 4
    bn_momentum: float = 0.9
    bn_eps: float = 1e-5
    width: float = 1.0
    remat: bool = False
    dtype: str = "float32"

    def __post_init__(self):
        check_trunk(self)
        at_least(self, 1, "layers")
        at_least(self, 0, "stem_middle")
        within(self, 0, 4, "stages_3d")
        above(self, 0, "bn_eps")
        if self.split and self.stages_3d < 4:
            raise ConfigError(
                f"split=True has nothing to split in stages of 2-D convolutions: set stages_3d=4, "
                f"not {self.stages_3d}"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"], train: bool) -> dict[str, Array]:
        channels = max(1, round(64 * self.width))
        layers = {}
        x = ConvBN3D(
            channels,
            (3, 7, 7),
            (1, 2, 2),
            middle=self._middle(channels, x.shape[-1]),
            bn_momentum=self.bn_momentum,
            bn_eps=self.bn_eps,
            dtype=self.dtype,
            name="stem",
        )(x, train)
        x = layers["stem"] = jax.nn.relu(x)
        block_cls = nn.remat(ResNet3DBlock, static_argnums=(2,)) if self.remat else ResNet3DBlock
        for stage in range(4):
            for index in range(self.layers[stage]):
                x = block_cls(
                    channels=channels * 2**stage,
                    stride=2 if stage > 0 and index == 0 else 1,
                    split=self.split,
                    split_shortcut=self.split_shortcut,
                    share_middle=self.share_middle,
                    frames=3 if stage < self.stages_3d else 1,
                    bn_momentum=self.bn_momentum,
                    bn_eps=self.bn_eps,
                    dtype=self.dtype,
                    name=f"stage{stage + 1}_block{index + 1}",
                )(x, train)
            layers[f"stage{stage + 1}"] = x
        layers["pool"] = global_avg_pool(x)
        return layers

    def _middle(self, channels: int, channels_in: int) -> int:
        if not self.split:
            return 0
        if self.stem_middle:
            return max(1, round(self.stem_middle * self.width))
        return middle_width((3, 7, 7), channels_in, channels)


class ResNet3DBlock(nn.Module):
    """relu(f(x) + shortcut(x)), where f is two 3x3x3 convolutions; strides in time and space.

    With `frames` of 1 they are 1x3x3, with strides in space alone.
    """

    channels: int
    stride: int
    split: bool
    split_shortcut: bool
    share_middle: bool
    frames: int
    bn_momentum: float
    bn_eps: float
    dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"], train: bool) -> Float[Array, "b t2 h2 w2 d"]:
        def conv_bn(x, name, kernel_size, stride, middle):
            return ConvBN3D(
                self.channels,
                kernel_size,
                (stride if self.frames > 1 else 1, stride, stride),
                middle=middle,
                bn_momentum=self.bn_momentum,
                bn_eps=self.bn_eps,
                dtype=self.dtype,
                name=name,
            )(x, train)

        whole = (self.frames, 3, 3)
        first = middle_width(whole, x.shape[-1], self.channels) if self.split else 0
        second = middle_width(whole, self.channels, self.channels) if self.split else 0
        out = jax.nn.relu(conv_bn(x, "first", whole, self.stride, first))
        out = conv_bn(out, "second", whole, 1, first if self.share_middle else second)
        if self.stride != 1 or x.shape[-1] != self.channels:
            point = (1, 1, 1)
            middle = middle_width(point, x.shape[-1], self.channels) if self.split_shortcut else 0
            x = conv_bn(x, "shortcut", point, self.stride, middle)
        return jax.nn.relu(out + x)


class ConvBN3D(nn.Module):
    """3-D convolution and BN; if `middle` is not 0, split: space, BN, ReLU, time, BN."""

    channels: int
    kernel_size: tuple[int, int, int]
    strides: tuple[int, int, int]
    middle: int
    bn_momentum: float
    bn_eps: float
    dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"], train: bool) -> Float[Array, "b t2 h2 w2 d"]:
        def conv_bn(x, name, channels, kernel_size, strides):
            x = Conv3D(
                channels,
                kernel_size,
                strides,
                padding=tuple(size // 2 for size in kernel_size),
                use_bias=False,
                kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
                dtype=self.dtype,
                name=f"{name}_conv",
            )(x)
            return nn.BatchNorm(
                use_running_average=not train,
                momentum=self.bn_momentum,
                epsilon=self.bn_eps,
                dtype=self.dtype,
                name=f"{name}_bn",
            )(x)

        if not self.middle:
            return conv_bn(x, "whole", self.channels, self.kernel_size, self.strides)
        (kt, kh, kw), (st, sh, sw) = self.kernel_size, self.strides
        x = jax.nn.relu(conv_bn(x, "space", self.middle, (1, kh, kw), (1, sh, sw)))
        return conv_bn(x, "time", self.channels, (kt, 1, 1), (st, 1, 1))


def middle_width(kernel_size: tuple[int, int, int], channels_in: int, channels_out: int) -> int:
    """Channels between the halves of a split convolution, so that it has as many weights.

    floor(kt kh kw ci co / (kh kw ci + kt co)), Tran et al. 2018; at least 1.
    """
    kt, kh, kw = kernel_size
    weights = kt * kh * kw * channels_in * channels_out
    return max(1, weights // (kh * kw * channels_in + kt * channels_out))
