"""Generate the reference pages: the API from docstrings, the command line from Typer, the settings from pydantic.

The pages lie in ``docs/reference/generated`` and are written anew by every build.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reference_cli import cli_page
from reference_settings import sentence, settings_page

from fedfr.core.registry import Registry
from fedfr.methods import METHODS

__all__ = ["api_pages", "write_pages"]

DOCS = Path(__file__).resolve().parent
# Packages whose modules are documented; commands, processes and transport are documented as commands instead.
PACKAGES = (
    "fedfr.faces",
    "fedfr.losses",
    "fedfr.models",
    "fedfr.training",
    "fedfr.federation",
    "fedfr.methods",
    "fedfr.recognition",
    "fedfr.evaluation",
    "fedfr.results",
    "fedfr.experiments",
    "fedfr.audit",
    "fedfr.config",
    "fedfr.core",
)


def write_pages(folder: Path) -> None:
    """Write every generated page below ``folder``; pages that did not change keep their time."""
    pages = {f"api/{name}.rst": text for name, text in api_pages().items()}
    pages |= {"cli.md": cli_page(), "settings.md": settings_page()}
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for path in folder.rglob("*.*"):
        if path.relative_to(folder).as_posix() not in pages:
            path.unlink()


def api_pages() -> dict[str, str]:
    """Return the text of each page of the API reference by the name of its package."""
    documented: set[int] = set()
    return {name: _api_page(name, documented) for name in ("fedfr", *PACKAGES)}


def _api_page(name: str, documented: set[int]) -> str:
    package = importlib.import_module(name)
    lines = [name, "=" * len(name), "", (inspect.getdoc(package) or ""), ""]
    exported = getattr(package, "__all__", [])
    if exported:
        for export in exported:
            lines += _member(name, export, documented)
    else:
        for module in _modules(name):
            title = f"{module.__name__}"
            lines += [title, "-" * len(title), "", (inspect.getdoc(module) or ""), ""]
            for export in getattr(module, "__all__", []):
                lines += _member(module.__name__, export, documented)
    if name == "fedfr.methods":
        for entry in METHODS:
            kind = METHODS[entry.name]
            paper = f" ({entry.paper})" if entry.paper else ""
            lines += [entry.name, "-" * len(entry.name), "", f"{sentence(entry.description)}{paper}", ""]
            lines += [f".. autoclass:: {kind.__module__}.{kind.__qualname__}", "   :show-inheritance:"]
            lines += ["   :members:", ""]
    return "\n".join(lines)


def _modules(name: str) -> Iterator[Any]:
    package = importlib.import_module(name)
    for found in pkgutil.iter_modules(package.__path__, f"{name}."):
        module = importlib.import_module(found.name)
        if getattr(module, "__all__", []):
            yield module


def _member(module: str, name: str, documented: set[int]) -> list[str]:
    """Return the directive that documents one export; a class has one entry in the index, where it is met first."""
    value = getattr(importlib.import_module(module), name)
    if callable(value) and inspect.ismodule(value):  # `fedfr.audit` is a package and a function
        return [f".. autofunction:: {value.__name__}.face_audit.{name}", ""]
    if inspect.ismodule(value):
        return [f"- :doc:`{value.__name__}`: {first_line(value)}", ""]
    if inspect.isclass(value):
        again = ["   :no-index:"] if id(value) in documented else []
        documented.add(id(value))
        return [f".. autoclass:: {module}.{name}", "   :members:", *again, ""]
    if inspect.isroutine(value):
        return [f".. autofunction:: {module}.{name}", ""]
    if isinstance(value, Registry):
        entries = [f"   - ``{entry.name}``: {sentence(entry.description)}." for entry in value]
        return [f".. py:data:: {module}.{name}", "", f"   Registry of {value.kind}:", "", *entries, ""]
    return [f".. autodata:: {module}.{name}", ""]


def first_line(value: object) -> str:
    """Return the first line of a docstring."""
    return (inspect.getdoc(value) or "").partition("\n")[0]
