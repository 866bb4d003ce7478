"""Residual network for log-mel spectrograms: the audio encoder of VMZ and XDC."""

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from ssl_jax.knobs import above, at_least
from ssl_jax.models.layers import check_trunk
from ssl_jax.ops.pooling import global_max_pool


class AudioResNet(nn.Module):
    """ResNet of 18 layers, whose first convolution is three blocks of small ones.

    Called with log-mel spectrograms (b t f), returns their layers: stem, a bare 3x3 convolution,
    stage0, stage1, stage2, stage3, stage4 (b t f c; after ReLU), and pool (b d), the maximum of
    stage4. Every stage halves time and frequency, rounding up: 100x40 end as 4x2. 11,202,528
    parameters.

    Attributes:
      layers: blocks of the five stages.
      bn_momentum: fraction of the past in the running statistics.
      bn_eps: added to BN's variance.
      width: multiplies all widths.
      remat: recompute blocks in the backward pass: less memory, a third more time.
      dtype: of the computation.
    """

    layers: tuple[int, int, int, int, int] = (3, 2, 2, 2, 2)
    bn_momentum: float = 0.9
    bn_eps: float = 1e-3
    width: float = 1.0
    remat: bool = False
    dtype: str = "float32"

    def __post_init__(self):
        check_trunk(self)
        at_least(self, 1, "layers")
        above(self, 0, "bn_eps")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b t f"], train: bool) -> dict[str, Array]:
        x = nn.Conv(
            max(1, round(16 * self.width)),
            (3, 3),
            padding=1,
            kernel_init=nn.initializers.he_normal(),
            dtype=self.dtype,
            name="stem",
        )(x[..., None])
        layers = {"stem": x}
        block_cls = AudioResNetBlock
        if self.remat:
            block_cls = nn.remat(block_cls, static_argnums=(2,))
        for stage, blocks in enumerate(self.layers):
            for index in range(blocks):
                x = block_cls(
                    channels=max(1, round(32 * self.width)) * 2**stage,
                    stride=2 if index == 0 else 1,
                    bn_momentum=self.bn_momentum,
                    bn_eps=self.bn_eps,
                    dtype=self.dtype,
                    name=f"stage{stage}_block{index + 1}",
                )(x, train)
            layers[f"stage{stage}"] = x
        layers["pool"] = global_max_pool(x)
        return layers


class AudioResNetBlock(nn.Module):
    """relu(f(x) + shortcut(x)), where f is two 3x3 convolutions with BN and a ReLU between."""

    channels: int
    stride: int
    bn_momentum: float
    bn_eps: float
    dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "b t f c"], train: bool) -> Float[Array, "b t2 f2 d"]:
        def conv_bn(x, name, size, stride):
            x = nn.Conv(
                self.channels,
                (size, size),
                stride,
                padding=size // 2,
                use_bias=False,
                kernel_init=nn.initializers.he_normal(),
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

        out = jax.nn.relu(conv_bn(x, "first", 3, self.stride))
        out = conv_bn(out, "second", 3, 1)
        if self.stride != 1 or x.shape[-1] != self.channels:
            x = conv_bn(x, "shortcut", 1, self.stride)
        return jax.nn.relu(out + x)
