"""A generated benchmark in the layout of IJB-C."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.ijb_set import IjbSet, make_ijb


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> IjbSet:
    return make_ijb(tmp_path_factory.mktemp("Bän ke") / "IJBC")


@pytest.fixture
def copy(made: IjbSet, tmp_path: Path) -> IjbSet:
    """A copy of the benchmark that a test may damage."""
    shutil.copytree(made.folder, tmp_path / "IJBC")
    return replace(made, folder=tmp_path / "IJBC")
