"""Linear probe: logistic regression on every frozen layer.

The protocol of Zhang, Isola & Efros 2016 (Colorful Image Colorization) and those after it: each
layer's maps are pooled to about 9000 numbers and a linear classifier is trained on them. Theirs is
trained by SGD for tens of epochs with colour and crop augmentation; ours is the exact optimum on
fixed features (`logistic.py`), so numbers are close to, but not the same as, those of the papers.
"""

import dataclasses
from collections.abc import Iterator

from ssl_jax.data.record import Source
from ssl_jax.evals import logistic
from ssl_jax.evals.probe import probe


@dataclasses.dataclass(frozen=True)
class Linear:
    """Accuracy of logistic regression per layer; see `probe.probe` for the names of the results.

    Features are standardised by the training set.

    Attributes:
      train, test: labelled sources.
      layers: names; () is all of them, and 'input' is the raw input.
      clips: clips of a record whose features are averaged.
      pool: 'max' or 'avg', how large maps are made smaller.
      l2: strengths to choose from, on a held-out fifth of train; relative to the mean loss. The
        whole grid is fitted at once.
      labels_per_class: 0 takes all of train; else few labels, a balanced draw.
      draws: of few labels, seeded by seed, seed + 1, ...
      every: steps between runs during training; 0 is only at the end.
    """

    train: Source
    test: Source
    modality: str = "vision"
    layers: tuple[str, ...] = ()
    clips: int = 1
    pool: str = "max"
    l2: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
    labels_per_class: int = 0
    draws: int = 5
    seed: int = 0
    every: int = 0

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """`frozen`: a trained network, `ssl_jax.frozen.Frozen`. ValueError without labels."""
        train, test = (
            frozen.features(source, self.modality, self.layers, self.clips, self.pool)
            for source in (self.train, self.test)
        )
        yield from probe(
            train, test, logistic.logits, self.l2, self.labels_per_class, self.draws, self.seed
        )
