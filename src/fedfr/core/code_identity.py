"""Identity of code of other packages: version of the package and SHA-256 of its source files."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
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
    providers = _providers(_state_of_path()).get(_package(name), ())
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


def _state_of_path() -> tuple[tuple[str, int], ...]:
    """Return the places of packages with the time of the last change in each: of an installation, for example."""
    places = ((place, Path(place or ".")) for place in sys.path)
    return tuple((place, path.stat().st_mtime_ns if path.exists() else 0) for place, path in places)


@lru_cache(maxsize=1)
def _providers(state: tuple[tuple[str, int], ...]) -> Mapping[str, Sequence[str]]:
    """Return the distributions that provide each package; finding them takes a large part of a second."""
    return metadata.packages_distributions()


def _package(name: str) -> str:
    return name.partition(":")[0].partition(".")[0]


def _sources(folder: Path) -> Iterator[Path]:
    found = (Path(place, name) for place, _, names in os.walk(folder) for name in names)
    return (path for path in found if path.suffix in _SUFFIXES and path.is_file())
