"""Text-video retrieval against a scorer that counts by hand: ties, several captions, languages."""

import dataclasses

import numpy as np
import pytest

from ssl_jax.config import ConfigError, call, load
from ssl_jax.data.record import Caption, Record
from ssl_jax.data.sources.caption_source import CaptionSource
from ssl_jax.evals.text_video_retrieval import TextVideoRetrieval
from ssl_jax.frozen import Features


@dataclasses.dataclass(frozen=True)
class Videos:
    """Videos of one frame; what their captions and frames are like is in the features' tables."""

    captions: tuple[tuple[str, ...], ...]  # of each video, 'language:text'

    def __len__(self):
        return len(self.captions)

    def __getitem__(self, index):
        pairs = [one.split(":") for one in self.captions[index]]
        captions = tuple(
            Caption(text, start=float(-place), language=language)
            for place, (language, text) in enumerate(pairs)
        )
        pixels = np.full((1, 8, 8, 3), 20 * index, np.uint8)
        return Record(
            f"video {index}", index, 1, 1.0, frames=lambda numbers: pixels, captions=captions
        )


@dataclasses.dataclass(frozen=True)
class Known:
    """Stands for a frozen network whose embeddings of texts and videos are known."""

    texts: dict[str, list[float]]
    videos: list[list[float]]

    def features(self, source, stream, layers, clips=1):
        records = [source[k] for k in range(len(source))]
        if stream == "text":
            rows = [self.texts[record.captions[0].text] for record in records]
            groups = [record.extra["group"] for record in records]
        else:
            rows, groups = self.videos, [0] * len(records)
        indices = np.arange(len(records))
        rows = {"embedding": np.array(rows, np.float32)}
        return Features(rows, np.full(len(records), -1), indices, np.array(groups))


def one_caption_each(table):
    """Captions of as many videos, whose products with the videos are a table's entries."""
    table = np.array(table)
    names = [str(k) for k in range(len(table))]
    videos = Videos(tuple((f"en:{name}",) for name in names))
    texts = {name: row.tolist() for name, row in zip(names, table, strict=True)}
    return videos, Known(texts, np.eye(len(table)).tolist())


AUDIO_TEXT = [[0.9, 0.1, 0.2, 0.3], [0.5, 0.4, 0.6, 0.1], [0.2] * 4, [0.1, 0.8, 0.7, 0.9]]
EVALUATION = [[0.9, 0.1, 0.3, 0.2], [0.8, 0.5, 0.6, 0.1], [0.2] * 4, [0.4, 0.3, 0.2, 0.1]]


@pytest.mark.parametrize(
    ("table", "ties", "recall", "median", "mean"),
    [
        (AUDIO_TEXT, "optimistic", 0.75, 1, 1.5),
        (AUDIO_TEXT, "mean", 0.5, 1.75, 1.875),
        (EVALUATION, "optimistic", 0.5, 2, 2.25),
        (EVALUATION, "mean", 0.25, 2.75, 2.625),
        (EVALUATION, "pessimistic", 0.25, 3.5, 3),
        (EVALUATION, "expected", 0.3125, 2.75, 2.625),
    ],
)
def test_ties_by_name(table, ties, recall, median, mean):
    videos, frozen = one_caption_each(table)
    found = dict(TextVideoRetrieval(videos, ks=(1,), ties=ties, drawn=0).run(frozen))
    names = ("R@1", "median_rank", "mean_rank")
    assert [found[f"text to video/{n}"] for n in names] == pytest.approx([recall, median, mean])


def scored(table, right):
    """Ranks from 1 of the best right answer of each row, counted one by one."""
    ranks = []
    for row, own in zip(table, right, strict=True):
        order = sorted(range(len(row)), key=lambda k: -row[k])
        wrong_before = 0
        for place in order:
            if own[place]:
                break
            wrong_before += 1
        ranks.append(wrong_before + 1)
    return ranks


def test_several_captions_and_languages():
    rng = np.random.default_rng(0)
    names = (("en:a", "en:b", "de:c"), ("de:d", "en:e"), (), ("en:f", "de:g", "de:h"))
    videos, owner = Videos(names), {"a": 0, "b": 0, "c": 0, "d": 1, "e": 1, "f": 3, "g": 3, "h": 3}
    texts = {name: rng.normal(size=5).tolist() for name in [*owner, "b a"]}
    frozen = Known(texts, rng.normal(size=(4, 5)).tolist())
    gallery = np.float32(frozen.videos)[[0, 1, 3]]

    def ranks(chosen):
        table = np.float32([texts[name] for name in chosen]) @ gallery.T
        right = np.array([[owner[name[-1]] == k for k in (0, 1, 3)] for name in chosen])
        return scored(table, right), scored(table.T, right.T)

    def check(found, prefix, to_video, to_text):
        for name, expected in ((f"{prefix}text to video", to_video), ("video to text", to_text)):
            name = name if name.startswith(prefix) else prefix + name
            assert found[f"{name}/R@1"] == pytest.approx(np.mean(np.array(expected) <= 1))
            assert found[f"{name}/median_rank"] == np.median(expected)
            assert found[f"{name}/mean_rank"] == pytest.approx(np.mean(expected))

    each = dict(TextVideoRetrieval(videos, ks=(1, 2)).run(frozen))
    to_video, to_text = ranks("abcdefgh")
    check(each, "", to_video, to_text)
    # The best of three captions, of two and of three.
    best = dict(TextVideoRetrieval(videos, ks=(1, 2), several="best").run(frozen))
    check(best, "", [min(to_video[:3]), min(to_video[3:5]), min(to_video[5:])], to_text)
    missed = [(1 - 1 / 3) ** tries for tries in (3, 2, 3)]
    assert best["chance text to video/R@1"] == pytest.approx(1 - np.mean(missed))
    assert each["chance text to video/R@1"] == pytest.approx(1 / 3)
    assert each["chance text to video/mean_rank"] == pytest.approx(2)
    assert each["chance text to video/median_rank"] == pytest.approx(2)
    assert each["chance video to text/R@1"] == pytest.approx(np.mean([3, 2, 3]) / 8)
    # By language, and their mean.
    both = dict(TextVideoRetrieval(videos, ks=(1, 2), languages=("en", "de")).run(frozen))
    for language, chosen in (("en ", "abef"), ("de ", "cdgh")):
        check(both, language, *ranks(chosen))
    for name in ("text to video/R@1", "video to text/mean_rank", "chance text to video/R@2"):
        assert both[f"mean {name}"] == pytest.approx((both[f"en {name}"] + both[f"de {name}"]) / 2)
    # Starts count down, so the last is the first of a paragraph.
    paragraph = Videos((("en:a", "en:b"), ("en:e",), (), ("en:f",)))
    found = dict(TextVideoRetrieval(paragraph, ks=(1,), several="paragraph").run(frozen))
    check(found, "", *ranks(("b a", "e", "f")))
    with pytest.raises(ConfigError, match="no video has a caption in fr"):
        dict(TextVideoRetrieval(videos, languages=("fr",)).run(frozen))
    with pytest.raises(ConfigError, match="captions in de, en cannot be joined"):
        dict(TextVideoRetrieval(videos, several="paragraph").run(frozen))


def test_chance_is_the_mean_over_orders():
    rng = np.random.default_rng(1)
    videos, frozen = one_caption_each(rng.normal(size=(6, 6)))
    found = dict(TextVideoRetrieval(videos, ks=(1, 4, 10), drawn=0).run(frozen))
    ranks = np.array([list(rng.permutation(6)).index(0) + 1 for _ in range(20000)])
    for k in (1, 4):
        assert found[f"chance text to video/R@{k}"] == pytest.approx(np.mean(ranks <= k), abs=0.02)
    assert found["chance text to video/R@10"] == 1
    assert found["chance text to video/mean_rank"] == 3.5
    assert found["chance text to video/median_rank"] == 3.5


def test_dual_softmax_stands_under_its_own_name():
    table = np.array([[0.9, 0.8, 0.1], [0.95, 0.85, 0.2], [0.9, 0.1, 0.3]])
    videos, frozen = one_caption_each(table)
    plain = dict(TextVideoRetrieval(videos, ks=(1,), drawn=0).run(frozen))
    both = dict(TextVideoRetrieval(videos, ks=(1,), drawn=0, dual_softmax=20.0).run(frozen))
    assert {name: both[name] for name in plain} == plain
    for name, x in (("text to video", table), ("video to text", table.T)):
        weights = np.exp(20 * x) / np.exp(20 * x).sum(axis=0)
        expected = scored(x * weights, np.eye(3, dtype=bool))
        assert both[f"dual softmax {name}/mean_rank"] == pytest.approx(np.mean(expected))
    # The first video is nearest to all; the second softmax takes it from the texts it is less near.
    assert plain["text to video/R@1"] == pytest.approx(1 / 3)
    assert both["dual softmax text to video/R@1"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", ["margin", "multiple_instance"])
def test_published_results_are_of_english_captions(name):
    for evaluator in load(f"video_text/{name}_howto100m.py").evaluators.values():
        if evaluator.call == call(TextVideoRetrieval, test=None).call:
            assert evaluator.languages == ("en",)


def test_equal_videos_tie_with_dual_softmax_too():
    rng = np.random.default_rng(2)
    queries, video = rng.normal(size=(6, 64)), rng.normal(size=64)
    # Six times the same video, but for the rounding of float32.
    gallery = video * (1 + rng.uniform(-1e-7, 1e-7, (6, 64)))
    videos, frozen = one_caption_each(queries / np.linalg.norm(queries, axis=1, keepdims=True))
    frozen = dataclasses.replace(frozen, videos=(gallery / np.linalg.norm(video)).tolist())
    found = dict(TextVideoRetrieval(videos, ks=(1,), drawn=0, dual_softmax=100.0).run(frozen))
    for name in ("text to video", "dual softmax text to video"):
        assert found[f"{name}/R@1"] == pytest.approx(1 / 6)
        assert found[f"{name}/mean_rank"] == 3.5


def test_dual_softmax_ranks_answers_that_are_far_behind():
    # With cosines times 100 the weights of a row span more powers of ten than float64 has digits.
    table = np.random.default_rng(3).uniform(-0.9, 0.9, (12, 12)).round(2)
    videos, frozen = one_caption_each(table)
    evaluator = TextVideoRetrieval(videos, ks=(1,), drawn=0, dual_softmax=100.0)
    found = dict(evaluator.run(frozen))
    for name, x in (("text to video", table), ("video to text", table.T)):
        weights = np.exp(100 * x) / np.exp(100 * x).sum(axis=0)
        expected = scored(x * weights, np.eye(12, dtype=bool))
        assert found[f"dual softmax {name}/mean_rank"] == pytest.approx(np.mean(expected))


def test_a_page_shows_the_right_video_in_green():
    videos, frozen = one_caption_each(AUDIO_TEXT)
    results = dict(TextVideoRetrieval(videos, drawn=2, stills=3, tile=40).run(frozen))
    drawn = results["text to video"]
    assert drawn.dtype == np.uint8
    greens = np.flatnonzero((drawn == (0, 128, 0)).all(axis=-1).any(axis=1))
    # Queries 0 and 2 have their own video among the first three.
    assert len(np.flatnonzero(np.diff(greens) > 1)) == 1
    # Videos 0, 3, 2 and 0, 1, 2; letters have a few pixels of the same grey.
    tiles = [(drawn == (grey,) * 3).all(axis=-1).sum() / 40**2 for grey in (20, 40, 60)]
    assert np.round(tiles).tolist() == [1, 2, 1]
    assert not [
        value
        for value in dict(TextVideoRetrieval(videos, drawn=0).run(frozen)).values()
        if isinstance(value, np.ndarray)
    ]


def test_captions_of_a_language_as_records():
    videos = Videos((("en:a", "de:b"), ("de:c",), ("en:d", "en:e")))
    found = CaptionSource(videos, language="en")
    assert [found[k].captions[0].text for k in range(len(found))] == ["a", "d", "e"]
    assert [found[k].extra["group"] for k in range(len(found))] == [0, 2, 2]
    joined = CaptionSource(videos, language="en", joined=True)
    assert [joined[k].captions[0].text for k in range(len(joined))] == ["a", "e d"]
    assert [len(CaptionSource(videos, most=1, language=name)) for name in ("en", "de")] == [2, 2]
