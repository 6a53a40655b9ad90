"""Secure sums equal plain sums bit for bit for every pattern and stage of drop-outs, or have no result."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import combinations_with_replacement
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from tests.support.secure_sums import STAGES, Sums, plain_sum, refused

from fedfr.privacy.secure_sum.coordinator import Coordinator
from fedfr.privacy.secure_sum.coordinator_record import CoordinatorRecord, run_sum
from fedfr.privacy.secure_sum.fixed_point import decode_sum
from fedfr.privacy.secure_sum.site_record import SiteRecord
from fedfr.privacy.secure_sum.stage_messages import Stage

# Drop-outs cost a disk's syncs for every site and stage; a file system in memory has none.
MEMORY = Path("/dev/shm")


def outcome(left: dict[str, int], fewest: int, threshold: int) -> tuple[str, ...] | None:
    """The sites in the sum when each leaves before its reply number ``left`` (5: never); None if there is none."""
    for stage in range(len(STAGES)):
        replied = [name for name, last in left.items() if last > stage]
        if len(replied) < (threshold if stage >= 3 else fewest):
            return None
    return tuple(sorted(name for name, last in left.items() if last > 2))


def answers_until(left: dict[str, int], stage: Stage, name: str) -> bool:
    return left[name] > STAGES.index(stage)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is one."""
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else tmp_path) as made:
        yield Path(made)


@pytest.mark.parametrize(("count", "threshold"), [(3, 2), (3, 3), (4, 3), (5, 3)])
def test_every_pattern_of_drop_outs(place: Path, count: int, threshold: int) -> None:
    """Who leaves at which stage, up to the names; names are shifted, so that each leaves everywhere."""
    sums = Sums(place, count, threshold)
    vectors, finished, lost = sums.vectors(), 0, 0
    for number, pattern in enumerate(combinations_with_replacement(range(len(STAGES) + 1), count), 1):
        shifted = pattern[number % count :] + pattern[: number % count]
        left = dict(zip(sums.names, shifted, strict=True))
        expected = outcome(left, sums.agreement.fewest, threshold)
        plan = sums.plan(number)
        answers = partial(answers_until, left)
        if expected is None:
            assert f"secure sum of round {number} is lost" in refused(partial(sums.until, None, plan, answers=answers))
            lost += 1
            continue
        done = sums.until(None, plan, answers=answers)
        assert done.members == expected
        assert done.total is not None
        assert np.array_equal(done.total, plain_sum(vectors, done.members))
        finished += 1
    assert (finished > 0, lost > 20) == (True, True)


def test_the_mean_is_that_of_the_updates(tmp_path: Path) -> None:
    sums = Sums(tmp_path, 4, 3, values=1000)
    done = sums.until(None, sums.plan())
    assert done.total is not None
    count, means = decode_sum(sums.layout, done.total, len(done.members))
    assert count == sum(sums.counts.values())
    for name, largest in (("w", 0.5), ("b", 2.0)):
        clipped = [
            sums.counts[site] * sums.updates[site][name].double().clamp(-largest, largest) for site in sums.names
        ]
        expected = torch.stack(clipped).sum(0) / count
        # Half a unit of the ring for each site; and the float32 of the result.
        allowed = 4 * 0.5 * sums.layout.largest_count * largest / sums.layout.bound / count + 1e-7 * largest
        assert float((means[name] - expected).abs().max()) <= allowed


def test_a_repeated_request_has_the_same_answer(tmp_path: Path) -> None:
    """Also from a new process; a stage that is over is not answered with new masks."""
    sums = Sums(tmp_path, 3, 3)
    plan = sums.plan()
    coordinator, requests, answered = sums.coordinator(plan), dict[Stage, bytes](), dict[Stage, bytes]()
    for stage in STAGES:
        sums.until(stage, plan, coordinator=coordinator)
        requests[stage] = coordinator.requests()["adam"]
        answered[stage] = sums.answer(stage, "adam", requests[stage], plan)
        for earlier, answer in answered.items():
            if earlier is Stage.MASK and stage in (Stage.CONSENT, Stage.UNMASK):
                again = partial(sums.answer, earlier, "adam", requests[earlier], plan)
                assert "keys are erased" in refused(again)
            else:
                assert sums.answer(earlier, "adam", requests[earlier], plan) == answer


def test_the_coordinator_continues_from_its_state(tmp_path: Path) -> None:
    """Restarted before every stage, with a site that drops out before the third and one before the last."""
    sums = Sums(tmp_path, 5, 3)
    plan = sums.plan()
    gone = {"dora": Stage.MASK, "Berta": Stage.UNMASK}

    def answers(stage: Stage, name: str) -> bool:
        return name not in gone or STAGES.index(stage) < STAGES.index(gone[name])

    coordinator = sums.coordinator(plan)
    for stage in STAGES:
        kept = coordinator.total if STAGES.index(stage) > 2 else None
        coordinator = Coordinator.restore(sums.agreement, plan, coordinator.state(), kept)
        assert coordinator.stage is stage
        following = STAGES[STAGES.index(stage) + 1] if stage is not Stage.UNMASK else None
        coordinator = sums.until(following, plan, answers=answers, coordinator=coordinator)
    assert coordinator.members == tuple(sorted({*sums.names} - {"dora"}))
    assert coordinator.total is not None
    assert np.array_equal(coordinator.total, plain_sum(sums.vectors(), coordinator.members))


def test_secrets_are_erased_when_no_answer_needs_them(tmp_path: Path) -> None:
    """By the values themselves, in every file that the site has."""
    sums = Sums(tmp_path, 3, 3)
    plan = sums.plan()
    coordinator = sums.until(Stage.MASK, plan)
    state = SiteRecord(tmp_path / "adam", "run").read()
    assert state is not None
    secrets: dict[str, str] = {str(name): value for name, value in state.secrets.items()}
    assert {*secrets} == {"box", "mask", "seed"}

    def kept() -> set[str]:
        content = b"".join(path.read_bytes() for path in (tmp_path / "adam").iterdir()).decode()
        return {name for name, value in secrets.items() if value in content}

    assert kept() == {"box", "mask", "seed"}
    sums.until(Stage.CONSENT, plan, coordinator=coordinator)
    assert kept() == {"mask", "seed"}
    state = SiteRecord(tmp_path / "adam", "run").read()
    assert state is not None
    # Shares of the others' mask keys: they are in the sum, so nobody may get these.
    secrets |= {f"share of {site}": shares[1] for site, shares in state.shares.items()}
    sums.until(Stage.UNMASK, plan, coordinator=coordinator)
    assert kept() == {"share of adam", "share of Berta", "share of cäsar"}
    sums.until(None, plan, coordinator=coordinator)
    assert kept() == set()
    assert [path.stat().st_mode & 0o077 for path in (tmp_path / "adam").glob("*.json")] == [0]


def test_memory_beside_the_vectors(tmp_path: Path) -> None:
    """A site masks in place; the coordinator has one sum, for any number of sites."""
    sums = Sums(tmp_path, 3, 3, values=1_000_000)
    plan = sums.plan()
    coordinator = sums.until(Stage.MASK, plan)
    requests, peaks = coordinator.requests(), []
    for name in sums.names:
        vector, site = sums.vector(name), sums.site(name)
        tracemalloc.start()
        pieces = site.mask(requests[name], vector)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        reply = b"".join(pieces)
        tracemalloc.start()
        coordinator.receive(name, reply)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    size = 4 * plan.layout.length
    at_sites, at_coordinator = peaks[::2], peaks[1::2]
    assert max(at_sites) < size / 4
    assert size < at_coordinator[0] < 1.1 * size
    assert max(at_coordinator[1:]) < size / 4


def test_a_round_has_one_vector_in_memory_beside_the_sum(tmp_path: Path) -> None:
    """The reply that was added is not kept while the next one arrives."""
    sums = Sums(tmp_path / "sites", 3, 3, values=500_000)
    plan, server = sums.plan(), tmp_path / "server"
    server.mkdir()

    def exchange(stage: Stage, requests: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
        for name, request in requests.items():
            (server / name).write_bytes(sums.answer(stage, name, request, plan))
        tracemalloc.start()
        for name in requests:
            yield name, (server / name).read_bytes()
        if stage is Stage.MASK:
            peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    peaks: list[int] = []
    run_sum(CoordinatorRecord(server), sums.agreement, plan, exchange)
    assert peaks[0] < 2.2 * 4 * plan.layout.length
