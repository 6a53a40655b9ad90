"""Fixtures of tests that import photographs."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.photograph_files import (
    landmarks_file,
    people,
)
from tests.support.photograph_imports import COUNTS


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with ``in``, twelve photographs of three people, and ``points.tsv``."""
    place = tmp_path / "plâce with spaces"
    place.mkdir()
    landmarks_file(place / "points.tsv", people(place / "in", COUNTS))
    return place
