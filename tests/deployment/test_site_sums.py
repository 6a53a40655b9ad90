"""Secure sums of sites: what travels and what is stored, interruptions and drop-outs at every stage, keys."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from flwr.app import Message
from tests.deployment.conftest import Federation
from tests.support.deployment_folders import edit
from tests.support.grid import Answers
from tests.support.private_values import raw, windows_in
from tests.support.secure_sums import STAGES, RunSums
from tests.support.tiny_experiment import bits

from fedfr.core.errors import FedfrError
from fedfr.core.files import read_json_lines
from fedfr.core.locks import locked
from fedfr.deployment.agreement import Agreement
from fedfr.deployment.checks import check_site
from fedfr.deployment.process_output import OutputParser
from fedfr.deployment.public_keys import key_fingerprint
from fedfr.deployment.server_app import flower_engine
from fedfr.deployment.site import Site
from fedfr.deployment.site_sums import SUMS, member_of
from fedfr.deployment.sum_keys import make_sum_key
from fedfr.engines.flower import sum_member
from fedfr.engines.flower.site_state import SiteStatus
from fedfr.engines.flower.sum_member import SumMember
from fedfr.engines.flower.wire import hello_request_records
from fedfr.federation.messages import Broadcast
from fedfr.federation.packing import unpack
from fedfr.federation.private_store import PrivateStore
from fedfr.privacy.secure_sum import coordinator, site
from fedfr.privacy.secure_sum.fixed_point import Vector
from fedfr.privacy.secure_sum.stage_messages import Stage

SECURE = ("split.settings.clients=3", "federation.secure=sum", "federation.largest_count=200", "federation.rounds=1")
Make = Callable[..., Federation]


@pytest.fixture(scope="module")
def finished_and_sent(tmp_path_factory: pytest.TempPathFactory) -> tuple[Federation, dict[str, Vector]]:
    return with_vectors(tmp_path_factory.mktemp("secure"), *SECURE)


@pytest.fixture
def finished(finished_and_sent: tuple[Federation, dict[str, Vector]]) -> Federation:
    """A federation that ran one round with a secure sum."""
    return finished_and_sent[0]


@pytest.fixture
def vectors(finished_and_sent: tuple[Federation, dict[str, Vector]]) -> dict[str, Vector]:
    """The vectors of its sites before they were masked."""
    return finished_and_sent[1]


def rounds(made: Federation) -> dict[str, bytes]:
    return bits(made.remote.folder / "rounds")


def stage_of(message: Message) -> Stage | None:
    content = message.content
    return Stage(str(content["fedfr"]["stage"])) if content["fedfr"]["kind"] == "stage" else None


def intercept(made: Federation, client: str, change: Callable[[Message, Callable[[], Answers]], Answers]) -> None:
    """Have ``change`` answer the messages to a site; its second argument passes the message on."""
    node = made.grid.nodes[31 + [*made.sites].index(client)]
    passed = node.hello
    node.hello = node.train = lambda message: change(message, lambda: passed(message))


def round_of(message: Message) -> int:
    """The round of a request for a stage; 1 of any other message."""
    if stage_of(message) is None:
        return 1
    texts, _ = unpack(message.content.array_records["message"]["message"].data)
    return int(json.loads(texts["fedfr"])["round"])


def answers_of(made: Federation, client: str) -> dict[str, str]:
    """What a site has answered in the last round, by stage."""
    (path,) = (Site.open(made.sites[client] / "site.yaml").private / SUMS / "records").glob("*.json")
    return dict(json.loads(path.read_text("utf-8"))["answers"])


def with_vectors(folder: Path, *overrides: str) -> tuple[Federation, dict[str, Vector]]:
    """Run a federation; return it, and the sites' vectors before they were masked."""
    vectors, stored = dict[str, Vector](), SumMember._vector

    def kept(self: SumMember) -> Vector:
        vectors[self._client] = stored(self)
        return vectors[self._client].copy()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SumMember, "_vector", kept)
        made = Federation(folder, *overrides)
        made.run()
    return made, vectors


def leaks(made: Federation, vectors: Mapping[str, Vector]) -> list[str]:
    """Return what of sites is in their replies and the server's folder: tensors, parts of vectors, exact counts."""
    bodies = [bytes(array.data) for reply in made.replies for array in reply.array_records["message"].values()]
    stored = [path.read_bytes() for path in made.remote.folder.rglob("*") if path.is_file()]
    found = [f"vector of {client}" for client in made.sites if windows_in(vectors[client], [*bodies, *stored])]
    for client, folder in made.sites.items():
        state = PrivateStore(Site.open(folder / "site.yaml").private, client).latest()
        assert state is not None
        trained = [raw(value) for value in state.backbone.values() if value.is_floating_point() and value.numel() > 3]
        assert len(trained) > 3
        found += [f"tensor of {client}" for value in trained if any(value in data for data in (*bodies, *stored))]
    updates = [each for each in (json.loads(unpack(body)[0]["fedfr"]) for body in bodies) if each["kind"] == "Update"]
    assert len(updates) == len(made.sites)
    return found + [f"count of {each['client']}" for each in updates if each["count"] != 1 or each["metrics"]]


def test_no_update_leaves_its_site(finished: Federation, vectors: dict[str, Vector]) -> None:
    """Nothing of a site's vector is in any byte of its replies or of the server's folder, nor left at the site."""
    assert leaks(finished, vectors) == []
    names = set()
    for folder in finished.sites.values():
        kept = Site.open(folder / "site.yaml").private / SUMS
        names |= {str(path.relative_to(kept)) for path in kept.rglob("*") if path.is_file()}
        assert kept.stat().st_mode & 0o077 == 0 or kept.parent.parent.stat().st_mode & 0o077 == 0
    fingerprint = Agreement.load(finished.remote.folder / "agreement.yaml").fingerprint
    # The vector was removed when the site had consented.
    assert names == {"trained.json", f"records/{fingerprint}.json", "records/.lock"}
    assert finished.notes == []


def no_masks(patch: pytest.MonkeyPatch) -> None:
    for module in (site, coordinator):
        patch.setattr(module, "add_streams", lambda vector, streams: None)


def exact_counts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sum_member, "replace", lambda update, count=1, **empty: replace(update, **empty))


@pytest.mark.parametrize(("mutant", "what"), [(no_masks, "vector"), (exact_counts, "count")])
def test_planted_leaks_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mutant: Callable[[pytest.MonkeyPatch], None], what: str
) -> None:
    mutant(monkeypatch)
    made, sent = with_vectors(tmp_path, *SECURE)
    assert leaks(made, sent) == [f"{what} of {client}" for client in made.sites]


def test_what_is_learned_is_said_on_both_sides(finished: Federation, capfd: pytest.CaptureFixture[str]) -> None:
    agreement = Agreement.load(finished.remote.folder / "agreement.yaml")
    lines = agreement.describe_privacy()
    assert "2 sites that collude with the server can learn the update of another site exactly." in lines
    assert any(agreement.fingerprint in line for line in lines)
    for client, folder in finished.sites.items():
        assert f"key of {client}: {key_fingerprint(make_sum_key(folder))}" in lines
        said = [entry["message"] for entry in read_json_lines(folder / "log.jsonl")]
        assert said[: len(lines)] == lines
        checked = [
            check for check in check_site(folder / "site.yaml") if check.what in ("key for secure sums", "privacy")
        ]
        assert [check.found for check in checked] == ["it is the one in the agreement", *lines]
    # Shown by `fedfr site run`, which reads the standard error of its processes.
    finished.grid.nodes[31].hello(Message(hello_request_records(agreement.fingerprint), 31, "query.hello"))
    parser = OutputParser()
    records = [record for line in capfd.readouterr().err.splitlines() for record in parser.feed(line)]
    shown = [(record.level, record.shareable) for record in (*records, *parser.flush())]
    assert [each for each in shown if each[1] in lines] == [(logging.INFO, line) for line in lines]


def test_a_killed_server_continues_with_the_same_bits(federation: Make, finished: Federation) -> None:
    """Killed at every stage while an answer arrives: no site trains again or answers anything else."""
    made = federation(*SECURE)
    seen: list[Stage] = []

    def kill(message: Message, answer: Callable[[], Answers]) -> Answers:
        answers, stage = answer(), stage_of(message)
        if stage is not None and stage not in seen:
            seen.append(stage)
            raise KeyboardInterrupt
        return answers

    intercept(made, "client-02", kill)
    begun: dict[str, str] = {}
    for stage in Stage:
        with pytest.raises(KeyboardInterrupt):
            made.run()
        made.grid.waiting.clear()
        if stage is Stage.SHARE:
            begun = {client: answers_of(made, client)["begin"] for client in made.sites}
    states = {path: path.stat().st_mtime_ns for path in made.folder.rglob("private-*.safetensors")}
    made.run()
    assert seen == [*Stage]
    assert {client: answers_of(made, client)["begin"] for client in made.sites} == begun
    assert {path: path.stat().st_mtime_ns for path in made.folder.rglob("private-*.safetensors")} == states
    assert rounds(made) == rounds(finished)


def test_a_site_that_is_late_drops_out(federation: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four sites, with threshold 3, one stops at a stage; the others finish, and the round is said to lack it.

    Each sum is that of its members' vectors.
    """
    settings = (
        "split.settings.clients=4",
        "split.settings.identities_per_client=2",
        "federation.rounds=5",
        "deployment.stage_deadline=60",
    )
    made, found = federation(*SECURE, *settings), RunSums.recorded(monkeypatch)

    def late(message: Message, answer: Callable[[], Answers]) -> Answers:
        return [] if stage_of(message) is STAGES[round_of(message) - 1] else answer()

    intercept(made, "client-04", late)
    seen = dict[str, SiteStatus]()
    made.remote.run(engine=flower_engine(made.grid, made.notes.append, made.grid.clock, on_status=seen.__setitem__))
    # In the last round, client-04 did not answer the last stage.
    assert {client: (status.state, status.round) for client, status in seen.items()} == {
        **dict.fromkeys(made.sites, ("answered", 5)),
        "client-04": ("refused", 5),
    }
    records = made.remote.method_runs()[0].journal.records()[1:]
    # Once it has sent its vector, it is in the sum.
    assert [len(record["clients"]) for record in records] == [3, 3, 3, 4, 4]
    assert found.equal_plain_sums(records) == [True] * 5
    assert [record["refused"] for record in records] == [
        ["client-04 failed in round 1: stage begin: no reply within 60 s"],
        ["client-04 failed in round 2: stage share: no reply within 60 s"],
        ["client-04 failed in round 3: stage mask: no reply within 60 s"],
        [],
        [],
    ]


def test_a_site_that_left_after_its_vector_stays_in_the_sum(federation: Make) -> None:
    """The server is restarted meanwhile; the others give the shares of the one that is away."""
    made = federation(
        *SECURE, "split.settings.clients=4", "split.settings.identities_per_client=2", "deployment.deadline=60"
    )
    gone = False

    def leave(message: Message, answer: Callable[[], Answers]) -> Answers:
        nonlocal gone
        if stage_of(message) is Stage.UNMASK:
            gone = True
            raise KeyboardInterrupt
        return [] if gone else answer()

    intercept(made, "client-04", leave)
    with pytest.raises(KeyboardInterrupt):
        made.run()
    made.grid.waiting.clear()
    made.run()
    record = made.remote.method_runs()[0].journal.records()[1]
    assert [each["client"] for each in record["clients"]] == [*made.sites]
    assert record["refused"] == []


def test_a_round_without_enough_sites_is_lost_and_the_next_one_runs(federation: Make) -> None:
    made = federation(*SECURE, "federation.rounds=2", "federation.keep_rounds=3", "deployment.stage_deadline=30")

    def late(message: Message, answer: Callable[[], Answers]) -> Answers:
        return [] if stage_of(message) is Stage.UNMASK and round_of(message) == 1 else answer()

    intercept(made, "client-01", late)
    made.run()
    journal = made.remote.method_runs()[0].journal
    lost, won = journal.records()[1:]
    assert "2 sites replied to stage unmask, and 3 are needed (client-01 did not)" in lost["lost"]
    assert len(won["clients"]) == 3
    start, first, second = (journal.read(number).generic.prototypes for number in range(3))
    assert start.equal(first)
    assert not first.equal(second)


def test_a_site_that_was_restarted_is_asked_again(federation: Make) -> None:
    """What it had received is lost with its process; another process of it that still works is waited for."""
    made = federation(*SECURE)
    seen: list[str] = []

    def restarted(message: Message, answer: Callable[[], Answers]) -> Answers:
        what = str(stage_of(message) or message.metadata.message_type)
        seen.append(what)
        if seen.count(what) == 1 and what != "query.hello":
            return []
        if seen[-2:] == ["train", "train"] and seen.count("train") == 2:
            with locked(Site.open(made.sites["client-03"] / "site.yaml").private):
                return answer()
        return answer()

    intercept(made, "client-03", restarted)
    made.run()
    assert len(made.remote.method_runs()[0].journal.records()[1]["clients"]) == 3
    assert seen == ["query.hello", *["train"] * 3, *(stage for stage in Stage for _ in range(2))]


def test_a_site_trains_once_for_a_round(finished: Federation) -> None:
    """Neither for another model under its number, nor for an earlier round."""
    folder = finished.sites["client-01"]
    member = member_of(Site.open(folder / "site.yaml"), folder)
    assert member is not None
    generic = finished.remote.method_runs()[0].journal.read(1).generic
    with pytest.raises(FedfrError, match="client-01 refuses to train for round 1: round 1 of secure sums has begun"):
        member.train(Broadcast(1, generic.weights, generic.prototypes))


def test_sites_clip_to_the_norm_of_the_agreement(federation: Make) -> None:
    """The same bits as on one machine; the norm is a term, and a site with another one has another agreement."""
    clipped = ("federation.aggregation=norm-clipped", "federation.clip_norm=0.02", "federation.batchnorm=frozen")
    made = federation(*SECURE, *clipped)
    made.run()
    made.local.run()
    (local,) = (bits(run.folder / "rounds") for run in made.local.method_runs())
    assert rounds(made) == local
    before, after = (made.remote.method_runs()[0].journal.read(number).generic for number in (0, 1))
    moved = [(value - before.weights[name]).double().norm() for name, value in after.weights.items()]
    assert 0.005 < float(torch.stack(moved).norm()) <= 0.02 * 1.001
    path = made.sites["client-01"] / "agreement.yaml"
    agreement = Agreement.load(path)
    secure = yaml.safe_load(path.read_text("utf-8"))["secure"]
    assert secure["clip_norm"] == 0.02
    edit(path, secure={**secure, "clip_norm": 0.2})
    assert Agreement.load(path).fingerprint != agreement.fingerprint


def test_keys_of_other_sites_and_missing_ones_are_refused(federation: Make) -> None:
    made = federation(*SECURE)
    first, second = (made.sites[client] for client in ("client-01", "client-02"))
    shutil.copy(first / "sum.key", second / "sum.key")
    with pytest.raises(FedfrError, match="the identity key of client-02 is not the one in the agreement"):
        member_of(Site.open(second / "site.yaml"), second)
    (first / "sum.key").chmod(0o640)
    with pytest.raises(FedfrError, match="is readable by other users"):
        member_of(Site.open(first / "site.yaml"), first)
    (first / "sum.key").unlink()
    with pytest.raises(FedfrError, match="the site has no key for secure sums; create it with `fedfr site key"):
        member_of(Site.open(first / "site.yaml"), first)
    with pytest.raises(FedfrError, match=r"federation.secure = sum: client-01, client-02, client-03 registered no key"):
        Agreement.of(made.remote.method_runs()[0])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"updates": "int8"}, "federation.updates = int8, but sums of integers of 32 bits need full updates"),
        ({"report": "all"}, "deployment.report = all lets each site send its own losses or counts"),
        ({"secure": {"threshold": 5}}, "the threshold of a secure sum is 5; it must be 3 to 4"),
        ({"secure": {"threshold": 2}}, "the threshold of a secure sum is 2; it must be 3 to 4"),
        ({"secure": {"largest_count": 10**9}}, "makes the steps of the sum too coarse"),
        ({"clients": ["client-01", "client-02"]}, "the keys for secure sums are not those of the sites"),
    ],
)
def test_agreements_that_cannot_be_kept_are_refused(federation: Make, changes: dict[str, object], reason: str) -> None:
    made = federation(*SECURE, "split.settings.clients=4", "split.settings.identities_per_client=2")
    folder = made.sites["client-01"]
    content = yaml.safe_load((folder / "agreement.yaml").read_text("utf-8"))
    nested = {name: {**content[name], **value} if isinstance(value, dict) else value for name, value in changes.items()}
    edit(folder / "agreement.yaml", **nested)
    with pytest.raises(FedfrError, match=reason):
        Site.open(folder / "site.yaml")
