"""Folders of external test data; tests that need missing data are skipped with a message."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from fedfr.core.threads import let_threads_sleep

ROOT = Path(__file__).resolve().parents[1]

# How long an example takes depends on what else the machine is doing.
settings.register_profile("fedfr", deadline=None)
settings.load_profile("fedfr")

# Before anything loads PyTorch: tests run beside each other.
let_threads_sleep(os.environ)

# pytest-xdist sets the width of its workers' terminal; without a terminal, output is not to depend on it.
os.environ.pop("COLUMNS", None)

# Processes that tests start import backbones and other helpers from `tests`, too.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))

# Before anything loads `datasets`, which reads its environment once: offline, with a cache of this process alone.
_CACHE = Path(tempfile.gettempdir()) / f"fedfr-tests-{os.getpid()}"
os.environ |= dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"), "1")
os.environ["HF_HOME"] = str(_CACHE)


def pytest_sessionfinish() -> None:
    """Remove the cache."""
    shutil.rmtree(_CACHE, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def _no_power_failures() -> Iterator[None]:
    """Files are not flushed to disk: no test loses power, and half of a small run would be waiting.

    Tests of durability record the calls, and processes that tests start flush.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


SHARED = Path(__file__).resolve().parents[2] / "shared"


def _beside(variable: str, folder: str) -> Path:
    path = Path(os.environ.get(variable, SHARED / folder))
    if not path.is_dir():
        pytest.skip(f"{path} is not there; set {variable} to the folder with the {folder}")
    return path


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    """Numbers of the original implementation."""
    return _beside("FEDFR_REFERENCE_DIR", "reference")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real faces."""
    return _beside("FEDFR_DATA_DIR", "data")


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """Real weights."""
    return _beside("FEDFR_MODELS_DIR", "models")
