"""How a latent vector enters a hidden layer: added by a linear map, then normalised with it."""

import flax.linen as nn
from jaxtyping import Array, Float


class LatentNorm(nn.Module):
    """BN of x + W z, the map of z being the same at all places of x (Donahue et al. 2017).

    Called with x (b ... c), latents (b z) or None, train, and the kind of the rows: a batch is of
    one kind, and each kind has running statistics of its own.

    Attributes:
      affine: BN has scale and offset.
      init_std: deviation of the initial W.
      bn_momentum: fraction of the past in the running statistics.
      dtype: of the computation.
    """

    affine: bool = True
    init_std: float = 0.02
    bn_momentum: float = 0.99
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b *space c"],
        latents: Float[Array, "b z"] | None,
        train: bool,
        kind: str = "statistics",
    ) -> Float[Array, "b *space c"]:
        channels = x.shape[-1]
        if latents is not None:
            init = nn.initializers.normal(self.init_std)
            added = nn.Dense(
                channels, use_bias=False, kernel_init=init, dtype=self.dtype, name="latent"
            )(latents)
            x = x + added.reshape(len(x), *(1 for _ in x.shape[2:]), channels)
        x = nn.BatchNorm(
            use_running_average=not train,
            momentum=self.bn_momentum,
            epsilon=1e-5,
            use_scale=False,
            use_bias=False,
            dtype=self.dtype,
            name=kind,
        )(x)
        if self.affine:
            scale = self.param("scale", nn.initializers.ones, (channels,))
            bias = self.param("bias", nn.initializers.zeros, (channels,))
            x = x * scale.astype(x.dtype) + bias.astype(x.dtype)
        return x
