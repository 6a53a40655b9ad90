"""Identity of code of other packages: version of the package and SHA-256 of its source files."""

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

# Files with executed code: Python sources and extension modules.
_SUFFIXES = (".py", ".so", ".pyd")


def version_of(name: str) -> str:
    """Return the version of the distribution that provides ``package.module:attribute``; nothing is imported."""
    providers = metadata.packages_distributions().get(_package(name), [])
    return metadata.version(providers[0]) if providers else UNVERSIONED


def source_digest(name: str) -> str:
    """Return the SHA-256 (hexadecimal) of the source files of the package of ``package.module:attribute``; no import.

    It covers the whole package, because modules import each other. Raises :class:`FedfrError` if the package is not
    installed or has no source files.
    """
    package = _package(name)
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise FedfrError(f"{name}: the package {package} is not installed; install it")
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
        raise FedfrError(f"{name}: the package {package} has no source files to compare; use another package")
    return digest.hexdigest()


def _package(name: str) -> str:
    return name.partition(":")[0].partition(".")[0]


def _sources(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.suffix in _SUFFIXES and path.is_file())
