"""Multinomial logistic regression on frozen features: convex, so there is one right answer.

    minimise over W, b   mean_i cross_entropy(x_i W + b, y_i) + l2 / 2 * ||W||^2

The bias is free. This is scikit-learn's LogisticRegression with C = 1 / (n * l2) from three classes
on; for two classes it fits one logit instead of two, whose penalty is half ours: C = 2 / (n * l2).

Solved by L-BFGS with a zoom line search (Nocedal & Wright, Numerical Optimization, ch. 3, 7), all
strengths of a grid at once. Unlike a probe trained by SGD it has no learning rate, schedule or
seed to tune, so the difference between two layers is a difference between the layers.

In float32, the default, the objective is right to about 1e-7 and weights to about 1e-3 where the
problem is ill-conditioned; inside `jax.enable_x64(True)` weights agree with scikit-learn to 1e-6.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int


@functools.partial(jax.jit, static_argnames=("classes", "max_steps", "tolerance"))
def fit(
    x: Float[Array, "n d"],
    y: Int[Array, "n"],
    l2: Float[Array, "g"],
    classes: int,
    max_steps: int = 1000,
    tolerance: float = 1e-5,
) -> tuple[Float[Array, "g d k"], Float[Array, "g k"]]:
    """Weights and biases for every strength in `l2`.

    A fit ends when no entry of its gradient exceeds `tolerance`, when a step no longer moves it
    (all that the number format can give), or after `max_steps`.
    """

    def objective(theta, strength):  # the last row of theta is the bias
        # Accelerators multiply in reduced precision by default; a line search needs all digits.
        logits = jnp.matmul(x, theta[:-1], precision="highest") + theta[-1]
        entropy = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
        return entropy + strength / 2 * jnp.sum(theta[:-1] ** 2)

    def solve(strength):
        value = functools.partial(objective, strength=strength)
        solver = optax.lbfgs()
        value_and_grad = optax.value_and_grad_from_state(value)

        def unfinished(carry):
            _, _, step, slope, move = carry
            return (step < max_steps) & (slope > tolerance) & (move > 0)

        def advance(carry):
            theta, state, step, _, _ = carry
            loss, grad = value_and_grad(theta, state=state)
            update, state = solver.update(grad, state, theta, value=loss, grad=grad, value_fn=value)
            slope = jnp.abs(optax.tree.get(state, "grad")).max()
            return theta + update, state, step + 1, slope, jnp.abs(update).max()

        start = jnp.zeros((x.shape[1] + 1, classes), x.dtype)
        infinite = jnp.array(jnp.inf, x.dtype)
        carry = (start, solver.init(start), jnp.array(0), infinite, infinite)
        return jax.lax.while_loop(unfinished, advance, carry)[0]

    theta = jax.vmap(solve)(l2)
    return theta[:, :-1], theta[:, -1]


@jax.jit
def predict(
    x: Float[Array, "m d"], weight: Float[Array, "g d k"], bias: Float[Array, "g k"]
) -> Float[Array, "g m k"]:
    """Logits of every fit."""
    return jnp.matmul(x, weight, precision="highest") + bias[:, None]


def logits(
    x: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, "n"],
    new: Float[np.ndarray, "m d"],
    classes: int,
    l2: tuple[float, ...],
) -> Float[np.ndarray, "g m k"]:
    """What the regressions fitted to (x, y), one for each strength, say about `new`.

    The best weights are a sum of training rows, so with fewer rows than features the search is kept
    to the rows' span: the same optimum, by fewer numbers (a rotation changes no norm).
    """
    if len(x) < x.shape[1]:
        basis, corner = np.linalg.qr(x.T)
        x, new = corner.T, new @ basis
    x, y, new, l2 = jax.device_put((x, y, new, np.asarray(l2, x.dtype)))
    return jax.device_get(predict(new, *fit(x, y, l2, classes)))
