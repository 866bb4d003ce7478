"""What all probes of frozen features share: labels, few labels, held-out rows, scores.

A probe is fitted to the training features and scored once on the test features. Its strength is
chosen by cross-validation within the *training* set, never on test labels. Features are
standardised by all training rows; where labels are few the rest still counts, as features need
none. Classes are those of the training set; a test record of another class counts as a miss.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from ssl_jax.config import ConfigError

# Fits a linear classifier for every choice of rows and every strength:
# (x "n d", y "n", use "f n", strengths, classes) -> (weight "f g d k", bias "f g k").
Fit = Callable[
    [np.ndarray, np.ndarray, np.ndarray, tuple[float, ...], int], tuple[np.ndarray, np.ndarray]
]


def classes_of(train, test) -> tuple[np.ndarray, Int[np.ndarray, "n"], Int[np.ndarray, "m"]]:
    """The classes of the training set, and both sets' labels as numbers of these classes.

    A class that the training set lacks becomes -1. ConfigError if a record has no label.
    """
    for name, features in (("train", train), ("test", test)):
        missing = np.flatnonzero(features.labels < 0)
        if missing.size:
            raise ConfigError(
                f"{name}: {missing.size} of {len(features.labels)} records have no label, first "
                f"record {features.indices[missing[0]]}; this evaluator needs a labelled source"
            )
    classes, own = np.unique(train.labels, return_inverse=True)
    if len(classes) < 2:
        raise ConfigError("train: all records have the same label; a probe needs two classes")
    place = np.searchsorted(classes, test.labels).clip(max=len(classes) - 1)
    return classes, own, np.where(classes[place] == test.labels, place, -1)


def finite_rows(name: str, values: np.ndarray, indices: np.ndarray) -> Float[np.ndarray, "n d"]:
    """`values` flattened to one row a record.

    FloatingPointError naming the first record that is not finite.
    """
    rows = np.asarray(values, np.float32).reshape(len(values), -1)
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if bad.size:
        raise FloatingPointError(
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
    # In float64, where squares of what float32 can hold neither overflow nor vanish.
    mean = train.mean(axis=0, dtype=np.float64)
    deviation = np.sqrt(np.square(train - mean).mean(axis=0))
    # Below this a float32 feature's variation is the rounding of its mean.
    varies = deviation > 1e-6 * np.abs(mean)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
    return [((array - mean) * scale).astype(np.float32) for array in (train, *others)]


def unit(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Rows divided by their length, a row of zeros left as it is; NaN where a row is not finite."""
    # Dividing by the largest entry first keeps tiny and huge rows from under- and overflow.
    largest = np.abs(rows).max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):  # of infinity by infinity
        rows = rows / np.where(largest == 0, 1, largest)
    length = np.sqrt(np.einsum("nd,nd->n", rows, rows))[:, None]
    return rows / np.where(length == 0, 1, length)


def few_labels(labels: Int[np.ndarray, "n"], per_class: int, seed: int) -> Int[np.ndarray, "m"]:
    """Rows of a balanced random draw of `per_class` from every class, ascending."""
    rng = np.random.default_rng(seed)
    chosen = []
    for name in np.unique(labels):
        rows = np.flatnonzero(labels == name)
        if len(rows) < per_class:
            raise ConfigError(
                f"{per_class} labels a class are asked for, "
                f"but class {name} has only {len(rows)} records"
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


def held_folds(labels: Int[np.ndarray, "n"], folds: int, seed: int) -> Bool[np.ndarray, "f n"]:
    """Marks of the rows that each fold of a cross-validation holds out.

    Every class is dealt evenly and at random, so that a row is held out once; but the only row of
    its class never is. One fold is a single split, `held_out`. ConfigError for more folds than
    rows, or if every row is the only one of its class.
    """
    if folds < 1:
        raise ConfigError(f"folds={folds}: at least one is needed (a fifth held out once)")
    if folds > len(labels):
        raise ConfigError(
            f"folds={folds}, but there are only {len(labels)} labelled records: choose fewer folds"
        )
    names, counts = np.unique(labels, return_counts=True)
    if counts.max() == 1:
        raise ConfigError(
            "one record a class leaves none to choose l2 on: give a single l2, or more labels"
        )
    if folds == 1:
        return held_out(labels, seed)[None]
    rng = np.random.default_rng(seed)
    dealt = [rng.permutation(np.flatnonzero(labels == name)) for name in names[counts > 1]]
    fold = np.full(len(labels), -1)
    fold[np.concatenate(dealt)] = np.arange(sum(map(len, dealt))) % folds
    marks = fold == np.arange(folds)[:, None]
    return marks[marks.any(axis=1)]


def top_hits(
    scores: Float[np.ndarray, "n k"], labels: Int[np.ndarray, "n"], top: int
) -> Float[np.ndarray, "n"]:
    """How likely the right class is among the `top` highest, equal scores being in random order.

    So no number depends on how classes are numbered. 0 for the label -1, for a class whose score
    is -inf (it got no vote), and where a score is NaN.
    """
    own = np.take_along_axis(scores, labels.clip(min=0)[:, None], axis=1)
    higher, equal = np.sum(scores > own, axis=1), np.sum(scores == own, axis=1)
    known = (labels >= 0) & ~np.isnan(scores).any(axis=1) & (own[:, 0] > -np.inf)
    return np.where(known, ((top - higher) / equal.clip(min=1)).clip(0, 1), 0.0)


def chance(labels: Int[np.ndarray, "n"], truth: Int[np.ndarray, "m"]) -> float:
    """Accuracy of always answering with the most frequent of `labels`; of equals a random one."""
    counts = np.bincount(labels)
    frequent = np.flatnonzero(counts == counts.max())
    return float(np.mean(np.isin(truth, frequent)) / len(frequent))


def choose(
    fit: Fit,
    x: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, "n"],
    classes: int,
    l2: tuple[float, ...],
    folds: int,
    seed: int,
) -> float:
    """The strength with the best accuracy on held-out rows, the larger of equals."""
    if len(l2) == 1:
        return l2[0]
    return best_of(fit, x, y, classes, l2, held_folds(y, folds, seed))


def best_of(
    fit: Fit,
    x: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, "n"],
    classes: int,
    l2: tuple[float, ...],
    held: Bool[np.ndarray, "f n"],
) -> float:
    """`choose`, on these held-out rows."""
    weight, bias = fit(x, y, ~held, l2, classes)
    hits = np.zeros(len(l2))
    for rows, each_weight, each_bias in zip(held, weight, bias, strict=True):
        scores = x[rows] @ each_weight + each_bias[:, None]
        hits += [np.sum(top_hits(one, y[rows], 1)) for one in scores]
    return max(zip(hits, l2, strict=True))[1]


def scores_of(
    fit: Fit,
    x: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, "n"],
    new: Float[np.ndarray, "m d"],
    classes: int,
    l2: float,
) -> Float[np.ndarray, "m k"]:
    """What the classifier fitted to all of (x, y) says about `new`."""
    weight, bias = fit(x, y, np.ones((1, len(y)), bool), (l2,), classes)
    return new @ weight[0, 0] + bias[0, 0]


def check(l2: tuple[float, ...], draws: int) -> None:
    """ConfigError for knobs that leave nothing to do."""
    if not l2:
        raise ConfigError("l2 is empty: give at least one strength")
    if draws < 1:
        raise ConfigError(f"draws={draws}: at least one draw is needed")


def probe(
    train,
    test,
    fit: Fit,
    l2: tuple[float, ...],
    labels_per_class: int,
    draws: int,
    seed: int,
    folds: int,
) -> Iterator[tuple[str, float]]:
    """Accuracy of one probe for every layer of two `ssl_jax.frozen.Features`.

    Yields what `results` says, and 'conv3/l2' where a grid was searched (the median over draws).
    'chance' always answers with the training set's most frequent class.
    """
    check(l2, draws)
    classes, labels, truth = classes_of(train, test)
    for layer in train.layers:
        x, new = rows_of(train, test, layer)
        x, new = standardise(x, new)
        hits, chosen = [], []
        for draw in range(draws if labels_per_class else 1):
            rows = drawn(labels, labels_per_class, seed + draw)
            data = x[rows], labels[rows]
            best = choose(fit, *data, len(classes), l2, folds, seed + draw)
            answer = scores_of(fit, *data, new, len(classes), best)
            hits.append(top_1_and_5(answer, truth))
            chosen.append(best)
        yield from results(layer, hits, len(classes), bool(labels_per_class))
        if len(l2) > 1:
            yield f"{layer}/l2", float(np.median(chosen))
    yield "chance", chance(labels, truth)


def rows_of(train, test, layer: str) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "m d"]]:
    """A layer's training and test rows. FloatingPointError naming the first that is not finite."""
    x = finite_rows(f"train, layer {layer}", train.layers[layer], train.indices)
    return x, finite_rows(f"test, layer {layer}", test.layers[layer], test.indices)


def drawn(labels: Int[np.ndarray, "n"], per_class: int, seed: int) -> Int[np.ndarray, "m"] | slice:
    """Which rows have labels: all if `per_class` is 0, or `few_labels`."""
    return few_labels(labels, per_class, seed) if per_class else slice(None)


def top_1_and_5(
    scores: Float[np.ndarray, "n k"], labels: Int[np.ndarray, "n"]
) -> Float[np.ndarray, "2 n"]:
    """`top_hits` among the first, and among the first five."""
    return np.stack([top_hits(scores, labels, top) for top in (1, 5)])


def results(
    name: str, hits: Sequence[Float[np.ndarray, "2 m"]], classes: int, several: bool
) -> Iterator[tuple[str, float]]:
    """'conv3' (top-1) and, with more than five classes, 'conv3/top5', from `top_1_and_5` of each
    draw.

    With `several` draws these are means, and 'conv3/std' is the deviation of top-1.
    """
    top1, top5 = np.mean(hits, axis=2).T
    yield name, float(top1.mean())
    if classes > 5:
        yield f"{name}/top5", float(top5.mean())
    if several:
        yield f"{name}/std", float(top1.std(ddof=min(1, len(hits) - 1)))
