"""``--version``, ``python -m fedfr``, and shell completion."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fedfr
from fedfr.cli import completion

FEDFR = str(Path(sys.executable).parent / "fedfr")


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def test_version_by_command_and_module() -> None:
    for command in ([FEDFR], [sys.executable, "-m", "fedfr"]):
        assert run(*command, "--version") == f"fedfr {fedfr.__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_completion_script(shell: str) -> None:
    script = run(FEDFR, _FEDFR_COMPLETE=f"source_{shell}")
    assert f"_FEDFR_COMPLETE=complete_{shell}" in script
    if found := shutil.which(shell):
        run(found, "-n", "-c", script)


def test_bash_completion_is_shown_and_installed(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "SHELL": "/bin/bash", "PATH": f"{Path(FEDFR).parent}:{os.environ['PATH']}"}
    shown = run("bash", "--norc", "-c", "fedfr --show-completion; true", **home)
    assert "complete -o default -F _fedfr_completion fedfr" in shown
    run("bash", "--norc", "-c", "fedfr --install-completion; true", **home)
    (script,) = tmp_path.rglob("fedfr.sh")
    assert script.read_text().strip() == shown.strip()
    typed = f"source {script}; COMP_WORDS=(fedfr benchmark o); COMP_CWORD=2; _fedfr_completion fedfr"
    assert run("bash", "--norc", "-c", f'{typed}; echo "${{COMPREPLY[@]}}"', **home) == "orl\n"


def complete(*words: str) -> list[str]:
    given = {"_FEDFR_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    return run(FEDFR, **given).split()


def test_names_and_commands_complete() -> None:
    assert complete("fedfr", "mod") == ["models"]
    assert complete("fedfr", "models", "import", "a", "b", "--backbone", "iresnet1") == ["iresnet18", "iresnet100"]


def test_offered_completions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quick").mkdir()
    for name in ("quicker.yaml", "quick.txt", ".quiet.yaml", "quick/own.yml"):
        (tmp_path / name).touch()
    assert [name for name, _ in completion.configurations("qu")] == ["quickstart", "quick/", "quicker.yaml"]
    assert [name for name, _ in completion.configurations("quick/")] == ["quick/own.yml"]
    assert [name for name, _ in completion.configurations("nowhere/")] == []
    assert [name for name, _ in completion.method_lists("fedper,fedp")] == ["fedper,fedprox"]
    assert [name for name, _ in completion.protocols("generic-1")] == ["generic-1:1", "generic-1:N"]
    assert "identities" in [name for name, _ in completion.scenarios("")]
