"""Text-video retrieval: the right video for a text, the right text for a video."""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float

from ssl_jax.config import ConfigError
from ssl_jax.data.record import MediaError, Record, Source
from ssl_jax.knobs import at_least, given, one_of
from ssl_jax.scores.retrieval import (
    QUERIES,
    TIES,
    Places,
    joined,
    median_rank,
    places,
    rank,
    recall_at,
    recall_by_chance,
)
from ssl_jax.solvers.probe import finite_rows, unit


@dataclasses.dataclass(frozen=True)
class CaptionSource:
    """Every caption of a source as a record of its own: the video it belongs to, with it alone.

    `extra['group']` is the number of the video. A video without captions is not in it. Opens all
    records of `source` once.

    Attributes:
      source: videos with captions.
      most: captions of a video that count, the first ones; 0 for all.
    """

    source: Source
    most: int = 0

    def __post_init__(self):
        at_least(self, 0, "most")

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(index)
        video, number = self._places[index]
        record = self.source[video]
        return dataclasses.replace(
            record,
            name=f"{record.name}, caption {number}",
            index=int(index),
            captions=(record.captions[number],),
            extra={**record.extra, "group": video},
        )

    @functools.cached_property
    def _places(self) -> list[tuple[int, int]]:
        counts = [_captions_of(self.source, i) for i in range(len(self.source))]
        return [
            (video, number)
            for video, count in enumerate(counts)
            for number in range(min(count, self.most or count))
        ]


def _captions_of(source: Source, number: int) -> int:
    try:
        return len(source[number].captions)
    except MediaError:  # named when its frames are read
        return 0


@dataclasses.dataclass(frozen=True)
class TextVideoRetrieval:
    """Ranks videos by their similarity to a text, and texts by their similarity to a video.

    The protocol of MSR-VTT, YouCook2, MSVD and others: a video's embedding is the mean of its
    clips' (Miech et al. 2020, MIL-NCE, average ten and compare by dot product). From text to video
    each caption is a query and has one right video. From video to text the video's best caption
    counts, and its other captions are not ranked before it (Liu et al. 2019, "Use What You Have").
    Yields 'text to video/R@k', 'text to video/median_rank', the same for 'video to text', and
    'chance text to video/R@k', ..., what random orders give on average.

    The records of one video's captions are given to the method's `clips` one by one, each with one
    entry in `captions`.

    Attributes:
      test: videos with captions; those without are not in the gallery.
      text, video: streams.
      layer: of both.
      captions: of a video that count, the first ones; 0 for all.
      clips: clips of a video whose embeddings are averaged.
      similarity: 'dot' or 'cosine'.
      ks: places for recall.
      ties: see `retrieval`.
    """

    test: Source
    text: str = "text"
    video: str = "vision"
    layer: str = "embedding"
    captions: int = 0
    clips: int = 10
    similarity: str = "dot"
    ks: tuple[int, ...] = (1, 5, 10)
    ties: str = TIES[0]
    every: int = 0

    def __post_init__(self):
        given(self, "ks")
        at_least(self, 1, "ks", "clips")
        at_least(self, 0, "captions")
        one_of(self, "similarity", ("dot", "cosine"))
        one_of(self, "ties", TIES)

    def check(self, frozen) -> None:
        """ConfigError for unknown streams, or an unknown layer of the video."""
        frozen.check_layers(self.text, (), None)
        frozen.check_layers(self.video, (self.layer,), self.test)

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """ConfigError without captions."""
        sentences = CaptionSource(self.test, self.captions)
        if not len(sentences):
            raise ConfigError("test: no video has a caption")
        texts = frozen.features(sentences, self.text, (self.layer,))
        videos = frozen.features(self.test, self.video, (self.layer,), self.clips)
        queries, gallery = (
            finite_rows(f"{name} {self.layer}", x.layers[self.layer], x.indices).astype(np.float64)
            for name, x in ((self.text, texts), (self.video, videos))
        )
        if queries.shape[1] != gallery.shape[1]:
            raise ConfigError(
                f"layer '{self.layer}' has {queries.shape[1]} features in {self.text} and "
                f"{gallery.shape[1]} in {self.video}: they share no space"
            )
        if self.similarity == "cosine":
            queries, gallery = unit(queries), unit(gallery)
        # Videos without a caption, and captions of videos that could not be read, take no part.
        kept = np.isin(videos.indices, texts.groups)
        right = texts.groups[:, None] == videos.indices[kept]
        read = right.any(axis=1)
        queries, gallery, right = queries[read], gallery[kept], right[read]
        directions = {
            "text to video": (queries, gallery, right),
            "video to text": (gallery, queries, right.T),
        }
        for name, (x, y, matches) in directions.items():
            found = similarity_places(x, y, matches)
            for k in self.ks:
                yield f"{name}/R@{k}", recall_at(found, k, self.ties)
            yield f"{name}/median_rank", median_rank(rank(found, self.ties))
        for name, (_, _, matches) in directions.items():
            count = matches.sum(axis=1)
            for k in self.ks:
                chance = recall_by_chance(count, matches.shape[1] - count, k)
                yield f"chance {name}/R@{k}", float(np.mean(chance))


def similarity_places(
    queries: Float[np.ndarray, "q d"],
    gallery: Float[np.ndarray, "g d"],
    right: Bool[np.ndarray, "q g"],
) -> Places:
    """Where each query's best right answer stands by dot product.

    Products that differ by no more than the rounding of float32 embeddings are ties.
    """
    longest = np.linalg.norm(gallery, axis=1).max()
    found = []
    for start in range(0, len(queries), QUERIES):
        rows = slice(start, start + QUERIES)
        # Relative to the largest product that a query could have, so that one tolerance fits all.
        scale = np.linalg.norm(queries[rows], axis=1, keepdims=True) * longest
        similarity = queries[rows] @ gallery.T / np.where(scale > 0, scale, 1)
        found.append(places(similarity, right[rows], tolerance=1e-6))
    return joined(found)
