"""Decisions."""

from __future__ import annotations

import json

import pytest

from fedfr import FedfrError
from fedfr.recognition import REASONS, Decision, StrangersPassing


@pytest.mark.parametrize("outcome", ["reject", "no-decision"])
def test_only_an_accepted_face_has_a_name(outcome: str) -> None:
    for person in ({"person": "ada"}, {"person_id": "00ff"}):
        with pytest.raises(FedfrError, match="names a person; only an accepted face has a name"):
            Decision(outcome, **person)  # type: ignore[arg-type]


def test_json_explains_every_reason() -> None:
    passing = StrangersPassing(0.0, 0.01, 299, 1)
    found = Decision("reject", strangers_passing=passing, reasons=tuple(REASONS), box=(1.0, 2.0, 3.0, 4.0)).to_json()
    assert json.loads(json.dumps(found)) == found
    assert [reason["code"] for reason in found["reasons"]] == list(REASONS)
    assert all(reason["text"] and reason["advice"] for reason in found["reasons"])
    assert "1 person enrolled" in found["strangers_passing"]["text"]


def test_unknown_reasons_are_refused() -> None:
    with pytest.raises(FedfrError, match="has the reason 'tired'; allowed are unreadable, "):
        Decision("reject", reasons=("tired",))
