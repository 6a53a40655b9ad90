"""Options and output shared by the commands of a deployment."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from fedfr.cli.interruption import Interrupted
from fedfr.cli.output import print_json, print_lines
from fedfr.core.errors import FedfrError
from fedfr.core.operating_system import require_linux

if TYPE_CHECKING:
    from fedfr.deployment.checks import CheckResult

__all__ = ["LogForm", "LogFormat", "needs_flower", "run_logged", "show_lines"]

_log = logging.getLogger("fedfr.deployment")


def needs_flower() -> None:
    """Raise :class:`FedfrError` on a system other than Linux, or with the install command if the extra is missing."""
    require_linux("a federation of several machines")
    if find_spec("flwr") is None or find_spec("cryptography") is None:
        raise FedfrError("sites on other machines need Flower; pip install 'fedfr[flower]'")


class LogForm(StrEnum):
    """Log format of a long-running command."""

    TEXT = "text"
    JSON = "json"


LogFormat = Annotated[LogForm, typer.Option("--log-format", help="Format of the log lines on standard error.")]


def run_logged(folder: Path, form: LogForm, work: Callable[[], int]) -> NoReturn:
    """Run ``work`` until it ends or is stopped, log to standard error and the folder, and exit with its code."""
    from fedfr.deployment.logs import log_run

    with log_run(folder, form.value):
        try:
            code = work()
        except FedfrError as error:
            if form is LogForm.TEXT:
                raise
            _log.error("%s", error)
            code = 2
        if code == 130 and form is LogForm.TEXT:
            raise Interrupted("stopped")
        _log.info("stopped" if code in (0, 130) else "ended")
    sys.exit(code)


def show_lines(lines: Iterable[CheckResult], as_json: bool) -> None:
    """Print one line per check as it finishes; exits with 1 if any check failed."""
    results = []
    for line in lines:
        results.append(line)
        if not as_json:
            print_lines(str(line))
    if as_json:
        print_json([{"what": line.what, "found": line.found, "remedy": line.remedy} for line in results])
    if any(line.remedy for line in results):
        raise typer.Exit(1)
