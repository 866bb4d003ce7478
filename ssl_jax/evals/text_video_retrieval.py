"""Text-video retrieval: the right video for a text, the right text for a video."""

import dataclasses
import textwrap
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int

from ssl_jax.config import ConfigError
from ssl_jax.data.record import MediaError, Source
from ssl_jax.data.sources.caption_source import CaptionSource
from ssl_jax.drawing.layout import Tile, page, written
from ssl_jax.knobs import at_least, given, one_of
from ssl_jax.scores.retrieval import (
    QUERIES,
    TIES,
    Positions,
    found_by_chance,
    joined,
    mean_rank,
    median_rank,
    positions,
    rank,
    recall_at,
)
from ssl_jax.solvers.probe import finite_rows, unit

SEVERAL = ("each", "paragraph", "best")
LETTERS = 28  # of a line of a written query


@dataclasses.dataclass(frozen=True)
class TextVideoRetrieval:
    """Ranks videos by their similarity to a text, and texts by their similarity to a video.

    The protocol of MSR-VTT, YouCook2, MSVD and others: a video's embedding is the mean of its
    clips' (Miech et al. 2020, MIL-NCE, average ten and compare by dot product). From text to video
    each caption is a query and has one right video. From video to text the video's best caption
    counts, and its other captions are not ranked before it (Liu et al. 2019, "Use What You Have").
    Yields 'text to video/R@k', 'text to video/median_rank', 'text to video/mean_rank' (ranks count
    from 1), the same for 'video to text', and 'chance text to video/R@k', ..., what random orders
    give on average. And 'text to video', a page: in each row a query, then the middle frames of the
    videos that come first, with their similarities, the right one in a green border.

    The records of one video's captions are given to the method's `clips` one by one, each with one
    entry in `captions`.

    Attributes:
      test: videos with captions; those without are not in the gallery.
      text, video: streams.
      layer: of both.
      captions: of a video that count, the first ones; 0 for all.
      several: what becomes of a video's captions: 'each' is a query; 'paragraph': all of them, one
        after another, are one (ActivityNet); 'best': of a video's captions the one that ranks it
        highest, which makes more captions look better.
      languages: captions of each by themselves: 'de text to video/R@1', and the mean over all of
        these languages, 'mean text to video/R@1'. (): all captions are queries, whatever their
        language, so that VATEX' Chinese or MSR-VTT's translations stand among the English ones;
        published results are of ('en',).
      dual_softmax: also yields 'dual softmax text to video/R@k', ...: similarities times their
        softmax over all queries, at so many times the similarity (Cheng et al. 2021: 100 for
        cosines). It looks at all queries at once, so it is no fair rival of what answers one at a
        time. 0: not.
      clips: clips of a video whose embeddings are averaged.
      similarity: 'dot' or 'cosine'.
      ks: of recall, R@k.
      ties: see `retrieval`.
      drawn: queries on the page, spread evenly over all; 0: no page.
      stills: videos that are drawn for each.
      tile: height of an image in pixels.
    """

    test: Source
    text: str = "text"
    video: str = "vision"
    layer: str = "embedding"
    captions: int = 0
    several: str = "each"
    languages: tuple[str, ...] = ()
    dual_softmax: float = 0.0
    clips: int = 10
    similarity: str = "dot"
    ks: tuple[int, ...] = (1, 5, 10)
    ties: str = TIES[0]
    drawn: int = 8
    stills: int = 5
    tile: int = 96
    every: int = 0

    def __post_init__(self):
        given(self, "ks")
        at_least(self, 1, "ks", "clips", "stills", "tile")
        at_least(self, 0, "captions", "dual_softmax", "drawn")
        one_of(self, "similarity", ("dot", "cosine"))
        one_of(self, "several", SEVERAL)
        one_of(self, "ties", TIES)

    def check(self, frozen) -> None:
        """ConfigError for unknown streams, or an unknown layer of the video."""
        frozen.check_layers(self.text, (), None)
        frozen.check_layers(self.video, (self.layer,), self.test)

    def run(self, frozen) -> Iterator[tuple[str, float | np.ndarray]]:
        """ConfigError without captions, or without any of one of the languages."""
        totals: dict[str, list[float]] = {}
        for language in self.languages or ("",):
            for name, value in self._of(frozen, language):
                yield f"{language} {name}".strip(), value
                if isinstance(value, float):
                    totals.setdefault(name, []).append(value)
        if self.languages:
            for name, values in totals.items():
                yield f"mean {name}", float(np.mean(values))

    def _of(self, frozen, language: str) -> Iterator[tuple[str, float | np.ndarray]]:
        """The results of captions of one language; of any, if it is ''."""
        paragraph = self.several == "paragraph"
        sentences = CaptionSource(self.test, self.captions, language, paragraph)
        if not len(sentences):
            raise ConfigError(f"test: no video has a caption{language and f' in {language}'}")
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
        # Of which the best counts; a video to find has one right text or more, not several queries.
        owners = {"text to video": right.argmax(axis=1), "video to text": np.arange(len(gallery))}
        best = self.several == "best"
        for name, direction in directions.items():
            yield from self._scores(name, similarity_positions(*direction), best, owners[name])
            if self.dual_softmax:
                found = similarity_positions(*direction, self.dual_softmax)
                yield from self._scores(f"dual softmax {name}", found, best, owners[name])
        for name, (_, _, matches) in directions.items():
            tries = np.ones(len(matches), int)
            count = matches.sum(axis=1)
            if best:
                tries = np.bincount(owners[name])
                count = np.ones(len(tries), int) if name == "text to video" else count
            chance = found_by_chance(count, matches.shape[1] - count, tries)
            for k in self.ks:
                yield f"chance {name}/R@{k}", float(chance[min(k, len(chance)) - 1])
            yield (
                f"chance {name}/median_rank",
                float(
                    (np.searchsorted(chance, 0.5 - 1e-9) + np.searchsorted(chance, 0.5 + 1e-9)) / 2
                    + 1
                ),
            )
            yield f"chance {name}/mean_rank", float(1 + np.sum(1 - chance))
        if self.drawn:
            rows = texts.indices[read], videos.indices[kept]
            yield from self._pages(sentences, queries, gallery, right, *rows)

    def _scores(
        self, name: str, found: Positions, best: bool, owners: Int[np.ndarray, "q"]
    ) -> Iterator[tuple[str, float]]:
        if best:
            order = np.lexsort((rank(found, self.ties), owners))
            first = np.unique(owners[order], return_index=True)[1]
            found = Positions(*(column[order[first]] for column in found))
        for k in self.ks:
            yield f"{name}/R@{k}", recall_at(found, k, self.ties)
        yield f"{name}/median_rank", median_rank(rank(found, self.ties))
        yield f"{name}/mean_rank", mean_rank(rank(found, self.ties))

    def _pages(self, sentences, queries, gallery, right, numbers, videos):
        """A page of queries and what they find; none if the videos have no frames to show."""
        count = min(self.drawn, len(queries))
        rows = []
        for query in (np.arange(count) * len(queries) // count).tolist():
            scores = queries[query] @ gallery.T
            text = textwrap.fill(sentences[int(numbers[query])].captions[0].text, LETTERS)
            tiles = [Tile(written(text, self.tile))]
            for position in np.argsort(-scores, kind="stable")[: self.stills].tolist():
                frame = "green" if right[query, position] else ""
                try:
                    still = self._still(int(videos[position]))
                except MediaError:
                    return
                tiles.append(Tile(still, f"{scores[position]:.3f}", frame))
            rows.append(tiles)
        headings = ["query", *(str(position) for position in range(1, max(map(len, rows))))]
        title = "text to video: a query, then the videos that come first, with their similarities"
        yield "text to video", page(rows, self.tile, headings, f"{title}\ngreen: the right one")

    def _still(self, number: int):
        record = self.test[number]
        return record.need_frames()([record.num_frames // 2])[0]


def similarity_positions(
    queries: Float[np.ndarray, "q d"],
    gallery: Float[np.ndarray, "g d"],
    right: Bool[np.ndarray, "q g"],
    dual_softmax: float = 0.0,
) -> Positions:
    """Where each query's best right answer stands by dot product.

    Products that differ by no more than the rounding of float32 embeddings are ties.

    Args:
      dual_softmax: products are multiplied by their softmax over queries at so many times the
        product; 0: not.
    """
    blocks = [slice(start, start + QUERIES) for start in range(0, len(queries), QUERIES)]
    logs = np.full(len(gallery), -np.inf)
    for rows in blocks if dual_softmax else ():
        block = dual_softmax * queries[rows] @ gallery.T
        logs = np.logaddexp(logs, np.logaddexp.reduce(block, axis=0))
    longest = np.linalg.norm(gallery, axis=1).max()
    found = []
    for rows in blocks:
        similarity = queries[rows] @ gallery.T
        # Relative to the largest product that a query could have, so that one tolerance fits all.
        scale = np.linalg.norm(queries[rows], axis=1, keepdims=True) * longest
        if dual_softmax:
            powers = dual_softmax * similarity - logs
            best = np.where(right[rows], powers, -np.inf).argmax(axis=1)[:, None]
            own = np.abs(np.take_along_axis(similarity, best, axis=1))
            # Relative to the right answer's softmax, as the softmax of others is many powers of ten
            # larger or smaller; 700, so that the exponential is finite.
            powers = powers - np.take_along_axis(powers, best, axis=1)
            similarity = similarity * np.exp(np.minimum(powers, 700))
            # Errors e of the products make up to so many e here: one as the factor, the others in
            # the exponent, by the product and by the sum over queries.
            scale = scale * (1 + 2 * dual_softmax * own)
        similarity = similarity / np.where(scale > 0, scale, 1)
        found.append(positions(similarity, right[rows], tolerance=1e-6))
    return joined(found)
