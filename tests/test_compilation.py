"""Compiled programs are kept for later starts; each case is a process of its own, as a start is."""

import os
import subprocess
import sys
import time
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp

from ssl_jax.training.compilation import Compilations

START = """
import jax, jax.numpy as jnp
from ssl_jax.training.compilation import Compilations, keep_compiled
keep_compiled()

@jax.jit
def step(x):
    for _ in range(40):
        x = jnp.sort(x @ jnp.sin(x), axis=0)
    return x

with Compilations("step") as compilations:
    value = step(jnp.eye(8))
print(compilations.count, compilations.loaded, float(value.sum()))
print(jax.config.jax_compilation_cache_dir)
"""


def start(home: Path, **settings: str) -> tuple[list[str], str]:
    """What a start prints: how often it compiled, whether from a file, a value, the folder."""
    own = {k: v for k, v in os.environ.items() if "COMPIL" not in k}
    own |= {"XDG_CACHE_HOME": str(home), "JAX_DISABLE_MOST_OPTIMIZATIONS": "0", **settings}
    command = [sys.executable, "-c", START]
    done = subprocess.run(command, env=own, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, folder = done.stdout.splitlines()
    return [*first.split(), folder], done.stderr


def programs(home: Path) -> list[Path]:
    return sorted(home.rglob("*-cache"))


def test_the_second_start_loads_what_the_first_compiled(tmp_path):
    (count, loaded, value, folder), _ = start(tmp_path)
    assert (count, loaded) == ("1", "False")
    assert Path(folder).is_relative_to(tmp_path / "ssl_jax")
    assert programs(tmp_path)
    (count, loaded, again, _), told = start(tmp_path)
    assert (count, loaded, again) == ("1", "True", value)
    assert not told


def test_who_has_set_the_folder_rules(tmp_path):
    (_, _, _, folder), _ = start(tmp_path, JAX_COMPILATION_CACHE_DIR=str(tmp_path / "own"))
    assert folder == str(tmp_path / "own")
    (_, _, _, folder), _ = start(tmp_path, JAX_COMPILATION_CACHE_DIR="")
    assert folder == ""
    assert not programs(tmp_path / "ssl_jax")


def test_a_program_that_was_cut_is_compiled_and_kept_anew(tmp_path):
    start(tmp_path)
    for path in programs(tmp_path):
        path.write_bytes(path.read_bytes()[:-100])  # a full disk, or a kill
        os.utime(path, (time.time() - 3600,) * 2)
    for marker in tmp_path.rglob("looked_at"):
        os.utime(marker, (time.time() - 7200,) * 2)
    (_, loaded, _, _), told = start(tmp_path)
    assert loaded == "False"
    assert not told
    (_, loaded, _, _), told = start(tmp_path)
    assert loaded == "True"
    assert not told


def test_a_folder_that_cannot_be_made_costs_one_line(tmp_path):
    (tmp_path / "ssl_jax").write_text("a file in its place")
    (count, loaded, _, folder), told = start(tmp_path)
    assert (count, loaded, folder) == ("1", "False", "None")
    assert "not kept for later starts" in told
    assert len(told.splitlines()) == 1


def test_a_nearly_full_disk_is_read_alone(tmp_path, monkeypatch):
    start(tmp_path)
    before = programs(tmp_path)
    full = START.replace(
        "keep_compiled()\n",
        "import shutil, collections\n"
        "shutil.disk_usage = lambda _: collections.namedtuple('u', 'free')(1000)\n"
        "keep_compiled()\n",
        1,
    )
    monkeypatch.setattr(sys.modules[__name__], "START", full)
    (_, loaded, _, _), told = start(tmp_path)
    assert loaded == "True"
    assert "MB left" in told
    monkeypatch.setattr(sys.modules[__name__], "START", full.replace("range(40)", "range(41)"))
    (_, loaded, _, _), told = start(tmp_path)
    assert loaded == "False"
    assert len(told.splitlines()) == 1
    assert programs(tmp_path) == before


def test_compiling_again_is_counted_and_told():
    def own_step(x):
        return x + 1

    step = jax.jit(own_step)
    with Compilations("own_step") as compilations:
        step(jnp.ones(3))
        assert compilations.news(1).startswith("the step was traced in ")
        step(jnp.ones(3))
        jax.jit(lambda x: x * 3)(jnp.ones(3))
        assert compilations.news(2) == ""
        step(jnp.ones(4))
        assert compilations.news(3).startswith("step 3 was compiled again ")
        assert compilations.count == 2
    step(jnp.ones(5))
    assert compilations.count == 2


def test_what_was_used_longest_ago_is_deleted_beyond_the_limit(tmp_path, monkeypatch):
    (_, _, _, folder), _ = start(tmp_path)
    old = Path(folder, "used_long_ago-cache")
    old.write_bytes(zlib.compress(os.urandom(1 << 20)))
    os.utime(old, (1e9, 1e9))
    start(tmp_path)
    assert old.exists()
    size = sum(path.stat().st_size for path in programs(tmp_path))
    limited = START.replace(
        "keep_compiled()\n",
        f"from ssl_jax.training import compilation\n"
        f"compilation.LIMIT = {size - 1}\nkeep_compiled()\n",
        1,
    )
    monkeypatch.setattr(sys.modules[__name__], "START", limited)
    (_, loaded, _, _), _ = start(tmp_path)
    assert loaded == "True"
    assert not old.exists()
