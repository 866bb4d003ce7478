"""What is said in a caption's seconds in other languages."""

import math
from collections.abc import Sequence

from ssl_jax.data.record import Caption
from ssl_jax.data.sampling import captions_at


def translations(
    captions: Sequence[Caption], caption: Caption, languages: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Texts in each language that say what a caption says, any of which may stand for it.

    Languages share a video's clock, not the numbers of captions, so they are joined by time: what
    is said in a language in the caption's seconds is one text. Captions of a whole video, without
    an end, are descriptions of their own, each a text. A language without any is left out.
    """
    found = {}
    for language in languages:
        numbers = captions_at(captions, caption.start, caption.end, language)
        own = sorted((captions[number] for number in numbers), key=lambda c: c.start)
        timed = [one.text for one in own if one.end < math.inf]
        texts = [*([" ".join(timed)] if timed else []), *(c.text for c in own if c.end == math.inf)]
        if texts:
            found[language] = tuple(texts)
    return found
