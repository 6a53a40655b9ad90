"""New coordinators and keys, and the content of their folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from fedfr.deployment.coordinator import Coordinator
from fedfr.deployment.secrets import public_line

__all__ = ["content_of", "new_coordinator", "new_public_key", "written"]


def content_of(folder: Path) -> dict[str, bytes]:
    """Return the content of every file, and the folders, by relative path."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"folder"
        for path in sorted(folder.rglob("*"))
    }


def new_coordinator(folder: Path, **changes: Any) -> Coordinator:
    given = {"hosts": ["fed.example.org", "192.0.2.7"], "name": "hospitals", "port": 9443, "inner_port": 9442}
    return Coordinator.init(folder, **{**given, **changes})


def new_public_key(curve: ec.EllipticCurve | None = None) -> str:
    """A public key as an OpenSSH line, by default on the curve of a site's key."""
    return public_line(ec.generate_private_key(curve or ec.SECP384R1()))


def written(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path
