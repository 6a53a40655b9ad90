"""Files that only their owner can read: a removed secret is overwritten first."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedfr.core.errors import WriteError
from fedfr.core.secret_files import erase_secret, write_secret


def test_an_erased_secret_is_overwritten_where_it_was(tmp_path: Path) -> None:
    write_secret(tmp_path / "secret", b"seed" * 100)
    (tmp_path / "same file").hardlink_to(tmp_path / "secret")
    erase_secret(tmp_path / "secret")
    assert not (tmp_path / "secret").exists()
    assert (tmp_path / "same file").read_bytes() == bytes(400)
    erase_secret(tmp_path / "secret")


def test_what_cannot_be_erased_is_said(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="cannot erase"):
        erase_secret(tmp_path)
