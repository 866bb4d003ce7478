"""The walls between the packages, read from the sources' imports."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
FILES = sorted((ROOT / "ssl_jax").rglob("*.py"))


def imports(path: pathlib.Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def below(folder: str) -> list[pathlib.Path]:
    return [f for f in FILES if (ROOT / "ssl_jax" / folder) in f.parents]


def uses(path: pathlib.Path, *packages: str) -> set[str]:
    return {i for i in imports(path) if any(f"{i}.".startswith(f"{p}.") for p in packages)}


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("data", ("jax", "flax", "optax", "orbax")),
        ("objectives", ("flax", "ssl_jax.data", "ssl_jax.models")),
        ("ops", ("ssl_jax.data", "ssl_jax.models", "ssl_jax.methods")),
        ("models", ("ssl_jax.data", "ssl_jax.methods", "ssl_jax.objectives")),
        (
            "methods",
            (
                "jax.sharding",
                "jax.lax",
                "ssl_jax.devices.sharding",
                "ssl_jax.train",
                "ssl_jax.evals",
            ),
        ),
        ("cues", ("ssl_jax.train", "ssl_jax.evals", "ssl_jax.frozen")),
        ("evals", ("ssl_jax.train", "ssl_jax.methods", "flax")),
    ],
)
def test_a_package_does_not_import_what_stands_after_it(folder, forbidden):
    assert below(folder)
    broken = {
        str(f.relative_to(ROOT)): found for f in below(folder) if (found := uses(f, *forbidden))
    }
    assert not broken


def test_methods_know_no_mesh_axis_or_collective():
    words = ("mesh", "psum", "pmean", "all_gather", "axis_name", "shard_map", "process_index")
    broken = [
        (f.name, word) for f in below("methods") for word in words if f"{word}(" in f.read_text()
    ]
    assert not broken


def test_tensorflow_is_imported_nowhere():
    assert not [f for f in FILES if uses(f, "tensorflow")]
    users = [f.name for f in FILES if uses(f, "tensorflow_datasets")]
    assert users == ["tfds.py"]


def test_importing_the_package_or_reading_data_loads_no_jax():
    code = (
        "import sys, ssl_jax, ssl_jax.data.record, ssl_jax.data.record_batches\n"
        "from ssl_jax.data.sources import synthetic, folder, idx, tfds, arcade, davis, jhmdb\n"
        "assert 'jax' not in sys.modules and 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_registries_and_no_lookups_with_a_default():
    assert not [f.name for f in FILES if "config.get(" in f.read_text()]
    assert not [f for f in FILES if f.stem in ("utils", "common", "helpers", "misc", "base")]


def test_the_trainer_stays_small():
    assert len((ROOT / "ssl_jax" / "train.py").read_text().splitlines()) <= 250
