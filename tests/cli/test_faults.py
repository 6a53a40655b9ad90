"""Real machine faults: full disk, unwritable folder, two processes on one run."""

from __future__ import annotations

import fcntl
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Fedfr, answered
from tests.support.tiny_experiment import SETTINGS, tiny_faces

from fedfr.config.schema import load_config
from fedfr.experiments.experiment import Experiment
from fedfr.faces import FaceSet
from fedfr.faces.face_sets import NamedSet, combine


@pytest.fixture
def begun(tmp_path: Path, faceset: Path) -> Path:
    """A run that is configured but not trained."""
    config = load_config(None, [*SETTINGS, f"faces.path={faceset}", "federation.rounds=1"])
    Experiment.create(config, tmp_path / "run")
    return tmp_path / "run"


def resume(run: Path, file_limit: int | None = None) -> subprocess.CompletedProcess[str]:
    """``fedfr resume`` in a process with a limit of ``file_limit`` bytes on the size of files."""

    def limit() -> None:
        if file_limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

    script = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); from fedfr.cli import main; main()"
    command = [sys.executable, "-c", script, "resume", str(run)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", preexec_fn=limit)


@pytest.mark.parametrize("stage", ["pre-training", "rounds"])
@pytest.mark.slow
def test_a_full_disk_and_resuming(begun: Path, fedfr: Fedfr, faceset: Path, tmp_path: Path, stage: str) -> None:
    """First the checkpoint of pre-training does not fit, later the clients' private states."""
    limit = 1 << 20
    if stage == "rounds":
        model = Path(answered(fedfr("pretrain", begun / "config.yaml", "--out", begun, "--json"))["model"])
        limit = model.stat().st_size + 200_000
    stopped = resume(begun, limit)
    assert stopped.returncode == 2, stopped.stderr
    last = stopped.stderr.splitlines()[-1]
    file = "pretrained/state.safetensors" if stage == "pre-training" else "clients/client-01/private-000001.safetensors"
    reason = "File too large; free space or choose a folder that can be written"
    assert last == f"fedfr: cannot write {begun}/{file}: {reason}"
    assert "Traceback" not in stopped.stderr
    assert not list(begun.rglob("*.tmp"))
    rows = answered(fedfr("resume", begun, "--json"))
    config = load_config(None, [*SETTINGS, f"faces.path={faceset}", "federation.rounds=1"])
    assert rows == [row.to_dict() for row in Experiment.create(config, tmp_path / "undisturbed").run()]


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_one_client_that_cannot_save_stops_the_run(begun: Path, fedfr: Fedfr, workers: str) -> None:
    """A client that cannot save stops the run even if the others meet the quorum."""
    folder = begun / "clients" / "client-01"
    folder.parent.mkdir()
    folder.write_text("in the way", encoding="utf-8")
    answer = fedfr("resume", begun, "--workers", workers)
    assert answer.code == 2
    assert answer.err.splitlines()[-1].startswith(f"fedfr: cannot write {folder}/")
    assert "Traceback" not in answer.err
    assert [entry.name for entry in (begun / "rounds").iterdir()] == ["0000"], "finished rounds stand"
    folder.unlink()
    assert fedfr("resume", begun).code == 0
    assert (folder / "personal.safetensors").is_file()


def test_two_processes_on_one_run(begun: Path, fedfr: Fedfr) -> None:
    with (begun / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        answer = fedfr("resume", begun)
        assert answer.code == 2
        assert answer.err == f"fedfr: another process is working on {begun}; wait for it or stop it\n"
    assert fedfr("resume", begun).code == 0


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(begun: Path, fedfr: Fedfr) -> None:
    begun.chmod(0o555)
    try:
        answer = fedfr("resume", begun)
    finally:
        begun.chmod(0o755)
    assert answer.code == 2
    assert answer.err.startswith(f"fedfr: cannot write in {begun}: Permission denied")


def test_a_file_system_that_cannot_be_written(fedfr: Fedfr, settings: list[str], config_file: Path) -> None:
    answer = fedfr("train", config_file, "--out", "/proc/run", *settings)
    assert answer.code == 2
    assert answer.err.splitlines()[-1].startswith("fedfr: cannot write /proc/run/split.json: No such file or directory")


def test_ctrl_c(begun: Path, fedfr: Fedfr, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Experiment, *arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Experiment, "run", interrupted)
        answer = fedfr("resume", begun)
    assert answer.code == 130
    assert answer.err.endswith(f"continue with `fedfr resume {begun}`\n")
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["tarin"], "No such command 'tarin'. Did you mean 'train'?; see `fedfr --help`"),
        (["train", "quickstart"], "Missing option '--out'; see `fedfr train --help`"),
        (["resume"], "Missing argument 'RUN'; see `fedfr resume --help`"),
        (["resume", "x", "--workers", "0"], "Invalid value for '--workers'"),
        (["list", "--colour"], "No such option"),
    ],
)
def test_mistyped_commands(fedfr: Fedfr, arguments: list[str], expected: str) -> None:
    answer = fedfr(*arguments)
    assert answer.code == 2
    assert answer.err.startswith(f"fedfr: {expected}")
    assert answer.err.count("\n") == 1
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    "command", [("faces", "info", "whole"), ("faces", "info", "closed"), ("evaluate", "closed/run")]
)
def test_a_folder_without_search_permission(tmp_path: Path, command: tuple[str, ...]) -> None:
    """A face set, a set that is combined with others, and a run inside an inaccessible folder."""
    tiny_faces(3, 3).save(tmp_path / "closed")
    combine([NamedSet("private", "private", FaceSet.load(tmp_path / "closed"))], tmp_path / "whole")
    (tmp_path / "closed").chmod(0o600)
    # Root may search any folder unless it gives up the capability.
    caps = "-dac_override,-dac_read_search"
    drop = ["setpriv", "--bounding-set", caps, "--inh-caps", caps] if os.getuid() == 0 else []
    if drop and shutil.which("setpriv") is None:
        pytest.skip("root without setpriv")
    program = [sys.executable, "-c", "from fedfr.cli import main; main()", *command]
    done = subprocess.run([*drop, *program], cwd=tmp_path, capture_output=True, encoding="utf-8")
    (tmp_path / "closed").chmod(0o700)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert re.match(r"fedfr: cannot (read|use) .*closed.*: Permission denied; check ", done.stderr)
