"""The benchmarks run, and what they count is right."""

import numpy as np
import pytest

from ssl_jax import benchmark
from ssl_jax.benchmark import Sizes
from ssl_jax.data import decode
from ssl_jax.data.sources.folder import FolderSource

TINY = Sizes(films=1, frames=40, height=48, width=64, pictures=2, batches=1, long=20, turns=1)


def test_the_input_benchmark_prints_a_table(capsys):
    assert benchmark.main(["--only=input"], TINY) == 0
    title, *lines = capsys.readouterr().out.splitlines()
    assert title == "input"
    assert len(lines) in (8, 9)  # nine where Beam is installed, which prepares the shards
    numbers = [float(line.split()[-1].replace(",", "")) for line in lines]
    assert np.isfinite(numbers).all()
    assert numbers[0] > 0
    assert numbers[1] <= 1.5


def test_unknown_benchmarks_are_named(capsys):
    assert benchmark.main(["--only=inputs"]) == 2
    assert "no benchmark 'inputs'; there is input" in capsys.readouterr().err


def test_what_is_decoded_is_counted_against_the_key_frames(tmp_path):
    benchmark.write_films(str(tmp_path), TINY)
    record = FolderSource(str(tmp_path))[0]
    pictures = decode.probe(record.extra["path"]).pictures
    assert len(pictures.keys) >= 3
    assert benchmark.demanded(pictures, np.array([0])) == 1
    assert benchmark.demanded(pictures, np.array([0, 3])) == 4
    assert benchmark.demanded(pictures, np.array([3, 13])) == 4 + 2
    for numbers in ([0], [3, 13], [39]):
        decoded = benchmark.count_decoded(record, np.array(numbers))
        demand = benchmark.demanded(pictures, np.array(numbers))
        # B-frames need what is shown later; others are in the file before what they skip.
        assert len(numbers) <= decoded <= demand + 3 * len(numbers)


def test_sides_take_turns_and_the_best_counts():
    order = []
    seconds = benchmark.best(2, lambda: order.append("a"), lambda: order.append("b"))
    assert order == ["a", "b", "a", "b"]
    assert len(seconds) == 2
    assert min(seconds) >= 0


@pytest.mark.parametrize("value", [0.5, 12345.6])
def test_the_table_is_aligned(value):
    lines = benchmark.table([("a", value), ("longer", 1.0)]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[0].startswith("a ")
