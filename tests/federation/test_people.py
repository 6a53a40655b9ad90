"""Clients whose identities change between rounds: every method trains on the rows of present identities."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.support.tiny_client import PUBLIC, STANDSTILL, MakeClient, broadcast, state_of
from tests.support.tiny_experiment import tiny_faces

from fedfr.core.errors import FedfrError
from fedfr.faces import FaceSet
from fedfr.federation.client import Client
from fedfr.federation.private_state import PrivateState
from fedfr.federation.public_faces import PublicFaces
from fedfr.training.features import extract_features
from fedfr.training.training_set import TrainingSet

FACES = tiny_faces(10, 4)
BEFORE = (0, 1, 2)
CHANGES = {
    "one leaves": (0, 2),
    "one joins": (0, 1, 2, 3),
    "one is exchanged": (0, 3, 2),
    "another order": (2, 0, 1),
    "all change": (3, 4, 5),
}
METHODS = {
    "fedfr": ("fedfr",),
    "fedfr, random prototypes": ("fedfr", "method.prototypes=random"),
    "branch-cosface": ("branch-cosface", "method.dfc.transform=bottleneck"),
    "local": ("local",),
    "local-fedfr": ("local-fedfr",),
    "frozen-head": ("frozen-head",),
    "ditto": ("ditto", "method.lam=0"),
    "fedface": ("fedface",),
}


def faces_of(people: tuple[int, ...]) -> FaceSet:
    """These people's faces, labelled in this order."""
    indices = [index for label in people for index in FACES.indices_of(label).tolist()]
    labels = [row for row, label in enumerate(people) for _ in FACES.indices_of(label)]
    return FaceSet(FACES.images(indices), labels, [FACES.identities[label] for label in people])


def client_of(make: MakeClient, method: tuple[str, ...], people: tuple[int, ...], *overrides: str) -> Client:
    searches = method[0] in ("fedfr", "local-fedfr", "branch-cosface")
    near = ("method.hard_negatives.threshold=-1",) if searches else ()
    return make(f"method.name={method[0]}", *method[1:], *near, *overrides, private=faces_of(people))


def initial(client: Client) -> torch.Tensor:
    """Initial prototypes of the client's present identities."""
    received = client._own_model(broadcast(2), state_of(client))
    context = client._context(received, None, client._networks.generic(received))
    return client.method.initial_prototypes(context)


def every_row(state: PrivateState) -> dict[str, torch.Tensor]:
    """Return the tensors with one row per identity, by name; branches include their bias."""
    rows = {"prototypes": state.prototypes}
    if state.dfc:
        rows["branches"] = torch.cat([state.dfc["branches.weight"], state.dfc["branches.bias"][:, None]], dim=1)
    if "prototypes" in state.personal:
        rows["personal"] = state.personal["prototypes"]
    return rows


@pytest.mark.parametrize(
    ("method", "change"),
    [("fedfr", change) for change in CHANGES]
    + [(method, change) for method in METHODS if method != "fedfr" for change in ("one leaves", "one is exchanged")],
)
def test_rows_follow_their_identity(
    make_client: MakeClient, method: str, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Remaining identities keep their rows, new ones start anew, and no row of a departed one is left on disk."""
    client_of(make_client, METHODS[method], BEFORE, "local.learning_rate=0.05").update(broadcast(1))
    after = CHANGES[change]
    client = client_of(make_client, METHODS[method], after, "local.learning_rate=1e-12", "local.weight_decay=0")
    before = every_row(state_of(client))
    first = initial(client)
    with caplog.at_level(logging.WARNING, "fedfr.client"):
        update = client.update(broadcast(2))
    alone = method in ("local", "local-fedfr", "frozen-head")
    assert update.weights.keys() == (set() if alone else broadcast().weights.keys())
    state = state_of(client)
    assert state.round == 2
    found = every_row(state)
    assert found.keys() == before.keys()
    for part, rows in found.items():
        assert len(rows) == len(after), part
        for row, person in enumerate(after):
            start = first[row] if part != "branches" else torch.cat([first[row], torch.zeros(1)])
            wanted = before[part][BEFORE.index(person)] if person in BEFORE else start
            assert torch.allclose(rows[row], wanted, atol=1e-5), (part, person)
    held = b"".join(path.read_bytes() for path in client.store.folder.iterdir())
    for rows in before.values():
        for row, person in enumerate(BEFORE):
            assert (rows[row, :8].numpy().tobytes() in held) == (person in after)
    left, joined = len({*BEFORE} - {*after}), len({*after} - {*BEFORE})
    said = [record.getMessage() for record in caplog.records]
    assert said == ([f"client-01: {left} identities left and were erased, {joined} joined"] if left + joined else [])
    assert not [person for person in FACES.identities if person in "".join(said)]


def test_rows_follow_names_and_not_images(make_client: MakeClient) -> None:
    """A person who was enrolled again with other images is the same person."""
    client_of(make_client, ("fedfr",), BEFORE, "local.learning_rate=0.05").update(broadcast(1))
    others = tiny_faces(3, 5, seed=7)
    client = make_client(*STANDSTILL, private=FaceSet(others.images(range(15)), others.labels, FACES.identities[:3]))
    before = state_of(client)
    client.update(broadcast(2))
    assert torch.allclose(state_of(client).prototypes, before.prototypes, atol=1e-5)


def test_new_identities_start_as_in_a_first_participation(make_client: MakeClient) -> None:
    """Prototypes of new identities are the mean features of their own faces."""
    client_of(make_client, ("fedavg",), BEFORE).update(broadcast(1))
    client = client_of(make_client, ("fedavg",), (3, 4, 5), "local.learning_rate=1e-12")
    client.update(broadcast(2))
    backbone = client._networks.generic(broadcast(2))
    features = extract_features(backbone, TrainingSet([(client.private, None, 0)]), client.settings.compute)
    means = features.reshape(3, 4, -1).mean(dim=1)
    assert torch.allclose(state_of(client).prototypes, means, atol=1e-4)


def test_a_repeated_round_after_a_change_gives_the_same_bits(make_client: MakeClient) -> None:
    client_of(make_client, ("fedfr",), BEFORE).update(broadcast(1))
    updates = []
    for _ in range(2):
        client = client_of(make_client, ("fedfr",), (3, 0, 2))
        updates.append(client.update(broadcast(2)))
    assert all(torch.equal(updates[0].weights[name], value) for name, value in updates[1].weights.items())


def test_public_faces_other_than_the_servers_are_refused(make_client: MakeClient, tmp_path: Path) -> None:
    """With one public identity more or fewer, public labels would refer to other rows."""
    client = make_client()
    client.public = PublicFaces(PUBLIC.subset(range(4, len(PUBLIC))))
    with pytest.raises(FedfrError, match="prototypes of 4 public identities, the public faces here have 3") as caught:
        client.update(broadcast(1))
    assert "4 public identities" in caught.value.shareable
    assert client.store.rounds() == []


@pytest.mark.parametrize(
    ("people", "accepted", "used"),
    [
        (BEFORE, 1, True),
        (BEFORE, 0, False),
        ((0, 2), 1, False),
        ((0, 3, 2), 1, False),
        ((2, 0, 1), 1, False),
    ],
)
def test_returned_rows_belong_to_the_accepted_update(
    make_client: MakeClient, people: tuple[int, ...], accepted: int, used: bool
) -> None:
    """FedFace: returned rows are in the order of the accepted update, because the server knows no names."""
    client_of(make_client, ("fedface",), BEFORE).update(broadcast(1))
    client = client_of(make_client, ("fedface",), people, "local.learning_rate=1e-12")
    before = state_of(client).prototypes
    spread = torch.nn.functional.normalize(torch.randn(3, 512, generator=torch.Generator().manual_seed(3)))
    first = initial(client)
    client.update(replace(broadcast(2), identities=spread, accepted=accepted))
    for row, person in enumerate(people):
        own = before[BEFORE.index(person)] if person in BEFORE else first[row]
        assert torch.allclose(state_of(client).prototypes[row], spread[row] if used else own, atol=1e-5)
