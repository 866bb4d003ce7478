"""What `losses` is compared with: the same maths in PyTorch's eager mode."""

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from ssl_jax.benchmarks.losses import FFT, HOP, RATE, TEMPERATURE, WINDOW
from ssl_jax.ops.spectrogram import mel_matrix


def peer(name: str, arrays: tuple[np.ndarray, ...]) -> Callable[[], np.ndarray]:
    """A function that computes the value, and for a loss the gradients too."""
    inputs = [torch.tensor(array) for array in arrays]
    if name == "log-mel":
        mels = torch.tensor(mel_matrix(RATE, FFT, 64, 60.0, 7800.0))
        return lambda: log_mel(*inputs, mels).numpy()
    loss = {"NT-Xent": nt_xent, "InfoNCE": info_nce, "MIL-NCE": mil_nce}[name]
    for entry in inputs:
        entry.requires_grad_()

    def run() -> np.ndarray:
        for entry in inputs:
            entry.grad = None
        value = loss(*inputs)
        value.backward()
        return value.detach().numpy()

    return run


def nt_xent(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """One matrix of all 2n views with all."""
    views = functional.normalize(torch.cat([a, b]), dim=1)
    similarities = views @ views.T / TEMPERATURE
    similarities = similarities.masked_fill(torch.eye(len(views), dtype=torch.bool), -1e9)
    partners = torch.arange(len(views)).roll(len(a))
    return functional.cross_entropy(similarities, partners)


def info_nce(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Both directions from one matrix."""
    similarities = functional.normalize(a, dim=1) @ functional.normalize(b, dim=1).T / TEMPERATURE
    own = torch.arange(len(a))
    there, back = (functional.cross_entropy(s, own) for s in (similarities, similarities.T))
    return (there + back) / 2


def mil_nce(videos: torch.Tensor, captions: torch.Tensor) -> torch.Tensor:
    """One matrix of all videos with all captions."""
    n, k, d = captions.shape
    similarities = (videos @ captions.reshape(-1, d).T).view(n, n, k)
    itself = torch.eye(n, dtype=torch.bool)[..., None]
    back = similarities.masked_fill(itself, -1e9).transpose(0, 1)
    own = torch.diagonal(similarities).T
    every = torch.cat([similarities, back], dim=1).reshape(n, -1)
    return (torch.logsumexp(every, 1) - torch.logsumexp(own, 1)).mean()


def log_mel(wave: torch.Tensor, mels: torch.Tensor) -> torch.Tensor:
    """Frames padded at the end, a periodic Hann window, magnitudes, mel bands, logarithm."""
    count = -(-wave.shape[-1] // HOP)
    wave = functional.pad(wave, (0, (count - 1) * HOP + WINDOW - wave.shape[-1]))
    frames = wave.unfold(-1, WINDOW, HOP) * torch.hann_window(WINDOW)
    return torch.log(torch.clamp(torch.fft.rfft(frames, FFT).abs() @ mels, min=1e-5))
