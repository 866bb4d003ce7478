"""Other rules for going back through ReLUs than the derivative, for any network as it is.

A function is traced, and every max(x, 0) in it, however it was written (`jax.nn.relu`, `nn.relu`,
`jnp.maximum(x, 0)`), gets a backward rule. With x what went in and g what comes back:

    plain      g where x > 0                 the gradient
    guided     g where x > 0 and g > 0       Springenberg et al. 2015
    deconvnet  g where g > 0                 Zeiler and Fergus 2014
    open       g                             as if there were no ReLUs
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.extend import core

from ssl_jax.config import ConfigError

RULES = ("plain", "guided", "deconvnet", "open")
# What is only a bracket around other operations, and may be opened.
BRACKETS = ("jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2")


def with_relu_rule(function: Callable, rule: str) -> Callable:
    """`function` of one array, to be differentiated once in reverse with a rule for its ReLUs.

    ReLUs inside of loops (`scan`, `while`) keep their derivative. ConfigError for an unknown rule.
    """
    if rule not in RULES:
        raise ConfigError(f"rule={rule!r}: must be one of {', '.join(RULES)}")

    def changed(x):
        closed, shape = jax.make_jaxpr(function, return_shape=True)(x)
        results = _evaluate(closed.jaxpr, closed.consts, jax.tree.leaves(x), rule)
        return jax.tree.unflatten(jax.tree.structure(shape), results)

    return changed


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def relu(x: jax.Array, rule: str) -> jax.Array:
    """max(x, 0), going back by `rule`."""
    return jnp.maximum(x, 0)


def _forward(x, rule):
    return relu(x, rule), x


def _backward(rule, x, g):
    if rule in ("plain", "guided"):
        g = jnp.where(x > 0, g, 0)
    if rule in ("guided", "deconvnet"):
        g = jnp.maximum(g, 0)
    return (g,)


relu.defvjp(_forward, _backward)


def _evaluate(jaxpr, consts, arguments, rule: str) -> list:
    """What the traced operations give, one after another."""
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *arguments), strict=True))

    def read(atom):
        return atom.val if isinstance(atom, core.Literal) else values[atom]

    for equation in jaxpr.eqns:
        inputs = [read(atom) for atom in equation.invars]
        if _is_relu(equation):
            outputs = [relu(_rectified(equation, inputs), rule)]
        elif (inner := _bracket(equation)) is not None:
            outputs = _evaluate(*inner, inputs, rule)
        else:
            outputs = equation.primitive.bind(*inputs, **equation.params)
            outputs = outputs if equation.primitive.multiple_results else [outputs]
        values.update(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _is_relu(equation) -> bool:
    if equation.primitive.name != "max" or not any(_is_zero(a) for a in equation.invars):
        return False
    return bool(jnp.issubdtype(equation.outvars[0].aval.dtype, jnp.floating))


def _is_zero(atom) -> bool:
    return isinstance(atom, core.Literal) and jnp.ndim(atom.val) == 0 and bool(atom.val == 0)


def _rectified(equation, inputs):
    """The operand of max(x, 0) that is not the zero."""
    return inputs[1] if _is_zero(equation.invars[0]) else inputs[0]


def _bracket(equation) -> tuple | None:
    """(operations, constants) inside of an equation that only groups them; None if it does more."""
    name, params = equation.primitive.name, equation.params
    if name in BRACKETS:
        inner = params.get("jaxpr", params.get("call_jaxpr"))
        return (inner.jaxpr, inner.consts) if hasattr(inner, "consts") else (inner, [])
    if name == "custom_jvp_call":  # jax.nn.relu is one; others keep the derivative they came with
        inner = params["call_jaxpr"]
        return (inner.jaxpr, inner.consts) if _only_relu(inner.jaxpr) else None
    return None


def _only_relu(jaxpr) -> bool:
    if len(jaxpr.eqns) != 1:
        return False
    (equation,) = jaxpr.eqns
    inner = _bracket(equation)
    return _is_relu(equation) or (inner is not None and _only_relu(inner[0]))
