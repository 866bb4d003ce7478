"""Which captions go with which seconds of a video. Captions are in order of their starts."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from ssl_jax.data.record import Caption


def nearest_captions(captions: Sequence[Caption], chosen: int, count: int) -> Int[np.ndarray, "n"]:
    """Numbers of `count` neighbouring captions around a chosen one, that span the least time.

    The positives of MIL-NCE (Miech et al. 2020, 3 to 5 of them): what is said may belong to what is
    seen a little before or after. One after another the neighbour before or behind is added,
    whichever makes the span shorter; at a video's end the other side gives all. With fewer captions
    than asked for, the last is repeated.

    Raises:
      ValueError: there is no caption of this number.
    """
    if not 0 <= chosen < len(captions) or count < 1:
        raise ValueError(f"caption {chosen} and {count - 1} more of {len(captions)} were asked for")
    first = last = chosen
    while last - first + 1 < min(count, len(captions)):
        with_before = captions[last].end - captions[first - 1].start if first > 0 else math.inf
        ends = last == len(captions) - 1
        with_behind = math.inf if ends else captions[last + 1].end - captions[first].start
        if first > 0 and (ends or with_before < with_behind):
            first -= 1
        else:
            last += 1
    return np.minimum(first + np.arange(count), last)


def caption_window(
    caption: Caption, duration: float, rng: np.random.Generator, seconds: float, least: float = 5.0
) -> float:
    """Start of `seconds` of video at random from a caption's time, which is widened to `least`.

    As MIL-NCE and HowTo100M (Miech et al. 2019) do, where captions of less than 5 s are too short.
    The window lies inside the video, also where the caption does not.

    Raises:
      ValueError: the video is shorter than the window.
    """
    if duration < seconds:
        raise ValueError(f"a video of {duration:g} s is shorter than {seconds:g} s; lower seconds")
    begin, end = min(caption.start, duration), min(caption.end, duration)
    missing = max(0.0, max(least, seconds) - (end - begin))
    begin, end = begin - missing / 2, end + missing / 2
    latest = duration - seconds
    low = min(max(begin, 0.0), latest)
    return float(rng.uniform(low, min(max(end - seconds, low), latest)))


def captions_at(
    captions: Sequence[Caption], start: float, end: float, language: str = ""
) -> list[int]:
    """Numbers of the captions that are said at some time between `start` and `end`.

    Texts of several languages of one video (Huang et al. 2021) share its clock, not their numbers:
    those of one language for a caption of another are `captions_at(all, c.start, c.end, language)`.

    Args:
      language: '' for any.
    """
    return [
        number
        for number, caption in enumerate(captions)
        if caption.start < end and caption.end > start and language in ("", caption.language)
    ]


def merged_captions(captions: Sequence[Caption], least: float = 5.0) -> list[Caption]:
    """Neighbours joined until each lasts `least` seconds (HowTo100M); the last may be shorter."""
    merged: list[Caption] = []
    for caption in captions:
        if merged and merged[-1].end - merged[-1].start < least:
            before = merged.pop()
            caption = Caption(
                f"{before.text} {caption.text}",
                before.start,
                max(before.end, caption.end),
                before.language,
            )
        merged.append(caption)
    return merged
