"""Lets XLA's CPU backend run a convolution on every core, where it would use one."""

import importlib.metadata
import importlib.util
import os

FLAG = "--xla_cpu_experimental_ynn_fusion_type"
# An unknown flag, or an unknown value, ends the process: only releases in which it was tried.
TRIED = ("0.10.", "0.11.", "0.12.")
ACCELERATORS = ("jax_cuda12_plugin", "jax_cuda13_plugin", "jax_rocm7_plugin", "libtpu")


def use_all_cores() -> None:
    """Adds the flag to XLA_FLAGS, to be called before JAX starts its backend.

    Training a small convolutional network on two cores then takes about half the time. Nothing is
    changed on machines with an accelerator, under a jaxlib in which the flag was not tried, or
    where XLA_FLAGS has a word on it already.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    accelerated = any(importlib.util.find_spec(name) for name in ACCELERATORS)
    if accelerated or FLAG in flags:
        return
    if importlib.metadata.version("jaxlib").startswith(TRIED):
        off = f"{FLAG}=-LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION"
        os.environ["XLA_FLAGS"] = f"{flags} {off}".strip()
