"""Files in ``deploy/``: valid for systemd and Compose, with existing commands."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from fedfr.cli.main import app

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
UNITS = sorted(path.name for path in DEPLOY.glob("*.service"))


def known(command: list[str]) -> bool:
    """Whether the command line of fedfr has this command."""
    group: object = get_command(app)
    for word in command[1:3]:
        group = getattr(group, "commands", {}).get(word)
    return group is not None


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
@pytest.mark.parametrize("name", UNITS)
def test_systemd_accepts_the_unit(name: str, tmp_path: Path) -> None:
    """With the path of an existing program, and otherwise unchanged."""
    # Through a link, for the environment's own path may hold a space, which a unit must quote.
    program = tmp_path / "program"
    program.symlink_to(sys.executable)
    text = (DEPLOY / name).read_text("utf-8").replace("/opt/fedfr/.venv/bin/fedfr", str(program))
    (tmp_path / name).write_text(text.replace("User=fedfr\n", ""), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(tmp_path / name)],
        capture_output=True,
        text=True,
        check=False,
    )
    about_it = [line for line in (done.stdout + done.stderr).splitlines() if name in line]
    assert about_it == []
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", UNITS)
def test_the_units_start_existing_commands(name: str) -> None:
    text = (DEPLOY / name).read_text("utf-8")
    commands = re.findall(r"^Exec\w+=(.+)$", text, re.MULTILINE)
    assert commands
    assert all(known(command.split()) for command in commands)
    assert "Restart=always" in text


def test_compose_starts_existing_commands() -> None:
    content = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    assert content.keys() == {"services"}
    for service in content["services"].values():
        assert known(service["command"])
        assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).resolve().is_file()
        # Keys are for their owner alone, and configurations name places.
        assert service["user"] == "${FEDFR_USER:-1000:1000}"
        assert service["volumes"] == ["${PWD}:${PWD}"]
    assert content["services"]["coordinator"]["restart"] == content["services"]["site"]["restart"] == "always"
    # The port that sites connect to, and none of the SuperLink's.
    assert content["services"]["coordinator"]["ports"] == ["9443:9443"]
    assert "ports" not in content["services"]["site"]
