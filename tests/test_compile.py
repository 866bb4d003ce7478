"""`python -m ssl_jax.compile`: a training step compiled for a slice that is not at hand."""

import importlib.util
import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from ssl_jax import config as configs
from ssl_jax.compile import main, remedies, with_data
from ssl_jax.config import ConfigError
from ssl_jax.data.pipeline import first_example, stack
from ssl_jax.devices import slices
from ssl_jax.training.compiled_step import CompiledStep

TINY = "image/rotation_cifar10.py:tiny"
DEVICES = 4


def compiled(config: ConfigDict) -> CompiledStep:
    experiment = configs.build(config)
    example = first_example(experiment.source, experiment.method.views, 0, experiment.data)
    return CompiledStep.of(experiment, stack([example]), jax.devices()[:DEVICES])


def test_a_chip_keeps_the_state_and_its_rows_and_sends_the_gradients():
    config = configs.load(TINY)
    config.peak_tflops = 1.0
    found = compiled(config)
    experiment = configs.build(config)
    variables = jax.eval_shape(experiment.initialiser())
    weights, statistics = (
        sum(4 * x.size for x in jax.tree.leaves(variables[name]))
        for name in ("params", "batch_stats")
    )
    example = first_example(experiment.source, experiment.method.views, 0, experiment.data)
    rows = experiment.batch_size // DEVICES * sum(np.asarray(v).nbytes for v in example.values())
    state = 2 * weights + statistics + rows  # SGD has one moment
    assert state <= found.state <= state + 64  # and a step, a count and a key
    assert weights <= found.sent["all-reduce"] <= weights + 8 * statistics
    assert 0 < found.weights_traffic + found.augment_traffic < found.traffic
    # At rates of one, the seconds are the operations and the bytes themselves.
    bound = found.roofline(bandwidth=1.0)
    assert bound.memory == bound.step == found.traffic
    assert bound.arithmetic * 1e12 >= found.speed.flops / DEVICES


def test_fsdp_keeps_a_share_of_the_state():
    config = configs.load("image/simclr_cifar10.py:tiny")
    config.sharding.smallest = 1
    config.batch_size = DEVICES
    whole = compiled(config).state
    config.sharding.rule = "fsdp"
    assert compiled(config).state < 0.5 * whole


def test_records_stand_in_for_data_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    speech = ("finetune/librispeech.py", "finetune/librispeech.py:stamps")
    for name in ("audio/correspondence_audioset.py", "video/clip_order_ucf101.py", *speech):
        config, missing = with_data(configs.load(name))
        assert "there is no folder" in missing[0]
        experiment = configs.build(config)
        shapes = first_example(experiment.source, experiment.method.views, 0, experiment.data)
        assert {np.asarray(v).dtype.name for v in shapes.values()} <= {
            *("uint8", "float32", "int32", "int64")
        }
    config, missing = with_data(configs.load(TINY))
    assert (missing, config.source) == ([], configs.load(TINY).source)


def test_text_and_a_vocabulary_stand_in_for_those_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config, missing = with_data(configs.load("text/autoregressive_openwebtext.py"), 50257)
    assert missing[0] == "50257 ids stand in for the tokenizer data/gpt2/tokenizer.json"
    assert "PythonDocs stands in for the config's data" in missing[1]
    assert len(missing) == 2
    experiment = configs.build(config)
    assert experiment.method.tokenizer.size == 50257
    example = first_example(experiment.source, experiment.method.views, 0, experiment.data)
    assert example["text"].shape == (1024,)
    assert example["text"].max() < 50257
    assert not list(tmp_path.iterdir())  # no tokens of what stands in


def test_remedies_change_what_they_name_and_nothing_that_is_so_already():
    config = configs.load("image/simclr_cifar10.py:tiny")
    config.sharding.rule = "fsdp"
    found = remedies(config)
    assert found["--config.dtype=bfloat16"].dtype == "bfloat16"
    assert found["--config.micro_batches=4"].micro_batches == 4
    assert found["remat=True in every trunk that has it"].method.vision.remat
    assert "--config.sharding.rule=fsdp" not in found
    together = found["all of these"]
    assert (together.dtype, together.micro_batches) == ("bfloat16", 4)
    assert together.method.vision.remat
    assert (config.dtype, config.micro_batches) == ("float32", 1)


@pytest.mark.parametrize("topology", ["v5e", "v5e:2by2", "2x2", "", "v5e:2x2 "])
def test_what_is_no_topology_is_named(topology):
    with pytest.raises(ConfigError, match=r"--topology=.* should be like v5e:2x2"):
        main([f"--config={TINY}", f"--topology={topology}"])


def test_without_libtpu_the_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(slices.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'ssl_jax\[tpu\]'"):
        main([f"--config={TINY}", "--topology=v5e:2x2"])


needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="the libtpu wheel (ssl_jax[tpu]) is not installed here",
)


@needs_libtpu
@pytest.mark.parametrize("topology", ["v9z:2x2", "v5e:3x5"])
def test_a_slice_that_does_not_exist_is_named(topology):
    with pytest.raises(ConfigError, match=f"--topology={topology}: "):
        slices.devices_of(topology)


@needs_libtpu
@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [TINY, "video/clip_order_ucf101.py:tiny", "audio/correspondence_audioset.py:tiny"],
)
def test_a_step_compiles_for_a_tpu(name, tmp_path):
    file = tmp_path / "found.json"
    own = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_"))}
    arguments = [f"--config={name}", "--topology=v5e:2x2", f"--output={file}"]
    command = [sys.executable, "-m", "ssl_jax.compile", *arguments]
    done = subprocess.run(command, env=own, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())
    assert found["fits"]
    assert 0 < found["memory"] < 2**30
    assert found["sent"]["all-reduce"] > 0
