"""Runs and sites that continue after identities left, joined or moved."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from tests.deployment.conftest import Federation, federation
from tests.support.tiny_experiment import tiny_config

from fedfr.core.errors import FedfrError
from fedfr.deployment.site import Site
from fedfr.experiments.experiment import Experiment
from fedfr.faces import ClientFaces, FaceSet, Split
from fedfr.federation.identity_key import KEY
from fedfr.federation.private_state import PrivateState
from fedfr.federation.private_store import PERSONAL_MODEL
from fedfr.models import load_model
from fedfr.reporting.progress import Silent

__all__ = ["federation"]


class Notes(Silent):
    """Progress that records its notes."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        """Record a note."""
        self.said.append(text)


def without(faces: FaceSet, split: Split, *gone: str) -> tuple[FaceSet, Split]:
    """Return faces and split without the images of some identities."""
    kept = [index for index, label in enumerate(faces.labels) if faces.identities[label] not in gone]
    place = {index: number for number, index in enumerate(kept)}
    left = faces.subset(kept)

    def moved(images: Sequence[int]) -> tuple[int, ...]:
        return tuple(place[index] for index in images if index in place)

    clients = {
        name: ClientFaces(moved(own.train), moved(own.test)) for name, own in split.clients.items() if moved(own.train)
    }
    made = Split(
        split.name,
        split.seed,
        left.fingerprint(),
        moved(split.public),
        clients,
        moved(split.generic),
        moved(split.distractors),
        settings=split.settings,
    )
    return left, made.describe(left)


def put(folder: Path, run: Experiment, faces: FaceSet, split: Split) -> None:
    """Write faces and split to the places where the run reads them."""
    shutil.rmtree(folder / "faceset")
    faces.save(folder / "faceset")
    (run.folder / "split.json").unlink()
    split.save(run.folder / "split.json")


def in_files(folder: Path, rows: torch.Tensor) -> bool:
    """Return whether any file below a folder contains a row of a matrix."""
    held = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    return any(row[:8].numpy().tobytes() in data for row in rows for data in held)


def state(run: Experiment, client: str) -> PrivateState:
    found = run.method_runs()[0].store(client).latest()
    assert found is not None
    return found


@pytest.fixture(scope="module")
def one_round(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two rounds with a finished baseline, stopped after the first round."""
    folder = tmp_path_factory.mktemp("people")
    run = Experiment.create(tiny_config(folder, "baselines=[local]", "local.learning_rate=0.05"), folder / "run")
    run.run()
    for gone in ("rounds/0002", "evaluation/fedfr.json"):
        path = folder / "run" / gone
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return folder


@pytest.fixture
def begun(one_round: Path, tmp_path: Path) -> tuple[Path, Experiment]:
    """A copy of the run, with its faces beside it."""
    shutil.copytree(one_round, tmp_path, dirs_exist_ok=True)
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace(str(one_round), str(tmp_path)), encoding="utf-8")
    return tmp_path, Experiment.open(tmp_path / "run")


def test_a_resumed_run_uses_the_present_identities(begun: tuple[Path, Experiment]) -> None:
    folder, run = begun
    split, faces = run.components.split, run.components.faces
    people = split.identities["client-01"]
    method_run = run.method_runs()[0]
    first = method_run.store("client-01").at_or_before(1)
    assert first is not None
    rows = torch.cat([first.prototypes, first.dfc["branches.weight"]])
    leaver = [0, 3]
    local = run.method_runs()[1].store("client-01").latest()
    assert local is not None
    left, again = without(faces, split, people[0])
    put(folder, run, left, again)
    notes = Notes()
    resumed = Experiment.open(run.folder)
    resumed.run(notes)
    found = state(resumed, "client-01")
    assert (found.round, found.prototypes.shape[0], found.dfc["branches.bias"].shape) == (2, 2, (2,))
    clients = run.folder / "clients" / "client-01"
    assert not in_files(clients, rows[leaver])
    assert in_files(clients, rows[[1, 2, 4, 5]]), "the state of the round before is kept for those who stayed"
    baseline = run.folder / "baselines" / "local" / "clients" / "client-01"
    assert not in_files(baseline, local.prototypes[:1]), "a finished method keeps private states, too"
    assert in_files(baseline, local.prototypes[1:])
    tensors, _ = load_model(clients / PERSONAL_MODEL)
    assert not [name for name in tensors if "branches" in name], "exported models hold no row of anybody"
    assert [text for text in notes.said if "left" in text] == [
        f"{name}: 1 identities left client-01 and were erased from its private states" for name in ("fedfr", "local")
    ]
    assert not [text for text in notes.said for name in people if name in text]


def test_states_of_a_departed_client_are_erased(begun: tuple[Path, Experiment]) -> None:
    folder, run = begun
    put(
        folder, run, *without(run.components.faces, run.components.split, *run.components.split.identities["client-02"])
    )
    notes = Notes()
    (run.folder / "clients" / "notes.txt").write_text("somebody's own", encoding="utf-8")
    (run.folder / "clients" / "elsewhere").mkdir()
    Experiment.open(run.folder).run(notes)
    assert (run.folder / "clients" / "elsewhere").is_dir()
    (run.folder / "clients" / "notes.txt").unlink()
    (run.folder / "clients" / "elsewhere").rmdir()
    for method_run in (run.folder, run.folder / "baselines" / "local"):
        assert [path.name for path in (method_run / "clients").iterdir()] == ["client-01"]
    assert "fedfr: client-02 is no longer in the split; its private states were erased" in notes.said


def test_changed_public_identities_are_refused(begun: tuple[Path, Experiment]) -> None:
    """Changed public identities are refused, because the model was trained with their prototypes."""
    folder, run = begun
    split = run.components.split
    shown = split.identities["public"][0]
    put(folder, run, *without(run.components.faces, split, shown))
    with pytest.raises(FedfrError, match=r"the public identities of .* differ from those its model was trained with"):
        Experiment.open(run.folder).run()
    nobody = split.identities["generic"][0]
    exchanged = Split.load(run.folder / "split.json")
    faces = FaceSet.load(folder / "faceset")
    other = tuple(faces.indices_of(faces.identities.index(nobody)).tolist())
    swapped = Split(
        exchanged.name,
        0,
        faces.fingerprint(),
        tuple(sorted({*exchanged.public, *other})),
        exchanged.clients,
        tuple(index for index in exchanged.generic if index not in other),
        (),
    )
    put(folder, run, faces.subset(range(len(faces))), swapped)
    with pytest.raises(FedfrError, match=r"the public identities of .* \(4 now\); restore them, or begin a new run"):
        Experiment.open(run.folder).run()


def test_a_site_uses_the_present_identities(federation: Callable[..., Federation]) -> None:
    """Private states of earlier agreements are updated as well."""
    made = federation("method.name=fedfr-con-dfc", "local.learning_rate=0.05")
    made.run()
    folder = made.sites["client-01"]
    site = Site.open(folder / "site.yaml")
    store = site.private
    earlier = site.private.with_name("0123456789abcdef")
    shutil.copytree(store, earlier)
    shutil.rmtree(made.remote.folder / "rounds" / "0002")
    shutil.rmtree(made.remote.folder / "evaluation")
    with site.client() as client:
        first = client.store.at_or_before(1)
    assert first is not None
    old = torch.cat([first.prototypes, first.dfc["branches.weight"]])

    faces = FaceSet.load(folder / "faces")
    split = Split.load(folder / "split.json")
    left, again = without(faces, split, faces.identities[1])
    shutil.rmtree(folder / "faces")
    left.save(folder / "faces")
    (folder / "split.json").unlink()
    again.save(folder / "split.json")
    made.run()
    assert not in_files(folder / "private", old[[1, 4]])
    assert in_files(store, old[[0, 2, 3, 5]])
    assert in_files(earlier, old[[0, 2, 3, 5]])
    assert not [name for name in faces.identities if name in (folder / "log.jsonl").read_text(encoding="utf-8")]
    assert (store / KEY).exists()
