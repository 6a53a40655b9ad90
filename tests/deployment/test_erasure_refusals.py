"""The command, its receipt, and withdrawals that are refused before anything is erased."""

from __future__ import annotations

import json
import resource
import shutil
from pathlib import Path

import pytest
from tests.support.galleries import photos
from tests.support.kill_steps import contents, error_in_child, found_in
from tests.support.withdrawals import PEOPLE, WHO, WithdrawalSite, no_passphrase
from typer.testing import CliRunner

from fedfr.cli.main import app
from fedfr.core.errors import FedfrError
from fedfr.core.locks import locked
from fedfr.deployment.erasure.execution import forget_person
from fedfr.deployment.erasure.receipt import Receipt
from fedfr.deployment.erasure.search import Request
from fedfr.faces import FaceSet
from fedfr.recognition.gallery.gallery import Gallery


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("withdrawal")
    WithdrawalSite.make(folder)
    return folder


@pytest.fixture
def site(made: Path, tmp_path: Path) -> WithdrawalSite:
    shutil.copytree(made, tmp_path / "work")
    return WithdrawalSite(tmp_path / "work" / "site")


def test_names_that_look_the_same_are_asked_about(tmp_path: Path) -> None:
    site = WithdrawalSite.make(tmp_path, ("Bo Reed", WHO, "ZOË_Quill", "Zoë Quillon"))
    everything = contents(site.folder)
    with pytest.raises(FedfrError, match=r"2 identities in .*faces look like 'Zoë Quill'.*--alike .*--exact"):
        forget_person(site.file, Request(WHO), no_passphrase)
    assert {name: value for name, value in contents(site.folder).items() if not name.endswith(".lock")} == everything
    forget_person(site.file, Request(WHO, "exact"), no_passphrase)
    assert FaceSet.load(site.folder / "faces").identities == ("Bo Reed", "ZOË_Quill", "Zoë Quillon")
    forget_person(site.file, Request(WHO, "alike"), no_passphrase)
    assert FaceSet.load(site.folder / "faces").identities == ("Bo Reed", "Zoë Quillon")


def test_a_running_site_is_not_touched(site: WithdrawalSite) -> None:
    everything = contents(site.folder)
    for place in (site.folder, site.stores()[0].folder):
        with locked(place), pytest.raises(FedfrError, match=r"is running .* stop it, repeat the command"):
            forget_person(site.file, Request(WHO), no_passphrase)
    changed = {name for name, content in contents(site.folder).items() if everything.get(name) != content}
    assert all(name.endswith(".lock") for name in changed)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("site/private/*/private-000004.safetensors", "cannot be read"),
        ("site/private/*/identities.key", "a key has 32"),
        ("door/gallery.db", "cannot be searched"),
        ("site/faces/columns.dat", "faces.json says"),
    ],
)
def test_what_cannot_be_read_stops_the_erasure_before_it_begins(
    site: WithdrawalSite, damage: str, message: str
) -> None:
    for path in site.folder.parent.glob(damage):
        path.write_bytes(path.read_bytes()[:10])
    kept = found_in(site.folder.parent, {"name": WHO.encode()})
    with pytest.raises(FedfrError, match=message) as caught:
        forget_person(site.file, Request(WHO), no_passphrase)
    assert "\n" not in str(caught.value)
    assert found_in(site.folder.parent, {"name": WHO.encode()}) == kept
    assert not (site.folder / "private" / "erasure.json").exists()


def test_a_full_disk_stops_the_erasure_before_it_begins(site: WithdrawalSite, tmp_path: Path) -> None:
    everything = contents(site.folder)

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        forget_person(site.file, Request(WHO), no_passphrase)

    assert "cannot write" in error_in_child(limited, tmp_path / "error")
    assert {name: value for name, value in contents(site.folder).items() if not name.endswith(".lock")} == everything
    # When the journal is written, or later, the next call finishes it.
    forget_person(site.file, Request(WHO), no_passphrase)


@pytest.mark.parametrize(
    "change",
    [
        {"removed": None},
        {"removed": {"face_sets": [], "list_entries": 0, "private_states": [{"agreement": ""}], "galleries": []}},
        {"remedy": "hope"},
        {"remains": [{"what": "\x1b[2J"}]},
        {"person": "\x1b[2J"},
        {"person": "\ud800"},
        {"completed": float("nan")},
        {"version": 2},
    ],
)
def test_a_receipt_that_is_none_is_refused(site: WithdrawalSite, change: dict[str, object]) -> None:
    receipt = forget_person(site.file, Request(WHO), no_passphrase)
    path = site.folder / "receipts" / f"{receipt.content['person']}.json"
    path.write_text(json.dumps({**receipt.content, **change}))
    with pytest.raises(FedfrError, match=r"missing or invalid entry|is not the receipt of an erasure") as caught:
        Receipt.load(path)
    assert "\n" not in str(caught.value)


def test_a_gallery_with_a_passphrase(site: WithdrawalSite, tmp_path: Path) -> None:
    """Without the passphrase nothing begins; if the process is killed, the site does not start without it."""
    with Gallery.open(site.door) as gallery:
        gallery.rekey("open sesame")
    with pytest.raises(FedfrError, match="cannot be searched"):
        forget_person(site.file, Request(WHO), no_passphrase)
    assert FaceSet.load(site.folder / "faces").identities == PEOPLE
    (tmp_path / "words").write_text("open sesame\n")
    (tmp_path / "words").chmod(0o600)
    options = ["site", "forget", str(site.folder), WHO, "--passphrase-file", str(tmp_path / "words")]
    assert CliRunner().invoke(app, options).exit_code == 0
    with Gallery.open(site.door, "open sesame") as gallery:
        assert [person.name for person in gallery.persons()] == ["Bo Reed"]
        gallery.add_person("Ed Late", photos(1, 9))


def test_command_and_receipt(site: WithdrawalSite, tmp_path: Path) -> None:
    def call(*arguments: str) -> str:
        answer = CliRunner().invoke(app, ["site", *arguments])
        assert answer.exit_code == 0, answer.exception
        return answer.stdout

    shown = json.loads(call("forget", str(site.folder), WHO, "--dry-run", "--json"))
    assert shown["face_sets"] == {str(site.folder / "faces"): 3, str(site.folder / "earlier" / "copy"): 3}
    assert found_in(site.folder / "faces", {"name": WHO.encode()})
    printed = call("forget", str(site.folder), WHO, "--remedy", "retrain")
    (path,) = (site.folder / "receipts").glob("*.json")
    assert f"{WHO} is {path.stem} in it" in printed
    assert "all states of first" in printed
    checked = call("receipt", str(path), "--key", str(site.folder / "site.key.pub"))
    assert "the signature is that of the site" in checked
    content = json.loads(path.read_text())
    content["removed"]["list_entries"] = 99
    (tmp_path / "forged.json").write_text(json.dumps(content))
    for arguments, message in (
        (["receipt", str(tmp_path / "forged.json")], "its signature is wrong"),
        (["receipt", str(site.file)], "is not readable JSON"),
        (["forget", str(site.folder)], "no interrupted erasure"),
        (["forget", str(site.folder), " "], "the name is empty"),
        (["forget", str(site.folder), "Bo Reed", "--alike", "--exact"], "give one of them"),
        (["forget", str(site.folder), "Bo Reed", "--remedy", "hope"], "give one of retrain, note"),
        (["forget", str(site.folder), "Bo Reed", "--faces", str(tmp_path)], "is no face set"),
    ):
        answer = CliRunner().invoke(app, ["site", *arguments])
        assert isinstance(answer.exception, FedfrError)
        assert message in str(answer.exception)
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    answer = CliRunner().invoke(app, ["site", "forget", str(tmp_path), WHO])
    assert "nobody can withdraw from it alone" in str(answer.exception)
