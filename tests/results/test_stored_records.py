"""Stored results with a missing or wrong entry are refused in one line."""

from __future__ import annotations

from typing import Any

import pytest

from fedfr.core.errors import FedfrError
from fedfr.results.result_rows import Row
from fedfr.results.stored_records import records_of

WHOLE = Row("fedfr", 0, 1, "", "generic", "generic-1:1", "TAR@FAR=1e-3", None, 5, 10, "too few").to_dict()


def test_rows_are_read_as_they_were_written() -> None:
    assert [row.to_dict() for row in records_of(Row, [WHOLE, WHOLE], "file")] == [WHOLE, WHOLE]


@pytest.mark.parametrize(
    ("content", "entry"),
    [
        ([{name: value for name, value in WHOLE.items() if name != "value"}], "value"),
        ([WHOLE, {**WHOLE, "genuine": "many"}], "genuine"),
        ([WHOLE, 3], "one of all"),
        ({"rows": []}, "no list"),
    ],
)
def test_damaged_ones_are_refused(content: Any, entry: str) -> None:
    with pytest.raises(FedfrError, match=rf"^results/a.json is damaged: .*{entry}.* resume the run$"):
        records_of(Row, content, "results/a.json")
