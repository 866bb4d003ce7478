"""What a layer's strongest units see in an image: guided backpropagation and crops."""

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ssl_jax.config import ConfigError
from ssl_jax.data.record import Source
from ssl_jax.devices.sharding import put_same
from ssl_jax.drawing.layout import Tile, page
from ssl_jax.drawing.pixels import around_grey, as_picture
from ssl_jax.knobs import at_least
from ssl_jax.ops.relu_rules import with_relu_rule


@dataclasses.dataclass(frozen=True)
class GuidedBackprop:
    """A page of what makes the strongest activations of a layer strong, one image per row.

    The image; what comes back from the `units` strongest activations together by guided
    backpropagation (Springenberg et al. 2015) and by the plain gradient; the guided picture of the
    same network with its weights shuffled within every array (Adebayo et al. 2018: if these look
    the same, they show the image, not the network); and the crops that the strongest activations,
    each of another unit, look at: the smallest box around all pixels in its receptive field.

    Yields 'guided' and the number 'similarity to shuffled', the mean correlation of the absolute
    values of guided pictures with their control: near 1 they show nothing of what was learnt.

    Attributes:
      source: images, or videos, of which the frame with the largest gradient is shown.
      layer: of the trunk.
      count: so many records, spread evenly over the source.
      units: activations that go back together.
      crops: of each image.
      seed: of the shuffled weights.
      tile: height of an image in pixels.
    """

    source: Source
    layer: str
    stream: str = "vision"
    count: int = 6
    units: int = 100
    crops: int = 4
    seed: int = 0
    tile: int = 128
    every: int = 0

    def __post_init__(self):
        at_least(self, 1, "count", "units", "crops", "tile")
        at_least(self, 0, "seed")

    def run(self, frozen) -> Iterator[tuple[str, float | np.ndarray]]:
        """ConfigError for unknown layers."""
        if self.units < 1 or self.crops < 0:
            raise ConfigError(
                f"units={self.units} must be at least 1, crops={self.crops} at least 0"
            )
        method, variables = frozen.method, frozen.variables
        found, _ = frozen.inputs(self.source, self.stream, limit=self.count)
        if self.stream not in method.trunks or len(found) > 1:
            raise ConfigError(f"{self.stream} is no trunk with a single input to draw")
        ((entry, raw),) = found.items()
        trunk = getattr(method.net, self.stream)

        @jax.jit
        def look(variables, raw):
            own = {k: tree[self.stream] for k, tree in variables.items() if self.stream in tree}
            x = method.inputs({entry: raw[None]})[entry].astype(jnp.float32)

            def layer(x):
                layers = trunk.apply(own, x, train=False)
                if self.layer not in layers:
                    raise ConfigError(
                        f"no layer '{self.layer}' in {self.stream}; it has {', '.join(layers)}"
                    )
                return layers[self.layer].astype(jnp.float32)

            back = {rule: jax.vjp(with_relu_rule(layer, rule), x) for rule in ("guided", "plain")}
            activations = back["plain"][0]
            together = strongest(activations, min(self.units, activations.size))
            single = one_a_channel(activations, min(self.crops, activations.shape[-1]))
            opened = jax.vjp(with_relu_rule(layer, "open"), x)[1]
            seen = jax.lax.map(lambda one: opened(one)[0][0], single)
            return {rule: f(together)[0][0] for rule, (_, f) in back.items()}, seen, activations

        rows, similarity = [], []
        control = shuffled(variables, self.seed)
        for one in raw[:, 0]:
            gradients, seen, activations = jax.device_get(look(variables, one))
            if not np.isfinite(activations).all():
                raise FloatingPointError(
                    f"layer {self.layer} is not finite; has training diverged?"
                )
            others = jax.device_get(look(control, one))[0]["guided"]
            guided = gradients["guided"]
            similarity.append(correlation(np.abs(guided), np.abs(others)))
            tiles = [Tile(as_picture(one), "input")]
            tiles += [Tile(gradient_picture(guided), "guided")]
            tiles += [Tile(gradient_picture(gradients["plain"]), "gradient")]
            tiles += [Tile(gradient_picture(others), "shuffled")]
            tiles += [
                Tile(cropped(one, gradient), f"unit {i + 1}") for i, gradient in enumerate(seen)
            ]
            rows.append(tiles)
        yield "guided", page(rows, self.tile)
        yield "similarity to shuffled", float(np.mean(similarity))


def strongest(activations: Float[Array, "*shape"], count: int) -> Float[Array, "*shape"]:
    """1 at the `count` largest activations, 0 elsewhere; of equals the earlier. None below zero."""
    flat = activations.reshape(-1)
    values, places = jax.lax.top_k(flat, count)
    return jnp.zeros_like(flat).at[places].set(values > 0).reshape(activations.shape)


def one_a_channel(activations: Float[Array, "*shape"], count: int) -> Float[Array, "n *shape"]:
    """The largest activations of the strongest units, one of a unit, each alone as a 1."""
    flat = activations.reshape(-1, activations.shape[-1])
    places, channels = flat.argmax(axis=0), jax.lax.top_k(flat.max(axis=0), count)[1]
    ones = jnp.zeros((count, *flat.shape))
    ones = ones.at[jnp.arange(count), places[channels], channels].set(1.0)
    return ones.reshape(count, *activations.shape)


def gradient_picture(gradient: Float[np.ndarray, "..."]) -> np.ndarray:
    """uint8 (h, w, 3): zero is grey; of a video the frame where most is.

    Few pixels have very large values; the picture's range is that of 99.5 % of them.
    """
    gradient = _frame(gradient)
    limit = np.percentile(np.abs(gradient), 99.5)
    clipped = gradient.clip(-limit, limit) if limit > 0 else gradient
    if clipped.shape[-1] == 3:
        return around_grey(clipped)
    # Channels of another number: where anything matters at all.
    return as_picture(np.abs(clipped).max(axis=-1, keepdims=True))


def cropped(raw: np.ndarray, gradient: Float[np.ndarray, "..."]) -> np.ndarray:
    """The part of an image that a unit sees: where its gradient is not zero."""
    box = seen_box(np.abs(gradient))
    picture = raw[_strongest_frame(gradient)] if raw.ndim == 4 else raw
    picture = as_picture(picture)
    # The network's input may be smaller or larger than what is drawn.
    scale = np.array(picture.shape[:2]) / np.array(gradient.shape[-3:-1])
    top, left = np.floor(box[:2] * scale).astype(int)
    bottom, right = np.ceil(box[2:] * scale).astype(int)
    return picture[top:bottom, left:right]


def seen_box(gradient: Float[np.ndarray, "*t h w c"]) -> np.ndarray:
    """(top, left, bottom, right) around the pixels of a gradient's size that is not zero.

    The whole image if all are. Sizes below a millionth of the largest are rounding.
    """
    size = gradient.max(axis=(*range(gradient.ndim - 3), -1))
    seen = size > 1e-6 * size.max()
    if not seen.any():
        return np.array([0, 0, *seen.shape])
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])


def shuffled(variables: dict, seed: int) -> dict:
    """Every array of the weights with its entries in random order; what is not weights stays."""
    rng = np.random.default_rng(seed)

    def permute(leaf):
        values = np.asarray(jax.device_get(leaf))
        mixed = rng.permutation(values.reshape(-1)).reshape(leaf.shape)
        return put_same(mixed, leaf.sharding)

    return {**variables, "params": jax.tree.map(permute, variables["params"])}


def correlation(x: Float[np.ndarray, "*shape"], y: Float[np.ndarray, "*shape"]) -> float:
    """Pearson's; 0 where one of both does not vary."""
    x, y = (v.astype(np.float64).ravel() - v.mean() for v in (x, y))
    scale = np.linalg.norm(x) * np.linalg.norm(y)
    return float(x @ y / scale) if scale > 0 else 0.0


def _strongest_frame(gradient: np.ndarray) -> int:
    return int(np.abs(gradient).sum(axis=(1, 2, 3)).argmax())


def _frame(gradient: np.ndarray) -> np.ndarray:
    return gradient[_strongest_frame(gradient)] if gradient.ndim == 4 else gradient
