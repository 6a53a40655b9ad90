"""Which code an object of another package is: its package's version and a SHA-256 of its source files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from fedfr.core.errors import FedfrError

__all__ = ["UNVERSIONED", "source_digest", "version_of"]

UNVERSIONED = "unversioned"
"""The version of code that belongs to no installed distribution."""

# What is executed: Python sources and extension modules.
_SUFFIXES = (".py", ".so", ".pyd")


def version_of(name: str) -> str:
    """Version of the distribution that provides ``package.module:attribute``; nothing is imported."""
    providers = metadata.packages_distributions().get(_package(name), [])
    return metadata.version(providers[0]) if providers else UNVERSIONED


def source_digest(name: str) -> str:
    """Hexadecimal SHA-256 of all source files of the package of ``package.module:attribute``; nothing is imported.

    The whole package counts, not the module alone: its modules import each other. Raises :class:`FedfrError` when the
    package is not installed and when it has no source files.
    """
    package = _package(name)
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise FedfrError(f"{name}: the package {package} is not installed here; install it")
    places = [Path(place) for place in spec.submodule_search_locations or ()]
    digest, found = hashlib.sha256(), 0
    files = [(path.relative_to(place), path) for place in places for path in _sources(place)]
    if not places and spec.origin is not None and Path(spec.origin).suffix in _SUFFIXES:
        files = [(Path(Path(spec.origin).name), Path(spec.origin))]
    for relative, path in sorted(files):
        content = path.read_bytes()
        digest.update(f"{relative.as_posix()}\0{len(content)}\0".encode() + content)
        found += 1
    if not found:
        raise FedfrError(f"{name}: the package {package} has no source files that could be compared; use another one")
    return digest.hexdigest()


def _package(name: str) -> str:
    return name.partition(":")[0].partition(".")[0]


def _sources(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.suffix in _SUFFIXES and path.is_file())
