"""Measured tables in the documents are those of the newest results; every script that is listed exists."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def everything() -> ModuleType:
    spec = importlib.util.spec_from_file_location("all_benchmarks", FOLDER / "all.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_script_exists(everything: ModuleType) -> None:
    assert [name for name in everything.SCRIPTS if not (FOLDER / f"{name}.py").is_file()] == []


def test_tables_do_not_drift(everything: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without results there is no table; with them every document has the newest."""
    if not list((FOLDER / "results").glob("*.json")):
        assert everything.BEGIN not in (FOLDER.parent / "README.md").read_text(encoding="utf-8")
        return
    monkeypatch.syspath_prepend(str(FOLDER))
    for document, content in everything.contents().items():
        assert content in document.read_text(encoding="utf-8")
