"""Evaluators are checked before training, and one that fails loses only its own results."""

import dataclasses
import json
import os

import pytest
import tiny

from ssl_jax import train
from ssl_jax.config import ConfigError, call
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.evals.clip_retrieval import ClassRetrieval
from ssl_jax.evals.cross_modal_retrieval import CrossModalRetrieval, GradedRetrieval
from ssl_jax.evals.geometry import Geometry
from ssl_jax.evals.knn import Knn
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evals.ridge import Ridge
from ssl_jax.evals.running import EvaluatorsFailed
from ssl_jax.evals.table import Table
from ssl_jax.evals.text_video_retrieval import TextVideoRetrieval
from ssl_jax.evaluate import evaluate
from ssl_jax.evaluator import Read

ERRORS = {
    "mistake": ConfigError("9 labels a class are asked for"),
    "disk": OSError(28, "No space left on device"),
    "diverged": FloatingPointError("features are NaN"),
    "bug": TypeError("unsupported operand"),
}


@dataclasses.dataclass(frozen=True)
class Fails:
    """Yields a number of its own, then fails."""

    how: str
    every: int = 0

    def run(self, frozen):
        del frozen
        yield "before", 1.0
        raise ERRORS[self.how]


@dataclasses.dataclass(frozen=True)
class Works:
    """Numbers of a layer, of the raw input, and one that is of no layer."""

    source: object
    every: int = 0

    def run(self, frozen):
        features = Read(layers=("input", "pool")).features(frozen, self.source)
        for layer, rows in features.layers.items():
            yield layer, float(rows.shape[1])
        yield "records", float(len(features.indices))


def images(size=16, **knobs):
    return call(SyntheticSource, size=size, frames=1, height=32, width=32, **knobs)


def test_others_keep_their_results_at_the_end_and_midway(tmp_path, capsys):
    evaluators = {how: call(Fails, how=how, every=2) for how in ERRORS}
    evaluators = {**evaluators, "works": call(Works, source=images())}
    config = tiny.experiment(evaluators=evaluators, steps=4)
    with pytest.raises(EvaluatorsFailed, match="no results of bug, disk, diverged, mistake") as one:
        train.fit(config, str(tmp_path))
    assert not one.value.mistake  # because of the bug
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["4"]
    with open(tmp_path / "results.json") as file:
        results = json.load(file)
    assert results["trained"]["works/pool"] == results["random_init"]["works/pool"] > 0
    assert set(results["failed"]) == set(ERRORS)
    told = capsys.readouterr().err
    for how, error in ERRORS.items():  # once, though they failed at step 2 as well
        assert told.count(f"evaluator {how}: {error}") == 1
    assert told.count("Traceback") == 1
    # What failed is no longer there once it works, and the others' numbers stay.
    config.evaluators = {"bug": call(Works, source=images())}
    evaluate(config, tmp_path)
    table = Table.read(tmp_path / "results.json")
    assert "bug" not in table.failed
    assert {"bug/pool", "works/pool"} <= set(table.trained)


def test_a_number_of_no_layer_has_no_raw_input_beside_it(tmp_path):
    config = tiny.experiment(evaluators={"works": call(Works, source=images())}, steps=1)
    train.fit(config, str(tmp_path))
    rows = [line.split() for line in (tmp_path / "results.txt").read_text().splitlines()]
    (pool,) = (row for row in rows if row[:2] == ["works", "pool"])
    assert pool[-1] == "192.000"
    (records,) = (row for row in rows if row[:1] == ["records"])
    assert records == ["records", "16.000", "16.000"]


@pytest.mark.parametrize(
    ("evaluator", "message"),
    [
        ((Knn, {"k": 20, "train": images(10), "test": images()}), "20 neighbours asked of 10"),
        ((ClassRetrieval, {"train": images(10), "test": images()}), "50 neighbours asked of 10"),
        ((Pretext, {"source": images(19), "batch_size": 32}), "19 records do not fill a batch"),
        ((Pretext, {"source": images(19), "batch_size": 9}), "batch_size=9 must be a multiple"),
        (
            (Ridge, {"train": images(), "test": images(), "read": call(Read, layers=("pol",))}),
            "no layer 'pol' in vision; it has input, hidden, pool",
        ),
        (
            (Ridge, {"train": images(), "test": images(), "read": call(Read, stream="audio")}),
            "no stream 'audio'",
        ),
        ((Geometry, {"source": images(), "layers": ("pol",)}), "no layer 'pol'"),
        ((Geometry, {"source": images(), "other": "audio"}), "no stream 'audio'"),
        ((CrossModalRetrieval, {"test": images()}), "no layer 'embedding'"),
        ((CrossModalRetrieval, {"test": images(), "layer": "pool"}), "no stream 'audio'"),
        ((GradedRetrieval, {"test": images(), "layer": "pool"}), "no stream 'audio'"),
        ((TextVideoRetrieval, {"test": images()}), "no stream 'text'"),
        ((Geometry, {"source": images(0)}), "is empty"),
        ((Works, {"source": images(), "every": -1}), "every=-1 must be at least 0"),
    ],
)
def test_what_cannot_work_is_refused_before_training(evaluator, message, tmp_path):
    kind, knobs = evaluator
    config = tiny.experiment(evaluators={"mine": call(kind, **knobs)})
    with pytest.raises(ConfigError, match=rf"evaluators\.mine[.:].*{message}"):
        train.fit(config, str(tmp_path))
    assert not (tmp_path / "config.json").exists()
