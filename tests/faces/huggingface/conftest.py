"""The real library ``datasets``, kept from the network and from the user's cache."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def hf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The module ``datasets``, offline, silent, with a cache of its own."""
    if find_spec("datasets") is None:
        pytest.skip("datasets is not installed; pip install 'fedfr[dev]'")
    assert "datasets" not in sys.modules, "it reads its environment when imported"
    home: Path = tmp_path_factory.mktemp("hugging face")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
            patch.setenv(name, "1")
        patch.setenv("HF_HOME", str(home))
        import datasets

        datasets.disable_progress_bars()
        yield datasets
