"""The command line: parses, calls, prints – decides nothing."""

from __future__ import annotations

from fedfr.cli.main import main

__all__ = ["main"]


def __dir__() -> list[str]:
    return sorted(__all__)
