"""The learning rate in metrics.jsonl and TensorBoard, by the schedules' formulas."""

import json
import math
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from test_tensorboard import shown

from ssl_jax import config as configs
from ssl_jax import train
from ssl_jax.config import call
from ssl_jax.data.pipeline import train_dataset
from ssl_jax.experiment import Checkpoints
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Constant, Cosine, Step

STEPS, BASE = 6, 0.05


def cosine(step):
    """Two steps of warm-up, then half a wave over the other four."""
    return BASE * step / 2 if step < 2 else BASE * (1 + math.cos(math.pi * (step - 2) / 4)) / 2


def experiment(schedule, **knobs):
    optimizer = call(Optimizer, learning_rate=BASE, schedule=schedule, **knobs)
    saving = call(Checkpoints, every_steps=2)
    return tiny.experiment(steps=STEPS, log_every=1, optimizer=optimizer, checkpoints=saving)


def logged(workdir) -> list[float]:
    """The rate of each line, which TensorBoard has as well."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    rates = [line["train/learning_rate"] for line in lines]
    steps = shown(workdir / "tensorboard")["train/learning_rate"]
    assert [steps[line["step"]][-1].simple_value for line in lines] == pytest.approx(rates)
    return rates


@pytest.mark.parametrize(
    ("schedule", "knobs", "rate"),
    [
        (call(Constant), {"name": "adamw"}, lambda step: BASE),
        (call(Cosine, warmup=2), {"name": "lars"}, cosine),
        (call(Cosine, warmup=2), {"name": "sgd", "rates": (("vision", 0.1),)}, cosine),
        (
            call(Step, boundaries=(2, 5), decay=0.5),
            {"name": "adam"},
            lambda step: BASE * (1 if step < 2 else 0.5 if step < 5 else 0.25),
        ),
    ],
)
def test_every_line_has_the_rate_of_its_step_after_a_resume_too(tmp_path, schedule, knobs, rate):
    config = experiment(schedule, **knobs)
    train.fit(config, tmp_path)
    expected = [rate(step) for step in range(STEPS)]
    assert logged(tmp_path) == pytest.approx(expected, rel=1e-6)
    for step in ("4", "6"):  # as after a kill
        shutil.rmtree(tmp_path / "checkpoints" / step)
    train.fit(config, tmp_path)
    assert logged(tmp_path) == pytest.approx(expected, rel=1e-6)


def test_a_skipped_step_leaves_the_schedule_where_it_was(tmp_path, monkeypatch):
    config = experiment(call(Cosine, warmup=2))
    config.nonfinite = "skip"
    known = configs.build(config)
    batches = train_dataset(known.source, known.method.views, known.batch_size, known.seed)
    brightness = [batches[k]["vision"].mean() / 255 for k in range(STEPS)]
    skipped, limit = int(np.argmax(brightness)), np.mean(sorted(brightness)[-2:])
    assert skipped < STEPS - 1
    objective = tiny.MeanColour.objective

    def fragile(self, outputs, batch):
        loss, metrics = objective(self, outputs, batch)
        return jnp.where(batch["target"].mean() > limit, jnp.nan, loss), metrics

    monkeypatch.setattr(tiny.MeanColour, "objective", fragile)
    train.fit(config, tmp_path)
    updates = [step - (step > skipped) for step in range(STEPS)]
    assert logged(tmp_path) == pytest.approx([cosine(count) for count in updates], rel=1e-6)
