"""The coordinator's folder: what it is made of, what it takes, and that a mistake leaves it as it was."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.support.tiny_experiment import tiny_config, tiny_faces

from fedfr.config.schema import ExperimentConfig, SplitConfig
from fedfr.core.errors import FedfrError
from fedfr.deployment.agreement import Agreement
from fedfr.deployment.certificates import check_server_certificate, load_certificate
from fedfr.deployment.coordinator import Coordinator, CoordinatorConfig
from fedfr.deployment.secrets import make_node_key, public_line, save_key
from fedfr.deployment.state_files import STOPPED, SUBMITTED
from fedfr.faces import FaceSet


def files(folder: Path) -> dict[str, bytes]:
    """Content by name; folders as well, so that none is left behind unseen."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"folder"
        for path in sorted(folder.rglob("*"))
    }


def init(folder: Path, **changes: Any) -> Coordinator:
    given = {"hosts": ["fed.example.org", "192.0.2.7"], "name": "hospitals", "port": 9443, "inner_port": 9442}
    return Coordinator.init(folder, **{**given, **changes})


@pytest.fixture
def coordinator(tmp_path: Path) -> Coordinator:
    return init(tmp_path / "coordinator")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    save_key(tmp_path / "site.key", make_node_key())
    return tmp_path / "site.key.pub"


# The folder


def test_what_the_folder_holds(coordinator: Coordinator) -> None:
    made = {"server.yaml", "sites", "runs", "tls", "tls/ca.crt", "tls/ca.key", "tls/server.crt", "tls/server.key"}
    assert files(coordinator.folder).keys() == made
    for path in coordinator.tls.glob("*.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    server, authority = (load_certificate(coordinator.tls / f"{name}.crt") for name in ("server", "ca"))
    assert server.issuer == authority.subject
    assert coordinator.sites() == {}
    assert coordinator.submitted() == []


@pytest.mark.parametrize(
    ("name", "hosts"),
    [
        ("hospitals", ["fed.example.org", "192.0.2.7", "2001:db8::7"]),
        ("007", ["localhost"]),
        ("off", ["1e5", "null"]),
        ("n" * 64, [f"{'h' * 60}.{'x' * 60}.example"]),
        ("2026-01-02", ["*.example.org", "under_scored"]),
    ],
)
def test_the_commented_configuration_reads_back(tmp_path: Path, name: str, hosts: list[str]) -> None:
    folder = tmp_path / "made"
    made = init(folder, name=name, hosts=hosts, port=1443, inner_port=1442)
    text = (folder / "server.yaml").read_text("utf-8")
    assert sum(line.startswith("#") for line in text.splitlines()) >= 5
    assert Coordinator.open(folder).config == made.config
    assert made.config == CoordinatorConfig(name=name, hosts=tuple(hosts), port=1443, inner_port=1442)


def test_ipv6_is_written_with_or_without_brackets(tmp_path: Path) -> None:
    made = init(tmp_path / "made", hosts=["[2001:db8::7]", "::1", "fed.example.org"])
    assert Coordinator.open(made.folder).config.hosts == ("2001:db8::7", "::1", "fed.example.org")
    assert [str(address) for address in made.addresses] == ["[2001:db8::7]:9443", "[::1]:9443", "fed.example.org:9443"]
    check_server_certificate(made.tls, made.config.hosts)


def test_init_again_makes_good_what_is_missing_and_replaces_nothing(coordinator: Coordinator) -> None:
    before = files(coordinator.folder)
    assert init(coordinator.folder, name="others", hosts=["elsewhere"], port=1).config == coordinator.config
    assert files(coordinator.folder) == before
    (coordinator.folder / "sites").rmdir()
    for end in ("crt", "key"):
        (coordinator.tls / f"server.{end}").unlink()
    init(coordinator.folder)
    after = files(coordinator.folder)
    assert after.keys() == before.keys()
    assert {name for name in before if after[name] != before[name]} == {"tls/server.crt", "tls/server.key"}


def test_a_lost_authority_is_not_replaced_under_the_servers_certificate(coordinator: Coordinator) -> None:
    (coordinator.tls / "ca.crt").unlink()
    before = files(coordinator.folder)
    with pytest.raises(FedfrError, match=r"ca.crt is missing, .*; restore it from any site"):
        init(coordinator.folder)
    assert files(coordinator.folder) == before


def test_without_the_authoritys_key_all_but_new_certificates_goes_on(coordinator: Coordinator) -> None:
    """It is best kept off the machine."""
    (coordinator.tls / "ca.key").unlink()
    init(coordinator.folder)
    with pytest.raises(FedfrError, match="restore the authority's key"):
        coordinator.admit("ada")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": ""}, "name = ''"),
        ({"name": "two words"}, "give a name of letters, digits"),
        ({"name": "../up"}, "give a name of letters, digits"),
        ({"name": "n" * 65}, "give a name of letters, digits"),
        ({"hosts": []}, "server init: hosts = (): give a list of one or more values"),
        (
            {"hosts": ["fe80::1%eth0"]},
            "'fe80::1%eth0' has a zone, valid on one machine only; give a name or an address",
        ),
        ({"hosts": ["[::1]:9443"]}, "'[::1]:9443' is neither a name nor an address"),
        ({"hosts": ["300.1.1.1"]}, "'300.1.1.1' is neither a name nor an address"),
        ({"hosts": [""]}, "'' is neither a name nor an address"),
        ({"hosts": ["https://fed.example.org"]}, "is neither a name nor an address; give it without scheme and port"),
        ({"hosts": ["fed.example.org:9443"]}, "is neither a name nor an address"),
        ({"hosts": ["bücher.example"]}, "is neither a name nor an address"),
        ({"hosts": ["good.example", "it's"]}, "is neither a name nor an address"),
        ({"hosts": ["two\nlines"]}, "is neither a name nor an address"),
        ({"hosts": ["h" * 64]}, "is neither a name nor an address"),
        ({"port": 0}, "server init: port = 0: give a whole number of at least 1 and at most 65535"),
        ({"port": 65536}, "server init: port = 65536"),
        ({"inner_port": -1}, "server init: inner_port = -1"),
        ({"inner_port": 9443}, "two different ports"),
    ],
)
@pytest.mark.parametrize("existed", [True, False])
def test_a_mistake_is_one_line_and_leaves_the_folder_as_it_was(
    tmp_path: Path, given: dict[str, Any], said: str, existed: bool
) -> None:
    folder = tmp_path / "coordinator"
    if existed:
        folder.mkdir()
    with pytest.raises(FedfrError) as refused:
        init(folder, **given)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert files(tmp_path) == ({"coordinator": b"folder"} if existed else {})


def test_a_path_that_nginx_cannot_be_told_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(FedfrError, match="use one without spaces, quotes and braces"):
        init(tmp_path / "two words")
    assert files(tmp_path) == {}


def test_a_folder_with_anything_else_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for path in (tmp_path / "mine" / "letter.txt", tmp_path / "file"):
        path.write_text("mine")
    before = files(tmp_path)
    for name in ("mine", "file"):
        with pytest.raises(FedfrError, match="exists and is not an empty folder; choose another folder"):
            init(tmp_path / name)
    with pytest.raises(FedfrError, match=r"cannot write .*Not a directory"):
        init(tmp_path / "file" / "below")
    assert files(tmp_path) == before


def test_a_disk_that_is_full_in_between_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        raise FedfrError(f"cannot write {path}: No space left on device; free space")

    monkeypatch.setattr("fedfr.deployment.coordinator.write_atomically", full)
    with pytest.raises(FedfrError, match="No space left"):
        init(tmp_path / "coordinator")
    assert files(tmp_path) == {}


def test_nothing_is_opened_where_nothing_is(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nobody"):
        with pytest.raises(FedfrError, match=r"holds no server.yaml; create a coordinator with `fedfr server init"):
            Coordinator.open(folder)
    assert files(tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hosts: [a", "is not readable YAML"),
        ("[]", "it must be a mapping of settings"),
        ("hosts: []", "hosts = []: give a list of one or more values"),
        ("hosts: a", "hosts = 'a': give a list, for example [a]"),
        ("hosts: [a]\nports: 3", "unknown setting 'ports'; known here: name, hosts, port, inner_port"),
        ("hosts: [a]\nport: many", "port = 'many': give a whole number of at least 1 and at most 65535"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_one_line(coordinator: Coordinator, text: str, said: str) -> None:
    (coordinator.folder / "server.yaml").write_text(text, "utf-8")
    uses: list[Callable[[Path], Coordinator]] = [Coordinator.open, init]
    for use in uses:
        with pytest.raises(FedfrError) as refused:
            use(coordinator.folder)
        assert said in str(refused.value)
        assert "\n" not in str(refused.value)


# Sites and people


def test_a_registered_site_is_known_by_its_key(coordinator: Coordinator, key: Path) -> None:
    place = coordinator.register("clinic-a", key)
    assert place == coordinator.folder / "sites" / "clinic-a.pub"
    assert place.read_bytes() == key.read_bytes()
    assert coordinator.sites() == {"clinic-a": place}
    assert coordinator.register("b.2_c", _line(key.parent / "b.pub", _new(ec.SECP256R1()))).name == "b.2_c.pub"
    assert [*coordinator.sites()] == ["b.2_c", "clinic-a"]


def test_one_id_for_a_key_and_one_key_for_an_id(coordinator: Coordinator, key: Path) -> None:
    coordinator.register("clinic-a", key)
    before = files(coordinator.folder)
    commented = key.with_name("commented.pub")
    commented.write_text(f"{key.read_text('ascii').strip()} root@clinic-b\r\n", "ascii")
    for same in (key, commented):
        with pytest.raises(FedfrError, match=r"is already registered for clinic-a; every site needs its own key"):
            coordinator.register("clinic-b", same)
    with pytest.raises(FedfrError, match=r"clinic-a.pub exists already and is not replaced"):
        coordinator.register("clinic-a", _line(key.with_name("other.pub"), _new(ec.SECP384R1())))
    assert files(coordinator.folder) == before


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc/x", "-x", "u\u0308", "a b", "a\n", "n" * 65])
def test_ids_that_are_none(coordinator: Coordinator, key: Path, name: str) -> None:
    before = files(coordinator.folder.parent)
    with pytest.raises(FedfrError, match=r"is not a valid client id .*; use letters, digits"):
        coordinator.register(name, key)
    assert files(coordinator.folder.parent) == before


def _new(curve: ec.EllipticCurve) -> str:
    return public_line(ec.generate_private_key(curve))


def _line(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def _other_kinds() -> dict[str, Callable[[], str]]:
    def openssh(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> str:
        return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode("ascii")

    return {
        "RSA": lambda: openssh(rsa.generate_private_key(65537, 2048)),
        "Ed25519": lambda: openssh(ed25519.Ed25519PrivateKey.generate()),
        "two keys": lambda: f"{_new(ec.SECP384R1())}\n{_new(ec.SECP384R1())}\n",
        "a key and more": lambda: f"{_new(ec.SECP384R1())}\nrm -rf /\n",
        "more and a key": lambda: f"# the key\n{_new(ec.SECP384R1())}\n",
        "nothing": lambda: "",
        "an empty line": lambda: "\n",
        "garbage": lambda: "no key at all",
        "another script": lambda: "ключ",
        "half": lambda: _new(ec.SECP384R1())[:60],
        "a name without a key": lambda: "ecdsa-sha2-nistp384",
        "a certificate": lambda: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
    }


@pytest.mark.parametrize("kind", _other_kinds())
def test_anything_but_one_key_of_a_site_is_refused(coordinator: Coordinator, tmp_path: Path, kind: str) -> None:
    path = _line(tmp_path / "given.pub", _other_kinds()[kind]())
    with pytest.raises(FedfrError, match=r"; give the .pub file that `fedfr site init` created") as refused:
        coordinator.register("clinic-a", path)
    assert "\n" not in str(refused.value)
    assert coordinator.sites() == {}


def test_the_private_key_is_refused_and_not_copied(coordinator: Coordinator, key: Path) -> None:
    with pytest.raises(FedfrError, match=r"is not a public key; give the .pub file"):
        coordinator.register("clinic-a", key.with_suffix(""))
    assert all(b"OPENSSH PRIVATE" not in content for content in files(coordinator.folder).values())


def test_a_key_that_is_not_there(coordinator: Coordinator, tmp_path: Path) -> None:
    with pytest.raises(FedfrError, match=r"cannot read the key .*none.pub: No such file or directory; check the path"):
        coordinator.register("clinic-a", tmp_path / "none.pub")
    with pytest.raises(FedfrError, match="Is a directory; check the path"):
        coordinator.register("clinic-a", tmp_path)


def test_a_person_gets_a_certificate_once(coordinator: Coordinator) -> None:
    certificate = coordinator.admit("ada")
    assert load_certificate(certificate).issuer == load_certificate(coordinator.tls / "ca.crt").subject
    assert stat.S_IMODE(certificate.with_suffix(".key").stat().st_mode) == 0o600
    before = files(coordinator.folder)
    with pytest.raises(FedfrError, match=r"ada.crt exists already and is not replaced"):
        coordinator.admit("ada")
    for name in ("ca", "server", "../ada", "", "a/b", "two words"):
        with pytest.raises(FedfrError, match="is not a valid name for an operator"):
            coordinator.admit(name)
    assert files(coordinator.folder) == before


# Runs


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Public faces and those of people nobody trains on."""
    tiny_faces(6, 5).save(tmp_path / "faceset")
    return tmp_path


def config_for(faces: Path, *more: str, clients: tuple[str, ...] = ("clinic-a", "clinic-b")) -> ExperimentConfig:
    split = SplitConfig(recipe="sites", settings={"clients": list(clients), "generic_identities": 2})
    return tiny_config(faces, *more).model_copy(update={"split": split})


@pytest.fixture
def ready(coordinator: Coordinator, tmp_path: Path) -> Coordinator:
    for client in ("clinic-a", "clinic-b"):
        coordinator.register(client, _line(tmp_path / f"{client}.pub", _new(ec.SECP384R1())))
    return coordinator


def test_a_new_run_with_its_agreement_and_the_public_faces(ready: Coordinator, faces: Path) -> None:
    path = ready.submit("first", config_for(faces))
    assert path == ready.runs / "first" / "agreement.yaml"
    agreement = Agreement.load(path)
    assert agreement.clients == ("clinic-a", "clinic-b")
    assert ready.submitted() == ["first"]
    (offered,) = (ready.proxy.folder / "public").iterdir()
    assert offered.name == agreement.public
    public = FaceSet.load(offered)
    assert public.fingerprint() == agreement.public
    assert public.num_identities == 4
    # nginx reads them as a user of its own.
    assert {stat.S_IMODE(file.stat().st_mode) for file in offered.iterdir()} == {0o644}
    assert stat.S_IMODE(offered.stat().st_mode) == 0o755


def test_a_run_is_gone_on_with_under_the_same_agreement(ready: Coordinator, faces: Path) -> None:
    first = ready.submit("first", config_for(faces)).read_bytes()
    ready.withdraw("first")
    assert ready.submitted() == []
    (ready.runs / "first" / STOPPED).write_text("below the quorum\n", "utf-8")
    assert ready.outcome("first") == "run first stopped: below the quorum"
    for config in (None, config_for(faces)):
        assert ready.submit("first", config).read_bytes() == first
    assert ready.submitted() == ["first"]
    assert ready.outcome("first") == "run first has ended"
    assert json.loads((ready.runs / "first" / SUBMITTED).read_bytes())["place"] == 1


def test_a_run_of_another_configuration_is_another_run(ready: Coordinator, faces: Path) -> None:
    ready.submit("first", config_for(faces))
    ready.withdraw("first")
    before = files(ready.folder)
    with pytest.raises(FedfrError, match=r"was begun with federation.rounds = 2, not 3"):
        ready.submit("first", config_for(faces, "federation.rounds=3"))
    assert files(ready.folder) == before


def test_a_client_without_a_key_is_named_and_a_mended_run_can_be_made(
    coordinator: Coordinator, faces: Path, key: Path
) -> None:
    coordinator.register("clinic-a", key)
    before = files(coordinator.folder)
    said = r"clinic-b of run first are not registered \(registered: clinic-a\); register their keys with `fedfr server"
    with pytest.raises(FedfrError, match=said):
        coordinator.submit("first", config_for(faces))
    assert files(coordinator.folder) == before
    mended = coordinator.submit("first", config_for(faces, clients=("clinic-a",)))
    assert Agreement.load(mended).clients == ("clinic-a",)


def test_a_key_that_is_gone_keeps_a_run_from_going_on_but_loses_nothing(ready: Coordinator, faces: Path) -> None:
    ready.submit("first", config_for(faces))
    ready.withdraw("first")
    ready.sites()["clinic-b"].unlink()
    before = files(ready.folder)
    with pytest.raises(FedfrError, match="clinic-b of run first are not registered"):
        ready.submit("first", None)
    assert files(ready.folder) == before


def test_a_method_that_pools_the_faces_is_refused(ready: Coordinator, faces: Path) -> None:
    before = files(ready.folder)
    with pytest.raises(
        FedfrError, match="centralized needs all faces in one place, but sites keep theirs; choose another method"
    ):
        ready.submit("first", config_for(faces, "method.name=centralized"))
    assert files(ready.folder) == before


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc", "-x", "a b", "x\n", "n" * 65])
def test_names_that_no_run_has(ready: Coordinator, name: str) -> None:
    victim = ready.folder / "x" / SUBMITTED
    victim.parent.mkdir()
    victim.write_bytes(b"")
    before = files(ready.folder.parent)
    with pytest.raises(FedfrError, match="is not a valid name for a run; give letters, digits"):
        ready.submit(name, None)
    with pytest.raises(FedfrError, match="there is no run"):
        ready.withdraw(name)
    assert files(ready.folder.parent) == before


def test_a_run_that_was_never_made(ready: Coordinator, faces: Path) -> None:
    with pytest.raises(FedfrError, match=r"there is no run second in .*runs; give a configuration to create it"):
        ready.submit("second", None)
    ready.submit("first", config_for(faces))
    with pytest.raises(FedfrError, match=r"there is no run 'second' in .*runs; existing runs: first"):
        ready.withdraw("second")
    assert ready.submitted() == ["first"]


def test_the_agreement_can_be_read_by_people(ready: Coordinator, faces: Path) -> None:
    content = yaml.safe_load(ready.submit("first", config_for(faces)).read_text("utf-8"))
    assert content["method"]["name"] == "fedfr"
    assert content["rounds"] == 2
