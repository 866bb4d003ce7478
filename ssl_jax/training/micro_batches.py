"""Loss and gradients of one step, the batch taken whole or in micro-batches.

A contrastive loss compares all rows of the batch, so it is no mean over parts of it, and gradients
of parts added up are not its gradient. They are if features come first (gradient caching: Gao,
Zhang, Han and Callan 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited
Setup"):

    1. augment the whole batch, run the net on one part after another, keep only its outputs;
    2. the loss of all outputs together, and its gradient with respect to them;
    3. run the net on every part again, and take that gradient on to the weights.

Memory is that of the whole batch's inputs and outputs and of one part's activations; the time is
that of one more forward pass, a third more. Gradients are summed over the devices once a part.
"""

import jax
import jax.numpy as jnp
from jax.extend.core import Literal

from ssl_jax.config import ConfigError
from ssl_jax.method import Batch, Forward, Method, Params, State


def loss_and_gradients(
    method: Method, params: Params, state: State, batch: Batch, key: jax.Array, micro_batches: int
) -> tuple[tuple[jax.Array, Forward], Params]:
    """((loss, what else came of it), gradients by the params).

    With micro_batches=1 it is `jax.value_and_grad` of `method.forward`, or of `method.loss` where
    that is the method's own. With more, part k of n has the examples k, k + n, k + 2n,
    ..., so that every device splits the rows that it holds; n times the devices should divide the
    batch. Augmentations draw the numbers that they draw on the whole batch. Loss and gradients are
    the same, whatever the loss does with the rows, for nets that treat every row by itself. Two
    things do not:

    * BatchNorm in training takes its statistics over a part. The gradients are exactly those of
      that computation, which is another one than on the whole batch, as if there were a smaller
      batch for BatchNorm alone. Its running statistics move once a part.
    * Dropout draws other masks than on the whole batch, the same in both passes.

    Raises:
      ConfigError: the batch cannot be divided, or the method has a loss of its own, a net whose
        rows meet, or one that puts out something that depends on the batch without having rows.
    """
    if micro_batches == 1:
        return _at_once(method, params, state, batch, key)
    examples, name = len(next(iter(batch.values()))), type(method).__name__
    if examples % micro_batches:
        raise ConfigError(f"micro_batches={micro_batches} must divide the {examples} rows")
    if method.has_own_loss:
        raise ConfigError(f"micro_batches={micro_batches}: {name} has a loss of its own; use 1")
    if method.rows_meet:
        raise ConfigError(
            f"micro_batches={micro_batches}: in {name}'s net the rows of a batch see one another, "
            "so that parts of it give something else; use 1"
        )
    key_augment, key_net = jax.random.split(key)
    run = {name: tree for name, tree in state.items() if name == "run"}
    own = {name: tree for name, tree in state.items() if name != "run"}

    def puzzle_of(batch: Batch) -> Batch:
        return method.inputs(method.augment(batch, state, key_augment))

    puzzle = jax.lax.stop_gradient(puzzle_of(batch))
    twice = jax.eval_shape(puzzle_of, {k: _shape(x, 2 * len(x)) for k, x in batch.items()})
    whole = {k: x for k, x in puzzle.items() if x.shape == twice[k].shape}  # tables, not rows
    rows = {k: x for k, x in puzzle.items() if k not in whole}
    for name, x in rows.items():
        if len(x) % examples or twice[name].shape != (2 * len(x), *x.shape[1:]):
            raise ConfigError(
                f"micro_batches={micro_batches}: '{name}' of the augmented batch has {len(x)} rows "
                f"for {examples} examples; use 1"
            )
    parts = {k: _split(x, examples, micro_batches) for k, x in rows.items()}
    numbers = jnp.arange(micro_batches)

    def outputs_of(params, own, number, part):
        key_part = jax.random.fold_in(key_net, number)
        return method.outputs(
            method.without_teachers(params), {**own, **run}, {**part, **whole}, key_part
        )

    alike = _alike(outputs_of, params, own, rows, examples, micro_batches)

    def forward(own, part):
        outputs, after = outputs_of(params, own, *part)
        return after, (outputs, own)

    after, (outputs, states) = jax.lax.scan(forward, own, (numbers, parts))
    together = jax.tree.map(lambda x, same: x[0] if same else _merge(x, examples), outputs, alike)
    objective = jax.value_and_grad(lambda x: method.objective(x, puzzle), has_aux=True)
    (value, metrics), wanted = objective(together)

    def share_out(gradient, same):
        if same:  # every part takes its share of it to the weights
            return jnp.stack([gradient / micro_batches] * micro_batches)
        return _split(gradient, examples, micro_batches)

    def backward(total, part):
        number, inputs, before, share = part
        _, pull = jax.vjp(lambda p: outputs_of(p, before, number, inputs)[0], params)
        return jax.tree.map(jnp.add, total, *pull(share)), None

    shares = jax.tree.map(share_out, wanted, alike)
    zeros = jax.tree.map(jnp.zeros_like, params)
    gradients, _ = jax.lax.scan(backward, zeros, (numbers, parts, states, shares))
    return (value, Forward(after, metrics, puzzle, together)), gradients


def _at_once(
    method: Method, params: Params, state: State, batch: Batch, key: jax.Array
) -> tuple[tuple[jax.Array, Forward], Params]:
    if not method.has_own_loss:
        return jax.value_and_grad(method.forward, has_aux=True)(params, state, batch, key)
    function = jax.value_and_grad(method.loss, has_aux=True)
    (value, (new, metrics)), gradients = function(params, state, batch, key)
    new = {name: tree for name, tree in new.items() if name != "run"}
    return (value, Forward(new, metrics, batch, None)), gradients


def _split(x: jax.Array, examples: int, count: int) -> jax.Array:
    """(r, ...) -> (count, r / count, ...), all r / examples rows of an example in one part."""
    each = len(x) // examples
    x = x.reshape(examples // count, count, each, *x.shape[1:])
    return x.swapaxes(0, 1).reshape(count, -1, *x.shape[3:])


def _merge(x: jax.Array, examples: int) -> jax.Array:
    """The way back from `_split`."""
    count, rows = x.shape[:2]
    x = x.reshape(count, examples // count, count * rows // examples, *x.shape[2:])
    return x.swapaxes(0, 1).reshape(count * rows, *x.shape[3:])


def _shape(x, rows: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((rows, *x.shape[1:]), x.dtype)


def _alike(outputs_of, params, state, rows: Batch, examples: int, count: int):
    """For every output whether it is the same in every part: has no rows but is made of weights.

    Raises ConfigError for one that has no rows and is made of the batch or of the state.
    """

    def shapes(parts: int):
        """Outputs of one of so many parts, and which of them depend on more than the weights."""
        part = {k: _shape(x, len(x) // parts) for k, x in rows.items()}
        function = jax.make_jaxpr(lambda *a: outputs_of(*a)[0], return_shape=True)
        program, outputs = function(params, state, jnp.int32(0), part)
        touched = set(program.jaxpr.invars[len(jax.tree.leaves(params)) :])
        for equation in program.jaxpr.eqns:
            if any(v in touched for v in equation.invars if not isinstance(v, Literal)):
                touched.update(equation.outvars)
        found = [not isinstance(v, Literal) and v in touched for v in program.jaxpr.outvars]
        return outputs, jax.tree.unflatten(jax.tree.structure(outputs), found)

    def alike(path, part, all_rows, touched) -> bool:
        if part.shape == all_rows.shape and not touched:
            return True
        fitting = part.shape and part.shape[0] % (examples // count) == 0
        if not fitting or all_rows.shape != (count * part.shape[0], *part.shape[1:]):
            raise ConfigError(
                f"micro_batches={count}: output {jax.tree_util.keystr(path) or 'of the net'} of "
                f"shape {all_rows.shape} is of the whole batch, but has not its rows; use 1"
            )
        return False

    (part, touched), (all_rows, _) = shapes(count), shapes(1)
    return jax.tree_util.tree_map_with_path(alike, part, all_rows, touched)
