"""What a run tells: a progress bar, metrics.jsonl, TensorBoard and pictures. Host 0 only."""

import json
import os
import sys
import time

import jax
import numpy as np


class Log:
    """Writes one run's numbers and pictures below its workdir. Close it (or use `with`)."""

    def __init__(self, workdir: str, steps: int, start: int, rows: int):
        """`rows` is the batch size: throughput is printed in rows per second."""
        self.workdir = workdir
        self.rows = rows
        self._active = jax.process_index() == 0
        if not self._active:
            return
        from tensorboardX import SummaryWriter
        from tqdm import tqdm

        path = os.path.join(workdir, "metrics.jsonl")
        _forget(path, start)
        self._file = open(path, "a")  # noqa: SIM115
        self._board = SummaryWriter(os.path.join(workdir, "tensorboard"))
        self._bar = tqdm(
            total=steps,
            initial=start,
            unit="step",
            dynamic_ncols=True,
            file=sys.stderr,
            # A file or a pipe gets few lines instead of a flood.
            mininterval=0.5 if sys.stderr.isatty() else 10.0,
        )
        self._last = (time.monotonic(), start)

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Flushes and closes everything."""
        if self._active:
            self._bar.close()
            self._file.close()
            self._board.close()

    def advance(self, step: int) -> None:
        """Moves the progress bar to `step`."""
        if self._active:
            self._bar.update(step - self._bar.n)

    def train(self, step: int, metrics: dict[str, float], inputs: dict[str, float]) -> None:
        """Numbers of training, averaged by the caller since the last call; adds the throughput.

        `inputs` are those of the input: 'wait', the share of the time that was spent waiting for
        data, and 'failed', the number of files that could not be read.
        """
        if not self._active:
            return
        now = time.monotonic()
        seconds, steps = now - self._last[0], step - self._last[1]
        self._last = (now, step)
        rate = steps / seconds
        speed = {"steps_per_second": rate, "rows_per_second": self.rows * rate}
        training = {f"train/{k}": v for k, v in {**metrics, **speed}.items()}
        self.numbers(step, {**training, **{f"input/{k}": v for k, v in inputs.items()}})
        failed = f", {inputs['failed']:.0f} files skipped" if inputs["failed"] else ""
        self._bar.set_postfix_str(
            f"loss {metrics['loss']:.4f}, {speed['rows_per_second']:.0f} rows/s, "
            f"waited for data {inputs['wait']:.0%}{failed}"
        )

    def numbers(self, step: int, values: dict[str, float]) -> None:
        """Appends one line to metrics.jsonl and scalars to TensorBoard."""
        if not self._active:
            return
        plain = {name: float(value) for name, value in values.items()}
        self._file.write(json.dumps({"step": step, **plain}) + "\n")
        self._file.flush()
        for name, value in plain.items():
            self._board.add_scalar(name, value, step)

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

        os.makedirs(os.path.join(self.workdir, "pictures"), exist_ok=True)
        path = os.path.join(self.workdir, "pictures", f"{name}.png")
        Image.fromarray(pixels).save(path)
        self._board.add_image(name, pixels, step, dataformats="HWC")
        return path


def _forget(path: str, step: int) -> None:
    """Drops the lines of later steps, which a run that goes on from `step` writes again."""
    if not os.path.isfile(path):
        return
    with open(path) as file:
        lines = [line for line in file if line.endswith("\n")]  # a kill may have cut the last one
    with open(path, "w") as file:
        file.writelines(line for line in lines if json.loads(line)["step"] <= step)
