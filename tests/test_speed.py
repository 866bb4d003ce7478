"""FLOPs of a program, by hand."""

import jax
import jax.numpy as jnp
import pytest

from ssl_jax.training.speed import model_flops

ONCE = 2 * 4**3  # of a product of two 4 x 4 matrices


def flops(function, *arguments):
    return model_flops(jax.make_jaxpr(function)(*arguments).jaxpr)


def once(x):
    return x @ x


def twice(x):
    return x @ x @ x


@pytest.mark.parametrize(
    ("function", "products"),
    [
        (once, 1),
        (jax.grad(lambda x: once(x).sum()), 3),
        (lambda x: jax.lax.scan(lambda y, _: (once(y), None), x, length=5)[0], 5),
        # Of branches the dearest; of forms for platforms the leanest.
        (lambda x: jax.lax.cond(x.sum() > 0, twice, once, x), 2),
        (lambda x: jax.lax.switch(jnp.int32(x.sum()), (once, twice, once), x), 2),
        (lambda x: jax.lax.platform_dependent(x, cpu=twice, default=once), 1),
        (lambda x: jax.jit(twice)(x), 2),
    ],
)
def test_products_count_as_often_as_they_run(function, products):
    assert flops(function, jnp.ones((4, 4))) == products * ONCE


def test_a_convolution_by_hand():
    x, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 5))

    def convolved(x, kernel):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=numbers)

    assert flops(convolved, x, kernel) == 2 * (2 * 6 * 6 * 5) * (3 * 3 * 3)
