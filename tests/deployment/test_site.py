"""Sites that have only their own folders: results equal those of the local engine, and errors stay at the site."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from tests.deployment.conftest import Federation
from tests.support.tiny_experiment import BACKBONE, bits, tiny_faces

from fedfr.core.errors import FedfrError
from fedfr.core.files import locked
from fedfr.deployment.agreement import Agreement
from fedfr.deployment.site import Site
from fedfr.faces import FaceSet

Make = Callable[..., Federation]


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("method.name=fedface", "split.settings.identities_per_client=[2,4]"),
        pytest.param(("federation.updates=int8",), marks=pytest.mark.slow),
        ("method.name=fedper", "federation.batchnorm=local", "runtime.precision=bf16", "federation.participation=0.5"),
        ("method.name=frozen-head",),
        ("method.name=local-fedfr", "federation.average_prototypes=false"),
        pytest.param(("method.name=moon-projection",), marks=pytest.mark.slow),
    ],
)
def test_a_federation_equals_the_local_run_bit_for_bit(federation: Make, overrides: tuple[str, ...]) -> None:
    made = federation(*overrides)
    rows = made.local.run()
    remote = made.run()
    found = made.tensors()
    expected = {name: value for name, value in bits(made.local.folder).items() if "/personal.safetensors" not in name}
    assert len(expected) > 100
    assert expected.keys() == found.keys()
    assert [name for name, value in expected.items() if found[name] != value] == []
    assert remote == [row for row in rows if row.protocol.startswith("generic")]
    assert made.notes == []
    assert all(len(context.state) == 0 for context in made.contexts)


@pytest.mark.slow
def test_private_states_newer_than_the_round_are_discarded(federation: Make) -> None:
    """The coordinator lost a round that the sites had trained; it is repeated with the same result."""
    made = federation("federation.rounds=3")
    made.run()
    expected = made.tensors()
    shutil.rmtree(made.remote.folder / "rounds" / "0003")
    shutil.rmtree(made.remote.folder / "evaluation")
    made.run()
    assert made.tensors() == expected


def digests(folder: Path) -> set[bytes]:
    """Digests of all images in all face sets below a folder."""
    return {digest for file in folder.rglob("faces.json") for digest in FaceSet.load(file.parent).digests()}


def test_every_folder_has_its_own_faces_only(federation: Make) -> None:
    made = federation()
    components = made.local.components
    by_image = components.faces.digests()

    def of(*images: Sequence[int]) -> set[bytes]:
        return {by_image[image] for some in images for image in some}

    public = of(components.split.public)
    assert digests(made.folder / "federation" / "coordinator") == public | of(components.split.generic)
    for client, folder in made.sites.items():
        own = components.split.clients[client]
        assert digests(folder) == public | of(own.train, own.test)
    names = set(components.faces.identities)
    for client, folder in made.sites.items():
        others = {
            name
            for other, people in components.split.identities.items()
            if other.startswith("client-") and other != client
            for name in people
        }
        text = "".join(file.read_text() for file in folder.rglob("*") if file.suffix in (".json", ".yaml"))
        assert others <= names
        assert [name for name in others if name in text] == []


def edit(path: Path, **changes: object) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump({**content, **changes}), encoding="utf-8")


def refusals(made: Federation) -> list[str]:
    lines = (made.remote.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [event["reason"] for event in map(json.loads, lines) if event["event"] == "refused"]


def test_a_site_with_another_agreement_does_not_train(federation: Make) -> None:
    made = federation("federation.rounds=1")
    site = made.sites["client-01"]
    edit(site / "agreement.yaml", weights="private")
    made.run()
    (reason,) = refusals(made)
    assert reason.startswith("client-01 failed in round 1: its site has agreement ")
    assert not list((site / "private").rglob("*.safetensors"))


def test_a_site_that_changes_its_agreement_after_hello_does_not_train(federation: Make) -> None:
    made = federation("federation.rounds=1")
    site, node = made.sites["client-01"], made.grid.nodes[31]
    says_hello = node.hello

    def hello_and_change(message: object) -> object:
        found = says_hello(message)  # type: ignore[arg-type]
        edit(site / "agreement.yaml", seed=5)
        return found

    node.hello = hello_and_change  # type: ignore[assignment]
    made.run()
    (reason,) = refusals(made)
    assert "client-01 failed in round 1: message of the server refused: agreement is " in reason


def test_missing_public_faces_are_reported_before_the_round(federation: Make) -> None:
    made = federation("federation.rounds=1")
    edit(made.sites["client-01"] / "site.yaml", public=None)
    shutil.rmtree(made.sites["client-02"] / "public")
    tiny_faces(3).save(made.sites["client-02"] / "public")
    with pytest.raises(FedfrError, match="0 of 2 clients delivered"):
        made.run()
    first, second = refusals(made)
    assert first.startswith("client-01 failed in round 1: its site has no public faces, which the method needs")
    assert second.startswith("client-02 failed in round 1: its site has other public faces (")


def test_a_method_without_public_faces_needs_none_at_the_sites(federation: Make) -> None:
    made = federation("method.name=fedavg", "federation.rounds=1")
    for folder in made.sites.values():
        shutil.rmtree(folder / "public")
    made.local.run()
    made.run()
    found = made.tensors()
    assert all(found[name] == value for name, value in bits(made.local.folder / "rounds").items() if name in found)


def test_errors_of_a_site_stay_in_its_log(federation: Make, caplog: pytest.LogCaptureFixture) -> None:
    made = federation("federation.rounds=1")
    pixels = made.sites["client-01"] / "faces" / "pixels.npy"
    pixels.write_bytes(pixels.read_bytes()[:100])
    with caplog.at_level(logging.ERROR, "fedfr.client"):
        made.run()
    assert str(pixels) in caplog.text
    assert "node 31 cannot identify its client: it stopped; its own log says why" in made.notes
    assert str(made.folder) not in "".join(refusals(made)) + "".join(made.notes)


class _PanicError(BaseException):
    """An exception such as libraries written in Rust raise."""


@pytest.mark.parametrize("kind", [ZeroDivisionError, _PanicError])
def test_exceptions_of_a_site_stay_in_its_log(
    federation: Make, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    made = federation("federation.rounds=1")

    def broken(site: Site) -> FaceSet:
        raise kind(f"{site.config.faces.path}/person-03.png")

    monkeypatch.setattr(Site, "own_faces", property(broken))
    with pytest.raises(FedfrError, match="0 of 2 clients delivered"):
        made.run()
    assert set(made.notes) == {
        f"node {node} cannot identify its client: it stopped; its own log says why" for node in (31, 32)
    }


def test_two_processes_of_one_site_do_not_train_at_once(federation: Make) -> None:
    made = federation("federation.rounds=1")
    site = Site.open(made.sites["client-01"] / "site.yaml")
    with locked(site.private):
        made.run()
    assert refusals(made) == ["client-01 failed in round 1: it stopped; its own log says why"]


def test_the_private_folder_is_readable_by_its_owner_only(federation: Make) -> None:
    made = federation("federation.rounds=1")
    made.run()
    private = made.sites["client-01"] / "private"
    assert private.stat().st_mode & 0o077 == 0


def test_test_images_by_share_or_number(federation: Make) -> None:
    made = federation()
    folder = made.sites["client-01"]
    faces = FaceSet.load(folder / "faces")
    assert faces.counts().tolist() == [5, 5, 5]
    edit(folder / "site.yaml", faces={"path": "faces"})
    assert Site.open(folder / "site.yaml").own_faces.counts().tolist() == [3, 3, 3]
    edit(folder / "site.yaml", faces={"path": "faces", "test_count": 1})
    own = Site.open(folder / "site.yaml").own_faces
    assert own.counts().tolist() == [4, 4, 4]
    first = faces.indices_of(1)[:4]
    assert np.array_equal(own.images(own.indices_of(1)), faces.images(first))
    # More than a person has: one is left to train on, and nobody else's is taken.
    edit(folder / "site.yaml", faces={"path": "faces", "test_count": 99})
    site = Site.open(folder / "site.yaml")
    assert (site.own_faces.counts().tolist(), len(site.all_faces)) == ([1, 1, 1], 15)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"client": "client-09"}, "client = 'client-09' is not in .*, which names client-01, client-02"),
        ({"faces": {"path": "nowhere"}}, "nowhere is not a folder"),
        ({"agreement": "nowhere.yaml"}, "nowhere.yaml; put the coordinator's file there"),
        ({"colour": "red"}, "unknown setting 'colour'; known here: client, agreement, faces"),
        ({"faces": {"path": "faces", "test_share": 1.5}}, "faces.test_share = 1.5: give a number"),
    ],
)
def test_invalid_site_files_are_refused_with_one_line(
    federation: Make, changes: dict[str, object], reason: str
) -> None:
    made = federation()
    path = made.sites["client-01"] / "site.yaml"
    edit(path, **changes)
    with pytest.raises(FedfrError, match=reason):
        Site.open(path).hello()


def test_every_term_changes_the_agreements_fingerprint(federation: Make) -> None:
    made = federation()
    agreement = Agreement.load(made.sites["client-01"] / "agreement.yaml")
    assert agreement == Agreement.of(made.remote.method_runs()[0])
    # The same terms in another run: its sites begin with private states of their own.
    again = Agreement.of(made.local.method_runs()[0])
    assert again.model_dump(exclude={"run"}) == agreement.model_dump(exclude={"run"})
    assert again.fingerprint != agreement.fingerprint
    assert agreement.public == FaceSet.load(made.sites["client-02"] / "public").fingerprint()
    changes = {
        "run": "another",
        "clients": ("client-01",),
        "seed": 7,
        "backbone": "iresnet18",
        "public": "",
        "method": agreement.method.model_copy(update={"name": "fedface"}),
        "local": agreement.local.model_copy(update={"scale": 31.0}),
        "rounds": 9,
        "weights": "private",
        "batchnorm": "local",
        "updates": "int8",
        "average_prototypes": False,
        "code": {name: terms.model_copy(update={"sha256": 64 * "0"}) for name, terms in agreement.code.items()},
    }
    assert list(agreement.code) == [BACKBONE]
    assert changes.keys() == Agreement.model_fields.keys()
    others = {agreement.model_copy(update={name: value}).fingerprint for name, value in changes.items()}
    assert len(others - {agreement.fingerprint}) == len(changes)


def test_a_method_that_pools_all_faces_is_refused(federation: Make) -> None:
    with pytest.raises(FedfrError, match="centralized needs all faces in one place"):
        federation("method.name=centralized")


def test_an_experiment_of_sites_does_not_run_locally(federation: Make) -> None:
    made = federation()
    with pytest.raises(FedfrError, match="the faces of client-01, client-02 are not on this machine; run the experim"):
        made.remote.run()
    assert "2 clients with their faces elsewhere" in made.remote.describe()


def test_a_site_imports_only_allowed_and_identical_code(federation: Make) -> None:
    folder = federation().sites["client-01"]
    agreement = yaml.safe_load((folder / "agreement.yaml").read_text("utf-8"))
    assert Site.open(folder / "site.yaml").agreement.code[BACKBONE].version == "unversioned"
    edit(folder / "site.yaml", allow=[])
    with pytest.raises(FedfrError, match=rf"names {BACKBONE}.*has not allowed; .*allow: \[{BACKBONE}\]") as raised:
        Site.open(folder / "site.yaml")
    assert raised.value.shareable == str(raised.value), "the site may send this reason to the coordinator"
    edit(folder / "site.yaml", allow=[BACKBONE])
    for terms, message in (
        (
            {BACKBONE: {"version": "unversioned", "sha256": 64 * "0"}},
            "this site has the same version with other source files",
        ),
        ({BACKBONE: {"version": "2.0", "sha256": 64 * "0"}}, r"2\.0, .*this site has version unversioned"),
        ({}, "without the hash of its source"),
    ):
        (folder / "agreement.yaml").write_text(yaml.safe_dump({**agreement, "code": terms}), "utf-8")
        with pytest.raises(FedfrError, match=message):
            Site.open(folder / "site.yaml")
