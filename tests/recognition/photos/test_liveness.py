"""The liveness hook: found by name, and a check that does not work lets nobody pass."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.recognition.photos.liveness import is_living, load_check

FRAME, CROP = np.zeros((20, 30, 3), np.uint8), np.full((112, 112, 3), 9, np.uint8)
NOT_CALLABLE = 3


def dark(frame: NDArray[np.uint8], crop: NDArray[np.uint8]) -> bool:
    frame[:] = 255  # a copy: the decision is made with the original
    return bool(crop.mean() < 10)


def broken(frame: NDArray[np.uint8], crop: NDArray[np.uint8]) -> bool:
    raise RuntimeError("no camera")


def test_a_check_is_found_by_its_name_and_asked() -> None:
    check = load_check(f"{__name__}:dark")
    assert is_living(check, FRAME, CROP)
    assert not is_living(check, FRAME, CROP + 100)
    assert FRAME.max() == 0
    assert load_check("") is None
    assert is_living(None, FRAME, CROP)


@pytest.mark.parametrize("name", ["dark", f"{__name__}:missing", f"{__name__}:NOT_CALLABLE", "no_such_package:check"])
def test_a_check_that_cannot_be_used_is_refused(name: str) -> None:
    with pytest.raises(FedfrError, match="liveness check"):
        load_check(name)


@pytest.mark.parametrize("check", [broken, lambda frame, crop: None, lambda frame, crop: "yes"])
def test_a_check_that_fails_lets_nobody_pass(check: object) -> None:
    with pytest.raises(FedfrError, match="liveness check"):
        is_living(check, FRAME, CROP)  # type: ignore[arg-type]
