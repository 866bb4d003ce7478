"""Timing of things that do the same, by turns."""

import time
from collections.abc import Callable


def best(
    turns: int, *sides: Callable[[], None], clock: Callable[[], float] = time.process_time
) -> list[float]:
    """Seconds of the fastest of some turns of each, which take place in alternation.

    By the usual clock these are seconds that this process, with all its threads, spent on a core:
    so what else runs on the machine shows little. Where sides differ in how well they use several
    cores, take `time.perf_counter`.
    """
    seconds = [[] for _ in sides]
    for _ in range(turns):
        for times, side in zip(seconds, sides, strict=True):
            begin = clock()
            side()
            times.append(clock() - begin)
    return [min(times) for times in seconds]
