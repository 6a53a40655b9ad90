"""The coordinator's folder: made whole or not at all, never overwritten, and exact about who may take part."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.tiny import tiny_config, tiny_faces

from fedfr.config import ExperimentConfig, load_config
from fedfr.deployment.agreement import Agreement
from fedfr.deployment.coordinator import Coordinator
from fedfr.deployment.secrets import make_node_key, make_signing_key, save_key
from fedfr.errors import FedfrError
from fedfr.faces import FaceSet


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def coordinator(tmp_path: Path) -> Coordinator:
    return Coordinator.init(tmp_path / "coordinator", ["fed.example.org", "192.0.2.7"], "hospitals", 9443, 9442)


def key(folder: Path, name: str) -> Path:
    save_key(folder / name, make_node_key())
    return folder / f"{name}.pub"


def config(folder: Path, *clients: str) -> ExperimentConfig:
    """A run of sites: tiny public faces, nobody else's."""
    made = tiny_config(folder)
    return load_config(
        None,
        [
            f"faces.path={made.faces.path}",
            "split.recipe=sites",
            f"split.settings.clients=[{','.join(clients)}]",
            "model.backbone=slimface",
            "pretrain.epochs=1",
            "pretrain.batch_size=8",
            "baselines=[]",
            "federation.rounds=1",
        ],
    )


def test_what_is_made_reads_back(coordinator: Coordinator) -> None:
    again = Coordinator.open(coordinator.folder)
    assert again == coordinator
    assert again.config.hosts == ("fed.example.org", "192.0.2.7")
    assert (again.config.name, again.config.port, again.config.inner_port) == ("hospitals", 9443, 9442)
    assert sorted(files(coordinator.folder)) == [
        "server.yaml",
        "tls/ca.crt",
        "tls/ca.key",
        "tls/server.crt",
        "tls/server.key",
    ]
    for name in ("ca.key", "server.key"):
        assert stat.S_IMODE((coordinator.tls / name).stat().st_mode) == 0o600


def test_made_again_it_makes_good_what_is_missing_and_replaces_nothing(coordinator: Coordinator) -> None:
    before = files(coordinator.folder)
    for name in ("server.crt", "server.key"):
        (coordinator.tls / name).unlink()
    Coordinator.init(coordinator.folder, ["another.example"], "another", 1, 2)
    after = files(coordinator.folder)
    assert after.keys() == before.keys()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"tls/server.crt", "tls/server.key"}


@pytest.mark.parametrize(
    ("hosts", "name", "ports", "reason"),
    [
        (["https://fed.example.org"], "x", (9443, 9442), "is neither a name nor an address"),
        ([], "x", (9443, 9442), "hosts"),
        (["h"], "../x", (9443, 9442), "give a name of letters, digits"),
        (["h"], "x", (9443, 9443), "and two ports"),
        (["h"], "x", (0, 9442), "port"),
    ],
)
def test_a_mistake_leaves_nothing_behind(
    tmp_path: Path, hosts: list[str], name: str, ports: tuple[int, int], reason: str
) -> None:
    with pytest.raises(FedfrError, match=reason):
        Coordinator.init(tmp_path / "coordinator", hosts, name, *ports)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(FedfrError, match="exists and is not empty; choose another place"):
        Coordinator.init(tmp_path, ["h"], "x", 9443, 9442)
    with pytest.raises(FedfrError, match=r"holds no server.yaml; make a coordinator with `fedfr server init"):
        Coordinator.open(tmp_path)
    assert files(tmp_path) == {"holiday.txt": b"mine"}


def test_a_path_that_nginx_cannot_be_told_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(FedfrError, match=r"nginx cannot be given the path .*use one without spaces"):
        Coordinator.init(tmp_path / "my coordinator", ["h"], "x", 9443, 9442)
    assert list(tmp_path.iterdir()) == []


def test_sites_are_registered_by_their_keys(coordinator: Coordinator, tmp_path: Path) -> None:
    coordinator.register("north", key(tmp_path, "a"))
    coordinator.register("south", key(tmp_path, "b"))
    assert list(coordinator.sites()) == ["north", "south"]
    assert coordinator.sites()["north"].read_bytes() == (tmp_path / "a.pub").read_bytes()
    with pytest.raises(FedfrError, match=r"north\.pub exists already and is not replaced"):
        coordinator.register("north", key(tmp_path, "c"))
    with pytest.raises(FedfrError, match=r"a.pub is the key of north already; every site makes a key of its own"):
        coordinator.register("east", tmp_path / "a.pub")
    with pytest.raises(FedfrError, match=r"'\.\./x' cannot be a site's id"):
        coordinator.register("../x", tmp_path / "c.pub")
    assert list(coordinator.sites()) == ["north", "south"]


def test_what_is_no_public_key_of_a_site_is_refused(coordinator: Coordinator, tmp_path: Path) -> None:
    good = key(tmp_path, "a").read_bytes()
    save_key(tmp_path / "signing", make_signing_key())
    another = rsa.generate_private_key(65537, 2048).public_key()
    kinds = {
        "private": (tmp_path / "a").read_bytes(),
        "ed25519": (tmp_path / "signing.pub").read_bytes(),
        "rsa": another.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        "empty": b"",
        "garbage": b"no key at all",
        "cut": good[:60],
        "two": good + good,
    }
    for name, content in kinds.items():
        (tmp_path / "given").write_bytes(content)
        with pytest.raises(FedfrError, match=r"given is (no public key|not one key of a NIST).*; give the \.pub file"):
            coordinator.register("north", tmp_path / "given")
        assert coordinator.sites() == {}, name
    with pytest.raises(FedfrError, match=r"cannot read the key .*nothing: No such file"):
        coordinator.register("north", tmp_path / "nothing")


def test_people_get_certificates_of_their_own(coordinator: Coordinator) -> None:
    assert coordinator.admit("ada").name == "ada.crt"
    for name in ("ca", "server", "../ada", ""):
        with pytest.raises(FedfrError, match="cannot be a person's name here"):
            coordinator.admit(name)
    with pytest.raises(FedfrError, match="exists already"):
        coordinator.admit("ada")


def test_a_run_needs_registered_sites(coordinator: Coordinator, tmp_path: Path) -> None:
    coordinator.register("north", key(tmp_path, "a"))
    with pytest.raises(FedfrError, match=r"south of run first are no registered sites.*\(registered: north\)"):
        coordinator.submit("first", config(tmp_path, "north", "south"))
    assert coordinator.submitted() == []
    coordinator.register("south", key(tmp_path, "b"))
    agreement = coordinator.submit("first", config(tmp_path, "north", "south"))
    assert Agreement.load(agreement).clients == ("north", "south")
    assert coordinator.submitted() == ["first"]
    # What sites need of the public faces is where the proxy gives it away, and is what was agreed on.
    (offered,) = (coordinator.proxy.folder / "public").iterdir()
    assert offered.name == Agreement.load(agreement).public == FaceSet.load(offered).fingerprint()
    assert FaceSet.load(offered).fingerprint() == tiny_faces().fingerprint()


def test_a_run_is_withdrawn_and_taken_up_again_with_the_same_agreement(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    coordinator.register("north", key(tmp_path, "a"))
    before = coordinator.submit("first", config(tmp_path, "north")).read_bytes()
    coordinator.withdraw("first")
    assert coordinator.submitted() == []
    assert coordinator.outcome("first") == "run first has ended"
    (coordinator.runs / "first" / "stopped.txt").write_text("round 3: the quorum is 2\n", encoding="utf-8")
    assert coordinator.outcome("first") == "run first stopped: round 3: the quorum is 2"
    assert coordinator.submit("first", None).read_bytes() == before
    assert coordinator.submitted() == ["first"]
    assert coordinator.outcome("first") == "run first has ended"


@pytest.mark.parametrize("name", ["../x", "", ".", "a/b", "-x", "x" * 65])
def test_a_run_has_a_plain_name(coordinator: Coordinator, tmp_path: Path, name: str) -> None:
    with pytest.raises(FedfrError, match="cannot be a run's name"):
        coordinator.submit(name, config(tmp_path, "north"))


def test_a_run_that_is_not_there(coordinator: Coordinator) -> None:
    with pytest.raises(FedfrError, match="holds no run"):
        coordinator.submit("first", None)
