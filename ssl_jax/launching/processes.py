"""Running a program: its output passed on, signals passed on, one exit code."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading

from ssl_jax.config import ConfigError
from ssl_jax.launching.exit_codes import DONE, RESUME, TRY_AGAIN

Line = list[str]  # a program and its arguments


class Stopped(Exception):
    """The launcher was told to stop, and what it had started has ended with this code."""

    def __init__(self, code: int):
        super().__init__(code)
        self.code = code


def run(line: Line, stop: Line | None = None) -> int:
    """Runs a program, prints its output as it comes, and returns its exit code.

    The code is TRY_AGAIN if the program saved its state on SIGTERM and ended with 0 before its last
    step. SIGTERM and Ctrl-C reach it as SIGTERM, or through the program `stop` if it runs on other
    machines; the second one kills it.

    Raises:
      Stopped: after SIGTERM or Ctrl-C, when the program has ended.
      ConfigError: there is no such program.
    """
    need(line[0])
    say(shlex.join(line))
    # In a session of its own, so that Ctrl-C reaches it once, through us.
    process = subprocess.Popen(
        line,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    resumable, stopping = threading.Event(), []

    def pass_on() -> None:
        last = b""
        while some := os.read(process.stdout.fileno(), 65536):  # a progress bar has no lines
            sys.stdout.buffer.write(some)
            sys.stdout.flush()
            last = (last + some)[-65536 - len(RESUME) :]
            if RESUME.encode() in last:
                resumable.set()
        process.stdout.close()

    def end(*_) -> None:
        if stopping:
            process.kill()
        elif stop:
            stopping.append(start_quietly(stop))
        else:
            stopping.append(process)
            process.terminate()

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    reader = threading.Thread(target=pass_on, daemon=True)
    reader.start()
    code = process.wait()
    reader.join(timeout=10)  # what the program has left behind may hold its output open
    for number, handler in before.items():
        signal.signal(number, handler)
    if code == DONE and resumable.is_set():
        code = TRY_AGAIN
    if stopping:
        stopping[0].wait()
        raise Stopped(code)
    return code


def start_quietly(line: Line) -> subprocess.Popen:
    """Starts a program whose output nobody needs."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(line, stdin=subprocess.DEVNULL, start_new_session=True, **quiet)


def need(program: str) -> None:
    """Raises ConfigError if the program is not installed."""
    if not shutil.which(program):
        raise ConfigError(f"there is no program {program} on this machine")


def say(text: str) -> None:
    """Prints what the launcher does, apart from the output of what it runs."""
    print(f"launch: {text}", file=sys.stderr, flush=True)
