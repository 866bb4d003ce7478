"""A video of a person who says what an audio file says, from a few images."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, UInt8

from ssl_jax.config import ConfigError
from ssl_jax.data.audio import fit_length, resample
from ssl_jax.data.image import square
from ssl_jax.data.sources.files import FilesSource
from ssl_jax.data.written_video import write_video

FPS = 25
RATE = 44_100  # Hz, of the track that is written


def talk(frozen, images: Sequence[UInt8[np.ndarray, "_ _ 3"]], audio: str, target: str) -> str:
    """Writes frames, 25 per second, and the audio to `target` as MP4; returns a line about it.

    Args:
      frozen: of `TalkingFace`.
      images: of one person's face, up to as many as the method takes stills; fewer are repeated.
      audio: path of a file with audio. Before and after it is silence.

    Raises ConfigError for more images, MediaError for a file without audio, or none of a frame.
    """
    method = frozen.method
    if len(images) > method.stills:
        raise ConfigError(f"{len(images)} images; the run takes {method.stills} of one person")
    squares = np.stack([square(image[None], method.size)[0] for image in images])
    stills = jnp.asarray(squares[np.arange(method.stills) % len(images)])
    (record,) = FilesSource((audio,))
    wave = record.need_audio(1 / FPS)(0.0, record.duration)
    windows = windows_of(
        resample(wave, record.sample_rate, method.sample_rate), method, record.duration
    )
    speak, rows = jax.jit(method.talk), frozen.batch_size
    parts = []
    for start in range(0, len(windows), rows):
        part = windows[start : start + rows]
        filled = np.concatenate([part, np.zeros((rows - len(part), part.shape[1]), np.float32)])
        parts.append(jax.device_get(speak(frozen.variables, stills, filled))[: len(part)])
    frames = np.concatenate(parts)
    write_video(target, frames, FPS, resample(wave, record.sample_rate, RATE), RATE)
    return f"{target}: {len(frames)} frames of {len(images)} image{'s' * (len(images) > 1)}"


def windows_of(
    wave: Float32[np.ndarray, "s"], method, duration: float
) -> Float32[np.ndarray, "t n"]:
    """The audio around each frame, silence where there is none."""
    rate, samples = method.sample_rate, round(method.window_seconds * method.sample_rate)
    lead = round(method.lead * rate)
    count = max(1, int(duration * FPS + 1e-6))
    padded = np.concatenate([np.zeros(lead, np.float32), wave])
    padded = fit_length(padded, max(len(padded), round(count / FPS * rate)) + samples)
    starts = np.round(np.arange(count) / FPS * rate).astype(int)
    return padded[starts[:, None] + np.arange(samples)]
