"""The flag that spreads convolutions over cores: added once, never over the user's own word."""

import importlib.util
import os

import pytest

from ssl_jax.devices.cpu_convolutions import FLAG, use_all_cores


@pytest.fixture(autouse=True)
def no_flags(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")


def test_it_is_added_to_the_flags_there_are(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    use_all_cores()
    use_all_cores()
    first, second = os.environ["XLA_FLAGS"].split()
    assert first == "--xla_cpu_enable_fast_math=false"
    assert second.startswith(FLAG)


def test_the_users_own_setting_stands(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", f"{FLAG}=")
    use_all_cores()
    assert os.environ["XLA_FLAGS"] == f"{FLAG}="


def test_a_jaxlib_in_which_it_was_not_tried_is_left_alone(monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.99.0")
    use_all_cores()
    assert os.environ["XLA_FLAGS"] == ""


def test_a_machine_with_an_accelerator_is_left_alone(monkeypatch):
    found = importlib.util.find_spec("json")
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: found if name == "libtpu" else None
    )
    use_all_cores()
    assert os.environ["XLA_FLAGS"] == ""
