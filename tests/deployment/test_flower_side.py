"""What Flower receives: bundle, commands, environment, and the folder of a run."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from flwr.app import Context, RecordDict
from flwr.cli.build import build_fab_from_disk
from flwr.clientapp import ClientApp
from flwr.common.config import get_fab_config
from flwr.serverapp import ServerApp
from flwr.supercore.object_ref import load_app
from tests.support.grid import FakeGrid

from fedfr.core.errors import FedfrError, InUseError, WriteError
from fedfr.core.locks import locked
from fedfr.deployment import processes, server_app
from fedfr.deployment.address import Address
from fedfr.deployment.bundle import write_bundle
from fedfr.deployment.processes import ControlClient, environment, superlink_command, supernode_command
from fedfr.deployment.server_app import run_folder
from fedfr.deployment.state_files import STOPPED, SUBMITTED
from fedfr.experiments.experiment import Experiment


# Flower's own use of a library.
@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")
def test_the_bundle_is_deterministic_and_names_both_apps(tmp_path: Path) -> None:
    one, other = (build_fab_from_disk(write_bundle(tmp_path / name / "fedfr")) for name in ("a", "b"))
    assert one == other
    assert len(one) < 2000
    components = get_fab_config(one)["tool"]["flwr"]["app"]["components"]
    kinds = {"serverapp": ServerApp, "clientapp": ClientApp}
    assert components.keys() == kinds.keys()
    for name, kind in kinds.items():
        assert isinstance(load_app(components[name], ValueError, tmp_path), kind)


def test_the_environment_disables_telemetry_and_updates(tmp_path: Path) -> None:
    made = environment(tmp_path, tmp_path / "runs")
    assert made["FLWR_HOME"] == str(tmp_path)
    assert made["FEDFR_RUNS"] == str(tmp_path / "runs")
    assert made["FLWR_TELEMETRY_ENABLED"] == "0"
    assert made["ORT_DISABLE_TELEMETRY"] == "1"
    assert made["FLWR_DISABLE_UPDATE_CHECK"] == made["FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"] == "1"
    assert made["PATH"].startswith(str(Path(sys.executable).parent))
    assert "FEDFR_RUNS" not in environment(tmp_path)


def test_the_commands_start_existing_programs() -> None:
    link, own = Address("127.0.0.1", 9092), Address("127.0.0.1", 9094)
    commands = [superlink_command(link), supernode_command(link, Path("/srv/a site/site.yaml"), own)]
    assert all(Path(command[0]).is_file() for command in commands)
    assert commands[1][-2:] == ["--node-config", 'site="/srv/a site/site.yaml"']


def test_a_missing_extra_is_reported_with_its_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "find_spec", lambda name: None)
    with pytest.raises(FedfrError, match=re.escape("need Flower; pip install 'fedfr[flower]'")):
        superlink_command(Address("127.0.0.1", 9092))


def test_an_unreachable_superlink_is_one_line(tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the working directory has a folder with the name of the connection, such as a clone."""
    (tmp_path / "fedfr").mkdir()
    (tmp_path / "fedfr" / "pyproject.toml").write_text('[project]\nname = "fedfr"\n', "utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FedfrError, match=r"`flwr supernode` failed at the SuperLink 127.0.0.1:9: ") as refused:
        ControlClient(Address("127.0.0.1", 9), Path("home")).register("north", Path(key.name))
    assert "pyproject.toml" not in str(refused.value)
    with pytest.raises(FedfrError, match=r"`flwr run` failed at the SuperLink 127.0.0.1:9: ") as refused:
        ControlClient(Address("127.0.0.1", 9), tmp_path).submit("demo")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FedfrError("round 1: 0 of 2 clients delivered"), "round 1: 0 of 2 clients delivered\n"),
        (RuntimeError("out of memory in /srv/x"), "RuntimeError; see its log.jsonl\n"),
    ],
)
@pytest.mark.parametrize("full", [False, True])
def test_a_failed_run_is_not_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str, full: bool
) -> None:
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / SUBMITTED).touch()

    def fails(place: Path) -> Experiment:
        raise error

    def no_room(path: Path, content: bytes) -> None:
        raise WriteError(f"cannot write {path}: No space left on device")

    monkeypatch.setenv("FEDFR_RUNS", str(tmp_path))
    monkeypatch.setattr(Experiment, "open", fails)
    if full:
        monkeypatch.setattr(server_app, "write_atomically", no_room)
    with pytest.raises(WriteError if full else type(error)):
        server_app.main(FakeGrid({}), Context(1, 0, {}, RecordDict(), {"run": "demo"}))
    assert not (folder / SUBMITTED).exists()
    assert (folder / STOPPED).exists() != full
    assert full or (folder / STOPPED).read_text("utf-8") == reason
    assert ("out of memory in /srv/x" in (folder / "log.jsonl").read_text("utf-8")) == isinstance(error, RuntimeError)


def test_runs_in_use_or_submitted_again_stay_submitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second process does not disturb the first, and a new submission survives the end of a withdrawn run."""
    folder = tmp_path / "demo"
    folder.mkdir()
    monkeypatch.setenv("FEDFR_RUNS", str(tmp_path))
    context = Context(1, 1, {}, RecordDict(), {"run": "demo"})

    def in_use(folder: Path) -> Experiment:
        with locked(folder):
            raise AssertionError

    def resubmitted(folder: Path) -> Experiment:
        (folder / SUBMITTED).write_bytes(b"again")
        raise FedfrError("stopped")

    (folder / SUBMITTED).write_bytes(b"first")
    with locked(folder):
        monkeypatch.setattr(Experiment, "open", in_use)
        with pytest.raises(InUseError):
            server_app.main(FakeGrid({}), context)
    assert (folder / SUBMITTED).read_bytes() == b"first"
    monkeypatch.setattr(Experiment, "open", resubmitted)
    with pytest.raises(FedfrError, match="stopped"):
        server_app.main(FakeGrid({}), context)
    assert (folder / SUBMITTED).read_bytes() == b"again"
    assert not (folder / STOPPED).exists()


def test_a_run_withdrawn_before_its_start_is_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only if a coordinator service manages the queue; Flower runs started by hand have no marker."""
    folder = tmp_path / "demo"
    folder.mkdir()
    monkeypatch.setenv("FEDFR_RUNS", str(tmp_path))
    context = Context(1, 1, {}, RecordDict(), {"run": "demo"})
    with pytest.raises(FedfrError, match="holds no run"):
        server_app.main(FakeGrid({}), context)
    (folder / STOPPED).unlink()
    monkeypatch.setenv("FEDFR_NODES", str(tmp_path / "nodes.json"))
    server_app.main(FakeGrid({}), context)
    assert not (folder / STOPPED).exists()


@pytest.mark.parametrize("name", ["", ".", "..", "../other", "a/b", "/etc", 3, None])
def test_run_names_must_be_folders_directly_below_the_runs(name: object, tmp_path: Path) -> None:
    with pytest.raises(FedfrError, match="give the name of a folder in"):
        run_folder({"FEDFR_RUNS": str(tmp_path)}, {"run": name})


def test_the_folder_of_a_run(tmp_path: Path) -> None:
    assert run_folder({"FEDFR_RUNS": str(tmp_path)}, {"run": "demo"}) == tmp_path / "demo"
    with pytest.raises(FedfrError, match="FEDFR_RUNS is not set"):
        run_folder({}, {"run": "demo"})
