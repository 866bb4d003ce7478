"""Micro-batches: the gradients of the whole batch, contrastive losses too, in less memory."""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.config import ConfigError
from ssl_jax.devices.sharding import Sharding, put_batch, replicated
from ssl_jax.method import Method, run_collection
from ssl_jax.methods.image.colorization import Colorization
from ssl_jax.methods.image.simclr import SimCLR
from ssl_jax.objectives.contrastive import info_nce
from ssl_jax.training.micro_batches import loss_and_gradients

KEY = jax.random.key(7)


class Trunk(nn.Module):
    """Two layers without BatchNorm."""

    width: int = 12

    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.relu(nn.Dense(self.width)(x.reshape(len(x), -1)))
        return {"hidden": x, "pool": nn.Dense(self.width)(x)}


def rows(count: int) -> dict[str, jax.Array]:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return {"vision": jnp.asarray(pixels)}


def simclr(trunk: nn.Module) -> SimCLR:
    return SimCLR(trunk, size=8, stored=8, hidden=(), embedding=0, blur=0.0, temperature=0.3)


class TwoTowers(nn.Module):
    """A picture and the mean colours of three of its lines, in one space with a learnt scale."""

    vision: nn.Module

    @nn.compact
    def __call__(self, batch, train: bool):
        own = self.vision(batch["vision"], train)["pool"]
        sums = batch["sums"]  # (3 b, c): three neighbouring rows are of one example
        other = nn.Dense(12, name="sums")(sums).reshape(len(own), 3, -1)
        scale = self.param("log_scale", nn.initializers.ones, ())
        return {"own": own, "other": other, "scale": jnp.exp(scale), "none": None}


@dataclasses.dataclass(frozen=True)
class Towers(Method):
    """InfoNCE of the two, with a table in the batch that is the same for all rows."""

    vision: nn.Module

    @property
    def net(self):
        return TwoTowers(self.vision)

    def views(self, record, rng):
        """Never asked: the tests make batches of their own."""

    def augment(self, batch, state, key):
        noisy = batch["vision"] / 255.0 + 0.1 * jax.random.normal(key, batch["vision"].shape)
        sums = noisy[:, ::3].mean(2).reshape(-1, 3)
        return {"vision": noisy, "sums": sums, "table": jnp.arange(5.0)}

    def objective(self, outputs, batch):
        own, extra = outputs["other"][:, 0], outputs["other"][:, 1:]
        loss, metrics = info_nce(outputs["own"], own, 1 / outputs["scale"], extra=extra)
        return loss + batch["table"].sum(), metrics


METHODS = {"simclr": simclr(Trunk()), "two towers": Towers(Trunk())}


def step(method, count, devices=1, examples=8):
    """Loss, state, metrics and gradients; rows over the devices."""
    mesh = Sharding(devices=devices).mesh()
    batch = put_batch(mesh, jax.device_get(rows(examples)))
    variables = jax.jit(method.init, out_shardings=replicated(mesh), static_argnums=2)(
        KEY, rows(2), 8
    )
    params = variables.pop("params")
    function = jax.jit(lambda p, s, b: loss_and_gradients(method, p, s, b, KEY, count))
    return function(params, variables, batch)


@pytest.mark.parametrize("name", METHODS)
def test_gradients_of_micro_batches_are_those_of_the_whole_batch(name):
    method = METHODS[name]
    (loss, one), expected = step(method, 1)
    for count, devices in ((2, 1), (8, 1), (2, 4)):
        (found, passed), gradients = step(method, count, devices)
        assert passed.state == {}
        for mine, theirs in zip(*map(jax.tree.leaves, (passed.outputs, one.outputs)), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)  # what `after` gets
        assert found == pytest.approx(float(loss), rel=1e-6)
        for metric, value in one.metrics.items():
            assert passed.metrics[metric] == pytest.approx(float(value), rel=1e-5)
        pairs = zip(jax.tree.leaves(gradients), jax.tree.leaves(expected), strict=True)
        for mine, theirs in pairs:
            np.testing.assert_allclose(mine, theirs, atol=2e-6)
            assert np.abs(theirs).max() > 1e-4
    # What adding up the losses of parts would give is something else.
    own, plain = start(method), jax.jit(method.loss)
    halves = [plain(*own, {"vision": rows(8)["vision"][i::2]}, KEY)[0] for i in range(2)]
    assert abs(sum(halves) / 2 - loss) > 1e-2


def start(method):
    variables = jax.jit(method.init, static_argnums=2)(KEY, rows(2), 8)
    return variables.pop("params"), variables


class Normed(nn.Module):
    """BatchNorm and dropout."""

    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.Dense(16)(x.reshape(len(x), -1))
        x = nn.BatchNorm(use_running_average=not train)(x)
        return {"pool": nn.Dense(8)(nn.Dropout(0.5, deterministic=not train)(nn.relu(x)))}


def test_with_batch_norm_and_dropout_gradients_are_those_of_what_was_computed():
    method = simclr(Normed())
    params, state = start(method)
    batch = rows(8)

    def parts_by_hand(params):
        """The same with a Python loop, differentiated as a whole."""
        key_augment, key_net = jax.random.split(KEY)
        puzzle = method.inputs(method.augment(batch, {}, key_augment))
        outputs, after = [], state
        for k in range(2):
            part = {name: x[k::2] for name, x in puzzle.items()}
            found, after = method.outputs(params, after, part, jax.random.fold_in(key_net, k))
            outputs.append(found)
        order = np.argsort([0, 2, 4, 6, 1, 3, 5, 7])
        together = [jnp.concatenate(views)[order] for views in zip(*outputs, strict=True)]
        return method.objective(tuple(together), puzzle)[0], after

    (loss, after), expected = jax.jit(jax.value_and_grad(parts_by_hand, has_aux=True))(params)
    (found, passed), gradients = step(method, 2)
    assert found == pytest.approx(float(loss), rel=1e-5)
    for mine, theirs in (
        *zip(jax.tree.leaves(gradients), jax.tree.leaves(expected), strict=True),
        *zip(jax.tree.leaves(passed.state), jax.tree.leaves(after), strict=True),
    ):
        assert np.linalg.norm(mine - theirs) < 1e-5 * max(1, np.linalg.norm(theirs))
    whole, _ = jax.jit(method.loss)(params, state, batch, KEY)
    assert abs(whole - loss) > 1e-4  # statistics of four rows are not those of eight


class Pixels(nn.Module):
    """A map with a row for every other pixel."""

    @nn.compact
    def __call__(self, x, train: bool):
        return {"map": nn.Dense(4)(x)[:, ::2, ::2]}


def test_colours_are_counted_in_the_whole_batch():
    """Colorization's weights are a table, and its counts are moved by all rows at once."""
    method = Colorization(Pixels(), size=8, stored=8, stride=2)
    params, state = start(method)
    frequencies = jnp.arange(1.0, len(state["prior"]["frequencies"]) + 1)
    state["prior"]["frequencies"] = frequencies / frequencies.sum()
    state |= run_collection(3, 10)

    def moved(count):
        (loss, passed), gradients = loss_and_gradients(method, params, state, rows(8), KEY, count)
        after = method.after(params, passed.state, passed.batch, passed.outputs)
        return loss, gradients, after["prior"]

    whole, parts = jax.jit(lambda: (moved(1), moved(4)))()
    for mine, theirs in zip(*map(jax.tree.leaves, (parts, whole)), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)
    assert np.abs(whole[2]["frequencies"] - state["prior"]["frequencies"]).max() > 1e-3


def test_memory_is_that_of_a_part():
    def temporary_bytes(count):
        function = jax.jit(lambda p, s, b: loss_and_gradients(method, p, s, b, KEY, count))
        compiled = function.lower(params, state, rows(1024)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    class Deep(nn.Module):
        @nn.compact
        def __call__(self, x, train: bool):
            x = x.reshape(len(x), -1)
            for _ in range(4):
                x = nn.relu(nn.Dense(1024)(x))
            return {"pool": nn.Dense(8)(x)}

    method = simclr(Deep())
    params, state = jax.eval_shape(lambda: start(method))
    assert temporary_bytes(8) < temporary_bytes(1) / 2


class Wrong(nn.Module):
    """Puts out something of the whole batch that has no rows."""

    vision: nn.Module
    kind: str

    @nn.compact
    def __call__(self, batch, train: bool):
        pool = self.vision(batch["vision"], train)["pool"]
        wrong = {"mean": pool.mean(), "square": pool @ pool.T, "rows": pool[:2]}
        return pool, wrong[self.kind]


@dataclasses.dataclass(frozen=True)
class WrongMethod(Towers):
    kind: str = "mean"

    @property
    def net(self):
        return Wrong(self.vision, self.kind)


@pytest.mark.parametrize("kind", ["mean", "square", "rows"])
def test_an_output_of_the_whole_batch_is_refused(kind):
    method = WrongMethod(Trunk(), kind)
    with pytest.raises(ValueError, match=r"micro_batches=2: output \[1\] .* has not its rows"):
        jax.eval_shape(lambda: loss_and_gradients(method, *start(method), rows(8), KEY, 2))


@dataclasses.dataclass(frozen=True)
class Uneven(Towers):
    """Rows beside those of the examples."""

    def augment(self, batch, state, key):
        return {**batch, "more": jnp.concatenate([batch["vision"], batch["vision"][:1]])}


@dataclasses.dataclass(frozen=True)
class Attending(Towers):
    rows_meet: ClassVar[bool] = True


def test_what_cannot_be_divided_is_refused():
    method = Attending(Trunk())
    with pytest.raises(ConfigError, match="in Attending's net the rows of a batch see one another"):
        jax.eval_shape(lambda: loss_and_gradients(method, *start(method), rows(8), KEY, 2))
    method = Uneven(Trunk())
    with pytest.raises(ValueError, match="'more' of the augmented batch has 9 rows for 8 examples"):
        jax.eval_shape(lambda: loss_and_gradients(method, {}, {}, rows(8), KEY, 2))
    method = simclr(Trunk())
    with pytest.raises(ValueError, match="micro_batches=3 must divide the 8 rows"):
        jax.eval_shape(lambda: loss_and_gradients(method, *start(method), rows(8), KEY, 3))
