"""Configuration of the documentation site: sphinx-build -W --keep-going docs docs/_build/html.

Pages that repeat what stands elsewhere are written to docs/_generated first: the docstrings of the
configs, the claims of papers, the API reference, and the notebooks, which are not executed.
"""

import ast
import pathlib
import re
import shutil
import sys

ROOT = pathlib.Path(__file__).parent.parent
GENERATED = ROOT / "docs/_generated"
sys.path.insert(0, str(ROOT))

from ssl_jax.results import claims_page  # noqa: E402

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


def _write_claims() -> None:
    """The page of claims, judged by the results that are kept beside them."""
    (GENERATED / "claims.md").write_text(claims_page(ROOT / "docs" / "claims"))


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
    (folder / "index.md").write_text(
        f"# Notebooks\n\n```{{toctree}}\n:maxdepth: 1\n\n{tree}\n```\n"
    )


LIST = re.compile(r"(\s*)([-*]|\d+\.) ")
SECTION = re.compile(r"\s*(Args|Attributes|Raises|Returns|Yields):")


def _escaped(line: str, in_code: bool) -> tuple[str, bool]:
    """A line of English as reStructuredText: `code` is code, and no other sign means anything."""
    bullet = LIST.match(line)
    start = bullet.end() if bullet else 0
    out = [line[:start]]
    for number, part in enumerate(line[start:].split("`")):
        if number:
            in_code = not in_code
            # An escaped space ends code before a letter, as in `Caption`s.
            out.append("``" if in_code or not re.match(r"[\w^]", part) else "``\\ ")
        out.append(part if in_code else re.sub(r"([*|]|_(?!\w))", r"\\\1", part))
    return "".join(out), in_code


def _process_docstring(app, what, name, object_, options, lines: list[str]) -> None:
    """Docstrings are plain English with `code`, lists and indented examples.

    Before napoleon reads them, what is indented more than the text before it becomes a literal
    block, or a list where it is one. What follows a section's heading is napoleon's.
    """
    out: list[str] = []
    last, literal, nested, in_code, section = "", None, None, False, False
    for number, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if not line.strip():
            out.append("")
            in_code = False
            continue
        if literal is not None and indent >= literal:
            out.append(line)
            continue
        if literal is not None:
            out.append("")
        literal = None
        if nested is not None and indent < nested:
            out.append("")
            nested = None
        section = bool(SECTION.fullmatch(line)) or (section and indent > 0)
        before = len(last) - len(last.lstrip())
        after_empty = number > 0 and not lines[number - 1].strip()
        if last and not section and indent >= before + 2 and (after_empty or last.endswith(":")):
            if LIST.match(line):
                nested = indent
                out.append("")
            else:
                literal = indent
                out += ["", " " * before + "::", "", line]
                continue
        text, in_code = _escaped(line, in_code)
        out.append(text)
        last = line
    lines[:] = out


def _process_signature(app, what, name, object_, options, signature, returns):
    """Fields that every Linen module has, which are no knobs, are left out."""
    if signature:
        signature = re.sub(r", parent: .*$", ")", signature, flags=re.DOTALL)
    return signature, returns


def _skip_member(app, what, name, object_, skip, options):
    """What other packages wrote, such as `setup` of a Linen module, is theirs to document."""
    home = getattr(object_, "__module__", "") or ""
    foreign = callable(object_) and not home.startswith("ssl_jax")
    return True if skip or name == "setup" or foreign else None


def setup(app) -> None:
    shutil.rmtree(GENERATED, ignore_errors=True)
    GENERATED.mkdir()
    _write_experiments()
    _write_claims()
    _write_api()
    _copy_notebooks()
    app.connect("autodoc-process-docstring", _process_docstring, priority=100)
    app.connect("autodoc-process-signature", _process_signature)
    app.connect("autodoc-skip-member", _skip_member)


# The benchmark compares with PyTorch where it is installed; the docs need it not.
autodoc_mock_imports = ["torch"]
