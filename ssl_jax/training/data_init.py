"""The steps of `init_from` that look at data: 'data:kmeans', 'data:rescale', ..."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.devices.hosts import several
from ssl_jax.devices.sharding import Sharding, put_same
from ssl_jax.experiment import Experiment
from ssl_jax.frozen import Frozen
from ssl_jax.models.chain import Seen, chain, layers_called, patches
from ssl_jax.models.heads import last
from ssl_jax.solvers.data_dependent_init import (
    accumulated,
    balancing_scales,
    filters,
    log_distances,
    unit_outputs,
)
from ssl_jax.training.checkpoint import TrainState
from ssl_jax.training.init_steps import RESCALE, init_steps

# Places from which filters are made, of each layer.
ROWS = 20_000
# Of balancing, and how near to balance is near enough.
ROUNDS, NEAR = 10, 0.01


def data_initialised(experiment: Experiment, state: TrainState, frozen: Frozen) -> TrainState:
    """The state after the steps that look at data, as the experiment's `init_from` asks; says so.

    Evaluation inputs of `init_images` records, spread evenly over the source, are what each trunk
    is shown. The result is a function of these, the weights and the seed, whatever the number of
    devices; of several processes all take that of process 0.

    Args:
      frozen: the method with the variables of the state.

    Raises ConfigError for a trunk that is no chain of convolutions and dense layers.
    """
    params = state.params
    for name, steps in data_steps(experiment).items():
        clips, records = frozen.inputs(experiment.source, name, limit=experiment.init_images)
        inputs = {k: v[:, 0] for k, v in clips.items()}  # one clip of each
        variables = jax.device_get(
            {c: tree[name] for c, tree in frozen.variables.items() if c != "run" and name in tree}
        )
        trunk = _Trunk.of(experiment, name, inputs, frozen.batch_size)
        try:
            paths = chain(trunk.module, variables, trunk.batches[0])
            for step in steps:
                if step == RESCALE:
                    variables = balanced(trunk, variables, paths, experiment.seed)
                else:
                    variables = filled(trunk, variables, paths, step, experiment.seed)
        except ConfigError as error:
            raise ConfigError(f"init_from, {name}: {error}") from error
        new = variables["params"]
        if several():
            from jax.experimental import multihost_utils

            new = multihost_utils.broadcast_one_to_all(new)
        places = jax.tree.map(lambda leaf: leaf.sharding, params[name])
        params = {**params, name: put_same(jax.device_get(new), places)}
        if jax.process_index() == 0:
            done = "+".join(f"data:{step}" for step in steps)
            what = ", ".join("/".join(path) for path in paths)
            print(f"init_from: {name} by {done} of {len(records)} records: {what}", flush=True)
    return state.replace(params=params)


def data_steps(experiment: Experiment) -> dict[str, tuple[str, ...]]:
    """Trunk -> its steps, of the trunks for which `init_from` has any."""
    asked = experiment.init_from
    if isinstance(asked, str):
        asked = dict.fromkeys(experiment.method.trunks, asked)
    steps = {name: init_steps(where)[1] for name, where in asked.items()}
    return {name: found for name, found in steps.items() if found}


class _Trunk:
    """A trunk and the batches that it is shown."""

    def __init__(self, module: nn.Module, batches: list):
        self.module, self.batches = module, batches

    @staticmethod
    def of(experiment: Experiment, name: str, inputs: dict, rows: int) -> "_Trunk":
        method = experiment.method.with_dtype("float32")
        prepare, count = jax.jit(method.inputs), len(next(iter(inputs.values())))
        parts = [{k: v[i : i + rows] for k, v in inputs.items()} for i in range(0, count, rows)]
        ready = [jax.device_get(prepare(part)) for part in parts]
        batches = [next(iter(x.values())) if len(x) == 1 else x for x in ready]
        return _Trunk(getattr(method.net, name), batches)

    def at_layer(self, number: int, look: Callable[[Seen], Any], variables: dict) -> Iterator:
        """What `look` sees at a layer, of each batch; nothing above the layer is computed."""

        @jax.jit
        def seen(variables, x):
            return look(layers_called(self.module, variables, x)[number])

        for x in self.batches:  # one after the other: patches of all would fill the host
            yield jax.device_get(seen(variables, x))


def filled(
    trunk: _Trunk, variables: dict, paths: list[tuple[str, ...]], kind: str, seed: int
) -> dict:
    """New weights for all layers, from the input up; see `solvers.data_dependent_init`."""
    mesh = Sharding(devices=1).mesh(jax.local_devices()[:1])
    for number, path in enumerate(paths):
        layer = _at(variables["params"], path)
        kernel = layer["kernel"]
        if kind == "gaussian":
            shape = kernel.shape
            kernel = np.random.default_rng([seed, number]).standard_normal(shape, np.float32)
        else:
            kernel = _made(trunk, variables, number, kernel, kind, seed, mesh)
        layer = {k: np.zeros_like(v) if k == "bias" else kernel for k, v in layer.items()}
        variables = {**variables, "params": _put(variables["params"], path, layer)}
        moments = _pooled(list(trunk.at_layer(number, _moments, variables)))
        kernel, bias = unit_outputs(kernel, *moments)
        layer = {k: bias if k == "bias" else kernel for k in layer}
        variables = {**variables, "params": _put(variables["params"], path, layer)}
    return variables


def _made(trunk, variables, number: int, kernel: np.ndarray, kind: str, seed: int, mesh):
    """A kernel of filters made of what the layer sees, of each group by itself."""
    rng = np.random.default_rng([seed, number])
    most, found = -(-ROWS // len(trunk.batches)), []

    def look(layer: Seen) -> jax.Array:
        # Of no more inputs than have four times the places wanted: finding patches takes long.
        inputs = -(-4 * most // math.prod(layer.outputs.shape[1:-1]))
        few = dataclasses.replace(layer, inputs=layer.inputs[:inputs])
        return patches(few, jnp.asarray(kernel))

    for rows in trunk.at_layer(number, look, variables):
        count = rows.shape[1]
        found.append(rows[:, np.sort(rng.choice(count, min(count, most), replace=False))])
    groups = np.concatenate(found, axis=1)
    each = kernel.shape[-1] // len(groups)
    seeds = rng.integers(2**31, size=len(groups)).tolist()
    made = [filters(kind, x, each, s, mesh) for x, s in zip(groups, seeds, strict=True)]
    return np.concatenate(made).T.reshape(kernel.shape)


def balanced(trunk: _Trunk, variables: dict, paths: list[tuple[str, ...]], seed: int) -> dict:
    """The layers scaled until all would change at the same relative rate; at most ten rounds."""
    own = {name: tree for name, tree in variables.items() if name != "params"}

    @jax.jit
    def look(params, x, key):
        out, pull = jax.vjp(
            lambda p: last(trunk.module.apply({**own, "params": p}, x, train=False)), params
        )
        (slopes,) = pull(jax.random.normal(key, out.shape, out.dtype))
        squares = jnp.stack([jnp.mean(_at(slopes, path)["kernel"] ** 2) for path in paths])
        return squares, out.size, jnp.mean(out), jnp.var(out)

    params, key = variables["params"], jax.random.key(seed)
    for _ in range(ROUNDS):
        seen = [
            jax.device_get(look(params, x, jax.random.fold_in(key, i)))
            for i, x in enumerate(trunk.batches)
        ]
        squares, *moments = zip(*seen, strict=True)
        slopes = np.sqrt(np.mean(np.asarray(squares, np.float64), axis=0))
        sizes = np.array([np.sqrt(np.mean(_at(params, p)["kernel"] ** 2.0)) for p in paths])
        _, std = _pooled(list(zip(*moments, strict=True)))
        with np.errstate(divide="ignore", invalid="ignore"):  # of a kernel of zeros: named below
            ratios = slopes / sizes
        if np.abs(log_distances(ratios, float(std))).max() < NEAR:
            break
        scales = balancing_scales(ratios, float(std))
        for path, scale, total in zip(paths, scales, accumulated(scales), strict=True):
            layer = _at(params, path)
            factors = {k: np.float32(total if k == "bias" else scale) for k in layer}
            params = _put(params, path, {k: layer[k] * factors[k] for k in layer})
    return {**variables, "params": params}


def _moments(layer: Seen) -> tuple:
    """Number of places, and mean and variance of each channel over them."""
    out = layer.outputs.reshape(-1, layer.outputs.shape[-1])
    return len(out), out.mean(axis=0), out.var(axis=0)


def _pooled(moments: list[tuple]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation over all batches, of those of each."""
    counts, means, variances = (np.asarray(x, np.float64) for x in zip(*moments, strict=True))
    shares = (counts / counts.sum()).reshape(-1, *[1] * (means.ndim - 1))
    mean = np.sum(shares * means, axis=0)
    variance = np.sum(shares * (variances + (means - mean) ** 2), axis=0)
    return np.asarray(mean), np.asarray(np.sqrt(variance))


def _at(tree: dict, path: tuple[str, ...]) -> dict:
    for key in path:
        tree = tree[key]
    return tree


def _put(tree: dict, path: tuple[str, ...], new: dict) -> dict:
    """The tree with another entry at a path."""
    if not path:
        return new
    return {**tree, path[0]: _put(tree[path[0]], path[1:], new)}
