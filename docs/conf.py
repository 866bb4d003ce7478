"""Configuration of the documentation site: sphinx-build -W --keep-going docs docs/_build.

Pages that repeat what stands elsewhere are written to docs/_generated first: the configs' docstrings,
the API reference, one page for each part of the package, and the notebooks, which are not executed.
"""

import ast
import pathlib
import re
import shutil
import sys

ROOT = pathlib.Path(__file__).parent.parent
GENERATED = ROOT / "docs/_generated"
sys.path.insert(0, str(ROOT))

project = "ssl_jax"
author = "the ssl_jax authors"
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_nb"]
exclude_patterns = ["_build"]
html_theme = "sphinx_book_theme"
html_title = "ssl_jax"
html_theme_options = {"show_toc_level": 2}

nb_execution_mode = "off"
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": False}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # fields of dataclasses are documented by their class
python_maximum_signature_line_length = 88
toc_object_entries = False


def _docstring(file: pathlib.Path) -> str:
    return ast.get_docstring(ast.parse(file.read_text())) or ""


def _write_experiments() -> None:
    """One page of all configs: what each is, its paper's number and ours."""
    parts = [
        "# Experiments\n",
        "The docstring of every config: command, data, cost, the paper's number and ours. See",
        "[methods](../methods.md) for what the numbers show.\n",
    ]
    for file in sorted((ROOT / "configs").rglob("*.py")):
        if file.name != "__init__.py":
            name = file.relative_to(ROOT / "configs").as_posix()
            parts += [f"## {name}\n", _docstring(file), ""]
    (GENERATED / "experiments.md").write_text("\n".join(parts))


def _write_api() -> None:
    """A page for each folder of the package, with the members of its modules."""
    folder = GENERATED / "api"
    folder.mkdir()
    rooms: dict[str, list[str]] = {}
    for file in sorted((ROOT / "ssl_jax").rglob("*.py")):
        inside = file.relative_to(ROOT)
        if inside.name != "__init__.py" and inside.parts[1] != "configs":
            rooms.setdefault(".".join(inside.parent.parts), []).append(
                ".".join(inside.with_suffix("").parts)
            )
    for room, modules in rooms.items():
        lines = [room, "=" * len(room), ""]
        for module in modules:
            lines += [module, "-" * len(module), "", f".. automodule:: {module}", ""]
        (folder / f"{room}.rst").write_text("\n".join(lines))
    lines = ["Modules", "=======", "", ".. toctree::", "   :maxdepth: 2", ""]
    (folder / "index.rst").write_text("\n".join([*lines, *(f"   {room}" for room in rooms), ""]))


def _copy_notebooks() -> None:
    folder = GENERATED / "notebooks"
    folder.mkdir()
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    for notebook in notebooks:
        shutil.copy(notebook, folder)
    tree = "\n".join(notebook.stem for notebook in notebooks)
    (folder / "index.md").write_text(f"# Notebooks\n\n```{{toctree}}\n:maxdepth: 1\n\n{tree}\n```\n")


def _plain(text: str) -> str:
    """A line of English as reStructuredText: `code` is code, and no other sign means anything."""
    parts = re.split(r"(`[^`]+`)", text)
    escaped = [
        f"`{part}`" if part.startswith("`") else re.sub(r"([*|]|_(?!\w))", r"\\\1", part)
        for part in parts
    ]
    return "".join(escaped)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _process_docstring(app, what, name, object_, options, lines: list[str]) -> None:
    """Docstrings are plain English with `code`, lists and indented examples.

    Before napoleon reads them, what is indented after an empty line becomes a literal block.
    """
    out, inside, previous = [], None, 0
    for number, line in enumerate(lines):
        text, indent = line.strip(), _indent(line)
        if inside is not None and (not text or indent >= inside):
            out.append(line)
            continue
        inside = None
        after_empty = number > 0 and not lines[number - 1].strip()
        if text and after_empty and indent >= previous + 2 and not out_is_section(out):
            inside = indent
            out += [" " * previous + "::", "", line]
            continue
        out.append(" " * indent + _plain(text) if text else "")
        if text:
            previous = indent
    lines[:] = out


def out_is_section(lines: list[str]) -> bool:
    """Whether the last line that is not empty is a heading such as 'Args:'."""
    last = next((line for line in reversed(lines) if line.strip()), "")
    return bool(re.fullmatch(r"\s*(Args|Attributes|Raises|Returns|Yields):", last))


def _process_signature(app, what, name, object_, options, signature, returns):
    """Fields that every Linen module has, which are no knobs, are left out."""
    if signature:
        signature = re.sub(r", parent: .*$", ")", signature, flags=re.DOTALL)
    return signature, returns


def setup(app) -> None:
    shutil.rmtree(GENERATED, ignore_errors=True)
    GENERATED.mkdir()
    _write_experiments()
    _write_api()
    _copy_notebooks()
    app.connect("autodoc-process-docstring", _process_docstring, priority=100)
    app.connect("autodoc-process-signature", _process_signature)
