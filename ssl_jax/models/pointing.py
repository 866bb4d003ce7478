"""The network that tracks by colorizing (Vondrick et al. 2018): maps of every frame of a clip."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ssl_jax.knobs import at_least, one_of
from ssl_jax.models.layers import Conv3D, check_trunk
from ssl_jax.models.resnet import DEPTHS, ResNet


class PointingTrunk(nn.Module):
    """ResNet-18 on every frame, then 3-D convolutions over the frames, then one of 1x1.

    Called with clips (b t h w c) of any length, returns their layers, maps of every frame
    (b t h w d): stem, stage1, ..., stage4, conv3d1, ..., embedding. The defaults have maps of an
    eighth of the frames' sides and, for one channel, 15,715,840 parameters, 11,170,240 of them the
    ResNet's. strides=(1, 1, 1, 1) keeps a quarter of the sides, as CorrFlow does.

    The 3-D convolutions are split, one of space with the dilation and one of time, with BN and ReLU
    after the pair. Before them two channels are added that say where a place is, x and y from -1
    to 1.

    Attributes:
      depth, strides: of the `ResNet`.
      dilations: in space, of the 3-D convolutions; (): none of them, and no places.
      channels: of the 3-D convolutions.
      embedding: width of the last layer.
      bn_momentum: fraction of the past in the running statistics.
      width: multiplies all widths but the last layer's.
      remat: recompute the ResNet's blocks in the backward pass.
      dtype: of the computation.
    """

    depth: int = 18
    strides: tuple[int, int, int, int] = (1, 2, 1, 1)
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16)
    channels: int = 256
    embedding: int = 64
    bn_momentum: float = 0.9
    width: float = 1.0
    remat: bool = False
    dtype: str = "float32"

    def __post_init__(self):
        check_trunk(self)
        one_of(self, "depth", DEPTHS)
        at_least(self, 1, "strides", "dilations", "channels", "embedding")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"], train: bool) -> dict[str, Array]:
        b, t = x.shape[:2]
        resnet = ResNet(
            depth=self.depth,
            project_first=False,
            strides=self.strides,
            zero_init=False,
            bn_momentum=self.bn_momentum,
            width=self.width,
            remat=self.remat,
            dtype=self.dtype,
            name="resnet",
        )
        found = resnet(x.reshape(b * t, *x.shape[2:]), train)
        maps = {name: layer for name, layer in found.items() if layer.ndim == 4}
        layers = {name: layer.reshape(b, t, *layer.shape[1:]) for name, layer in maps.items()}
        x = layers["stage4"]
        if self.dilations:
            x = jnp.concatenate([x, _places(x)], axis=-1)
        for number, dilation in enumerate(self.dilations, start=1):
            x = self._conv3d(x, dilation, f"conv3d{number}", train)
            layers[f"conv3d{number}"] = x
        layers["embedding"] = nn.Dense(self.embedding, dtype=self.dtype, name="embedding")(x)
        return layers

    def _conv3d(self, x: Float[Array, "b t h w c"], dilation: int, name: str, train: bool) -> Array:
        channels = max(1, round(self.channels * self.width))
        # Every frame for itself, which is a 2-D convolution.
        x = nn.Conv(
            channels,
            (3, 3),
            kernel_dilation=dilation,
            use_bias=False,
            dtype=self.dtype,
            name=f"{name}_space",
        )(x)
        x = Conv3D(channels, (3, 1, 1), use_bias=False, dtype=self.dtype, name=f"{name}_time")(x)
        x = nn.BatchNorm(
            use_running_average=not train,
            momentum=self.bn_momentum,
            epsilon=1e-5,
            dtype=self.dtype,
            name=f"{name}_bn",
        )(x)
        return jax.nn.relu(x)


def _places(x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w 2"]:
    """(x, y) of every cell, -1 and 1 at the borders' cells."""
    h, w = x.shape[2:4]
    y, x_axis = jnp.meshgrid(jnp.linspace(-1, 1, h), jnp.linspace(-1, 1, w), indexing="ij")
    places = jnp.stack([x_axis, y], axis=-1).astype(x.dtype)
    return jnp.broadcast_to(places, (*x.shape[:2], h, w, 2))
