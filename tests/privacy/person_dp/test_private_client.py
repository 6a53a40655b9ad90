"""A client under differential privacy: what it sends, what stays, and what happens when it is asked again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.tiny_client import BATCHNORM, PRIVATE, PROTOTYPES, PUBLIC, WEIGHTS, broadcast
from tests.support.tiny_experiment import tiny_config

from fedfr.core.errors import FedfrError
from fedfr.experiments.from_config import make_compute
from fedfr.faces import FaceSet
from fedfr.federation import client as client_module
from fedfr.federation.aggregation import StreamingAverage, check_update
from fedfr.federation.client import ClientSettings
from fedfr.federation.messages import Update, encode
from fedfr.federation.private_store import PrivateStore
from fedfr.federation.public_faces import PublicFaces
from fedfr.federation.withholding_client import remove_withheld, withheld_update
from fedfr.methods import METHODS
from fedfr.privacy.person_dp import (
    Mechanism,
    PersonSum,
    PersonTrainer,
    PrivateClient,
    SitePrivacy,
    SummingClient,
    choose_mechanism,
    noise_multiplier_for,
    open_ledger,
    person_training,
    vector_in,
)

TRAINED = [name for name in WEIGHTS if name not in BATCHNORM]
VALUES = sum(WEIGHTS[name].numel() for name in TRAINED)
MECHANISM = choose_mechanism(
    values=VALUES, clip=0.1, noise_multiplier=noise_multiplier_for(8.0, 1e-5, 2), honest=1, sites=2, people=8
)

MakePrivate = Callable[..., PrivateClient]


@pytest.fixture
def make(tmp_path: Path) -> MakePrivate:
    def made(
        *overrides: str,
        private: FaceSet = PRIVATE,
        name: str = "client-01",
        mechanism: Mechanism = MECHANISM,
        kind: type[PrivateClient] = PrivateClient,
        agreement: bytes = b"",
    ) -> PrivateClient:
        config = tiny_config(tmp_path, *overrides)
        privacy = SitePrivacy(MECHANISM, 8.0, 1e-5, 4, tmp_path / name / "ledger", "run", agreement=agreement)
        return kind(
            name,
            private,
            PublicFaces(PUBLIC),
            METHODS[config.method.name](config.method.settings),
            ClientSettings(config.model.backbone, 2, 0, config.local, config.federation, make_compute(config)),
            PrivateStore(tmp_path / "clients" / name, name),
            privacy=replace(privacy, mechanism=mechanism),
        )

    return made


def spent(client: PrivateClient) -> int:
    with open_ledger(client.privacy.ledger, epsilon=8.0, delta=1e-5) as ledger:
        return len(ledger.releases)


def test_an_update_is_the_noised_mean_and_nothing_else(make: MakePrivate, monkeypatch: pytest.MonkeyPatch) -> None:
    client, sums = make(), list[PersonSum]()
    summed = client._sum

    def kept(trainer: PersonTrainer) -> PersonSum:
        sums.append(summed(trainer))
        return sums[-1]

    monkeypatch.setattr(client, "_sum", kept)
    update = client.update(broadcast())
    check_update(update, 1, WEIGHTS, PROTOTYPES)
    assert (update.metrics, update.count, update.identities) == ({}, 4, None)
    assert update.prototypes is not None
    assert torch.equal(update.prototypes, PROTOTYPES)
    assert all(torch.equal(update.weights[name], WEIGHTS[name]) for name in BATCHNORM)
    moved = torch.cat([(update.weights[name].double() - WEIGHTS[name].double()).reshape(-1) for name in TRAINED])
    (total,) = sums
    assert (total.people, total.empty) == (3, 0)
    noise = moved * 4 / MECHANISM.unit - torch.from_numpy(total.total)
    deviation = MECHANISM.site_variance**0.5
    assert float(noise.std()) == pytest.approx(deviation, rel=0.02)
    assert abs(float(noise.mean())) < 5 * deviation / VALUES**0.5


def test_what_stays_is_not_in_the_bytes_that_are_sent(make: MakePrivate) -> None:
    """Not even a part of the model that was trained for the site's own use."""
    client = make()
    sent = encode(client.update(broadcast()))
    state = client.store.latest()
    assert state is not None
    kept = [
        state.prototypes,
        *state.dfc.values(),
        *(state.backbone[name] for name in state.backbone if name in TRAINED),
    ]
    for tensor in kept:
        data = tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        assert data[:24] not in sent
    assert not any(name.encode() in sent for name in PRIVATE.identities)


def test_asked_again_it_sends_the_same_bits_and_pays_once(make: MakePrivate) -> None:
    first = make().update(broadcast())
    client = make()
    assert encode(client.update(broadcast())) == encode(first)
    assert spent(client) == 1
    client.update(broadcast(2))
    assert spent(client) == 2
    assert not any(path.name.startswith("000000") for path in (client.privacy.ledger / "seeds").iterdir())
    with pytest.raises(FedfrError, match=r"round 3 of run would raise ε .* the budget of"):
        client.update(broadcast(3))


def test_the_servers_average_is_the_mean_over_all_persons(make: MakePrivate) -> None:
    """Weighted by the agreed numbers of persons, without a change of the server."""
    updates = [make(name=name).update(broadcast()) for name in ("client-01", "client-02")]
    average = StreamingAverage()
    for update in updates:
        average.add(update.weights, update.count)
    mean = {name: (updates[0].weights[name] + updates[1].weights[name]) / 2 for name in TRAINED}
    assert all(torch.allclose(average.result()[name], mean[name], atol=1e-6) for name in TRAINED)
    assert not torch.equal(updates[0].weights[TRAINED[0]], updates[1].weights[TRAINED[0]])


def test_an_error_of_local_training_is_not_seen_by_others(make: MakePrivate, caplog: pytest.LogCaptureFixture) -> None:
    client = make("local.learning_rate=1e30")
    update = client.update(broadcast())
    assert isinstance(update, Update)
    assert all(value.isfinite().all() for value in update.weights.values())
    assert "the personalized model of round 1 is not trained" in caplog.text
    state = client.store.latest()
    assert state is not None
    assert all(torch.equal(state.backbone[name], value) for name, value in WEIGHTS.items())
    client.update(broadcast(2))
    assert client.store.rounds()[-1] == 2


def test_no_exception_of_training_is_seen_by_others(
    make: MakePrivate, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither one of a person's training nor one of the personalized model's."""

    def fail(*given: object, **more: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(client_module, "train", fail)
    monkeypatch.setattr(person_training, "train", fail)
    client = make()
    update = client.update(broadcast())
    assert all(value.isfinite().all() for value in update.weights.values())
    assert "the personalized model of round 1 is not trained: RuntimeError: out of memory" in caplog.text
    assert (
        caplog.text.count("a person contributes nothing in this round: RuntimeError") == client.private.num_identities
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["federation.updates=int8"], "federation.updates = 'int8' keeps what it rounds off"),
        (["method.name=fedface"], "sends more than the change of a generic model"),
    ],
)
def test_what_is_not_covered_is_refused(make: MakePrivate, overrides: list[str], message: str) -> None:
    with pytest.raises(FedfrError, match=message):
        make(*overrides)


SHARED = replace(MECHANISM, honest=2)


def test_noise_that_counts_on_other_sites_is_refused_without_a_secure_sum(make: MakePrivate) -> None:
    for of_a_sum in ({"mechanism": SHARED}, {"agreement": b"agreement"}):
        with pytest.raises(
            FedfrError, match="honest sites in a secure sum, and this client sends its update by itself"
        ):
            make(**of_a_sum)
    with pytest.raises(FedfrError, match="need the hash of its agreement"):
        make(kind=SummingClient)


def leaks(update: Update) -> bool:
    """Whether the bytes say more than that the client is ready for the secure sum."""
    return encode(update) != encode(Update(update.round, update.client, {}, None, 1))


def test_a_share_of_the_noise_leaves_in_a_secure_sum_only(make: MakePrivate, monkeypatch: pytest.MonkeyPatch) -> None:
    client, sums = make(kind=SummingClient, mechanism=SHARED, agreement=b"agreement"), list[PersonSum]()
    summed = client._sum

    def kept(trainer: PersonTrainer) -> PersonSum:
        sums.append(summed(trainer))
        return sums[-1]

    monkeypatch.setattr(client, "_sum", kept)
    update = client.update(broadcast())
    assert not leaks(update)
    stored = withheld_update(client.store.folder)
    for planted in (
        replace(update, metrics={"images/private": 12.0}),
        replace(update, count=len(PRIVATE)),
        replace(update, prototypes=PROTOTYPES + 0.01),
        stored,
    ):
        assert leaks(planted)
    noise = (vector_in(stored) - sums[0].total.astype(np.uint32)).view(np.int32)
    assert float(noise.std()) == pytest.approx(SHARED.site_variance**0.5, rel=0.02)
    # Killed before it is sent, it is the same; under another agreement there is none.
    client.update(broadcast())
    assert np.array_equal(vector_in(withheld_update(client.store.folder)), vector_in(stored))
    assert spent(client) == 1
    remove_withheld(client.store.folder)
    other = make(kind=SummingClient, mechanism=SHARED, agreement=b"another")
    with pytest.raises(FedfrError, match="was already charged"):
        other.update(broadcast())
    assert not [*client.store.folder.rglob("update*")]
