"""The notebooks run from top to bottom, and are kept without outputs."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

NOTEBOOKS = sorted((pathlib.Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_from_top_to_bottom(path, tmp_path):
    copy = path.parent / f"{path.stem}_executed.ipynb"
    code = "import sys; from nbclient.cli import main; sys.argv[0] = 'execute'; main()"
    # A reader's machine has one device, and the kernel chooses how to draw.
    environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "MPLBACKEND")}
    try:
        run = subprocess.run(
            [sys.executable, "-c", code, f"--output={copy.stem}", str(path)],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        assert run.returncode == 0, run.stderr[-2000:]
        cells = [c for c in json.loads(copy.read_text())["cells"] if c["cell_type"] == "code"]
    finally:
        copy.unlink(missing_ok=True)
    text = "".join("".join(o.get("text", [])) for c in cells for o in c["outputs"])
    assert "which_shape" in text
    pictures = [o for c in cells for o in c["outputs"] if "image/png" in o.get("data", {})]
    assert len(pictures) == 2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped(path):
    cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    assert cells
    assert all(not c["outputs"] and c["execution_count"] is None for c in cells)
