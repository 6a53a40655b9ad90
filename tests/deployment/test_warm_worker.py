"""Worker of a site: one process per message, forked from one that ends with its SuperNode."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from fedfr.deployment.background import wait_for
from fedfr.deployment.warm_worker import hand_over

SUPERNODE = """
import os, subprocess, sys
for line in sys.stdin:
    command = [sys.executable, *sys.argv[1:], "--parent-pid", str(os.getpid()), *line.split()]
    subprocess.Popen(command)
"""
PROGRAM = """
import json, os, sys, time
from pathlib import Path
from fedfr.deployment.warm_worker import hand_over, serve

folder, *arguments = sys.argv[1:]
if hand_over(Path(folder), arguments):
    sys.exit()
served = []
arguments = serve(Path(folder), arguments)
served.append(arguments)
_, supernode, message, *work = arguments
record = {"pid": os.getpid(), "parent": os.getppid(), "served": served}
Path(folder, message + ".new").write_text(json.dumps(record))
os.rename(Path(folder, message + ".new"), Path(folder, message))
while work and Path("/proc", supernode, "exe").exists():
    time.sleep(0.02)
"""


class SuperNode:
    """A process that starts a program for every message, as Flower's does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        program = folder.parent / "program.py"
        program.write_text(PROGRAM, encoding="utf-8")
        command = [sys.executable, "-c", SUPERNODE, str(program), str(folder)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)

    def message(self, name: str, *work: str) -> dict[str, object]:
        """Start a program for a message; return its process, its parent and all that it had served."""
        assert self.process.stdin
        print(name, *work, file=self.process.stdin, flush=True)
        wait_for((self.folder / name).exists, f"message {name}", 60)
        found: dict[str, object] = json.loads((self.folder / name).read_text(encoding="utf-8"))
        return found

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    # Longer than the address of a socket may be.
    folder = tmp_path / ("long name " * 12)
    folder.mkdir()
    return folder


@pytest.fixture
def supernode(folder: Path) -> Iterator[Callable[[], SuperNode]]:
    made: list[SuperNode] = []

    def make() -> SuperNode:
        made.append(SuperNode(folder))
        return made[-1]

    yield make
    for one in made:
        with suppress(ProcessLookupError):
            os.killpg(one.process.pid, signal.SIGKILL)
        one.process.communicate()


def pid(record: dict[str, object], name: str = "pid") -> int:
    found = record[name]
    assert isinstance(found, int)
    return found


def ended(process: int) -> bool:
    """Whether a process has ended; a zombie has."""
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


def test_every_message_has_its_own_process_with_one_parent(supernode: Callable[[], SuperNode], folder: Path) -> None:
    node = supernode()
    found = [node.message(name) for name in ("a", "b", "c")]
    assert len({pid(record) for record in found}) == 3
    (worker,) = {pid(record, "parent") for record in found}
    assert worker not in {node.process.pid, os.getpid(), *map(pid, found)}
    expected = [[["--parent-pid", str(node.process.pid), name]] for name in ("a", "b", "c")]
    assert [record["served"] for record in found] == expected
    assert not stat.S_IMODE((folder / "worker").stat().st_mode) & 0o077
    # The kernel has removed the processes that ended: the worker keeps no zombies.
    wait_for(lambda: all(not Path(f"/proc/{pid(record)}").exists() for record in found), "the end of all", 60)


def test_the_worker_ends_with_its_supernode_after_its_processes(supernode: Callable[[], SuperNode]) -> None:
    node = supernode()
    record = node.message("long", "work")
    worker = pid(record, "parent")
    assert not ended(worker)
    node.kill()
    wait_for(lambda: ended(worker), "the end of the worker", 60)
    assert ended(pid(record))


def test_a_killed_worker_takes_its_processes_along_and_is_replaced(supernode: Callable[[], SuperNode]) -> None:
    node = supernode()
    first = node.message("first", "work")
    os.kill(pid(first, "parent"), signal.SIGKILL)
    wait_for(lambda: ended(pid(first)), "the end of the process", 60)
    second, third = node.message("second"), node.message("third")
    assert pid(second, "parent") == pid(third, "parent") != pid(first, "parent")


def test_programs_of_another_supernode_run_by_themselves(supernode: Callable[[], SuperNode]) -> None:
    one, other = supernode(), supernode()
    worker = pid(one.message("one"), "parent")
    foreign = other.message("foreign")
    assert pid(foreign, "parent") == other.process.pid
    assert pid(one.message("next"), "parent") == worker


@pytest.mark.parametrize("sent", [b"", b"{", b"[]", b"[1]", b"7", b"\xff" * 9], ids=repr)
def test_a_damaged_request_harms_nothing(supernode: Callable[[], SuperNode], folder: Path, sent: bytes) -> None:
    node = supernode()
    worker = pid(node.message("before"), "parent")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        directory = os.open(folder, os.O_RDONLY)
        connection.connect(f"/proc/self/fd/{directory}/worker")
        os.close(directory)
        connection.sendall(sent)
        connection.settimeout(60)
        assert connection.recv(1) == b""
    assert pid(node.message("after"), "parent") == worker


def test_without_a_supernode_a_program_runs_by_itself(folder: Path) -> None:
    program = folder.parent / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    for supernode in ("1", str(os.getpid() + 1), "x"):
        command = [sys.executable, str(program), str(folder), "--parent-pid", supernode, "alone"]
        process = subprocess.Popen(command)
        assert process.wait(60) == 0
        record = json.loads((folder / "alone").read_text(encoding="utf-8"))
        assert (record["pid"], record["parent"]) == (process.pid, os.getpid())
    assert not hand_over(folder, ["--parent-pid", "1"])
    assert not hand_over(folder / "missing", [])
    assert not (folder / "worker").exists()
