"""What counting tokens and their pairs predicts: the floor under every language model."""

import numpy as np
from jaxtyping import Int


def ngram_losses(
    train: Int[np.ndarray, "n l"], test: Int[np.ndarray, "m _"], size: int
) -> dict[str, tuple[float, float]]:
    """(nats per token, share of tokens that are the most likely one) of three predictions.

    Of every token of a row of `test` but its first. 'uniform': all tokens are as likely; 'unigram':
    as often as in `train`; 'bigram': as often as after the token before. Each count is one more
    than it was (add-one smoothing), so that nothing is impossible. Rows of `train` are counted as
    blocks of which each begins with the last token of the one before.

    Args:
      train, test: rows of tokens.
      size: of the vocabulary.
    """
    before, after = test[:, :-1].ravel(), test[:, 1:].ravel()
    single = np.bincount(train[:, 1:].ravel(), minlength=size)
    pairs = train[:, :-1].astype(np.int64) * size + train[:, 1:]
    codes, counts = np.unique(pairs, return_counts=True)
    contexts = np.bincount(train[:, :-1].ravel(), minlength=size)

    asked = before.astype(np.int64) * size + after
    places = np.minimum(np.searchsorted(codes, asked), len(codes) - 1)
    seen = np.where(codes[places] == asked, counts[places], 0)

    # The most likely next token of each; of one that was never seen, the most likely of all.
    likeliest = np.full(size, single.argmax())
    ascending = np.lexsort((-codes, counts))  # of equals the token of the smaller number
    likeliest[codes[ascending] // size] = codes[ascending] % size
    return {
        "uniform": (float(np.log(size)), 1 / size),
        "unigram": (
            float(-np.log((single[after] + 1) / (single.sum() + size)).mean()),
            float((after == single.argmax()).mean()),
        ),
        "bigram": (
            float(-np.log((seen + 1) / (contexts[before] + size)).mean()),
            float((after == likeliest[before]).mean()),
        ),
    }
