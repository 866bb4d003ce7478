"""Several items of every row as rows of their own, and back."""

from jaxtyping import Array, Shaped


def fold(x: Shaped[Array, "b n ..."]) -> Shaped[Array, "bn ..."]:
    """The n items of every row as n rows. Neighbours stay on the device that holds their row."""
    return x.reshape(-1, *x.shape[2:])


def unfold(x: Shaped[Array, "bn ..."], n: int) -> Shaped[Array, "b n ..."]:
    """The way back from `fold`: every n rows are the items of one."""
    return x.reshape(-1, n, *x.shape[1:])
