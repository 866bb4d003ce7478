"""What a run tells: a progress bar, metrics.jsonl, TensorBoard and pictures. Host 0 only."""

import contextlib
import json
import os
import sys
import time

import jax
import numpy as np
from absl import logging

from ssl_jax.data.warn_once import warn_once
from ssl_jax.training.speed import Speed, flops_text


class Log:
    """Writes one run's numbers and pictures below its workdir. Close it (or use `with`).

    What cannot be written (the disk is full) is reported once and lost; the run goes on.

    Attributes:
      speed: what a step costs, as far as it is known.
      reached: the last step whose numbers were written.
      timed: steps after the first, and the seconds that they took (with evaluators among them).
    """

    def __init__(self, workdir: str, steps: int, start: int, rows: int):
        """`rows` is the batch size."""
        self.workdir = workdir
        self.speed = Speed(rows)
        self.reached, self.timed = start, (0, 0.0)
        self._active = jax.process_index() == 0
        if not self._active:
            return
        path = os.path.join(workdir, "metrics.jsonl")
        _forget(path, start)
        self._file = open(path, "a")  # noqa: SIM115
        self._told = False
        self._board = _Board(os.path.join(workdir, "tensorboard"))
        with self._bearing_a_full_disk():
            self._board.begin(start + 1)
        self._steps, self._start = steps, start
        self._bar = None
        self._last = (time.monotonic(), start)

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Flushes and closes everything."""
        if self._active:
            if self._bar is not None:
                self._bar.close()
            for file in (self._file, self._board):
                with self._bearing_a_full_disk():
                    file.close()

    def advance(self, step: int, running: int) -> None:
        """Takes note that `step` was started; so many, with it, are still running."""
        self.ended(step - running)

    def ended(self, step: int) -> None:
        """Moves the progress bar to `step`, the last that has ended.

        It begins with the first, which was compiled before it ran: rate and time left are those of
        the steps after it.
        """
        if not self._active or step == self._start:
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=self._steps,
                initial=step,
                unit="step",
                dynamic_ncols=True,
                file=sys.stderr,
                # A file or a pipe gets few lines instead of a flood.
                mininterval=0.5 if sys.stderr.isatty() else 10.0,
            )
            self._last = (time.monotonic(), step)
        self._bar.update(step - self._bar.n)

    def costs(self, speed: Speed) -> None:
        """Says what a step costs; from now on the throughput is reported in these terms."""
        self.speed = speed
        if self._active:
            print(f"a step: {speed}", file=sys.stderr, flush=True)

    def report(self, line: str) -> None:
        """One line on stderr; '' for none."""
        if self._active and line:
            from tqdm import tqdm

            tqdm.write(line, file=sys.stderr)  # above the bar where there is one

    def warn(self, line: str) -> None:
        """Logs a line as a warning, the first time only; '' for none."""
        if self._active and line:
            warn_once(line)

    def train(self, step: int, metrics: dict[str, float], inputs: dict[str, float]) -> None:
        """Numbers of training, averaged by the caller since the last call; adds the throughput.

        `inputs` are those of the input: 'wait', the share of the time that was spent waiting for
        data, and 'failed', the number of files that could not be read.
        """
        if not self._active:
            return
        now = time.monotonic()
        seconds, steps = now - self._last[0], step - self._last[1]
        self._last, self.reached = (now, step), step
        self.timed = (self.timed[0] + steps, self.timed[1] + seconds) if steps else self.timed
        # The first step's time is that of compiling.
        speed = self.speed.numbers(steps / seconds) if steps else {}
        training = {f"train/{k}": v for k, v in {**metrics, **speed}.items()}
        self.numbers(step, {**training, **{f"input/{k}": v for k, v in inputs.items()}})
        failed = f", {inputs['failed']:.0f} files skipped" if inputs["failed"] else ""
        rates = ""
        if speed:
            used = f" (MFU {speed['mfu']:.1%})" if "mfu" in speed else ""
            flops = flops_text(1e12 * speed["tflops_per_second_per_device"])
            rates = (
                f", {speed['rows_per_second']:.0f} rows/s "
                f"({speed['rows_per_second_per_device']:.0f} a device), {flops}/s a device{used}"
            )
        waited = f"waited for data {inputs['wait']:.0%}"
        text = f"loss {metrics['loss']:.4f}{rates}, {waited}{failed}"
        self._bar.set_postfix_str(text, refresh=False)  # shown with the next step, at its pace

    def numbers(self, step: int, values: dict[str, float]) -> None:
        """Appends one line to metrics.jsonl and scalars to TensorBoard."""
        if not self._active:
            return
        plain = {name: float(value) for name, value in values.items()}
        with self._bearing_a_full_disk():
            self._file.write(json.dumps({"step": step, **plain}) + "\n")
            self._file.flush()
            self._board.numbers(step, plain)

    def result(self, step: int, name: str, value: float | np.ndarray) -> None:
        """One number or picture of an evaluator."""
        if isinstance(value, np.ndarray):
            self.picture(step, name.replace("/", "_"), value)
        else:
            self.numbers(step, {name: value})

    def picture(self, step: int, name: str, pixels: np.ndarray) -> str | None:
        """Writes a uint8 (h, w, 3) picture as PNG and to TensorBoard; returns the file."""
        if not self._active:
            return None
        from PIL import Image

        path = os.path.join(self.workdir, "pictures", f"{name}.png")
        with self._bearing_a_full_disk():
            os.makedirs(os.path.dirname(path), exist_ok=True)
            Image.fromarray(pixels).save(path)
            self._board.picture(step, name, pixels)
        return path

    @contextlib.contextmanager
    def _bearing_a_full_disk(self):
        try:
            yield
        except OSError as error:
            if not self._told:
                reason = error.strerror or error
                logging.warning("cannot write below %s: %s; training goes on", self.workdir, reason)
            self._told = True


class _Board:
    """A file of events for TensorBoard.

    Not tensorboardX' SummaryWriter: its thread dies of the first error of the disk, and who then
    gives it numbers waits for ever.
    """

    def __init__(self, folder: str):
        from tensorboardX import summary
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event

        os.makedirs(folder, exist_ok=True)
        # Names are read in their order, and another file of the same second would be overwritten.
        number = f".{len(os.listdir(folder)):05d}"
        self._writer = EventsWriter(f"{folder}/events", number)
        self._summary, self._event = summary, Event

    def begin(self, step: int) -> None:
        """Tells that the run begins (again) with this step.

        TensorBoard then drops what earlier files have of this step and later ones: a run that was
        killed had written it after its last checkpoint.
        """
        event = self._event(step=step, wall_time=time.time())
        event.session_log.status = event.session_log.START
        self._writer.write_event(event)
        self._writer.flush()

    def numbers(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._write(step, self._summary.scalar(name, value))
        self._writer.flush()

    def picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        self._write(step, self._summary.image(name, pixels, dataformats="HWC"))
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def _write(self, step: int, summary) -> None:
        event = self._event(step=step, wall_time=time.time(), summary=summary)
        self._writer.write_event(event)


def _forget(path: str, step: int) -> None:
    """Drops the lines of later steps, which a run that goes on from `step` writes again."""
    if not os.path.isfile(path):
        return
    with open(path) as file:
        lines = file.readlines()
    kept = [line for line in lines if _step(line) is not None and _step(line) <= step]
    if kept == lines:
        return
    with open(f"{path}.part", "w") as file:
        file.writelines(kept)
    os.replace(f"{path}.part", path)


def _step(line: str) -> int | None:
    """The step of a line, None if a kill or a full disk has cut it."""
    try:
        return json.loads(line)["step"] if line.endswith("\n") else None
    except (ValueError, KeyError, TypeError):
        return None
