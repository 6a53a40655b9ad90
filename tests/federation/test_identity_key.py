"""Keyed hashes of identity names: equal for equal names, different for every client."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import pytest

from fedfr.core.errors import FedfrError
from fedfr.federation.identity_key import KEY, IdentityKey

NAMES = ("Ada", "Ada ", "ada", "Zo\u00eb", "Zoe\u0308", "\udcff", "")


def test_every_name_has_a_constant_hash(tmp_path: Path) -> None:
    texts = IdentityKey(tmp_path / "a").hash_names(NAMES)
    assert len(set(texts)) == len(NAMES)
    assert IdentityKey(tmp_path / "a").hash_names(NAMES[::-1]) == texts[::-1]
    assert all(len(text) == 32 and int(text, 16) >= 0 for text in texts)


def test_clients_have_different_hashes(tmp_path: Path) -> None:
    first, second = (IdentityKey(tmp_path / name) for name in ("a", "b"))
    assert not set(first.hash_names(NAMES)) & set(second.hash_names(NAMES))
    assert first.id != second.id
    plain = {hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32] for name in NAMES}
    assert not plain & set(first.hash_names(NAMES))


def test_the_key_is_private_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    key = IdentityKey(tmp_path)
    key.hash_names(NAMES)
    assert stat.S_IMODE((tmp_path / KEY).stat().st_mode) == 0o600
    (tmp_path / KEY).write_bytes(b"short")
    with pytest.raises(FedfrError, match=r"identities.key holds 5 bytes, a key has 32; restore the client's own key"):
        key.hash_names(NAMES)
