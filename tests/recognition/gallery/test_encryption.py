"""Keys of galleries: files, passphrases, and records that are bound to their place."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from fedfr.core.errors import FedfrError
from fedfr.recognition.gallery.encryption import Cipher, DataKey, SiteKey


def test_a_record_opens_with_its_key_at_its_place_only(tmp_path: Path) -> None:
    key = DataKey.new(tmp_path)
    sealed = key.seal(b"content", "persons row 1")
    assert b"content" not in sealed
    assert sealed != key.seal(b"content", "persons row 1")
    assert key.open(sealed, "persons row 1") == b"content"
    wrong = [(sealed, "persons row 2"), (sealed[:-1], "persons row 1"), (b"", "persons row 1"), (None, "persons row 1")]
    wrong += [(bytes([*sealed[:20], sealed[20] ^ 1, *sealed[21:]]), "persons row 1")]
    for record, place in wrong:
        with pytest.raises(FedfrError, match=f"the record {place} was changed, moved or sealed with another key"):
            key.open(record, place)
    with pytest.raises(FedfrError, match="persons row 1"):
        Cipher(bytes(32), tmp_path).open(sealed, "persons row 1")


def test_a_passphrase_gives_the_key_and_is_not_stored(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    made = SiteKey.create(path, "caf\u00e9 horse")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "horse" not in path.read_text()
    assert SiteKey.read_id(path) == made.id
    # The same letters, composed of two signs each on other systems.
    again = SiteKey.open(path, "cafe\u0301 horse")
    wrapped = made.wrap(DataKey.new(tmp_path), "here")
    assert again.unwrap(wrapped, "here").key == made.unwrap(wrapped, "here").key
    with pytest.raises(FedfrError, match="wrong passphrase for the gallery"):
        SiteKey.open(path, "Caf\u00e9 horse")
    with pytest.raises(FedfrError, match="needs its passphrase"):
        SiteKey.open(path)
    with pytest.raises(FedfrError, match=r"has 5 characters; choose one of at least 8"):
        SiteKey.create(tmp_path / "other", "short")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    "change", [{"n": 1 << 30}, {"n": 2}, {"p": 10**6}, {"r": 1}, {"salt": ""}, {"id": "x"}, {"n": "a"}]
)
def test_costs_that_a_file_may_not_ask_for(change: dict[str, object], tmp_path: Path) -> None:
    """A changed file can neither take all memory nor make guessing cheap."""
    path = tmp_path / "site.key"
    content = {"format": "fedfr-site-key/1", "kdf": "scrypt", "n": 1 << 17, "r": 8, "p": 1}
    content |= {"salt": "00" * 16, "id": "00" * 16}
    path.write_text(json.dumps({**content, **change}))
    path.chmod(0o600)
    with pytest.raises(FedfrError, match=r"site.key is not the key of a gallery"):
        SiteKey.open(path, "correct horse")
