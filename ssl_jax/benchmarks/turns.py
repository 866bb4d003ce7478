"""Timing of things that do the same, by turns."""

import statistics
import time
from collections.abc import Callable


def typical(
    turns: int, *sides: Callable[[], None], clock: Callable[[], float] = time.process_time
) -> list[float]:
    """Seconds of each side's median turn; the sides run in alternation.

    By the usual clock these are seconds that this process, with all its threads, spent on a core:
    so what else runs on the machine shows little. Where sides differ in how well they use several
    cores, take `time.perf_counter`. Not the fastest turn: a processor that now and then runs faster
    for a moment favours one side by chance.
    """
    seconds = [[] for _ in sides]
    for _ in range(turns):
        for times, side in zip(seconds, sides, strict=True):
            begin = clock()
            side()
            times.append(clock() - begin)
    return [statistics.median(times) for times in seconds]
