"""Programs run side by side: their output passed on, ended together, with one exit code."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time

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


def together(lines: list[Line], grace: float = GRACE) -> int:
    """Runs all at once and passes their output on; returns one exit code.

    It is 0 if all end well, or TRY_AGAIN if one said that it was stopped before its end. Otherwise
    MISTAKE or DIVERGED if one says so, or that of the first to fail: the others, which lose touch
    with it, fail with a code of their own. They have `grace` seconds for that and are ended then.

    Raises Stopped after SIGTERM and Ctrl-C, which are passed on, both as SIGTERM: runs on this
    machine save themselves; what ssh or gcloud has started elsewhere is cut off, and has what it
    had saved before. LaunchError if there is no such program.
    """
    for line in lines:
        need(line[0])
        say(shlex.join(line))
    started = [_start(line) for line in lines]
    unfinished, told = threading.Event(), threading.Event()
    readers = [
        threading.Thread(target=_pass_on, args=(p, unfinished), daemon=True) for p in started
    ]
    for reader in readers:
        reader.start()

    def stop(number, frame):
        told.set()
        _end(started, signal.SIGTERM)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    failed, by = [], signal.SIGTERM  # codes in the order of failing
    deadline = float("inf")
    while len(failed) + sum(p.returncode == DONE for p in started) < len(started):
        new = [p for p in started if p.returncode is None and p.poll()]
        if new and not failed:
            deadline = time.monotonic() + grace
        failed += [p.returncode for p in new]
        if told.is_set() and deadline == float("inf"):
            deadline = time.monotonic() + grace
        if time.monotonic() > deadline:
            _end(started, by)
            deadline, by = time.monotonic() + 30, signal.SIGKILL
        time.sleep(0.05)
    for reader in readers:  # what a process has left behind may hold its output open
        reader.join(timeout=10)
    for number, handler in before.items():
        signal.signal(number, handler)
    clear = [code for code in failed if code in (MISTAKE, DIVERGED)]
    code = [*clear, *failed, TRY_AGAIN if unfinished.is_set() else DONE][0]
    if told.is_set():
        raise Stopped(code)
    return code


def need(program: str) -> None:
    """Raises LaunchError if the program is not installed."""
    if not shutil.which(program):
        raise LaunchError(f"there is no program {program} on this machine")


def _start(line: Line) -> subprocess.Popen:
    # In a session of its own, so that Ctrl-C reaches it once, by way of us.
    return subprocess.Popen(
        line,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


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


def _end(processes: list[subprocess.Popen], by: signal.Signals) -> None:
    for process in processes:
        process.send_signal(by)  # nothing happens to one that has ended


def say(text: str) -> None:
    """Tells what is done, beside the output of what is run."""
    print(f"launch: {text}", file=sys.stderr, flush=True)
