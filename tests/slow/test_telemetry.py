"""Telemetry of libraries: disabled once fedfr has loaded them."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PLAIN = "import onnxruntime, sys; session = onnxruntime.InferenceSession(sys.argv[1]); sys.stdin.read()"
OURS = "import sys; from fedfr.models import open_model; model = open_model(sys.argv[1]); sys.stdin.read()"


def test_no_opened_model_is_reported(reference_dir: Path) -> None:
    """ONNX Runtime alone connects to its vendor when it opens a model; with fedfr it does not."""
    model = reference_dir.parent / "cases" / "onnx" / "div_add.onnx"
    if not model.exists():
        pytest.skip(f"{model} is absent")
    asked = {}
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "DO_NOT_TRACK")}
    with socket.create_server(("127.0.0.1", 0)) as plain, socket.create_server(("127.0.0.1", 0)) as ours:
        started = []
        for program, proxy in ((PLAIN, plain), (OURS, ours)):
            address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
            environment = {**kept, "https_proxy": address, "http_proxy": address}
            command = [sys.executable, "-c", program, str(model)]
            started.append(subprocess.Popen(command, env=environment, stdin=subprocess.PIPE))
        # What the other sends tells when reports are sent at all; twice that is waited for.
        asked[PLAIN], _, _ = select.select([plain], [], [], 90)
        asked[OURS], _, _ = select.select([ours], [], [], 15)
        still = [process.poll() is None for process in started]
        for process in started:
            process.communicate(b"")
    if not asked[PLAIN]:
        pytest.skip("this version of ONNX Runtime reports nothing")
    assert still == [True, True]
    assert asked[OURS] == []
