"""Lock-out of clients that probe scores, with a clock of the test."""

from __future__ import annotations

import pytest

from fedfr.recognition import Decision
from fedfr.recognition.service.errors import ApiError
from fedfr.recognition.service.limits import RateLimit, ServiceLimits
from fedfr.recognition.service.lockout import Lockout

LIMITS = ServiceLimits(rejects=20, rises=6, window=60.0, lockout=30.0, longest_lockout=100.0)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def reject(score: float) -> Decision:
    return Decision("reject", score=score, threshold=0.5, reasons=("below-threshold",))


def accept() -> Decision:
    return Decision("accept", person="ada", person_id="3f9a01c47be2", score=0.9, threshold=0.5)


def locked(lockout: Lockout, client: str = "camera") -> float:
    try:
        lockout.check(client)
    except ApiError as error:
        return float(error.headers["Retry-After"]) if (error.status, error.code) == (429, "locked-out") else -1.0
    return 0.0


def test_many_rejects_lock_out_for_ever_longer() -> None:
    clock = Clock()
    lockout = Lockout(LIMITS, clock)
    waits = []
    for _ in range(4):
        for _ in range(20):
            lockout.note("camera", [reject(0.3)])
            assert not locked(lockout)
        lockout.note("camera", [accept(), reject(0.3)])
        waits.append(locked(lockout))
        assert not locked(lockout, "other")
        clock.now += waits[-1]
        assert not locked(lockout)
    assert waits == [30, 60, 100, 100]


def test_ever_higher_scores_lock_out_soon_even_between_accepted_faces() -> None:
    lockout = Lockout(LIMITS, Clock())
    for step in range(6):
        lockout.note("camera", [reject(0.1 + 0.01 * step), accept()])
        assert not locked(lockout)
    lockout.note("camera", [reject(0.2)])
    assert locked(lockout) == 30


def test_frames_of_one_visit_are_one_attempt_but_their_scores_are_watched() -> None:
    lockout = Lockout(LIMITS, Clock())
    for _ in range(20):
        for frame in range(5):
            lockout.note("camera", [reject(0.3)], again=frame > 0)
    assert not locked(lockout)
    for step in range(6):
        lockout.note("other", [reject(0.1 + 0.01 * step)], again=step > 0)
        assert not locked(lockout, "other")
    lockout.note("other", [reject(0.2)], again=True)
    assert locked(lockout, "other") == 30


def test_a_door_with_strangers_and_a_pause_is_not_locked_out() -> None:
    clock = Clock()
    lockout = Lockout(LIMITS, clock)
    for number in range(300):
        lockout.note("camera", [reject(0.2 + 0.01 * (number % 3))])
        lockout.note("camera", [Decision("no-decision", reasons=("no-face",))])
        clock.now += 5
        assert not locked(lockout)


def test_a_quiet_client_is_forgotten_and_the_table_is_bounded() -> None:
    clock = Clock()
    lockout = Lockout(LIMITS, clock, clients=10)
    for _ in range(21):
        lockout.note("camera", [reject(0.3)])
    assert locked(lockout) == 30
    clock.now += 200
    for _ in range(21):
        lockout.note("camera", [reject(0.3)])
    assert locked(lockout) == 30
    for number in range(50):
        lockout.check(f"client {number}")
    assert len(lockout._attempts) == 10


@pytest.mark.parametrize("pause", [0.0, 0.4, 1.0])
def test_the_rate_is_kept_on_average(pause: float) -> None:
    clock = Clock()
    limit = RateLimit(2.0, 5.0, clients=3, clock=clock)
    allowed = 0
    for _ in range(100):
        allowed += limit.wait("camera") == 0.0
        clock.now += pause
    assert allowed == pytest.approx(min(100, 5 + 200 * pause), abs=1)
