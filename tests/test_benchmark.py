"""The benchmarks run, and what they count is right."""

import numpy as np
import pytest

from ssl_jax import benchmark
from ssl_jax.benchmarks import input as reading
from ssl_jax.benchmarks.evals import Evals
from ssl_jax.benchmarks.input import Input
from ssl_jax.benchmarks.losses import Losses
from ssl_jax.benchmarks.turns import typical
from ssl_jax.benchmarks.words import Words
from ssl_jax.config import ConfigError
from ssl_jax.data import decode
from ssl_jax.data.sources.folder import FolderSource

TINY = Input(videos=1, frames=40, height=48, width=64, images=2, batches=1, long=20, turns=1)


def test_the_input_benchmark_prints_a_table(capsys):
    benchmark.main(["--only=input"], {"input": TINY})
    title, *lines = capsys.readouterr().out.splitlines()
    assert title == "input"
    assert len(lines) in (8, 9)  # nine where Beam is installed, which prepares the shards
    numbers = [float(line.split()[-1].replace(",", "")) for line in lines]
    assert np.isfinite(numbers).all()
    assert numbers[0] > 0
    assert numbers[1] <= 1.5


def test_the_losses_are_timed(capsys):
    tiny = Losses(pairs=8, size=4, videos=4, captions=2, width=4, waves=2, seconds=0.1, turns=1)
    benchmark.main(["--only=losses"], {"losses": tiny})
    table = capsys.readouterr().out
    for name in ("NT-Xent 8x4", "InfoNCE 8x4", "MIL-NCE 4x2x4", "log-mel 2 x 0.1 s"):
        assert f"losses: {name}, milliseconds" in table


def test_word_vectors_are_timed():
    tiny = Words(vocabulary=20, width=4, window=2, batch=2, length=20, steps=2, turns=1)
    found = dict(tiny.rows())
    for name in ("CBOW", "skip-gram"):
        for noise in ("", ", noise shared by 10 centres"):
            assert found[f"words: {name}{noise}, words per second"] > 0


def test_unknown_benchmarks_are_named():
    with pytest.raises(
        ConfigError, match="no benchmark 'inputs'; there is input,augment,evals,losses,words"
    ):
        benchmark.main(["--only=inputs"])


def test_what_is_decoded_is_counted_against_the_key_frames(tmp_path):
    reading.write_videos(str(tmp_path), TINY)
    record = FolderSource(str(tmp_path))[0]
    index = decode.probe(record.extra["path"]).video_index
    assert len(index.keys) >= 3
    assert reading.demanded(index, np.array([0])) == 1
    assert reading.demanded(index, np.array([0, 3])) == 4
    assert reading.demanded(index, np.array([3, 13])) == 4 + 2
    for numbers in ([0], [3, 13], [39]):
        decoded = reading.count_decoded(record, np.array(numbers))
        demand = reading.demanded(index, np.array(numbers))
        # B-frames need what is shown later; others are in the file before what they skip.
        assert len(numbers) <= decoded <= demand + 3 * len(numbers)


def test_sides_take_turns_and_the_median_counts():
    order = []
    times = map(float, (0, 9, 10, 11, 20, 22, 30, 35, 40, 44, 50, 50))
    sides = (lambda: order.append("a"), lambda: order.append("b"))
    seconds = typical(3, *sides, clock=times.__next__)
    assert order == ["a", "b", "a", "b", "a", "b"]
    assert seconds == [4, 1]  # of 9, 2 and 4, and of 1, 5 and 0


@pytest.mark.parametrize("value", [0.5, 12345.6])
def test_the_table_is_aligned(value):
    lines = benchmark.table([("a", value), ("longer", 1.0)]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[0].startswith("a ")


def test_the_evals_benchmark_prints_a_table(capsys):
    sizes = Evals(
        records=60, features=12, classes=3, gallery=40, queries=9, width=8, neighbours=3,
        images=16, tested=8, batch=8, turns=1, most_records=60, most_features=12, allowed=1e6,
    )  # fmt: skip
    benchmark.main(["--only=evals"], {"evals": sizes})
    title, *lines = capsys.readouterr().out.splitlines()
    assert title == "evals"
    rows = {line[:-14].strip(): float(line[-14:].replace(",", "")) for line in lines}
    assert np.isfinite(list(rows.values())).all()
    gaps = [value for name, value in rows.items() if "above our objective" in name]
    assert gaps
    assert max(map(abs, gaps)) < 5  # millionths: both are at the same optimum
    same = [value for name, value in rows.items() if "faiss', in the same place" in name]
    assert same in ([], [1.0])  # faiss is not installed everywhere
    (share,) = [value for name, value in rows.items() if "units of the training's" in name]
    assert share > 0
