"""Speed of objectives and log-mel spectrograms, against the same maths in PyTorch."""

import dataclasses
import importlib.util
import time
from collections.abc import Callable, Iterator

import jax
import numpy as np

from ssl_jax.benchmarks.turns import typical
from ssl_jax.objectives.contrastive import info_nce, mil_nce, nt_xent
from ssl_jax.ops.spectrogram import log_mel

TEMPERATURE = 0.1
RATE, WINDOW, HOP, FFT = 16000, 400, 160, 512


@dataclasses.dataclass(frozen=True)
class Losses:
    """Milliseconds by the clock and, where PyTorch is installed, the ratio of ours to its eager.

    Losses are timed with their gradients, the spectrogram forward. Both sides compute the same,
    which is checked.

    Attributes:
      pairs: rows of either side of NT-Xent and InfoNCE.
      size: of an embedding of these.
      videos, captions, width: of MIL-NCE: videos, captions of each, size of an embedding.
      waves: of the spectrogram.
      seconds: of a wave.
      turns: each side of a comparison runs so often; the median counts.
    """

    pairs: int = 4096
    size: int = 128
    videos: int = 512
    captions: int = 5
    width: int = 512
    waves: int = 64
    seconds: float = 2.0
    turns: int = 7

    def rows(self) -> Iterator[tuple[str, float]]:
        """Names and numbers, as they are measured."""
        rng = np.random.default_rng(0)

        def normal(*shape: int) -> np.ndarray:
            return rng.normal(size=shape).astype(np.float32)

        first = normal(self.pairs, self.size)
        pair = (first, first + normal(self.pairs, self.size))
        narrow = np.float32(self.width**-0.5)  # similarities of about 1
        videos = normal(self.videos, self.width) * narrow
        texts = (videos, normal(self.videos, self.captions, self.width))
        wave = (normal(self.waves, int(self.seconds * RATE)),)

        shape = f"{self.pairs}x{self.size}"
        yield from self._row(f"NT-Xent {shape}", _gradient(nt_xent, TEMPERATURE), pair)
        yield from self._row(f"InfoNCE {shape}", _gradient(info_nce, TEMPERATURE), pair)
        shape = f"{self.videos}x{self.captions}x{self.width}"
        yield from self._row(f"MIL-NCE {shape}", _gradient(mil_nce), texts)
        yield from self._row(f"log-mel {self.waves} x {self.seconds:g} s", _log_mel, wave)

    def _row(
        self, name: str, ours: Callable, arrays: tuple[np.ndarray, ...]
    ) -> Iterator[tuple[str, float]]:
        jitted, placed = jax.jit(ours), jax.device_put(arrays)
        value = np.asarray(jax.tree.leaves(jitted(*placed))[0])
        sides = [lambda: jax.block_until_ready(jitted(*placed))]
        torch = importlib.util.find_spec("torch") is not None
        if torch:
            from ssl_jax.benchmarks import torch_losses

            peer = torch_losses.peer(name.split()[0], arrays)
            np.testing.assert_allclose(peer(), value, rtol=1e-4, atol=1e-4)
            sides.append(peer)
        seconds = typical(self.turns, *sides, clock=time.perf_counter)
        yield f"losses: {name}, milliseconds", 1e3 * seconds[0]
        if torch:
            yield f"losses: {name}, time by that of PyTorch", seconds[0] / seconds[1]
        else:
            print(f"losses: {name} is not compared: torch is not installed")


def _gradient(objective: Callable, *knobs: float) -> Callable:
    """(loss, gradients of both sides)."""
    return jax.value_and_grad(lambda a, b: objective(a, b, *knobs)[0], argnums=(0, 1))


def _log_mel(wave: jax.Array) -> jax.Array:
    return log_mel(wave, RATE, window=WINDOW, hop=HOP, fft=FFT)
