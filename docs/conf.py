"""Sphinx configuration of the documentation; ``make docs`` builds it into ``site/``."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any

from fedfr import __version__

DOCS = Path(__file__).resolve().parent
project = "fedfr"
author = "The fedfr authors"
copyright = "the fedfr authors, Apache-2.0"  # noqa: A001 - Sphinx's own name
version = release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx_copybutton"]
source_suffix = {".md": "myst-nb", ".rst": "restructuredtext"}
exclude_patterns = ["_build"]
nitpicky = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

# Tutorials are executed by the build; a cell that fails ends it. Outputs are cached below the doctrees.
nb_execution_mode = "cache"
nb_execution_cache_path = str(DOCS.parent / "build" / "notebooks")
nb_execution_in_temp = True
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_output_stderr = "remove"

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
add_module_names = False
toc_object_entries_show_parents = "hide"
# Docstrings name classes by their last name; several packages export the same class.
suppress_warnings = ["ref.python"]

html_theme = "furo"
html_title = "fedfr"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"navigation_with_keys": True, "top_of_page_buttons": []}
html_copy_source = False
html_show_sourcelink = False

# Pages of the repository that are part of the site under another name.
MOVED = {
    "../benchmarks/README.md": "speed.md",
    "../CONTRIBUTING.md": "contributing.md",
    "../CHANGELOG.md": "changelog.md",
    "../README.md": "index.md",
}


def _relink(_app: Any, name: str, text: list[str]) -> None:
    """Point links that are right in the repository to the pages of the site."""
    up = "../" * name.count("/")
    for old, new in MOVED.items():
        text[0] = re.sub(rf"\]\((?:\.\./)*{re.escape(old)}", f"]({up}{new}", text[0])


def _plain_signs(_app: Any, what: str, _name: str, value: Any, _options: Any, lines: list[str]) -> None:
    """Escape ``|``, ``*`` and ``_`` of formulas in docstrings; drop the docstrings of built-in types."""
    if what == "data" and type(value).__doc__ == "\n".join(lines).strip():
        lines.clear()
    for number, line in enumerate(lines):
        pieces = re.split(r"(``.*?``|:[a-z:]+:`.*?`|`.*?`)", line)
        pieces[::2] = [re.sub(r"(?<!\\)([|*]|_(?=\W|$))", r"\\\1", piece) for piece in pieces[::2]]
        if ">>>" not in line:
            lines[number] = "".join(pieces)


def setup(app: Any) -> None:
    """Write the generated pages before the sources are read."""
    sys.path.insert(0, str(DOCS))
    importlib.import_module("generate").write_pages(DOCS / "reference" / "generated")
    app.connect("source-read", _relink)
    app.connect("autodoc-process-docstring", _plain_signs)
