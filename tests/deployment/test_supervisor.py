"""Supervised processes that end, hang or ignore signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fedfr.core.errors import FedfrError
from fedfr.deployment.background import wait_for
from fedfr.deployment.supervisor import Backoff, ProcessStatus, Supervisor

QUICK = {"initial": 0.01, "maximum": 0.02}


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text("ascii")
    except OSError:
        return False


def python(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def test_delays_double_up_to_the_maximum_and_reset() -> None:
    backoff = Backoff(initial=1, maximum=10, reset_after=100)
    assert [backoff.next_delay(ran) for ran in (0, 5, 99, 1, 0, 0)] == [1, 2, 4, 8, 10, 10]
    assert [backoff.next_delay(ran) for ran in (100, 0, 3000, 0)] == [1, 2, 1, 2]


def test_status_of_a_process_that_keeps_ending() -> None:
    """It exits with an error, is killed, cannot start, and runs: each status names the next start."""
    told: list[ProcessStatus] = []
    commands: list[list[str] | FedfrError] = [
        python("raise SystemExit(3)"),
        python("import os; os.kill(os.getpid(), 9)"),
        FedfrError("9444 is used by process 7 (the site in /srv/b); end that"),
        python("import time; time.sleep(600)"),
    ]

    def command() -> list[str]:
        made = commands.pop(0)
        if isinstance(made, FedfrError):
            raise made
        return made

    def on_change(state: ProcessStatus) -> None:
        told.append(state)
        if state.process is not None and not commands:
            made.stop()

    made = Supervisor(command, {}, Backoff(**QUICK), on_change=on_change)
    assert made.run() == 0
    name = Path(sys.executable).name
    assert [state.problem.partition(" after ")[0] for state in told] == [
        "",
        f"{name} ended with code 3",
        f"{name} ended with code 3",
        f"{name} was ended by signal 9",
        "9444 is used by process 7 (the site in /srv/b); end that",
        "9444 is used by process 7 (the site in /srv/b); end that",
    ]
    assert [state.process is None for state in told] == [False, True, False, True, True, False]
    assert [state.starts for state in told] == [1, 1, 2, 2, 3, 4]
    assert all(bool(state.next_start) == (state.process is None) for state in told)


def test_an_error_at_the_first_start_is_raised() -> None:
    def command() -> list[str]:
        raise FedfrError("9444 is used by another")

    with pytest.raises(FedfrError, match="9444 is used by another"):
        Supervisor(command, {}).run()


def test_a_process_that_ends_is_restarted(tmp_path: Path) -> None:
    """It is killed twice, fails once and ends normally once; the fifth start stops the supervisor."""
    log = tmp_path / "starts"
    text = f"""
import os, pathlib, signal, sys
log = pathlib.Path({str(log)!r})
with log.open("a") as file: file.write(os.environ["FEDFR_TEST"])
count = len(log.read_text())
if count < 3: os.kill(os.getpid(), signal.SIGKILL)
sys.exit(3 if count == 3 else 0)
"""
    pids: list[int] = []

    def note(pid: int) -> None:
        pids.append(pid)
        if len(pids) == 5:
            made.stop()

    made = Supervisor(python(text), {"FEDFR_TEST": "x"}, Backoff(**QUICK), on_start=note)
    assert made.run() == 0
    assert log.read_text().startswith("xxxx")
    assert len(set(pids)) == 5


def test_stop_ends_the_process() -> None:
    pids: list[int] = []
    made = Supervisor(python("import time; time.sleep(600)"), {}, on_start=pids.append)
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(made.run()))
    thread.start()
    wait_for(lambda: bool(pids), "what was waited for", 30)
    made.stop()
    thread.join(30)
    assert codes == [0]
    assert not alive(pids[0])
    assert len(pids) == 1


def test_stop_interrupts_the_delay() -> None:
    pids: list[int] = []
    made = Supervisor(python("raise SystemExit(1)"), {}, Backoff(initial=600), on_start=pids.append)
    thread = threading.Thread(target=made.run)
    thread.start()
    wait_for(lambda: bool(pids) and not alive(pids[0]), "what was waited for", 30)
    made.stop()
    thread.join(30)
    assert not thread.is_alive()


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    text = f"""
import pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path({str(ready)!r}).touch()
time.sleep(600)
"""
    pids: list[int] = []
    made = Supervisor(python(text), {}, grace_period=0.1, on_start=pids.append)
    thread = threading.Thread(target=made.run)
    thread.start()
    wait_for(ready.exists, "what was waited for", 30)
    made.stop()
    thread.join(30)
    assert not thread.is_alive()
    assert not alive(pids[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_the_process_ends_with_its_supervisor(tmp_path: Path, number: signal.Signals) -> None:
    """For every end of the supervisor, so that there are never two processes."""
    told = tmp_path / "pid"
    text = f"""
import pathlib, sys
from fedfr.deployment.background import wait_for
from fedfr.deployment.supervisor import Supervisor
def tell(pid): pathlib.Path({str(told)!r}).write_text(str(pid))
command = [sys.executable, "-c", "import time; time.sleep(600)"]
sys.exit(Supervisor(command, {{}}, on_start=tell).run())
"""
    supervisor = subprocess.Popen(python(text))
    wait_for(lambda: told.exists() and told.read_text().isdecimal(), "what was waited for", 30)
    pid = int(told.read_text())
    assert alive(pid)
    os.kill(supervisor.pid, number)
    codes = {signal.SIGTERM: 0, signal.SIGINT: 130, signal.SIGKILL: -signal.SIGKILL}
    assert supervisor.wait(30) == codes[number]
    wait_for(lambda: not alive(pid), "what was waited for", 30)


def test_a_missing_program_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FedfrError, match=r"program .*nobody not found; install it or check the path"):
        Supervisor([str(tmp_path / "nobody")], {}).run()


def test_signals_that_interrupt_each_other_stop_it(tmp_path: Path) -> None:
    """Further signals come while the first is being handled: no handler waits for another one."""
    stubborn = (
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "pathlib.Path(sys.argv[1]).touch()\n"
        "time.sleep(600)\n"
    )
    supervise = (
        "import os, sys\n"
        "from fedfr.deployment.supervisor import Supervisor\n"
        "sys.exit(Supervisor([sys.executable, '-c', *sys.argv[1:]], os.environ, grace_period=2).run())\n"
    )
    ready = [tmp_path / str(number) for number in range(3)]
    processes = [subprocess.Popen([sys.executable, "-c", supervise, stubborn, str(path)]) for path in ready]
    for path in ready:
        wait_for(path.exists, "the supervised process", 60)
    end = time.monotonic() + 1
    while time.monotonic() < end:
        for process in processes:
            process.send_signal(signal.SIGTERM)
    assert [process.wait(30) for process in processes] == [0, 0, 0]
