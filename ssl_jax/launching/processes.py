"""Programs run side by side: their output passed on, ended together, with one exit code."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

Line = list[str]  # a program and its arguments

DONE, MISTAKE, DIVERGED, TRY_AGAIN, BY_CTRL_C = 0, 2, 3, 4, 130  # as of ssl_jax/command.py
# What a run prints that was told to stop, and did with exit code 0, before its last step.
UNFINISHED = b"ssl_jax: to go on: "
# Seconds for the others to end by themselves once one process has failed: a lost one is noticed
# after --heartbeat_seconds, 100 unless told otherwise.
GRACE = 180


class LaunchError(Exception):
    """Something that trying again will not mend."""


class Stopped(Exception):
    """The launcher itself was told to stop, and what it had started has ended."""

    def __init__(self, code: int):
        super().__init__(code)
        self.code = code


def together(lines: list[Line], clear: Sequence[Line] = (), grace: float = GRACE) -> int:
    """Runs all at once and passes their output on; returns one exit code.

    It is 0 if all end well, or TRY_AGAIN if one said that it was stopped before its end. Otherwise
    MISTAKE or DIVERGED if one says so, or that of the first to fail: the others, which lose touch
    with it, fail with a code of their own. They have `grace` seconds for that and are ended then:
    by running `clear` if SIGTERM to what is run here would not end what it has started elsewhere.

    Raises Stopped after SIGTERM and Ctrl-C: the runs are ended, and save themselves. LaunchError if
    there is no such program.
    """
    for line in lines:
        need(line[0])
        say(shlex.join(line))
    started = [_start(line, subprocess.PIPE) for line in lines]
    unfinished, told = threading.Event(), threading.Event()
    readers = [
        threading.Thread(target=_pass_on, args=(p, unfinished), daemon=True) for p in started
    ]
    for reader in readers:
        reader.start()
    clearing = []

    def end_in_good_order():
        clearing.extend(_start(line, subprocess.DEVNULL) for line in clear)
        if not clear:
            _send(started, signal.SIGTERM)

    ways = [
        end_in_good_order,
        lambda: _send(started, signal.SIGTERM),
        lambda: _send(started, signal.SIGKILL),
    ]
    patience = [grace, 30, 30]  # seconds after each way of ending what still runs
    stops = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda *_: told.set()) for number in stops}
    failed = []  # codes in the order of failing
    tried, deadline = 0, float("inf")
    while len(failed) + sum(p.returncode == DONE for p in started) < len(started):
        new = [p for p in started if p.returncode is None and p.poll()]
        if new and not failed:
            deadline = time.monotonic() + grace
        failed += [p.returncode for p in new]
        if tried < len(ways) and (time.monotonic() > deadline or (told.is_set() and not tried)):
            ways[tried]()
            deadline = time.monotonic() + patience[tried]
            tried += 1
        time.sleep(0.05)
    for reader in readers:  # what a process has left behind may hold its output open
        reader.join(timeout=10)
    _wait(clearing)
    for number, handler in before.items():
        signal.signal(number, handler)
    told_codes = [code for code in failed if code in (MISTAKE, DIVERGED)]
    code = [*told_codes, *failed, TRY_AGAIN if unfinished.is_set() else DONE][0]
    if told.is_set():
        raise Stopped(code)
    return code


def quietly(lines: Sequence[Line]) -> None:
    """Runs all at once, whatever comes of it."""
    _wait([_start(line, subprocess.DEVNULL) for line in lines])


def need(program: str) -> None:
    """Raises LaunchError if the program is not installed."""
    if not shutil.which(program):
        raise LaunchError(f"there is no program {program} on this machine")


def _start(line: Line, output: int) -> subprocess.Popen:
    # In a session of its own, so that Ctrl-C reaches it once, by way of us.
    return subprocess.Popen(
        line,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _wait(processes: list[subprocess.Popen]) -> None:
    """Waits for all, GRACE seconds at most, and ends those that take longer."""
    deadline = time.monotonic() + GRACE
    for process in processes:
        try:
            process.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _pass_on(process: subprocess.Popen, unfinished: threading.Event) -> None:
    """Prints what a process prints, as it comes (a progress bar has no lines)."""
    last = b""
    while some := os.read(process.stdout.fileno(), 65536):
        sys.stdout.buffer.write(some)
        sys.stdout.flush()
        last = (last + some)[-65536 - len(UNFINISHED) :]
        if UNFINISHED in last:
            unfinished.set()
    process.stdout.close()


def _send(processes: list[subprocess.Popen], by: signal.Signals) -> None:
    for process in processes:
        process.send_signal(by)  # nothing happens to one that has ended


def say(text: str) -> None:
    """Tells what is done, beside the output of what is run."""
    print(f"launch: {text}", file=sys.stderr, flush=True)
