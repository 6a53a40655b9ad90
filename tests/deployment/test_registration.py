"""Registration of sites by public key, and certificates of operators."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.support.new_coordinator import content_of, new_public_key, written

from fedfr.core.errors import FedfrError
from fedfr.deployment.certificates import load_certificate
from fedfr.deployment.coordinator import Coordinator
from fedfr.deployment.sum_keys import make_sum_key


def test_a_registration_stores_the_public_key(coordinator: Coordinator, key: Path) -> None:
    place = coordinator.register("clinic-a", key)
    assert place == coordinator.folder / "sites" / "clinic-a.pub"
    assert place.read_bytes() == key.read_bytes()
    assert coordinator.sites() == {"clinic-a": place}
    assert (
        coordinator.register("b.2_c", written(key.parent / "b.pub", new_public_key(ec.SECP256R1()))).name == "b.2_c.pub"
    )
    assert [*coordinator.sites()] == ["b.2_c", "clinic-a"]


def test_ids_and_keys_are_registered_once(coordinator: Coordinator, key: Path) -> None:
    coordinator.register("clinic-a", key)
    before = content_of(coordinator.folder)
    commented = key.with_name("commented.pub")
    commented.write_text(f"{key.read_text('ascii').strip()} root@clinic-b\r\n", "ascii")
    for same in (key, commented):
        with pytest.raises(FedfrError, match=r"is already registered for clinic-a; every site needs its own key"):
            coordinator.register("clinic-b", same)
    with pytest.raises(FedfrError, match=r"clinic-a.pub exists already and is not replaced"):
        coordinator.register("clinic-a", written(key.with_name("other.pub"), new_public_key()))
    assert content_of(coordinator.folder) == before


def test_a_key_for_secure_sums_is_registered_with_the_site(coordinator: Coordinator, key: Path) -> None:
    """Also later, for a site that was registered without it; it is removed with the site."""
    coordinator.register("clinic-a", key)
    assert coordinator.sum_keys() == {}
    line = make_sum_key(key.parent)
    both = written(key.with_name("both.pub"), f"{key.read_text('ascii')}{line} root@clinic-a\n")
    assert coordinator.register("clinic-a", both) == coordinator.folder / "sites" / "clinic-a.sum"
    assert coordinator.sum_keys() == {"clinic-a": line}
    with pytest.raises(FedfrError, match=r"clinic-a.pub exists already and is not replaced"):
        coordinator.register("clinic-a", both)
    stolen = written(key.with_name("stolen.pub"), f"{new_public_key()}\n{line}\n")
    with pytest.raises(FedfrError, match=r"is already registered for clinic-a; every site needs its own key"):
        coordinator.register("clinic-b", stolen)
    coordinator.unregister("clinic-a")
    assert coordinator.register("clinic-b", stolen).read_text("ascii").count("\n") == 1
    assert coordinator.sum_keys() == {"clinic-b": line}


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc/x", "-x", "u\u0308", "a b", "a\n", "n" * 65])
def test_invalid_client_ids_are_refused(coordinator: Coordinator, key: Path, name: str) -> None:
    before = content_of(coordinator.folder.parent)
    with pytest.raises(FedfrError, match=r"is not a valid client id .*; use letters, digits"):
        coordinator.register(name, key)
    assert content_of(coordinator.folder.parent) == before


def _other_kinds() -> dict[str, Callable[[], str]]:
    def openssh(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> str:
        return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode("ascii")

    return {
        "RSA": lambda: openssh(rsa.generate_private_key(65537, 2048)),
        "Ed25519": lambda: openssh(ed25519.Ed25519PrivateKey.generate()),
        "two keys": lambda: f"{new_public_key()}\n{new_public_key()}\n",
        "three keys": lambda: f"{new_public_key()}\n{2 * (openssh(ed25519.Ed25519PrivateKey.generate()) + chr(10))}",
        "a key and more": lambda: f"{new_public_key()}\nrm -rf /\n",
        "more and a key": lambda: f"# the key\n{new_public_key()}\n",
        "nothing": lambda: "",
        "an empty line": lambda: "\n",
        "garbage": lambda: "no key at all",
        "another script": lambda: "ключ",
        "half": lambda: new_public_key()[:60],
        "a name without a key": lambda: "ecdsa-sha2-nistp384",
        "a certificate": lambda: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
    }


@pytest.mark.parametrize("kind", _other_kinds())
def test_files_other_than_one_public_key_are_refused(coordinator: Coordinator, tmp_path: Path, kind: str) -> None:
    path = written(tmp_path / "given.pub", _other_kinds()[kind]())
    with pytest.raises(FedfrError, match=r"; give the .pub file that `fedfr site init` created") as refused:
        coordinator.register("clinic-a", path)
    assert "\n" not in str(refused.value)
    assert coordinator.sites() == {}


def test_the_private_key_is_refused_and_not_copied(coordinator: Coordinator, key: Path) -> None:
    with pytest.raises(FedfrError, match=r"is not a public key; give the .pub file"):
        coordinator.register("clinic-a", key.with_suffix(""))
    assert all(b"OPENSSH PRIVATE" not in content for content in content_of(coordinator.folder).values())


def test_a_missing_key_file(coordinator: Coordinator, tmp_path: Path) -> None:
    with pytest.raises(FedfrError, match=r"cannot read the key .*none.pub: No such file or directory; check the path"):
        coordinator.register("clinic-a", tmp_path / "none.pub")
    with pytest.raises(FedfrError, match="Is a directory; check the path"):
        coordinator.register("clinic-a", tmp_path)


def test_an_operator_receives_one_certificate(coordinator: Coordinator) -> None:
    certificate = coordinator.admit("ada")
    assert load_certificate(certificate).issuer == load_certificate(coordinator.tls / "ca.crt").subject
    assert stat.S_IMODE(certificate.with_suffix(".key").stat().st_mode) == 0o600
    before = content_of(coordinator.folder)
    with pytest.raises(FedfrError, match=r"ada.crt exists already and is not replaced"):
        coordinator.admit("ada")
    for name in ("ca", "server", "../ada", "", "a/b", "two words"):
        with pytest.raises(FedfrError, match="is not a valid name for an operator"):
            coordinator.admit(name)
    assert content_of(coordinator.folder) == before
