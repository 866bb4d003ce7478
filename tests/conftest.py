"""Eight fake devices on the CPU, and every jaxtyping shape checked."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
).strip()
# Below two threads a fake device, collectives wait for one another for ever (jax < 0.12).
os.environ.setdefault("PJRT_NPROC", "16")
