"""The proxy of the coordinator."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedfr.deployment import proxy


def test_nginx_is_found_where_debian_installs_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its folder is not on the path of users."""
    program = tmp_path / "nginx"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(proxy, "SYSTEM_PROGRAMS", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "users"))
    assert proxy.find_nginx() == str(program)
