"""The smallest method there is, and an experiment with it: for tests of the machinery."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.config import call
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.devices.sharding import Sharding
from ssl_jax.evals.ridge import Ridge
from ssl_jax.experiment import Experiment
from ssl_jax.method import Method, Refreshed
from ssl_jax.optim import Optimizer


class TinyTrunk(nn.Module):
    """Two layers, one with BatchNorm, so that there is a state beside the weights."""

    width: int = 16
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.Dense(self.width, dtype=self.dtype)(x.reshape(len(x), -1))
        hidden = nn.relu(nn.BatchNorm(use_running_average=not train, dtype=self.dtype)(x))
        return {"hidden": hidden, "pool": nn.Dense(self.width, dtype=self.dtype)(hidden)}


class TinyNet(nn.Module):
    vision: nn.Module

    @nn.compact
    def __call__(self, batch, train: bool):
        pool = self.vision(batch["vision"], train)["pool"]
        return nn.Dense(3, name="head")(nn.Dropout(0.1, deterministic=not train)(pool))


@dataclasses.dataclass(frozen=True)
class MeanColour(Method):
    """Predicts a picture's mean colour from noisy pixels."""

    vision: nn.Module
    noise: float = 0.1

    @property
    def net(self):
        return TinyNet(self.vision)

    def views(self, record, rng):
        number = int(rng.integers(record.num_frames))
        return {"vision": record.need_frames()([number])[0, ::4, ::4]}

    def augment(self, batch, state, key):
        pixels = batch["vision"] / 255.0
        noisy = pixels + self.noise * jax.random.normal(key, pixels.shape)
        return {"vision": noisy, "target": pixels.mean((1, 2))}

    def objective(self, outputs, batch):
        error = jnp.mean((outputs - batch["target"]) ** 2)
        return error, {"error": error}

    def clips(self, record, stream, times):
        frames = record.need_frames()([record.frame_at(time) for time in times])
        return {"vision": frames[:, ::4, ::4]}


def shifted(method, frozen, source, key):
    """A `refresh` whose outcome shows the features of every record, and the key."""
    del method
    seen = frozen.features(source, "vision", ("hidden",)).layers["hidden"].sum()
    head = frozen.variables["params"]["head"]
    move = 1e-3 * seen + 0.01 * jax.random.normal(key, ())
    return Refreshed(params={"head": jax.tree.map(lambda leaf: leaf + move, head)})


def experiment(**changes):
    """A config of a run of seconds; `changes` are arguments of Experiment."""
    arguments = {
        "source": call(SyntheticSource, size=24, frames=2, height=32, width=32),
        "method": call(MeanColour, vision=call(TinyTrunk)),
        "optimizer": call(Optimizer, name="sgd", learning_rate=0.05),
        "steps": 6,
        "batch_size": 8,
        "log_every": 2,
        "sharding": call(Sharding, devices=4),
        "eval_batch_size": 8,
        "evaluators": {},
    }
    return call(Experiment, **{**arguments, **changes})


def ridge(**changes):
    """A quick evaluator on synthetic records."""
    train = call(SyntheticSource, size=20, frames=2, height=32, width=32)
    test = call(SyntheticSource, size=10, frames=2, height=32, width=32, seed=1)
    return call(Ridge, train=train, test=test, **changes)


def distance(first, second) -> float:
    """Largest difference between two states, keys of randomness left out."""
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    return max(float(np.max(np.abs(np.asarray(a) - np.asarray(b)))) for a, b in pairs)
