"""What all probes of frozen features share: labels, few labels, held-out rows, scores.

A probe is fitted to the training features and scored once on the test features. Its strength is
chosen on held-out rows of the *training* set, never on test labels. Features are standardised by
all training rows; where labels are few the rest still counts, as features need none. Classes are
those of the training set; a test record of another class counts as a miss.
"""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Bool, Float, Int

# Fits (x, y) once for every strength and returns what each fit says about new rows:
# (x "n d", y "n", new "m d", classes, strengths) -> scores "g m k".
Scores = Callable[
    [np.ndarray, np.ndarray, np.ndarray, int, tuple[float, ...]], Float[np.ndarray, "g m k"]
]


def classes_of(train, test) -> tuple[np.ndarray, Int[np.ndarray, "n"], Int[np.ndarray, "m"]]:
    """The classes of the training set, and both sets' labels as numbers of these classes.

    A class that the training set lacks becomes -1. ValueError if a record has no label.
    """
    for name, features in (("train", train), ("test", test)):
        missing = np.flatnonzero(features.labels < 0)
        if missing.size:
            raise ValueError(
                f"{name}: {missing.size} of {len(features.labels)} records have no label, first "
                f"record {features.indices[missing[0]]}; this evaluator needs a labelled source"
            )
    classes, own = np.unique(train.labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError("train: all records have the same label; a probe needs two classes")
    place = np.searchsorted(classes, test.labels).clip(max=len(classes) - 1)
    return classes, own, np.where(classes[place] == test.labels, place, -1)


def finite_rows(name: str, values: np.ndarray, indices: np.ndarray) -> Float[np.ndarray, "n d"]:
    """`values` flattened to one row a record. ValueError naming the first that is not finite."""
    rows = np.asarray(values, np.float32).reshape(len(values), -1)
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if bad.size:
        raise ValueError(
            f"{name}: features of {bad.size} of {len(rows)} records are NaN or infinite, first "
            f"record {indices[bad[0]]}; has training diverged?"
        )
    return rows


def standardise(
    train: Float[np.ndarray, "n d"], *others: Float[np.ndarray, "_ d"]
) -> list[Float[np.ndarray, "_ d"]]:
    """All arrays with the training set's mean taken away and its standard deviation divided out.

    A feature that never changes in training says nothing and becomes 0 everywhere.
    """
    mean = train.mean(axis=0, dtype=np.float64).astype(np.float32)
    deviation = np.sqrt(np.square(train - mean).mean(axis=0, dtype=np.float64))
    # Below this a float32 feature's variation is the rounding of its mean.
    varies = deviation > 1e-6 * np.abs(mean)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
    return [(array - mean) * scale.astype(np.float32) for array in (train, *others)]


def few_labels(labels: Int[np.ndarray, "n"], per_class: int, seed: int) -> Int[np.ndarray, "m"]:
    """Rows of a balanced random draw of `per_class` from every class, ascending."""
    rng = np.random.default_rng(seed)
    chosen = []
    for name in np.unique(labels):
        rows = np.flatnonzero(labels == name)
        if len(rows) < per_class:
            raise ValueError(
                f"labels_per_class={per_class}, but class {name} has only {len(rows)} records"
            )
        chosen.append(rng.permutation(rows)[:per_class])
    return np.sort(np.concatenate(chosen))


def held_out(labels: Int[np.ndarray, "n"], seed: int, share: float = 0.2) -> Bool[np.ndarray, "n"]:
    """Marks a random `share` of every class, at least one row where the class has two."""
    rng = np.random.default_rng(seed)
    mark = np.zeros(len(labels), bool)
    for name in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == name))
        count = max(round(share * len(rows)), 1) if len(rows) > 1 else 0
        mark[rows[:count]] = True
    return mark


def class_ranks(
    scores: Float[np.ndarray, "n k"], labels: Int[np.ndarray, "n"]
) -> Float[np.ndarray, "n"]:
    """How many classes stand before the right one; ties by class number; -1 is never right."""
    own = np.take_along_axis(scores, labels.clip(min=0)[:, None], axis=1)
    earlier = np.arange(scores.shape[1]) < labels[:, None]
    rank = np.sum((scores > own) | ((scores == own) & earlier), axis=1)
    return np.where(labels >= 0, rank, np.inf)


def fit_and_score(
    scores: Scores,
    x: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, "n"],
    test: Float[np.ndarray, "m d"],
    classes: int,
    l2: tuple[float, ...],
    seed: int,
) -> tuple[Float[np.ndarray, "m k"], float]:
    """Scores of the test rows, and the strength chosen for them.

    Features come standardised. The strength with the best held-out accuracy wins, the larger of
    equals, and is refitted to all training rows. A single strength is taken as it is.
    """
    best = max(l2)
    if len(l2) > 1:
        held = held_out(y, seed)
        if not held.any():
            raise ValueError(
                "one record a class leaves none to choose l2 on: give a single l2, or more labels"
            )
        grid = scores(x[~held], y[~held], x[held], classes, l2)
        accuracy = [np.mean(class_ranks(each, y[held]) < 1) for each in grid]
        best = max(zip(accuracy, l2, strict=True))[1]
    return scores(x, y, test, classes, (best,))[0], best


def probe(
    train,
    test,
    scores: Scores,
    l2: tuple[float, ...],
    labels_per_class: int,
    draws: int,
    seed: int,
) -> Iterator[tuple[str, float]]:
    """Accuracy of one probe for every layer of two `ssl_jax.frozen.Features`.

    Yields 'conv3' (top-1), 'conv3/top5' with more than five classes, and 'conv3/l2' where a grid
    was searched; with `labels_per_class` these are means over `draws` seeded draws (l2: median),
    and 'conv3/std' is the deviation of top-1 over draws. 'chance' always answers with the training
    set's most frequent class.
    """
    if not l2:
        raise ValueError("l2 is empty: give at least one strength")
    if draws < 1:
        raise ValueError(f"draws={draws}: at least one draw is needed")
    classes, labels, truth = classes_of(train, test)
    for layer, values in train.layers.items():
        x = finite_rows(f"train, layer {layer}", values, train.indices)
        new = finite_rows(f"test, layer {layer}", test.layers[layer], test.indices)
        x, new = standardise(x, new)
        ranks, chosen = [], []
        for draw in range(draws if labels_per_class else 1):
            rows = np.arange(len(labels))
            if labels_per_class:
                rows = few_labels(labels, labels_per_class, seed + draw)
            answer, best = fit_and_score(
                scores, x[rows], labels[rows], new, len(classes), l2, seed + draw
            )
            ranks.append(class_ranks(answer, truth))
            chosen.append(best)
        top1 = np.mean(np.array(ranks) < 1, axis=1)
        yield layer, float(top1.mean())
        if len(classes) > 5:
            yield f"{layer}/top5", float(np.mean(np.array(ranks) < 5))
        if labels_per_class:
            yield f"{layer}/std", float(top1.std(ddof=min(1, draws - 1)))
        if len(l2) > 1:
            yield f"{layer}/l2", float(np.median(chosen))
    yield "chance", float(np.mean(truth == np.bincount(labels).argmax()))
