"""Submission and withdrawal of runs in a coordinator's folder."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
import yaml
from tests.support.new_coordinator import content_of, new_public_key, written
from tests.support.tiny_experiment import tiny_config, tiny_faces

from fedfr.config.schema import ExperimentConfig, SplitConfig
from fedfr.core.errors import FedfrError
from fedfr.deployment.agreement import Agreement
from fedfr.deployment.coordinator import Coordinator
from fedfr.deployment.state_files import STOPPED, SUBMITTED
from fedfr.faces import FaceSet


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """A face set of public and generic identities."""
    tiny_faces(6, 5).save(tmp_path / "faceset")
    return tmp_path


def config_for(faces: Path, *more: str, clients: tuple[str, ...] = ("clinic-a", "clinic-b")) -> ExperimentConfig:
    split = SplitConfig(recipe="sites", settings={"clients": list(clients), "generic_identities": 2})
    return tiny_config(faces, *more).model_copy(update={"split": split})


@pytest.fixture
def registered(coordinator: Coordinator, tmp_path: Path) -> Coordinator:
    for client in ("clinic-a", "clinic-b"):
        coordinator.register(client, written(tmp_path / f"{client}.pub", new_public_key()))
    return coordinator


def test_submission_writes_the_agreement_and_publishes_the_faces(registered: Coordinator, faces: Path) -> None:
    path = registered.submit("first", config_for(faces))
    assert path == registered.runs / "first" / "agreement.yaml"
    agreement = Agreement.load(path)
    assert agreement.clients == ("clinic-a", "clinic-b")
    assert registered.submitted() == ["first"]
    (published,) = (registered.proxy.folder / "public").iterdir()
    assert published.name == agreement.public
    public = FaceSet.load(published)
    assert public.fingerprint() == agreement.public
    assert public.num_identities == 4
    # nginx reads them as a user of its own.
    assert {stat.S_IMODE(file.stat().st_mode) for file in published.iterdir()} == {0o644}
    assert stat.S_IMODE(published.stat().st_mode) == 0o755


def test_a_resumed_run_keeps_its_agreement(registered: Coordinator, faces: Path) -> None:
    first = registered.submit("first", config_for(faces)).read_bytes()
    registered.withdraw("first")
    assert registered.submitted() == []
    (registered.runs / "first" / STOPPED).write_text("below the quorum\n", "utf-8")
    assert registered.outcome("first") == "run first stopped: below the quorum"
    for config in (None, config_for(faces)):
        assert registered.submit("first", config).read_bytes() == first
    assert registered.submitted() == ["first"]
    assert registered.outcome("first") == "run first has ended"
    assert json.loads((registered.runs / "first" / SUBMITTED).read_bytes())["place"] == 1


def test_another_configuration_of_a_run_is_refused(registered: Coordinator, faces: Path) -> None:
    registered.submit("first", config_for(faces))
    registered.withdraw("first")
    before = content_of(registered.folder)
    with pytest.raises(FedfrError, match=r"was begun with federation.rounds = 2, not 3"):
        registered.submit("first", config_for(faces, "federation.rounds=3"))
    assert content_of(registered.folder) == before


def test_unregistered_clients_are_named_and_the_run_can_be_corrected(
    coordinator: Coordinator, faces: Path, key: Path
) -> None:
    coordinator.register("clinic-a", key)
    before = content_of(coordinator.folder)
    expected = (
        r"clinic-b of run first are not registered \(registered: clinic-a\); register their keys with `fedfr server"
    )
    with pytest.raises(FedfrError, match=expected):
        coordinator.submit("first", config_for(faces))
    assert content_of(coordinator.folder) == before
    mended = coordinator.submit("first", config_for(faces, clients=("clinic-a",)))
    assert Agreement.load(mended).clients == ("clinic-a",)


def test_a_run_without_a_registered_key_is_not_resumed_and_loses_nothing(registered: Coordinator, faces: Path) -> None:
    registered.submit("first", config_for(faces))
    registered.withdraw("first")
    registered.sites()["clinic-b"].unlink()
    before = content_of(registered.folder)
    with pytest.raises(FedfrError, match="clinic-b of run first are not registered"):
        registered.submit("first", None)
    assert content_of(registered.folder) == before


def test_a_method_that_pools_the_faces_is_refused(registered: Coordinator, faces: Path) -> None:
    before = content_of(registered.folder)
    with pytest.raises(
        FedfrError, match="centralized needs all faces in one place, but sites keep theirs; choose another method"
    ):
        registered.submit("first", config_for(faces, "method.name=centralized"))
    assert content_of(registered.folder) == before


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc", "-x", "a b", "x\n", "n" * 65])
def test_invalid_run_names(registered: Coordinator, name: str) -> None:
    victim = registered.folder / "x" / SUBMITTED
    victim.parent.mkdir()
    victim.write_bytes(b"")
    before = content_of(registered.folder.parent)
    with pytest.raises(FedfrError, match="is not a valid name for a run; give letters, digits"):
        registered.submit(name, None)
    with pytest.raises(FedfrError, match="there is no run"):
        registered.withdraw(name)
    assert content_of(registered.folder.parent) == before


def test_unknown_runs(registered: Coordinator, faces: Path) -> None:
    with pytest.raises(FedfrError, match=r"there is no run second in .*runs; give a configuration to create it"):
        registered.submit("second", None)
    registered.submit("first", config_for(faces))
    with pytest.raises(FedfrError, match=r"there is no run 'second' in .*runs; existing runs: first"):
        registered.withdraw("second")
    assert registered.submitted() == ["first"]


def test_the_agreement_is_readable_yaml(registered: Coordinator, faces: Path) -> None:
    content = yaml.safe_load(registered.submit("first", config_for(faces)).read_text("utf-8"))
    assert content["method"]["name"] == "fedfr"
    assert content["rounds"] == 2
