"""Sites that have only their own folders: results equal those of the local engine, and errors stay at the site."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import yaml
from flwr.app import Message, RecordDict
from tests.deployment.conftest import Federation
from tests.support.tiny_experiment import bits, tiny_faces

from fedfr.core.errors import FedfrError
from fedfr.core.files import read_json_lines
from fedfr.core.locks import locked
from fedfr.deployment.agreement import Agreement
from fedfr.deployment.site import Site
from fedfr.engines.flower.wire import broadcast_records, read_reply
from fedfr.experiments.report import write_report
from fedfr.faces import FaceSet
from fedfr.federation.messages import Broadcast, Failure
from fedfr.federation.packing import unpack
from fedfr.federation.private_store import PrivateStore

Make = Callable[..., Federation]
SUMS = ("split.settings.clients=3", "federation.secure=sum", "federation.largest_count=200")


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("method.name=fedface", "split.settings.identities_per_client=[2,4]"),
        pytest.param(("federation.updates=int8",), marks=pytest.mark.slow),
        (
            *("method.name=fedper", "federation.batchnorm=local"),
            *("federation.participation=0.5", "federation.aggregation=norm-clipped", "federation.clip_norm=0.3"),
            "deployment.report=all",
        ),
        ("method.name=frozen-head",),
        ("method.name=local-fedfr", "federation.prototypes=keep"),
        pytest.param(("method.name=moon-projection",), marks=pytest.mark.slow),
        SUMS,
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
    assert remote == [row for row in rows if row.protocol.startswith("generic") and not row.client]
    assert made.notes == []
    assert all(len(context.state) == 0 for context in made.contexts)
    here, there = (reported_names(experiment.folder) for experiment in (made.local, made.remote))
    assert {"loss/total", "images/private", "images/hard_negatives", "steps", "seconds", "peak_rss_bytes"} <= here
    assert there == (here if "deployment.report=all" in overrides else set())


def reported_names(run: Path) -> set[str]:
    """Names of what a run's events say of an update, beside its client, its weight and its size."""
    events = [event for event in read_json_lines(run / "metrics.jsonl") if event["event"] == "update"]
    known = {"event", "time", "method", "round", "client", "count", "bytes/up", "bytes/down"}
    return set().union(*events) - known


def test_a_site_sends_nothing_beside_its_update_by_default(federation: Make) -> None:
    """Every byte of a reply but those of the tensors is known; what was measured is in the site's own log."""
    made = federation("federation.rounds=1", "federation.weights=private")
    made.run()
    sent = []
    for reply in made.replies:
        assert dict(reply["fedfr"]) == {"format": 1, "kind": "reply"}
        body = reply.array_records["message"]
        assert list(body) == ["message"]
        texts, tensors = unpack(body["message"].data)
        assert texts.keys() == {"fedfr"}
        sent.append((json.loads(texts["fedfr"]), tensors))
    updates = [(scalars, tensors) for scalars, tensors in sent if scalars["kind"] == "Update"]
    own = {client: len(Site.open(folder / "site.yaml").own_faces) for client, folder in made.sites.items()}
    assert [scalars for scalars, _ in updates] == [
        {"kind": "Update", "round": 1, "client": client, "count": own[client], "metrics": {}} for client in sorted(own)
    ]
    start = made.remote.components.starting_model()
    names = {f"weights/{name}" for name in start.weights} | {"prototypes"}
    assert all(tensors.keys() == names for _, tensors in updates)
    assert {scalars["kind"] for scalars, _ in sent} == {"Hello", "Update"}
    for folder in made.sites.values():
        log = (folder / "log.jsonl").read_text(encoding="utf-8")
        assert "trained: loss/" in log
        assert "images/hard_negatives" in log
    page = write_report(made.remote.folder).read_text(encoding="utf-8")
    assert "sent up and down, all clients (MB)" in page
    assert "client time, all clients together" not in page


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


@pytest.mark.parametrize(
    ("overrides", "last"),
    [
        (("federation.rounds=1",), 1),
        (("federation.rounds=1", "method.name=finetune", "method.tuning_rounds=2"), 3),
        (("federation.rounds=1", *SUMS), 1),
    ],
)
def test_a_site_trains_for_the_agreed_rounds_only(federation: Make, overrides: tuple[str, ...], last: int) -> None:
    made = federation(*overrides)
    model, agreement = made.remote.pretrain(False), Agreement.load(made.sites["client-01"] / "agreement.yaml")
    site = Site.open(made.sites["client-01"] / "site.yaml")

    def train(number: int) -> str:
        broadcast = Broadcast(number, model.weights, model.prototypes)
        message = Message(broadcast_records(broadcast, agreement.fingerprint, {})[None], 31, "train")
        ((_, reply),) = made.grid.nodes[31].train(message)
        assert isinstance(reply, RecordDict)
        found = read_reply(reply, "client-01", 1 << 30)
        return found.reason if isinstance(found, Failure) else ""

    assert train(last + 1).startswith(
        f"client-01 refuses to train for round {last + 1}: the agreement ends with round {last}; for more rounds"
    )
    assert not site.private.exists()
    # A round may be the last one for a site that has missed others.
    assert train(last) == ""
    assert PrivateStore(site.private, "client-01").rounds() == [last]


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
