"""Command line: parses arguments, calls the library and prints results."""

from __future__ import annotations

from fedfr.cli.main import main

__all__ = ["main"]


def __dir__() -> list[str]:
    return sorted(__all__)
