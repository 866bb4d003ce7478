"""Pages of nearest neighbours: who is on them, and in which order."""

import dataclasses

import numpy as np
import pytest
from computed import facts_of

from ssl_jax.config import ConfigError
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.drawing.layout import Tile, page
from ssl_jax.drawing.pixels import around_grey, as_bytes, as_picture
from ssl_jax.evals import nearest
from ssl_jax.evals.nearest import Nearest, nearest_first
from ssl_jax.frozen import Features


@dataclasses.dataclass(frozen=True)
class Network:
    """Stands for a frozen network with one layer, a number from -1 to 1 on a half circle."""

    numbers: dict
    groups: tuple[int, ...] = ()

    @property
    def method(self):
        return self

    def times(self, record, stream, count):
        return [0.0] * count

    def clips(self, record, stream, times):
        return {stream: record.need_frames()([0] * len(times))}

    def features(self, source, stream, layers, clips, pool, average, facts):
        angles = np.array(self.numbers[source.seed])
        n = len(angles)
        labels = np.array([source[i].label for i in range(n)])
        groups = np.array(self.groups or [0] * n)
        rows = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
        noted = facts_of(source, range(n), facts)
        return Features({"pool": rows}, labels, np.arange(n), groups, noted)


def shown(monkeypatch, evaluator, network):
    """The names and texts of the tiles on the page, and all results."""
    rows = []

    def draw(tiles, tile, headings, title):
        rows.extend([[(one.text, one.frame) for one in row] for row in tiles])
        assert headings == ["query", *map(str, range(1, len(tiles[0])))]
        assert "query" in title
        assert ("green" in title) == any(one.frame for row in tiles for one in row)
        return page(tiles, tile, headings, title)

    monkeypatch.setattr(nearest, "page", draw)
    results = dict(evaluator.run(network))
    return rows, results


def one_line(text: str) -> str:
    return text.replace("\n", "")


def cosines(row) -> list[str]:
    return [text.split("\n")[0] for text, _ in row[1:]]


def test_a_query_is_not_its_own_neighbour(monkeypatch):
    videos = SyntheticSource(size=5, frames=1, height=12, width=12)
    network = Network({0: [0, 0.1, 0.3, 0.8, 1.5]})
    rows, results = shown(monkeypatch, Nearest(videos, queries=5, neighbours=3), network)
    assert [one_line(row[0][0]) for row in rows] == [f"synthetic video {i}" for i in range(5)]
    assert cosines(rows[0]) == [f"{np.cos(x):.3f}" for x in (0.1, 0.3, 0.8)]
    names = [one_line(text.partition("\n")[2]) for text, _ in rows[0][1:]]
    assert names == [f"synthetic video {i}" for i in (1, 2, 3)]
    labels = [videos[i].label for i in range(5)]
    frames = ["green" if labels[i] == labels[0] else "red" for i in (1, 2, 3)]
    assert [frame for _, frame in rows[0][1:]] == frames
    greens = [frame == "green" for row in rows for _, frame in row[1:]]
    assert results["pool/same class"] == pytest.approx(np.mean(greens))
    assert results["pool"].dtype == np.uint8
    few = dict(Nearest(videos, queries=2, neighbours=99).run(network))
    assert few["pool"].shape[0] < results["pool"].shape[0]
    with pytest.raises(ConfigError, match="neighbours=0"):
        dict(Nearest(videos, neighbours=0).run(network))


def test_neighbours_of_another_set_and_of_other_groups(monkeypatch):
    videos, others = (
        SyntheticSource(size=3, frames=1, height=12, width=12, seed=s) for s in (0, 1)
    )
    network = Network({0: [0, 1, 2], 1: [0.2, 0.05, 1.9]}, groups=(0, 1, 0))
    across = Nearest(videos, gallery=others, queries=1, neighbours=2)
    rows, _ = shown(monkeypatch, across, network)
    # Record 0 of the other set is another record, though its name is the same.
    assert cosines(rows[0]) == [f"{np.cos(x):.3f}" for x in (0.05, 0.2)]
    rows, _ = shown(monkeypatch, dataclasses.replace(across, other_groups=True), network)
    assert cosines(rows[0]) == [f"{np.cos(0.05):.3f}"]


def test_ties_go_to_the_earlier():
    cosine, allowed = np.array([0.5, 0.9, 0.5, 0.9]), np.array([True, True, True, False])
    assert nearest_first(cosine, allowed).tolist() == [1, 0, 2]


def test_names_are_whole_whatever_their_length_and_letters(monkeypatch):
    name = "very/long/folder/" + "x" * 80 + " übung.avi"

    class Named(SyntheticSource):
        def __getitem__(self, index):
            return dataclasses.replace(super().__getitem__(index), name=f"{name} {index}")

    videos = Named(size=2, frames=1, height=12, width=12)
    rows, results = shown(monkeypatch, Nearest(videos), Network({0: [0, 0.1]}))
    assert one_line(rows[0][0][0]) == f"{name} 0"
    assert one_line(rows[0][1][0].partition("\n")[2]) == f"{name} 1"
    assert results["pool"].shape[1] < 800  # in lines, not in one


def test_pages_and_pictures():
    red, tall = np.zeros((4, 4, 3), np.uint8), np.full((8, 4, 3), 255, np.uint8)
    red[..., 0] = 200
    sheet = page([[Tile(red, "a", "green"), Tile(tall)], [Tile(red)]], tile=16)
    assert (sheet == [200, 0, 0]).all(axis=2).sum() == 2 * 16 * 16
    assert (sheet == 255).all(axis=2).sum() == 16 * 8  # half as wide as it is high
    assert (sheet == [0, 128, 0]).all(axis=2).any()
    with pytest.raises(ValueError, match="at least one picture"):
        page([])
    assert as_bytes(np.array([[-1.0, 0], [1, 3]])).tolist() == [[0, 64], [128, 255]]
    assert as_bytes(np.array([0.0, 0.5, 1])).tolist() == [0, 128, 255]
    assert as_bytes(np.full((2, 2), 7.0)).tolist() == [[128, 128]] * 2
    assert around_grey(np.array([-1.0, 0, 2])).tolist() == [64, 128, 255]
    video = np.arange(5 * 6 * 6 * 3, dtype=np.uint8).reshape(5, 6, 6, 3)
    np.testing.assert_array_equal(as_picture(video), video[2])
    wave = np.sin(np.arange(4000) * 2 * np.pi * 0.25).astype(np.float32)
    spectrogram = as_picture(wave)
    assert spectrogram.ndim == 3
    # A quarter of the sample rate is half way up.
    assert abs(spectrogram.mean(axis=(1, 2)).argmax() - spectrogram.shape[0] // 2) <= 1
    with pytest.raises(ValueError, match="cannot be drawn"):
        as_picture(np.arange(9))
