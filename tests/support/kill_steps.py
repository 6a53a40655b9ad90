"""Child processes that are killed with SIGKILL at a chosen step: a statement of SQLite, or a change of a file."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fedfr.core.errors import FedfrError

__all__ = ["contents", "error_in_child", "found_in", "killed_at_every_step", "killed_at_step"]

# Of the file system, by the names of Python's audit events; `open` counts only for writing.
_FILE_EVENTS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "shutil.copyfile")
# A long statement, such as VACUUM, has steps of its own.
_INSTRUCTIONS = 400


def killed_at_step(step: int, operate: Callable[[], object]) -> bool:
    """Run ``operate`` in a child process that kills itself before its step number ``step`` (from 1).

    Returns False if it finished before. An exception of ``operate`` fails the test. Databases count from their opening:
    ``operate`` has to open what it changes.
    """

    def counted() -> None:
        _count_down(step)
        operate()

    status = _forked(counted)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return True
    assert os.waitstatus_to_exitcode(status) == 0, "the operation failed in the child process; its output says why"
    return False


def error_in_child(operate: Callable[[], object], place: Path) -> str:
    """Run ``operate`` in a child process, which may limit itself; return its one-line error, "" if there is none.

    ``place``: an unused path.
    """

    def caught() -> None:
        place.touch()
        try:
            operate()
        except FedfrError as error:
            resource.setrlimit(resource.RLIMIT_FSIZE, resource.getrlimit(resource.RLIMIT_FSIZE)[1:] * 2)
            place.write_text(str(error))

    assert os.waitstatus_to_exitcode(_forked(caught)) == 0, "the child process failed; its output says why"
    text = place.read_text()
    assert "\n" not in text
    return text


def _forked(work: Callable[[], None]) -> int:
    """Run ``work`` in a child process; return its status."""
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        try:
            work()
        except BaseException:  # noqa: BLE001 - a child must not continue with the test
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def killed_at_every_step(prepare: Callable[[], None], operate: Callable[[], object], stride: int = 1) -> Iterator[int]:
    """Iterate over the steps of ``operate``: before each, ``prepare`` runs here, then the operation until its kill.

    The last iteration is that of the whole operation. ``stride`` skips steps.
    """
    step = 1
    while True:
        prepare()
        killed = killed_at_step(step, operate)
        yield step
        if not killed:
            return
        step += stride


def _count_down(steps: int) -> None:
    left = steps

    def step(*_: Any) -> None:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, values: tuple[Any, ...]) -> None:
        if event in _FILE_EVENTS or (event == "open" and (values[2] or 0) & (os.O_WRONLY | os.O_RDWR)):
            step()

    connect = sqlite3.connect

    def traced(*values: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*values, **options)
        connection.set_trace_callback(step)
        connection.set_progress_handler(step, _INSTRUCTIONS)
        return connection

    sys.addaudithook(hook)
    vars(sqlite3)["connect"] = traced


def contents(folder: Path) -> dict[str, bytes]:
    """Return the content of all files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def found_in(folder: Path, pieces: dict[str, bytes]) -> list[tuple[str, str]]:
    """Return which pieces are in which files below a folder."""
    files = contents(folder)
    return [(name, file) for name, piece in pieces.items() for file, content in files.items() if piece in content]
