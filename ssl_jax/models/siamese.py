"""Late fusion: several patches pass through one trunk before any layer sees them together."""

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from ssl_jax.knobs import at_least, within
from ssl_jax.models.heads import last
from ssl_jax.ops.fold import fold, unfold


class Siamese(nn.Module):
    """Classifies how patches lie to one another (Doersch et al. 2015; Noroozi & Favaro 2016).

    Called with {'vision': patches (b n h w c), 'places': (b m i) whole numbers}. Every patch goes
    through the trunk, whose last layer is flattened, and through fc6, all with the same weights.
    Row m of an example's `places` then lists the i patches that go side by side into fc7 and
    further to the classes: a pair for relative position, all tiles in some order for a puzzle. One
    pass of the trunk so serves many questions. Returns logits (b m k).

    A trunk without fully connected layers of its own takes images of any size, so that features
    of whole images can be read from it.

    Attributes:
      vision: the trunk.
      classes: number of answers, k.
      embedding: width of fc6; 0: no such layer.
      hidden: widths of fc7, fc8, ...
      normed: names of the layers with batch normalisation, without scale and offset, before ReLU.
      dropout: rate, after every hidden layer that is not normed.
      caffe_init: weights N(0, 0.005), of the last layer N(0, 0.01), as Caffe's; else LeCun's rule.
    """

    vision: nn.Module
    classes: int
    embedding: int = 1024
    hidden: tuple[int, ...] = (4096,)
    normed: tuple[str, ...] = ()
    dropout: float = 0.5
    caffe_init: bool = False

    def __post_init__(self):
        at_least(self, 1, "classes", "hidden")
        at_least(self, 0, "embedding")
        within(self, 0, 1, "dropout")
        super().__post_init__()

    @nn.compact
    def __call__(self, batch: dict[str, Array], train: bool) -> Float[Array, "b m k"]:
        patches = batch["vision"]
        layers = self.vision(fold(patches), train)
        x = unfold(last(layers), patches.shape[1]).reshape(*patches.shape[:2], -1)
        if self.embedding:
            x = self._hidden(x, "fc6", self.embedding, train)
        x = jax.vmap(lambda row, places: row[places])(x, batch["places"])
        x = x.reshape(*x.shape[:2], -1)
        for number, features in enumerate(self.hidden, start=7):
            x = self._hidden(x, f"fc{number}", features, train)
        return nn.Dense(self.classes, kernel_init=self._init(0.01), name="classes")(x)

    def _hidden(self, x, name: str, features: int, train: bool):
        normed = name in self.normed
        x = nn.Dense(features, use_bias=not normed, kernel_init=self._init(0.005), name=name)(x)
        if normed:
            norm = nn.BatchNorm(
                use_running_average=not train,
                momentum=0.9,
                epsilon=1e-5,
                use_scale=False,
                use_bias=False,
                name=f"{name}_bn",
            )
            return jax.nn.relu(norm(x))
        return nn.Dropout(self.dropout, deterministic=not train)(jax.nn.relu(x))

    def _init(self, deviation: float):
        lecun = nn.initializers.lecun_normal()
        return nn.initializers.normal(deviation) if self.caffe_init else lecun
