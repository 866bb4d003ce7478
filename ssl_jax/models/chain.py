"""Trunks that are chains: each layer sees what becomes of the one below, and nothing else."""

import dataclasses
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend.core import Literal
from jaxtyping import Array, Float

from ssl_jax.config import ConfigError
from ssl_jax.models.layers import Conv3D, GroupedConv

KINDS = (nn.Conv, nn.Dense, GroupedConv, Conv3D)


@dataclasses.dataclass(frozen=True)
class Seen:
    """A layer as it was called.

    Attributes:
      path: its place in the parameters.
      module: the layer.
      inputs, outputs: of the layer; outputs before whatever follows.
    """

    path: tuple[str, ...]
    module: nn.Module
    inputs: Array
    outputs: Array


def layers_called(trunk: nn.Module, variables: dict, x: Any, fresh: tuple = ()) -> list[Seen]:
    """The convolutions and dense layers of a trunk in the order in which it calls them.

    Args:
      fresh: for each of them what the rest of the trunk is given in place of its outputs.
    """
    seen: list[Seen] = []

    def watch(call, args, kwargs, context):
        out = call(*args, **kwargs)
        if context.method_name != "__call__" or not isinstance(context.module, KINDS):
            return out
        seen.append(Seen(context.module.path, context.module.clone(), args[0], out))
        return fresh[len(seen) - 1] if fresh else out

    with nn.intercept_methods(watch):
        trunk.apply(variables, x, train=False)
    return seen


def chain(trunk: nn.Module, variables: dict, x: Any) -> list[tuple[str, ...]]:
    """The places of a trunk's layers, from the input up; nothing is computed.

    Raises ConfigError if it has weights or statistics of others than convolutions and dense
    layers, such as BatchNorm, or is no chain.
    """
    kind, outputs = type(trunk).__name__, []

    def shapes(x) -> list[Array]:
        seen = layers_called(trunk, variables, x)
        outputs[:] = [layer.path for layer in seen]
        return [layer.outputs for layer in seen]

    fresh = jax.eval_shape(shapes, x)
    paths = list(outputs)
    for place, _ in jax.tree_util.tree_leaves_with_path(variables):
        owner = tuple(key.key for key in place[1:-1])
        if owner not in paths:
            raise ConfigError(
                f"{kind} is no chain of convolutions and dense layers alone: it has "
                f"{'/'.join(owner)} (of BatchNorm nothing is scaled: build the trunk without)"
            )
    if not paths:
        raise ConfigError(f"{kind} has no convolution or dense layer")
    if len(set(paths)) < len(paths):
        raise ConfigError(f"{kind} is no chain: it calls a layer twice")

    def inputs_of(x, fresh) -> list[Array]:
        return [layer.inputs for layer in layers_called(trunk, variables, x, tuple(fresh))]

    program = jax.make_jaxpr(inputs_of)(x, fresh).jaxpr
    # Whose layers' outputs (0: the trunk's input) each value is made of.
    own = len(program.invars) - len(fresh)
    made_of = {v: frozenset([max(0, i - own + 1)]) for i, v in enumerate(program.invars)}
    for equation in program.eqns:
        sources = [made_of[v] for v in equation.invars if _named(v) and v in made_of]
        made_of |= dict.fromkeys(equation.outvars, frozenset().union(*sources))
    for number, (path, value) in enumerate(zip(paths, program.outvars, strict=True)):
        if made_of[value] != {number}:
            raise ConfigError(
                f"{kind} is no chain: {'/'.join(path)} sees more than the layer below it"
            )
    return paths


def patches(layer: Seen, kernel: Float[Array, "*f o"]) -> Float[Array, "g n f"]:
    """What every filter of a layer is multiplied with, in the order of its kernel, by groups.

    Of n places of all inputs, f numbers each. The layer itself finds them, by a kernel that
    is the identity.
    """
    module, x = layer.module, layer.inputs
    if isinstance(module, nn.Dense):
        return x.reshape(1, -1, x.shape[-1])
    count, size = groups_of(module), math.prod(kernel.shape[:-1])
    field = "feature_group_count" if isinstance(module, nn.Conv) else "groups"
    plain = {} if isinstance(module, Conv3D) else {field: 1}
    finder = module.clone(features=size, use_bias=False, parent=None, name=None, **plain)
    identity = jnp.eye(size).reshape(*kernel.shape[:-1], size)
    parts = jnp.split(x, count, axis=-1)
    found = [finder.apply({"params": {"kernel": identity}}, part) for part in parts]
    return jnp.stack([part.reshape(-1, size) for part in found])


def groups_of(module: nn.Module) -> int:
    """Groups of a layer's outputs, each of which sees one group of its inputs."""
    if isinstance(module, nn.Conv):
        return module.feature_group_count
    return module.groups if isinstance(module, GroupedConv) else 1


def _named(variable: Any) -> bool:
    """Whether it is a variable of a program, not a number written into it."""
    return not isinstance(variable, Literal)
