"""Commands that read another run's weights: the method that it was trained with, or one line."""

import io
import json
import shutil

import numpy as np
import pytest
import tiny

from ssl_jax import config as configs
from ssl_jax import train
from ssl_jax.cluster import cluster
from ssl_jax.config import ConfigError, call
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.evaluate import evaluate
from ssl_jax.methods.image.cluster_transfer import ClusterTransfer
from ssl_jax.models.resnet import ResNet
from ssl_jax.training.trained import load

EVALUATORS = {"ridge": tiny.ridge()}


def experiment(width=16, **changes):
    trunk = call(tiny.TinyTrunk, width=width)
    method = call(tiny.MeanColour, vision=trunk)
    return tiny.experiment(**{"method": method, "evaluators": EVALUATORS, "steps": 2, **changes})


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("done")
    train.fit(experiment(), workdir)
    return workdir


@pytest.fixture
def run(done, tmp_path):
    return shutil.copytree(done, tmp_path / "run")


def edit(run, change):
    """Changes config.json as another version, or a hand, would have."""
    known = json.loads((run / "config.json").read_text())
    change(known)
    (run / "config.json").write_text(json.dumps(known))


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (
            call(tiny.MeanColour, vision=call(tiny.TinyTrunk, width=8)),
            "method.vision.width 16 -> 8",
        ),
        (call(tiny.MeanColour, vision=call(tiny.TinyTrunk), noise=0.5), "method.noise 0.1 -> 0.5"),
        (
            call(tiny.MeanColour, vision=call(ResNet, depth=18)),
            "config.json has .*: method.vision TinyTrunk -> ResNet;",
        ),
    ],
)
def test_another_method_is_refused_by_its_knobs(run, method, message):
    before = (run / "results.json").read_bytes()
    with pytest.raises(ConfigError, match=message):
        evaluate(experiment(method=method), run)
    assert (run / "results.json").read_bytes() == before


def test_what_does_not_touch_the_network_may_differ(run, capsys):
    saved = json.loads((run / "results.json").read_text())
    source = call(SyntheticSource, size=5, frames=2, height=32, width=32)
    other = experiment(source=source, eval_batch_size=4, steps=9, seed=3, log_every=1)
    found = evaluate(other, run)
    assert "ssl_jax:" not in capsys.readouterr().err
    for name, value in saved["trained"].items():
        assert found[name] == pytest.approx(value, rel=1e-5)
    # The baseline is the run's own, of its seed.
    for name, value in saved["random_init"].items():
        assert found[f"{name} (random init)"] == pytest.approx(value, rel=1e-5)


def test_another_dtype_is_told(run, capsys):
    evaluate(experiment(dtype="bfloat16"), run)
    assert "is evaluated with dtype 'float32' -> 'bfloat16'" in capsys.readouterr().err


def test_arrays_that_the_config_does_not_make_are_refused_without_a_recorded_config(run):
    (run / "config.json").unlink()
    with pytest.raises(
        ConfigError, match=r"has .*BatchNorm_0/mean of \(16,\), which this config makes \(8,\)"
    ):
        evaluate(experiment(width=8), run)


def rename(known):
    known["method"]["call"] = "ssl_jax.methods.gone:Gone"


def without_data(known):
    del known["data"]


def narrow(known):
    known["method"]["vision"]["width"] = 8


def learner(folder):
    """A config that learns the clusters of a run."""
    file = str(folder / "clusters")
    method = call(ClusterTransfer, vision=call(ResNet), layer="pool", clusters=file)
    return experiment(method=method)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename, "config.json asks for ssl_jax.methods.gone:Gone"),
        (without_data, "config.json has no 'data'"),
        (lambda known: known.clear(), "config.json has no 'method'"),
    ],
)
def test_a_run_that_this_version_cannot_read_is_one_line(run, tmp_path, change, message):
    edit(run, change)
    with pytest.raises(ConfigError, match=message):
        load(run).features(configs.build(tiny.ridge().test), "vision")
    with pytest.raises(ConfigError, match=message):
        cluster(learner(tmp_path), run)


def test_weights_that_are_not_the_recorded_methods_are_one_line(run, tmp_path):
    edit(run, narrow)
    message = "run: the weights are not those of the method in its config.json"
    with pytest.raises(ConfigError, match=message):
        cluster(learner(tmp_path), run)


def test_a_trunk_of_another_shape_names_its_knob(run, tmp_path):
    message = r"init_from: vision/.* is \(.*\) in .*; vision.width 16 -> 8$"
    with pytest.raises(ConfigError, match=message):
        train.fit(experiment(width=8, init_from=str(run)), tmp_path / "new")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {f"vision/params/{n}": np.zeros(3) for n in ("BatchNorm_0", "Dense_0", "Dense_1")},
            "vision/BatchNorm_0 is a single array",
        ),
        ({"kernel": np.zeros(3)}, r"is no file of `Frozen.save_trunk` \('kernel'\)"),
        ({"vision/params/Dense_0/kernel/a": np.zeros(3)}, "has no vision/"),
    ],
)
def test_a_weights_file_of_something_else_is_one_line(tmp_path, arrays, message):
    np.savez(tmp_path / "weights.npz", **arrays)
    with pytest.raises(ConfigError, match=message):
        train.fit(experiment(init_from=str(tmp_path / "weights.npz")), tmp_path / "run")


FILE = io.BytesIO()
np.save(FILE, np.zeros(3))
ARRAY = FILE.getvalue()  # a single array, not several


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"text", ARRAY])
def test_a_broken_weights_file_is_one_line(tmp_path, content):
    (tmp_path / "weights.npz").write_bytes(content)
    with pytest.raises(ConfigError, match="is no weights file"):
        train.fit(experiment(init_from=str(tmp_path / "weights.npz")), tmp_path / "run")


def test_statistics_that_a_weights_file_lacks_are_named(run, tmp_path):
    load(run).save_trunk(tmp_path / "whole.npz", "vision")
    with np.load(tmp_path / "whole.npz") as file:
        weights = {name: file[name] for name in file.files if "batch_stats" not in name}
    np.savez(tmp_path / "weights.npz", **weights)
    with pytest.raises(ConfigError, match="has no batch_stats of vision"):
        train.fit(experiment(init_from=str(tmp_path / "weights.npz")), tmp_path / "new")
