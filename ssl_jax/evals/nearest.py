"""Pages of nearest neighbours: what does a network consider similar?"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from ssl_jax.config import ConfigError
from ssl_jax.data.annotations import fingerprint_fact
from ssl_jax.data.labels import label_names, renumbered
from ssl_jax.data.record import Record, Source
from ssl_jax.drawing.layout import Tile, page, wrapped
from ssl_jax.drawing.pixels import as_picture
from ssl_jax.evaluator import Read
from ssl_jax.knobs import at_least
from ssl_jax.solvers.probe import finite_rows, unit


@dataclasses.dataclass(frozen=True)
class Nearest:
    """A page for every layer: in each row a query, then its nearest records by cosine.

    Below a neighbour are its cosine and its name; its border is green if it has the query's label,
    red if another, none where either has no label. Above stands what this means. Yields the pages
    by the layers' names, and '<layer>/same class', the share of green ones among green and red.

    Within one set a query is not its own neighbour, nor are records of the same name (segments of
    one file) or, with `other_groups`, of the same group (one video, one game): a neighbouring frame
    is found by its pixels.

    Attributes:
      source: queries, and without `gallery` also the records among which neighbours are looked for.
      gallery: another source for the neighbours, say the training set.
      read: what is read of every record. Drawn is one input, as for `clips=1`.
      queries: so many records of `source`, spread evenly over it.
      neighbours: of each.
      other_groups: no neighbours of the query's `extra['group']`.
      tile: height of an image in pixels.
    """

    source: Source
    gallery: Source | None = None
    read: Read = Read()
    queries: int = 10
    neighbours: int = 8
    other_groups: bool = False
    tile: int = 96
    every: int = 0

    def __post_init__(self):
        at_least(self, 1, "queries", "neighbours", "tile")

    def run(self, frozen) -> Iterator[tuple[str, float | np.ndarray]]:
        """ConfigError if nothing is asked for."""
        if min(self.queries, self.neighbours) < 1:
            raise ConfigError(
                f"queries={self.queries}, neighbours={self.neighbours}: at least one is needed"
            )
        gallery = self.source if self.gallery is None else self.gallery
        asked, found = (
            self.read.features(frozen, source, facts=fingerprint_fact)
            for source in (self.source, gallery)
        )
        count = min(self.queries, len(asked.indices))
        chosen = np.arange(count) * len(asked.indices) // count
        allowed = np.ones((count, len(found.indices)), bool)
        if self.gallery is None:
            names = asked.facts["fingerprint"]
            allowed &= names[chosen][:, None] != names
        if self.other_groups:
            allowed &= asked.groups[chosen][:, None] != found.groups
        labels = renumbered(found.labels, label_names(gallery), label_names(self.source))
        for layer, values in asked.layers.items():
            x = finite_rows(f"layer {layer}", values, asked.indices)[chosen]
            y = finite_rows(f"layer {layer}", found.layers[layer], found.indices)
            rows, same = [], []
            for query, cosine in enumerate(unit(x) @ unit(y).T):
                record = self.source[int(asked.indices[chosen[query]])]
                tiles = [Tile(self._picture(frozen, record), self._name(record))]
                for place in nearest_first(cosine, allowed[query])[: self.neighbours]:
                    frame = ""
                    if min(labels[place], record.label) >= 0:
                        same.append(labels[place] == record.label)
                        frame = "green" if same[-1] else "red"
                    other = gallery[int(found.indices[place])]
                    text = f"{cosine[place]:.3f}\n{self._name(other)}"
                    tiles.append(Tile(self._picture(frozen, other), text, frame))
                rows.append(tiles)
            headings = ["query", *(str(rank) for rank in range(1, max(map(len, rows))))]
            yield layer, page(rows, self.tile, headings, legend(layer, marked=bool(same)))
            if same:
                yield f"{layer}/same class", float(np.mean(same))

    def _name(self, record: Record) -> str:
        return wrapped(record.name.replace("\n", "\\n"), self.tile * 3 // 2)

    def _picture(self, frozen, record: Record) -> UInt8[np.ndarray, "h w 3"]:
        times = frozen.method.times(record, self.read.stream, 1)
        clips = frozen.method.clips(record, self.read.stream, times)
        return as_picture(next(iter(clips.values()))[0])


def legend(layer: str, marked: bool) -> str:
    """What a page shows; `marked` if any neighbour of it has a coloured border."""
    ranks = f"{layer}: a query, then its nearest records; below each its cosine and its name"
    return ranks + ("\ngreen: the query's label; red: another label; no border: no label" * marked)


def nearest_first(
    cosine: Float[np.ndarray, "n"], allowed: Bool[np.ndarray, "n"]
) -> Int[np.ndarray, "m"]:
    """The allowed places by falling cosine; of equals the earlier first."""
    order = np.argsort(-cosine, kind="stable")
    return order[allowed[order]]
