"""Output of Flower's processes and nginx becomes records of one line; private text is removed, the full text kept."""

from __future__ import annotations

import json
import logging
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedfr.deployment.process_output import OutputParser, OutputRecord, summary

COLOURED = "\x1b[92mINFO \x1b[0m:      "
TRACEBACK = """\
Traceback (most recent call last):
  File "/home/ada/site-packages/flwr/supercore/client.py", line 119, in __init__
    self._client = httpx.Client(
                   ^^^^^^^^^^^^^
  File "/opt/fedfr/src/fedfr/faces/storage.py", line 33, in read_faces
    raise ValueError
"""
REJECTED = (
    "[/v1/fleet/activate-node][ApiError:2003] Attempted to register SuperNode with public key: "
    "b'-----BEGIN PUBLIC KEY-----\\nMHY\\n-----END PUBLIC KEY-----\\n', exception: "
)
CHECKED = "a site checked its registration (`fedfr site check`)"
NOT_REGISTERED = (
    "a site whose key is not registered was refused; register its site.key.pub with `fedfr server register`"
)
CHAIN = "\nThe above exception was the direct cause of the following exception:\n\n"


def said(text: str, *, private: bool = True) -> list[tuple[str, str]]:
    return [(logging.getLevelName(record.level).lower(), record.shareable) for record in folded(text, private=private)]


def folded(text: str, *, private: bool = True) -> list[OutputRecord]:
    folding = OutputParser(private)
    return [*(record for line in text.split("\n") for record in folding.feed(line)), *folding.flush()]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"{COLOURED}Starting Flower SuperNode", [("info", "Starting Flower SuperNode")]),
        (f"{COLOURED}", []),
        ("\x1b[93mWARNING \x1b[0m:   retrying in 0.08 seconds", [("warning", "retrying in 0.08 seconds")]),
        ("DEBUG 2026-11-27 22:19:15,056:     Isolation mode: x", [("debug", "Isolation mode: x")]),
        ("INFO:     Uvicorn running on http://127.0.0.1:5", [("info", "Uvicorn running on http://127.0.0.1:5")]),
        ("2026-11-27T22:19:13.468Z INFO [uvicorn.error] Shutting down", [("info", "Shutting down")]),
        ('2026-11-27T22:19:17.969Z INFO [uvicorn.access] 1.2.3.4:5 - "POST /x" 200', [("debug", "1.2.3.4:5 - … 200")]),
        ("2026/11/27 22:20:52 [error] 8622#8622: *35 connect() failed", [("error", "connect() failed")]),
        ("nginx: [emerg] bind() to 0.0.0.0:80 failed", [("critical", "bind() to 0.0.0.0:80 failed")]),
        ("ERROR :     the site's images 'Ada' and \"Ada\"", [("error", "the site's images … and …")]),
        ("fedfr: north: read the agreement", [("error", "north: read the agreement")]),
        ("fedfr: warning: the disk is full", [("warning", "the disk is full")]),
        (f"ERROR :     {REJECTED}Heartbeat interval 0.0 is out of bounds [10, 1800].", [("info", CHECKED)]),
        (f"ERROR :     {REJECTED}No SuperNode found with the given public key.", [("warning", NOT_REGISTERED)]),
        ("Successfully installed fedfr to /srv/Ada Lovelace/site", [("info", "")]),
    ],
)
def test_every_output_format_becomes_one_record(line: str, expected: list[tuple[str, str]]) -> None:
    assert said(line) == expected


def test_access_lines_of_nginx_are_debug_records() -> None:
    line = '2026-11-27T22:19:13+00:00 ::1 "-" POST /v1/fleet/activate-node 412 210'
    assert said(line, private=False) == [("debug", '::1 "-" POST /v1/fleet/activate-node 412 210')]


def test_an_error_on_several_lines_is_one_record() -> None:
    text = (
        "\x1b[91mERROR \x1b[0m:     Exit Code: 305\nFailed to connect.\n[code: 2004] No.\n\nSee there\nINFO:     next"
    )
    assert said(text) == [("error", "Exit Code: 305 Failed to connect. [code: 2004] No. See there"), ("info", "next")]


@pytest.mark.parametrize(
    ("raised", "shareable"),
    [
        ("KeyboardInterrupt", "KeyboardInterrupt at faces/storage.py:33"),
        ("ValueError: bad image of Ada Lovelace", "ValueError at faces/storage.py:33"),
        ("fedfr.core.errors.FedfrError: Ada\nLovelace: both", "fedfr.core.errors.FedfrError at faces/storage.py:33"),
        (
            "FileNotFoundError: [Errno 2] No such file or directory: '/faces/Ada Lovelace/1.jpg'",
            "FileNotFoundError at faces/storage.py:33: [Errno 2] No such file or directory",
        ),
        (
            "httpx.ConnectError: [Errno 111] Connection refused",
            "httpx.ConnectError at faces/storage.py:33: [Errno 111] Connection refused",
        ),
    ],
)
def test_a_traceback_becomes_one_line_without_private_text(raised: str, shareable: str) -> None:
    """Alone, after a line of Flower's, as the cause of another, and mixed with other processes' lines."""
    end, level = "; full output in debug.log", "info" if raised == "KeyboardInterrupt" else "error"
    alone = TRACEBACK + raised
    assert said(alone) == [(level, shareable + end)]
    assert said(f"ERROR :     the app 'Ada' raised\n{alone}") == [(level, f"the app … raised: {shareable}{end}")]
    assert said(f"ERROR :     {alone}") == said(f"INFO :     {alone}") == [(level, shareable + end)]
    assert said(f"{TRACEBACK}ERROR :     {alone}") == [("error", "an error" + end), (level, shareable + end)]
    assert said(f"KeyError: 1\n{CHAIN}{alone}")[-1] == (level, shareable + end)
    assert said(f"{TRACEBACK}KeyError: 'Ada'\n{CHAIN}{alone}") == [(level, shareable + end)]
    lines = alone.split("\n")
    mixed = "\n".join([*lines[:3], f"{COLOURED}between", *lines[3:], f"{COLOURED}after"])
    assert said(mixed) == [("info", "between"), (level, shareable + end), ("info", "after")]
    assert folded(alone)[0].full_text == alone
    assert summary(alone) == shareable


def test_no_line_is_lost_and_records_are_bounded() -> None:
    text = "\n".join(["ERROR :     much", *(f"{number} more" for number in range(5000))])
    found = folded(text)
    assert sum(len(record.full_text.split("\n")) for record in found) == 5001
    assert max(len(record.full_text.split("\n")) for record in found) <= 1000
    assert len(folded("x" * 10_000_000)[0].full_text) == 1 << 16


@pytest.mark.parametrize("text", [" " * 50_000 + "x", "ERROR : " + "<" * 50_000, "ERROR : " + "'/" * 25_000])
def test_long_lines_are_parsed_in_linear_time(text: str) -> None:
    """Quadratic matching would take more than a minute."""
    begun = time.process_time()
    assert folded(text)[0].full_text.strip() == text.strip()
    assert time.process_time() - begun < 1


def test_terminal_control_characters_are_removed() -> None:
    text = "ERROR : \x9b31mred\x9b0m\x9d0;title\x9c, \x1b]0;title\x07late\x85r\x08\x7f"
    assert said(text) == [("error", "red, later")]
    assert folded(text)[0].full_text == "ERROR : red, later"


@pytest.mark.parametrize("form", ["text", "json"])
def test_shareable_lines_and_a_private_debug_log(tmp_path: Path, form: str) -> None:
    """A supervised process prints colours, a traceback, an unformatted line, and bytes that are not UTF-8."""
    child = f"import sys; print({COLOURED!r} + 'ready', flush=True); print('image of Ada', flush=True); "
    child += "sys.stdout.buffer.write(b'\\xff\\xfe\\n'); sys.stdout.flush(); raise ValueError('Ada')"
    code = f"""
import logging, sys
from pathlib import Path
from fedfr.deployment.logs import log_run
from fedfr.deployment.supervisor import Backoff, Supervisor
def started(pid):
    made.stop() if pids else pids.append(pid)
pids = []
made = Supervisor([sys.executable, "-c", {child!r}], {{}}, Backoff(initial=0.01), on_start=started)
with log_run(Path({str(tmp_path)!r}), {form!r}):
    made.run()
    try:
        {{}}["Ada"]
    except KeyError:
        logging.getLogger("fedfr.deployment").exception("the \x1b[1msite\x1b[0m ends")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    lines = done.stderr.splitlines()
    if form == "json":
        content = [json.loads(line) for line in lines]
        assert all([*each] == ["time", "level", "process", "message"] for each in content)
        lines = [f"{each['time']} {each['level']} {each['process']}: {each['message']}" for each in content]
    name = Path(sys.executable).name
    shareable = [line.partition(" ")[2] for line in lines]
    assert f"info {name}: ready" in shareable
    assert f"error {name}: an error; full output in debug.log" in shareable or any(
        line.startswith(f"error {name}: ValueError at ") for line in shareable
    )
    assert shareable[-1].startswith("error fedfr: the site ends: KeyError at ")
    assert "Ada" not in done.stderr
    path = tmp_path / "debug.log"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    full_text = path.read_text("utf-8")
    assert "image of Ada" in full_text
    assert "ValueError: Ada" in full_text
    assert "Traceback (most recent call last):" in full_text
    assert "\x1b" not in full_text + done.stderr
