"""Residual networks that normalise before every convolution (He et al. 2016, Identity Mappings)."""

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from ssl_jax.knobs import at_least, given
from ssl_jax.models.layers import check_trunk
from ssl_jax.ops.pooling import max_pool


class ResNetV2(nn.Module):
    """ResNet v2 trunk of bottleneck units, cut off after some stage, all units of which are layers.

    The defaults are the network of Doersch & Zisserman 2017: ResNet-101 up to its third stage, 23
    units of 1024 channels and a sixteenth of the image's side.

    Called with images (b h w c), returns their layers, all maps (b h w c): stem (before its max
    pooling), stage1, stage2, ... up to the last but one, then unit1, unit2, ... of the last stage,
    as the residual units give them; and, with `final_norm`, final: the last unit after BN and ReLU.

    Attributes:
      units: of every stage; (3, 4, 6) and (3, 4, 6, 3) are of ResNet-50, whole (3, 4, 23, 3) of
        ResNet-101.
      final_norm: without it nothing follows the last unit, as where `Lasso` reads the units.
      bn_momentum: fraction of the past in the running statistics.
      width: multiplies all widths.
      remat: recompute units in the backward pass: less memory, a third more time.
      dtype: of the computation.
    """

    units: tuple[int, ...] = (3, 4, 23)
    final_norm: bool = True
    bn_momentum: float = 0.9
    width: float = 1.0
    remat: bool = False
    dtype: str = "float32"

    def __post_init__(self):
        check_trunk(self)
        given(self, "units")
        at_least(self, 1, "units")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> dict[str, Array]:
        channels = max(1, round(64 * self.width))
        layers = {}
        x = layers["stem"] = nn.Conv(
            channels,
            (7, 7),
            2,
            padding=3,
            use_bias=False,
            kernel_init=nn.initializers.he_normal(),
            dtype=self.dtype,
            name="stem_conv",
        )(x)
        x = max_pool(x, 3, 2, padding=1)
        unit = nn.remat(PreActivationUnit, static_argnums=(2,)) if self.remat else PreActivationUnit
        for stage, count in enumerate(self.units, start=1):
            for number in range(1, count + 1):
                x = unit(
                    channels=channels * 2 ** (stage - 1),
                    stride=2 if number == 1 and stage > 1 else 1,
                    bn_momentum=self.bn_momentum,
                    dtype=self.dtype,
                    name=f"stage{stage}_unit{number}",
                )(x, train)
                if stage == len(self.units):
                    layers[f"unit{number}"] = x
            if stage < len(self.units):
                layers[f"stage{stage}"] = x
        if self.final_norm:
            norm = nn.BatchNorm(
                use_running_average=not train,
                momentum=self.bn_momentum,
                epsilon=1e-5,
                dtype=self.dtype,
                name="final_bn",
            )
            layers["final"] = jax.nn.relu(norm(x))
        return layers


class PreActivationUnit(nn.Module):
    """x + f(x), where f is BN, ReLU and convolution three times: 1x1, 3x3 (strided), 1x1.

    Where the shape changes, a strided 1x1 convolution of relu(BN(x)) stands in for x. Gives 4
    times `channels`.
    """

    channels: int
    stride: int
    bn_momentum: float
    dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 d"]:
        def bn_relu(x, name):
            norm = nn.BatchNorm(
                use_running_average=not train,
                momentum=self.bn_momentum,
                epsilon=1e-5,
                dtype=self.dtype,
                name=f"{name}_bn",
            )
            return jax.nn.relu(norm(x))

        def conv(x, name, features, size, stride):
            return nn.Conv(
                features,
                (size, size),
                stride,
                padding=size // 2,
                use_bias=False,
                kernel_init=nn.initializers.he_normal(),
                dtype=self.dtype,
                name=f"{name}_conv",
            )(x)

        features = 4 * self.channels
        before = bn_relu(x, "first")
        out = conv(before, "first", self.channels, 1, 1)
        out = conv(bn_relu(out, "second"), "second", self.channels, 3, self.stride)
        out = conv(bn_relu(out, "third"), "third", features, 1, 1)
        if self.stride != 1 or x.shape[-1] != features:
            x = conv(before, "shortcut", features, 1, self.stride)
        return x + out
