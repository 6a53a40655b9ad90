"""What the commands of a deployment have in common."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING, NoReturn

import typer

from fedfr.cli.interruption import Interrupted
from fedfr.cli.output import print_json
from fedfr.errors import FedfrError

if TYPE_CHECKING:
    from fedfr.deployment.checks import Line

__all__ = ["end_as", "log_to_stderr", "needs_flower", "show_lines"]


def needs_flower() -> None:
    """Raises :class:`FedfrError` that says what to install where the extra is missing."""
    if find_spec("flwr") is None or find_spec("cryptography") is None:
        raise FedfrError("clients on other machines need Flower; pip install 'fedfr[flower]'")


def log_to_stderr() -> None:
    """What the supervised processes do, with the time, where systemd and people look for it."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s %(message)s")


def end_as(code: int) -> NoReturn:
    """End a command that ran until it was stopped; by Ctrl-C too."""
    if code == 130:
        raise Interrupted("stopped")
    raise typer.Exit(code)


def show_lines(lines: Iterable[Line], as_json: bool) -> None:
    """One line each as they come; ends with 1 where something is to be done."""
    found = []
    for line in lines:
        found.append(line)
        if not as_json:
            print(line, flush=True)
    if as_json:
        print_json([{"what": line.what, "found": line.found, "remedy": line.remedy} for line in found])
    if any(line.remedy for line in found):
        raise typer.Exit(1)
