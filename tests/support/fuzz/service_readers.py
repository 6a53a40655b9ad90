"""Targets that read files of a gallery's service."""

from __future__ import annotations

from pathlib import Path

from tests.support.fuzz.targets import Target
from tests.support.https import authority_in

from fedfr.recognition.service.server import Tls
from fedfr.recognition.service.tokens import Tokens

__all__ = ["TARGETS"]


def _make_tokens(folder: Path) -> None:
    tokens = Tokens(folder)
    tokens.add("camera", "door")
    tokens.add("owner", "admin")


def _make_certificate(folder: Path) -> None:
    authority_in(folder)


TARGETS = {
    "tokens": Target(
        ("recognition.service.tokens",), _make_tokens, lambda folder: Tokens(folder).find("fedfr_door_x"), "tokens.json"
    ),
    "certificate": Target(
        ("recognition.service.server",),
        _make_certificate,
        lambda folder: Tls(folder / "server.crt", folder / "server.key"),
        "server.*",
        cost=2,
    ),
}
