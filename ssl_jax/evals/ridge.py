"""Ridge probe: least squares in closed form, quick enough to watch a run with.

The few-shot probe of big_vision (Kolesnikov et al. 2020, Big Transfer): standardised features,
targets -1 and +1 for every class,

    minimise over W, b   sum_i ||x_i W + b - y_i||^2 + l2 * ||W||^2,

solved for every strength from one eigendecomposition, of X'X or, with fewer rows than features, of
XX'. Theirs gets its bias from a constant feature of 100, which leaves it nearly unpenalised; here
it is exactly so, by centring, which spares float32 an eigenvalue 10^4 times as large as the rest.
"""

import dataclasses
import functools
from collections.abc import Iterator

from ssl_jax.data.labels import check_labelled
from ssl_jax.data.record import Source
from ssl_jax.evaluator import Read
from ssl_jax.knobs import at_least, given
from ssl_jax.solvers.probe import probe
from ssl_jax.solvers.ridge import fit


@dataclasses.dataclass(frozen=True)
class Ridge:
    """Accuracy of the ridge probe per layer; see `probe.probe` for the names of the results.

    Fields as in `linear.Linear`, except that `l2` is relative to the sum over records, as in the
    paper (whose grid is 64 to 1024), and is chosen on a fifth held out once: each fold costs as
    much.
    """

    train: Source
    test: Source
    read: Read = Read()
    l2: tuple[float, ...] = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0)
    folds: int = 1
    labels_per_class: int = 0
    draws: int = 5
    seed: int = 0
    every: int = 0

    def __post_init__(self):
        given(self, "l2")
        at_least(self, 0, "l2", "labels_per_class", "seed")
        at_least(self, 1, "folds", "draws")

    def check(self, frozen) -> None:
        """ConfigError for sources without labels, or without a class in common."""
        del frozen
        check_labelled(self.test, self.train)

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """ConfigError without labels."""
        train, test = self.read.comparable(frozen, self.train, self.test)
        few = self.labels_per_class, self.draws, self.seed
        fit_on_mesh = functools.partial(fit, mesh=frozen.mesh)
        yield from probe(train, test, fit_on_mesh, self.l2, *few, self.folds)
