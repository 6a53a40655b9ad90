"""Private keys: creation, file modes, and errors for unusable ones."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.support.new_coordinator import written

from fedfr.core.errors import FedfrError
from fedfr.core.secret_files import write_secret
from fedfr.deployment.public_keys import key_fingerprint
from fedfr.deployment.secrets import load_key, make_node_key, public_line, save_key
from fedfr.deployment.sum_keys import make_sum_key


def test_a_key_is_read_back_and_private(tmp_path: Path) -> None:
    key, path = make_node_key(), tmp_path / "site.key"
    save_key(path, key)
    assert public_line(load_key(path)) == public_line(key)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    public = (tmp_path / "site.key.pub").read_text("ascii")
    assert public == public_line(key) + "\n"
    assert public.startswith("ecdsa-sha2-nistp384 ")
    assert "PRIVATE" not in public


@pytest.mark.skipif(
    shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed; apt install openssh-client"
)
def test_openssh_reads_the_key(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    save_key(path, make_node_key())
    told = subprocess.run(["ssh-keygen", "-y", "-f", str(path)], capture_output=True, text=True, check=True)
    assert told.stdout == path.with_name("site.key.pub").read_text("ascii")
    line = make_sum_key(tmp_path)
    sums = written(tmp_path / "line.pub", line)
    told = subprocess.run(["ssh-keygen", "-l", "-f", str(sums)], capture_output=True, text=True, check=True)
    assert told.stdout.split()[1] == key_fingerprint(line)
    told = subprocess.run(
        ["ssh-keygen", "-y", "-f", str(tmp_path / "sum.key")], capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == line.split() == make_sum_key(tmp_path).split()


def test_keys_are_unique() -> None:
    assert public_line(make_node_key()) != public_line(make_node_key())


def test_secret_files_are_private_while_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checked while the file is moved to its name: a key that was readable for a moment may have been read."""
    seen: list[int] = []
    replace = Path.replace

    def look(self: Path, target: Path) -> Path:
        seen.append(stat.S_IMODE(self.stat().st_mode))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", look)
    write_secret(tmp_path / "s", b"secret")
    assert seen == [0o600]


def test_existing_files_are_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    save_key(path, make_node_key())
    before = path.read_bytes()
    with pytest.raises(FedfrError, match="exists already and is not replaced"):
        save_key(path, make_node_key())
    path.rename(tmp_path / "moved")
    with pytest.raises(FedfrError, match=r"site.key.pub exists already"):
        save_key(path, make_node_key())
    assert not path.exists()
    assert (tmp_path / "moved").read_bytes() == before


def test_unusable_keys_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    with pytest.raises(FedfrError, match=r"cannot read the key .*site.key: No such file"):
        load_key(path)
    save_key(path, make_node_key())
    path.chmod(0o640)
    with pytest.raises(FedfrError, match="is readable by other users; chmod 600 it"):
        load_key(path)
    path.chmod(0o600)
    whole = path.read_bytes()
    for damaged in (b"", b"no key", whole[:200], whole.replace(b"OPENSSH", b"RSA")):
        path.write_bytes(damaged)
        with pytest.raises(FedfrError, match="is not an OpenSSH private key"):
            load_key(path)
    other = rsa.generate_private_key(65537, 2048)
    path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    with pytest.raises(FedfrError, match=r"holds a .*RSA.*; give a key that fedfr created"):
        load_key(path)
