"""Galleries shared by the tests of the service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.doors import Door
from tests.support.service_doors import Served, make_enrolled, served


@pytest.fixture(scope="session")
def enrolled_door(tmp_path_factory: pytest.TempPathFactory) -> Door:
    """A gallery with three people; tests use copies of it."""
    return make_enrolled(tmp_path_factory.mktemp("enrolled"))


@pytest.fixture(scope="session")
def unchanged_door(enrolled_door: Door, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A copy of the gallery, served to tests whose requests are all refused."""
    with served(enrolled_door, tmp_path_factory.mktemp("unchanged") / "door") as made:
        yield made
    assert made.state.budget.used == made.state.workers.active == 0


@pytest.fixture
def door(enrolled_door: Door, tmp_path: Path) -> Iterator[Served]:
    """A copy of the gallery, served."""
    with served(enrolled_door, tmp_path / "door") as made:
        yield made
