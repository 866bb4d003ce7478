"""Evaluators of multi-task runs: norms of gradients by task, units that each task reads."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from ssl_jax.config import ConfigError
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.devices.sharding import Sharding
from ssl_jax.evals.gradient_norms import GradientNorms
from ssl_jax.evals.lasso_units import LassoUnits
from ssl_jax.frozen import Frozen
from ssl_jax.method import run_collection
from ssl_jax.methods.multitask import Multitask
from ssl_jax.models.lasso import Lasso

SOURCE = SyntheticSource(size=13, frames=1, height=16, width=16)


class Units(nn.Module):
    """A trunk of two layers of one shape."""

    dtype: str = "float32"

    @nn.compact
    def __call__(self, x, train: bool):
        first = nn.Dense(4, dtype=self.dtype, name="unit1")(x.reshape(len(x), -1))
        return {"unit1": first, "unit2": nn.Dense(4, dtype=self.dtype, name="unit2")(first)}


class LastNet(nn.Module):
    vision: nn.Module

    @nn.compact
    def __call__(self, batch, train: bool):
        return nn.Dense(3, name="head")(self.vision(batch["vision"], train)["combined"])


@dataclasses.dataclass(frozen=True)
class LastLayer(tiny.MeanColour):
    """As its parent, from the sum of units."""

    @property
    def net(self):
        return LastNet(self.vision)


def two_tasks(task, trunk) -> Multitask:
    tasks = {"calm": task(trunk, noise=0.1), "noisy": task(trunk, noise=0.5)}
    return Multitask(tasks, weights={"noisy": 3.0})


def frozen(method: Multitask) -> Frozen:
    """The method with new weights, on two devices."""
    images = jnp.zeros((2, 4, 4, 3), jnp.uint8)
    batch = {f"{name}/vision": images for name in method.tasks}
    variables = jax.jit(lambda: method.init(jax.random.key(0), batch, 2))()
    mesh = Sharding(devices=2).mesh()
    return Frozen(method, {**variables, **run_collection(0, 1)}, mesh, batch_size=4)


def test_norms_of_gradients_by_task():
    method = two_tasks(tiny.MeanColour, tiny.TinyTrunk(width=6))
    network = frozen(method)
    metrics = ("noisy/loss", "calm/loss", "loss")
    results = dict(GradientNorms(SOURCE, metrics, batch_size=6, seed=3).run(network))
    assert list(results) == list(metrics)

    order = np.random.default_rng(3).permutation(13)  # the last record fills no batch
    examples = [method.views(SOURCE[int(i)], np.random.default_rng([3, i])) for i in order]
    params, state = network.variables["params"], dict(network.variables)
    del state["params"]
    for metric, weights in (
        ("calm/loss", {"calm": 1.0, "noisy": 0.0}),
        ("noisy/loss", {"calm": 0.0, "noisy": 1.0}),
        ("loss", {"calm": 1.0, "noisy": 3.0}),
    ):
        alone = dataclasses.replace(method, weights=weights)
        norms = []
        for number in (0, 1):
            rows = examples[6 * number : 6 * number + 6]
            batch = {name: jnp.stack([row[name] for row in rows]) for name in rows[0]}
            key = jax.random.fold_in(jax.random.key(3), number)
            slope = jax.grad(alone.loss, has_aux=True)(params, state, batch, key, False)[0]
            norms.append(float(optax.tree.norm(slope["vision"])))
        assert results[metric] == pytest.approx(np.mean(norms), rel=1e-4)
        first = GradientNorms(SOURCE, (metric,), batch_size=6, batches=1, seed=3)
        assert dict(first.run(network))[metric] == pytest.approx(norms[0], rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": ("quiet/loss",)}, "no metric 'quiet/loss'; the method has loss, calm/loss"),
        ({"trunk": "audio"}, "no trunk 'audio' has weights; there are"),
        ({"batch_size": 14}, "13 records do not fill a batch of 14"),
    ],
)
def test_what_cannot_be_measured_is_refused(changes, message):
    network = frozen(two_tasks(tiny.MeanColour, tiny.TinyTrunk(width=6)))
    evaluator = GradientNorms(SOURCE, ("loss",), batch_size=2)
    with pytest.raises(ConfigError, match=message):
        dict(dataclasses.replace(evaluator, **changes).run(network))


def test_units_that_are_not_zero_are_counted():
    network = frozen(two_tasks(LastLayer, Lasso(Units(), ("unit1", "unit2"))))
    assert dict(LassoUnits().run(network)) == {"calm": 2, "noisy": 2}
    network.variables["params"]["noisy"]["vision"]["unit_weights"] = jnp.array([0.0, -1e-9])
    assert dict(LassoUnits().run(network)) == {"calm": 2, "noisy": 1}
    with pytest.raises(ConfigError, match="no task has unit_weights of a shared Lasso 'audio'"):
        dict(LassoUnits("audio").run(network))
