"""The notebooks run from top to bottom, here with tiny settings; saved outputs are small."""

import os
import pathlib
import subprocess
import sys

import nbformat
import pytest

NOTEBOOKS = sorted((pathlib.Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
# What makes each of them quick, what its outputs must say, and how many images it shows.
QUICK = {
    "01_first_run": ({"CONFIG": "quickstart.py:tiny"}, "which_game", 2),
    "02_your_videos": ({"STEPS": "2", "VIDEOS": "1"}, "6 videos", 2),
    "03_your_method": ({"STEPS": "2", "CLIPS": "10"}, "which_game", 1),
    "04_time": ({"VARIANT": "tiny", "STEPS": "2"}, "pretext", 7),
    "05_sight_and_sound": ({"VARIANT": "tiny", "STEPS": "2"}, "pretext", 3),
    "06_words_and_videos": ({"VARIANT": "tiny", "STEPS": "2"}, "text to video", 5),
}
EXECUTE = """
import sys
import nbformat
from nbclient import NotebookClient
source, result = sys.argv[1:]
notebook = nbformat.read(source, 4)
NotebookClient(notebook, kernel_name="python3").execute()
nbformat.write(notebook, result)
"""


def outputs(path, kind: str) -> list[str]:
    """Everything of a kind that a notebook shows."""
    cells = [c for c in nbformat.read(path, 4).cells if c.cell_type == "code"]
    if kind == "text":
        return [o["text"] for c in cells for o in c.outputs if "text" in o]
    return [o["data"][kind] for c in cells for o in c.outputs if "data" in o and kind in o["data"]]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_from_top_to_bottom(path, tmp_path):
    settings, expected, images = QUICK[path.stem]
    # A reader's machine has one device, and the kernel chooses how to draw.
    environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "MPLBACKEND")}
    result = tmp_path / "executed.ipynb"
    run = subprocess.run(
        [sys.executable, "-c", EXECUTE, str(path), str(result)],
        capture_output=True,
        text=True,
        env={**environment, **settings, "FOLDER": "", "TMPDIR": str(tmp_path)},
        cwd=tmp_path,  # not in the checkout: configs are found by name
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert expected in "".join(outputs(result, "text"))
    assert len(outputs(result, "image/png")) == images


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_saved_outputs_are_none_or_of_one_whole_run_and_small(path):
    cells = [c for c in nbformat.read(path, 4).cells if c.cell_type == "code"]
    if any(c.outputs for c in cells):
        assert [c.execution_count for c in cells] == list(range(1, len(cells) + 1))
    else:
        assert all(c.execution_count is None for c in cells)
    assert path.stat().st_size < 400_000
