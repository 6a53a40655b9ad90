"""Lazy imports: a package's public names are imported on first use, because importing torch takes a second.

The import rules cannot see a module that is named by a string. Such a string therefore names only modules of the
package that contains it, whose imports the rules check.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["exports", "resolve"]


def resolve(home: str) -> Any:
    """Import the object named ``module:attribute``."""
    module, _, attribute = home.partition(":")
    return getattr(import_module(module), attribute)


def exports(package: str, homes: Mapping[str, str], packages: str = "") -> Callable[[str], Any]:
    """Return a module ``__getattr__`` for ``package`` that imports each of its public names on first use.

    ``homes`` maps a module, relative to the package, to the names it provides, separated by spaces; ``packages`` are
    its public sub-packages.
    """
    modules = {name: f"{package}.{module}" for module, names in homes.items() for name in names.split()}

    def find(name: str) -> Any:
        if name in packages.split():
            return import_module(f"{package}.{name}")
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(modules[name]), name)

    return find
