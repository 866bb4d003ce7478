"""How often words are seen and drawn: sub-sampling and noise of word2vec, from counts."""

import numpy as np
from jaxtyping import Float, Int, Shaped

from ssl_jax.config import ConfigError

POWER = 0.75  # of the counts that noise is drawn by


def keep_probabilities(counts: Int[np.ndarray, "k"], sample: float) -> Float[np.ndarray, "k"]:
    """With which probability an occurrence of each word stays in the text (k,).

    (sqrt(f / t) + 1) t / f for a word that is a share f of the text, at most 1, with t = `sample`:
    as word2vec.c does it. Differs from the paper, which has sqrt(t / f). With sample=0, or for a
    word without occurrences, it is 1.
    """
    if not sample or not counts.sum():
        return np.ones(len(counts))
    shares = np.maximum(counts / counts.sum(), np.finfo(float).tiny)
    return np.minimum(1.0, (np.sqrt(shares / sample) + 1) * sample / shares)


def noise_distribution(
    counts: Int[np.ndarray, "k"], power: float = POWER
) -> Float[np.ndarray, "k"]:
    """Probabilities (k,) in proportion to counts ** power; a word that is never seen has none.

    Raises ConfigError if there are no words.
    """
    if not counts.sum():
        raise ConfigError("no word of the vocabulary is in the text")
    weights = np.where(counts > 0, np.maximum(counts, 1.0) ** power, 0.0)
    return weights / weights.sum()


def alias_table(
    probabilities: Float[np.ndarray, "k"],
) -> tuple[Float[np.ndarray, "k"], Int[np.ndarray, "k"]]:
    """(accept, alias) for draws in constant time (Walker 1974, Vose 1991).

    A uniform number i of 0..k-1 is drawn; it stays i with probability accept[i] and becomes
    alias[i] otherwise.
    """
    count = len(probabilities)
    accept, alias = np.asarray(probabilities * count, np.float64), np.arange(count)
    small = np.flatnonzero(accept < 1).tolist()
    large = np.flatnonzero(accept >= 1).tolist()
    while small and large:
        low, high = small.pop(), large[-1]
        alias[low] = high
        accept[high] -= 1 - accept[low]
        if accept[high] < 1:
            small.append(large.pop())
    accept[small + large] = 1.0  # these are 1 but for rounding
    return accept, alias


def sampling_tables(
    counts: Int[np.ndarray, "k"], sample: float, negatives: int
) -> dict[str, Shaped[np.ndarray, "k"]]:
    """What words are drawn by on the device, of each of the words that were counted.

    'keep', the probability to keep it; 'accept' and 'alias', the noise's alias table; and
    'unigram', the best score that knows nothing of the context: log(p / (negatives * q)) of a word
    that is a share p of the text after sub-sampling and q of the noise.
    """
    keep, noise = keep_probabilities(counts, sample), noise_distribution(counts)
    accept, alias = alias_table(noise)
    shares = counts * keep / (counts * keep).sum()
    odds = np.where(counts > 0, shares, 1.0) / (negatives * np.where(counts > 0, noise, 1.0))
    floats = {"keep": keep, "accept": accept, "unigram": np.log(odds)}
    return {k: v.astype(np.float32) for k, v in floats.items()} | {"alias": alias.astype(np.int32)}
