"""Differential privacy for a person in a federation of sites: noise, charges, refusals, what leaves a site."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message
from tests.deployment.conftest import Federation
from tests.support.deployment_folders import edit
from tests.support.kill_steps import contents, killed_at_every_step

from fedfr.core.errors import FedfrError
from fedfr.core.locks import locked
from fedfr.deployment.agreement import Agreement
from fedfr.deployment.checks import check_site
from fedfr.deployment.site import Site
from fedfr.deployment.site_sums import SUMS, member_of
from fedfr.engines.flower.sum_member import SumMember
from fedfr.engines.sum_terms import PersonTerms
from fedfr.experiments.person_privacy import LEDGERS
from fedfr.federation.messages import Broadcast
from fedfr.federation.private_store import PrivateStore
from fedfr.privacy.person_dp import mean_change, open_ledger, plan, trained_names
from fedfr.privacy.secure_sum.fixed_point import Vector

Make = Callable[..., Federation]
NOISED = ("split.settings.clients=3", "method.name=fedavg", "privacy.people=3", "privacy.clip=0.001")
SUM = (*NOISED, "privacy.dp=sum", "federation.secure=sum")
ALONE = (*NOISED, "privacy.dp=site")


@pytest.fixture(autouse=True)
def any_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few people need noise that leaves nothing; here it is what is tested."""
    monkeypatch.setattr(plan, "LARGEST_NOISE_RATIO", 1e9)


def site_of(made: Federation, client: str) -> Site:
    return Site.open(made.sites[client] / "site.yaml")


def charged(made: Federation) -> dict[str, list[int]]:
    """The charged rounds of every site."""
    found = {}
    for client, folder in made.sites.items():
        with open_ledger(folder / "private" / LEDGERS, epsilon=8.0, delta=1e-5) as ledger:
            found[client] = [number for _, number, _ in ledger.releases]
    return found


def seeds(made: Federation) -> list[Path]:
    return [path for path in made.folder.rglob("*.seed") if path.is_file()]


def vectors(monkeypatch: pytest.MonkeyPatch) -> dict[str, Vector]:
    """The vectors of the newest sum before they are masked, by client."""
    found, stored = dict[str, Vector](), SumMember._vector

    def kept(self: SumMember) -> Vector:
        found[self._client] = stored(self)
        return found[self._client].copy()

    monkeypatch.setattr(SumMember, "_vector", kept)
    return found


@pytest.mark.slow
def test_the_model_is_moved_by_the_sum_of_the_noised_changes(federation: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is killed in every stage of the first round: one charge per round, and one sum."""
    made, seen = federation(*SUM), set[str]()
    sent = vectors(monkeypatch)
    node = made.grid.nodes[31]
    passed = node.hello

    def kill(message: Message) -> object:
        answers = passed(message)
        stage = str(message.content["fedfr"].get("stage", message.content["fedfr"]["kind"]))
        if stage not in seen:
            seen.add(stage)
            raise KeyboardInterrupt
        return answers

    node.hello = node.train = kill  # type: ignore[assignment]
    for _ in range(20):
        try:
            made.run()
        except KeyboardInterrupt:
            made.grid.waiting.clear()
        else:
            break
    assert {"begin", "share", "mask", "consent", "unmask"} < seen
    assert charged(made) == {key: [1, 2] for key in made.sites}
    # The vector is stored before it leaves, so the noise need not be drawn again.
    assert seeds(made) == []
    (method_run,) = made.remote.method_runs()
    before, after = (method_run.journal.read(number).generic.weights for number in (1, 2))
    made_plan = Agreement.load(made.remote.folder / "agreement.yaml").person_plan()
    assert made_plan is not None
    assert made_plan.mechanism.honest == 2
    change = mean_change(np.stack([*sent.values()]).sum(0, dtype=np.uint32), made_plan.mechanism, 9)
    names = trained_names(made.remote.components.new_backbone())
    moved = np.concatenate([(after[name].double() - before[name].double()).reshape(-1).numpy() for name in names])
    assert np.allclose(moved, change, atol=1e-6)
    assert moved.std() == pytest.approx(change.std(), rel=1e-3)


@pytest.mark.parametrize("overrides", [SUM, ALONE], ids=["sum", "site"])
def test_nothing_leaves_a_site_without_noise(federation: Make, overrides: tuple[str, ...]) -> None:
    """No tensor that was trained, no number of images or persons, no loss, in any byte of the replies."""
    made = federation(*overrides, "federation.rounds=1", "deployment.report=all")
    made.run()
    sent = b"".join(
        bytes(array.data) for reply in made.replies for array in reply.array_records.get("message", {}).values()
    )
    assert len(sent) > 10_000
    for client in made.sites:
        site = site_of(made, client)
        state = PrivateStore(site.private, client).latest()
        assert state is not None
        trained = {name: value for name, value in state.backbone.items() if value.is_floating_point()}
        pieces = [value.contiguous().numpy().tobytes() for name, value in trained.items() if "running" not in name]
        assert len(pieces) > 3
        assert [len(piece) for piece in pieces if len(piece) > 12 and piece in sent] == []
        told = sent.decode("latin-1")
        assert f'"count": {len(site.own_faces)}' not in told
        assert "loss" not in told
        assert "seconds" not in told
        assert not (site.private / SUMS / "vector").exists()
    assert charged(made) == {key: [1] for key in made.sites}


def test_the_budget_is_that_of_the_persons_under_all_agreements(federation: Make) -> None:
    """A second run with the same people spends what the first left, and the ledger refuses the rest."""
    made = federation(*ALONE, "federation.rounds=1")
    made.run()
    path = made.sites["client-01"] / "site.yaml"
    before = contents(path.parent / "private")
    # Checked while the site trains, which locks the ledger.
    with locked(path.parent / "private" / LEDGERS):
        found = [check.found for check in check_site(path) if check.what == "privacy budget"]
    assert found == ["8 of ε = 8 at δ = 1e-05 is spent"]
    assert contents(path.parent / "private") == before
    for folder in made.sites.values():
        agreement = Agreement.load(folder / "agreement.yaml")
        agreement.model_copy(update={"run": "second"}).save(folder / "agreement.yaml")
    with site_of(made, "client-01").client() as client, pytest.raises(FedfrError, match="no further round") as refused:
        client.update(broadcast_of(made))
    assert refused.value.shareable == "the privacy budget of its persons is spent"


def broadcast_of(made: Federation) -> Broadcast:
    """The broadcast of the first round."""
    (method_run,) = made.remote.method_runs()
    model = method_run.journal.read(1).generic
    return Broadcast(1, model.weights, model.prototypes)


def test_a_site_with_more_persons_than_agreed_sits_out(federation: Make) -> None:
    """Its own check says how many; what the coordinator is told does not."""
    made = federation(*SUM)
    agreement = Agreement.load(made.sites["client-01"] / "agreement.yaml")
    assert agreement.privacy is not None
    fewer = agreement.model_copy(update={"privacy": agreement.privacy.model_copy(update={"people": 2})})
    fewer.save(made.sites["client-01"] / "agreement.yaml")
    site = site_of(made, "client-01")
    with pytest.raises(FedfrError, match=r"has 3 persons for training.*privacy\.people = 2") as refused:
        site.hello()
    assert refused.value.shareable == (
        "client-01 has more persons than privacy.people = 2, the number in the agreement"
    )
    checked = [check for check in check_site(made.sites["client-01"] / "site.yaml") if check.what == "faces"]
    assert "has 3 persons" in checked[0].found


def test_a_sum_that_does_not_fit_is_refused_before_a_site_trains(federation: Make) -> None:
    made = federation(*SUM)
    model = made.remote.pretrain(False)
    site = site_of(made, "client-01")
    member = member_of(site, made.sites["client-01"])
    assert member is not None
    assert isinstance(member._terms, PersonTerms)
    member._terms = replace(member._terms, people=10**6)
    with pytest.raises(FedfrError, match="a sum over 3000000 persons at 3 sites can reach"):
        member.train(Broadcast(1, model.weights, model.prototypes))
    assert charged(made)["client-01"] == []
    assert PrivateStore(site.private, "client-01").latest() is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epsilon": 20.0}, "means little"),
        ({"dp": "site"}, "set privacy.dp=sum"),
        ({"people": None}, "needs privacy.people"),
        ({"participation": 2.0}, "participation"),
    ],
)
def test_a_site_refuses_terms_that_protect_nobody(federation: Make, change: dict[str, object], message: str) -> None:
    made = federation(*SUM)
    path = made.sites["client-01"] / "agreement.yaml"
    terms = Agreement.load(path).privacy
    assert terms is not None
    edit(path, privacy={**terms.model_dump(mode="json"), **change})
    with pytest.raises(FedfrError, match=message):
        Agreement.load(path)


@pytest.mark.slow
def test_a_site_that_is_killed_while_it_trains_sends_one_noised_sum(federation: Make, tmp_path: Path) -> None:
    """Killed before every third change of a file while it trains: one charge, one vector for its noise.

    Its noise cannot be drawn again once the vector is stored.
    """
    made = federation(*SUM, "federation.rounds=1")
    model = made.remote.pretrain(False)
    start = Broadcast(1, model.weights, model.prototypes)
    folder, whole = made.sites["client-01"], tmp_path / "whole"
    shutil.copytree(folder, whole)
    seen = dict[bytes, set[bytes]]()

    def train() -> Path:
        site = site_of(made, "client-01")
        member = member_of(site, folder)
        assert member is not None
        member.train(start)
        return site.private / SUMS / "vector"

    def prepare() -> None:
        shutil.rmtree(folder)
        shutil.copytree(whole, folder)

    steps = 0
    for _ in killed_at_every_step(prepare, train, stride=3):
        seeded = {path.read_bytes() for path in seeds(made)}
        vector = train().read_bytes()
        again = train().read_bytes()
        assert again == vector
        assert charged(made)["client-01"] == [1]
        assert seeds(made) == []
        for seed in seeded:
            seen.setdefault(seed, set()).add(vector)
        steps += 1
    assert steps > 5
    assert all(len(each) == 1 for each in seen.values())
