"""What the server and colluding sites see: it can be made from the sum alone, and reused masks would show in it."""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.kill_steps import contents
from tests.support.secure_sums import Sums, plain_sum

from fedfr.privacy.secure_sum import masks
from fedfr.privacy.secure_sum.coordinator import Coordinator
from fedfr.privacy.secure_sum.fixed_point import Vector
from fedfr.privacy.secure_sum.keys import derive
from fedfr.privacy.secure_sum.masks import add_streams, pair_stream, self_stream
from fedfr.privacy.secure_sum.shares import combine
from fedfr.privacy.secure_sum.site_record import SiteRecord
from fedfr.privacy.secure_sum.stage_messages import Stage, StageMessage, decode_message, encode_message

VALUES = 4096
Seen = list[tuple[Stage, str, bytes, bytes]]


class View:
    """Round of five sites, threshold 4, of which emil colludes with the server and dora drops out before her vector."""

    colluding, dead = "emil", "dora"

    def __init__(self, folder: Path, number: int = 1) -> None:
        self.sums = Sums(folder, 5, 4, values=VALUES)
        self.plan = self.sums.plan(number)
        self.seen: Seen = []
        self.coordinator = self.sums.until(Stage.MASK, self.plan, seen=self.seen)
        self.state = self.coordinator.state()
        found = SiteRecord(folder / self.colluding, "run").read()
        assert found is not None
        self.colluder = found
        self.honest = tuple(name for name in sorted(self.sums.names) if name not in (self.colluding, self.dead))

    def finish(self) -> None:
        """Run the rest of the round."""
        self.sums.until(None, self.plan, answers=self.alive, seen=self.seen, coordinator=self.coordinator)

    def alive(self, stage: Stage, name: str) -> bool:
        """Whether a site still replies."""
        return name != self.dead or stage in (Stage.BEGIN, Stage.SHARE)

    def replies(self, stage: Stage) -> dict[str, StageMessage]:
        """The replies to a stage, from the bytes that the server saw."""
        length = self.plan.layout.length
        return {
            name: decode_message(reply, stage, reply=True, length=length)
            for each, name, _, reply in self.seen
            if each is stage
        }

    def known_masks(self, name: str) -> Vector:
        """What the server and its colluder know of the masks on the vector of an honest site."""
        began = self.replies(Stage.BEGIN)
        sharers = self.replies(Stage.MASK)[name].context
        place = {each: at for at, each in enumerate(sorted(began), 1)}

        def opened(of: str) -> bytes:
            given = list(self.replies(Stage.UNMASK).items())[: self.sums.agreement.threshold]
            return combine({place[giver]: reply.by_member("share")[of] for giver, reply in given})

        known = np.zeros(self.plan.layout.length, np.uint32)
        secrets = {self.colluding: bytes.fromhex(self.colluder.secrets["mask"]), self.dead: opened(self.dead)}
        public = began[name].values["mask_key"]
        pairs = [pair_stream(secret, public, sharers, name, other) for other, secret in secrets.items()]
        add_streams(known, [self_stream(opened(name), sharers, name), *pairs])
        return known

    def residuals(self) -> dict[str, Vector]:
        """The vectors of the honest sites without every mask that the server and its colluder know."""
        found = {}
        for name, reply in self.replies(Stage.MASK).items():
            if name in self.honest:
                assert reply.vector is not None
                found[name] = reply.vector - self.known_masks(name)
        return found


def repeated(view: View, folder: Path, moved: Mapping[str, Vector]) -> View:
    """The rest of the round again, with a copy of the sites in ``folder`` and these additions to their vectors."""
    other = View.__new__(View)
    other.sums, other.plan, other.seen = Sums(folder, 5, 4, values=VALUES), view.plan, []
    other.coordinator = Coordinator.restore(view.sums.agreement, view.plan, view.state)
    vector = other.sums.vector
    zeros = np.zeros(view.plan.layout.length, np.uint32)
    other.sums.vector = lambda name: vector(name) + moved.get(name, zeros)  # type: ignore[method-assign]
    other.finish()
    return other


def is_structured(values: Vector) -> bool:
    """Whether bytes are not uniform: χ² with 255 degrees of freedom beyond 8 standard deviations."""
    counts = np.bincount(values.view(np.uint8), minlength=256)
    expected = float(counts.sum()) / 256
    return float(((counts - expected) ** 2).sum()) / expected > 255 + 8 * math.sqrt(2 * 255)


def structures(first: Mapping[str, Vector], second: Mapping[str, Vector]) -> list[str]:
    """Combinations of the residuals of two rounds with the same vectors that are not uniform."""
    names = sorted(first)
    found = {name: first[name] for name in names}
    found |= {f"{one} - {other}": first[one] - first[other] for one in names for other in names if one < other}
    found |= {f"{one} + {other}": first[one] + first[other] for one in names for other in names if one < other}
    found |= {f"{name} in two rounds": first[name] - second[name] for name in names}
    return [name for name, values in found.items() if is_structured(values)]


def two_rounds(folder: Path) -> list[str]:
    residuals = []
    for number in (1, 2):
        view = View(folder, number)
        view.finish()
        assert view.coordinator.total is not None
        assert np.array_equal(view.coordinator.total, plain_sum(view.sums.vectors(), view.coordinator.members))
        residuals.append(view.residuals())
        honest = plain_sum(view.sums.vectors(), view.honest)
        # This much the server does know: the sum of the honest sites. It is as structured as the vectors are.
        assert np.array_equal(plain_sum(residuals[-1], view.honest), honest)
        assert is_structured(honest)
    return structures(*residuals)


def test_residuals_of_honest_sites_look_random(tmp_path: Path) -> None:
    assert two_rounds(tmp_path) == []


def reused(secret: bytes, stage: bytes, label: Any, *sites: str) -> bytes:
    """The same keys of masks in every round."""
    return derive(bytes(32), b"", label, *sites)


def one_for_all(secret: bytes, stage: bytes, label: Any, *sites: str) -> bytes:
    """The same key of masks for all pairs in a round."""
    return derive(bytes(32), stage, label)


@pytest.mark.parametrize(("mutant", "shows"), [(reused, "adam in two rounds"), (one_for_all, "adam")])
def test_mutants_are_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mutant: Callable[..., bytes], shows: str
) -> None:
    """Each gives the right sum, so that sums alone do not show it."""
    monkeypatch.setattr(masks, "derive", mutant)
    assert shows in two_rounds(tmp_path)


def test_only_the_masked_vectors_depend_on_the_vectors(tmp_path: Path) -> None:
    """Two sets of vectors with the same sum, everything else fixed."""
    view = View(tmp_path / "sites")
    shutil.copytree(tmp_path / "sites", tmp_path / "copy")
    view.finish()
    generator = np.random.default_rng(0)
    length = view.plan.layout.length
    moved = {name: generator.integers(0, 1 << 32, length, np.uint32) for name in view.honest[1:]}
    moved[view.honest[0]] = -plain_sum(moved, view.honest[1:])
    other = repeated(view, tmp_path / "copy", moved)
    first, second = view.replies(Stage.MASK), other.replies(Stage.MASK)
    for name in view.honest:
        one, two = first[name].vector, second[name].vector
        assert one is not None
        assert two is not None
        assert np.array_equal(two - one, moved[name])
    for stage in (Stage.CONSENT, Stage.UNMASK):
        mine, theirs = ([entry for entry in each.seen if entry[0] is stage] for each in (view, other))
        assert mine == theirs
    assert view.coordinator.total is not None
    assert other.coordinator.total is not None
    assert np.array_equal(view.coordinator.total, other.coordinator.total)


def test_a_site_learns_who_takes_part_and_nothing_of_the_vectors(tmp_path: Path) -> None:
    """The requests to one site: public keys and boxes for it, and lists; the same bytes with any vectors of others."""
    view = View(tmp_path / "sites")
    shutil.copytree(tmp_path / "sites", tmp_path / "copy")
    view.finish()
    received = {
        stage: decode_message(request, stage, reply=False) for stage, name, request, _ in view.seen if name == "adam"
    }
    everybody = tuple(sorted(view.sums.names))
    assert received[Stage.SHARE].members == everybody
    assert received[Stage.SHARE].columns.keys() == {"box_key", "mask_key", "signature"}
    assert received[Stage.MASK].members == tuple(name for name in everybody if name != "adam")
    assert received[Stage.MASK].columns.keys() == {"box"}
    in_the_sum = tuple(name for name in everybody if name != view.dead)
    assert received[Stage.CONSENT].members == in_the_sum == view.coordinator.members
    assert received[Stage.CONSENT].columns == {}
    assert received[Stage.UNMASK].columns.keys() == {"signature"}
    generator = np.random.default_rng(0)
    length = view.plan.layout.length
    moved = {name: generator.integers(0, 1 << 32, length, np.uint32) for name in everybody if name != "adam"}
    other = repeated(view, tmp_path / "copy", moved)
    for stage in (Stage.CONSENT, Stage.UNMASK):
        mine, theirs = (
            [request for at, name, request, _ in each.seen if (at, name) == (stage, "adam")] for each in (view, other)
        )
        assert mine == theirs
    assert view.coordinator.total is not None
    assert other.coordinator.total is not None
    assert not np.array_equal(view.coordinator.total, other.coordinator.total)


def test_the_view_is_simulated_from_the_sum(tmp_path: Path) -> None:
    """Random vectors with the honest sites' sum in place of theirs: the server's part ends with the same result."""
    view = View(tmp_path)
    view.finish()
    vectors, unmasked = view.sums.vectors(), view.coordinator.total
    total = plain_sum(vectors, view.honest)  # All that the simulator is given of the honest vectors.
    generator = np.random.default_rng(0)
    fakes = {name: generator.integers(0, 1 << 32, len(total), np.uint32) for name in view.honest[1:]}
    fakes[view.honest[0]] = total - plain_sum(fakes, view.honest[1:])
    simulated = Coordinator.restore(view.sums.agreement, view.plan, view.state)
    for name, reply in view.replies(Stage.MASK).items():
        if name in fakes:
            vector = fakes[name] + view.known_masks(name)
            made = StageMessage(Stage.MASK, 1, reply.context, name, vector=vector).signed(view.sums.identities[name])
            simulated.receive(name, b"".join(encode_message(made)))
        else:
            simulated.receive(name, b"".join(encode_message(reply)))
    simulated.advance()
    for stage in (Stage.CONSENT, Stage.UNMASK):
        for each, name, _, sent in view.seen:
            if each is stage:
                simulated.receive(name, sent)
        simulated.advance()
    assert unmasked is not None
    assert simulated.total is not None
    assert np.array_equal(simulated.total, unmasked)
    real = view.residuals()
    assert [is_structured(each) for each in (*fakes.values(), *real.values())] == [False] * 6


def test_nothing_is_drawn_from_a_seed(tmp_path: Path) -> None:
    """With every generator that a run seeds in the same state, all keys, boxes and masks are others."""
    views = []
    for name in ("first", "second"):
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002 - the global generator, which must not matter
        views.append(View(tmp_path / name))
        views[-1].finish()
    first, second = views
    for stage in (Stage.BEGIN, Stage.SHARE, Stage.MASK, Stage.UNMASK):
        one, two = first.replies(stage), second.replies(stage)
        for site_name, reply in one.items():
            values = [*reply.values.values(), *(row for rows in reply.columns.values() for row in rows)]
            others = [
                *two[site_name].values.values(),
                *(row for rows in two[site_name].columns.values() for row in rows),
            ]
            assert not {*values} & {*others}
    mine, theirs = (each.replies(Stage.MASK)["adam"].vector for each in views)
    assert mine is not None
    assert theirs is not None
    assert not is_structured(mine - theirs)


def test_no_vector_is_stored(tmp_path: Path) -> None:
    """Neither the vector nor the masked one: what a site keeps does not grow with the model."""
    view = View(tmp_path)
    view.finish()
    assert max(len(content) for content in contents(tmp_path).values()) < 16_000
