"""A person withdraws from a site: everything is erased or nothing, and the receipt says what remains."""

from __future__ import annotations

import json
import os
import shutil
from functools import partial
from pathlib import Path

import pytest
from tests.support.deployment_folders import edit
from tests.support.galleries import photos
from tests.support.kill_steps import contents, found_in, killed_at_every_step, killed_at_step
from tests.support.withdrawals import PEOPLE, WHO, WithdrawalSite, check_erased, enrolled, no_passphrase, private_state

from fedfr.core.errors import FedfrError
from fedfr.deployment.agreement import Agreement
from fedfr.deployment.checks import check_site
from fedfr.deployment.erasure.execution import finish_erasure, forget_person
from fedfr.deployment.erasure.receipt import Receipt
from fedfr.deployment.erasure.search import Request
from fedfr.deployment.site import Site
from fedfr.deployment.site_exports import record_export
from fedfr.deployment.site_service import run_site
from fedfr.faces import FaceSet, Split
from fedfr.recognition.gallery.gallery import Gallery

# Of the steps at which the process is killed; 1 tries every one, which takes minutes.
STRIDE = int(os.environ.get("FEDFR_KILL_STRIDE", "23"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("withdrawal")
    WithdrawalSite.make(folder)
    return folder


@pytest.fixture
def site(made: Path, tmp_path: Path) -> WithdrawalSite:
    shutil.copytree(made, tmp_path / "work")
    return WithdrawalSite(tmp_path / "work" / "site")


def test_nothing_of_the_person_is_found_afterwards(site: WithdrawalSite) -> None:
    person = enrolled(site.door)
    traces = site.traces(person)
    assert {what for what, _ in found_in(site.folder.parent, traces)} >= traces.keys() - {"escaped name"}
    before = {name: FaceSet.load(site.folder / "faces").images(rows) for name, rows in (("Bo Reed", [0, 1, 2]),)}
    # Look-alike spelling: other letters, an underscore, another normal form.
    receipt = forget_person(site.file, Request("zoe\u0308_QUILL"), no_passphrase)
    check_erased(site, traces)
    kept = FaceSet.load(site.folder / "faces")
    assert (kept.images([0, 1, 2]) == before["Bo Reed"]).all()
    assert (site.folder / "faces" / "skipped.csv").read_text() == "image,reason\nBo Reed/8.jpg,small\n"
    assert json.loads((site.folder / "faces" / "excluded.json").read_text())["lost_identities"] == []
    pseudonym = receipt.content["person"]
    assert f"/photos/{pseudonym}/9.jpg" in (site.folder / "debug.log.1").read_text()
    assert json.loads((site.folder / "log.jsonl").read_text())["level"] == "error"
    removed = receipt.content["removed"]
    assert [(each["folder"], each["images"], each["of"]) for each in removed["face_sets"]] == [
        ("faces", 3, 12),
        ("earlier/copy", 3, 6),
    ]
    facts = ("run", "states", "first_round", "last_round")
    assert [[each[name] for name in facts] for each in removed["private_states"]] == [["", 1, 2, 2], ["first", 2, 1, 4]]
    assert removed["galleries"] == [{"folder": str(site.door), "photos": 2, "crops": 2}]
    # 2 of skipped.csv, 1 of the copy beside it, and of excluded.json an image and a lost identity.
    assert removed["list_entries"] == 4
    text = receipt.text()
    assert "trained with the person's images" in text
    for end in (".json", ".txt"):
        assert "quill" not in (site.folder / "receipts" / f"{pseudonym}{end}").read_text().casefold()
    # Again: nobody has the name any more.
    everything = contents(site.folder)
    with pytest.raises(FedfrError, match=r"nobody called 'Zoë Quill' is at this site"):
        forget_person(site.file, Request(WHO), no_passphrase)
    assert contents(site.folder) == everything


@pytest.mark.parametrize("remedy", ["note", "retrain"])
def test_killed_at_every_step(made: Path, tmp_path: Path, remedy: str) -> None:
    """After a kill, the site takes no part in training until the erasure is finished; then nothing is left."""
    work = tmp_path / "work"
    site, request = WithdrawalSite(work / "site"), Request(WHO, remedy="retrain" if remedy == "retrain" else None)
    traces = WithdrawalSite(made / "site").traces(enrolled(made / "door"))

    def prepare() -> None:
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(made, work)

    finished = 0
    operate = partial(forget_person, site.file, request, no_passphrase)
    for step in killed_at_every_step(prepare, operate, STRIDE):
        begun = (site.folder / "private" / "erasure.json").exists()
        if begun:
            with pytest.raises(FedfrError, match="the erasure of a person was interrupted"):
                Site.open(site.file)
            # Killed once more, while it is finished.
            if killed_at_step(step % 41 + 1, partial(finish_erasure, site.file)):
                finish_erasure(site.file)
            finished += 1
        elif not any((site.folder / "receipts").glob("*.json")):
            # Before the journal, nothing was erased.
            assert FaceSet.load(site.folder / "faces").identities == PEOPLE, step
            assert enrolled(site.door)
            forget_person(site.file, request, no_passphrase)
        check_erased(site, traces)
        (receipt,) = (site.folder / "receipts").glob("*.json")
        checked = Receipt.load(receipt).check((site.folder / "site.key.pub").read_text())
        assert checked == "the signature is that of the site"
        assert Site.open(site.file).own_faces.num_identities == 3
        assert all(bool(store.rounds()) == (remedy == "note") for store in site.stores())
    assert finished > 3


def test_retraining_keeps_when_the_others_joined(site: WithdrawalSite) -> None:
    """Models are removed; the first rounds of the others are not, because averages with them remain."""
    store = site.stores()[-1]
    store.save(private_state(store, 5, (*PEOPLE, "Ed Late")))
    forget_person(site.file, Request(WHO, remedy="retrain"), no_passphrase)
    assert store.rounds() == []
    assert not (store.folder / "personal.safetensors").exists()
    found = {name: store.rows_of([name]) for name in ("Bo Reed", "Ed Late", WHO)}
    assert [(each.identities, each.first) for each in found.values()] == [(1, 1), (1, 5), (0, 0)]


def test_the_agreed_remedy(site: WithdrawalSite) -> None:
    """It is a term of the agreement, whose fingerprint does not change where it is the default."""
    agreement = Agreement.load(site.folder / "agreement.yaml")
    assert agreement.model_copy(update={"remedy": "retrain"}).fingerprint != agreement.fingerprint
    assert agreement.fingerprint.startswith(site.stores()[-1].folder.name)
    assert b"remedy" not in (site.folder / "agreement.yaml").read_bytes()
    edit(site.folder / "agreement.yaml", remedy="retrain")
    assert forget_person(site.file, Request(WHO), no_passphrase).content["remedy"] == "retrain"
    assert [store.rounds() for store in site.stores()] == [[], []]
    (site.folder / "agreement.yaml").unlink()
    with pytest.raises(FedfrError, match=r"the agreed remedy is unknown; give --remedy retrain or --remedy note"):
        forget_person(site.file, Request("Bo Reed"), no_passphrase)
    assert forget_person(site.file, Request("Bo Reed", remedy="note"), no_passphrase).content["remedy"] == "note"


def test_the_next_start_of_the_site_finishes_it(made: Path, tmp_path: Path) -> None:
    site = WithdrawalSite(tmp_path / "work" / "site")

    def killed(step: int) -> bool:
        shutil.rmtree(tmp_path / "work", ignore_errors=True)
        shutil.copytree(made, tmp_path / "work")
        edit(site.file, server="localhost:9443")
        return killed_at_step(step, partial(forget_person, site.file, Request(WHO), no_passphrase))

    journal = site.folder / "private" / "erasure.json"
    assert any(killed(step) and journal.exists() for step in range(40, 400, 20))
    (failed,) = [each for each in check_site(site.file) if each.what == "erasure"]
    assert "finish it with `fedfr site forget SITE`" in f"{failed.found}; {failed.remedy}"
    with pytest.raises(FedfrError, match=r"ca.crt is missing"):
        run_site(site.file)
    assert not journal.exists()
    assert Site.open(site.file).own_faces.num_identities == 3


def test_the_same_images_under_another_name_are_erased(site: WithdrawalSite) -> None:
    """A copy of the images under a second name, and one image of another person that is identical."""
    faces = FaceSet.load(site.folder / "faces")
    rows = [*range(12), 3, 4, 5, 3]
    again = FaceSet(faces.images(rows), [*faces.labels, 4, 4, 4, 0], [*PEOPLE, "z.q."])
    shutil.rmtree(site.folder / "faces")
    again.save(site.folder / "faces")
    (site.folder / "split.json").unlink()
    edit(site.file, faces={"path": "faces"})
    with Gallery.open(site.door) as gallery:
        gallery.add_person("Z.Q.", photos(1, 9))
    with pytest.raises(
        FedfrError, match=r"all images of 'z.q.' in .*faces are also images of 'Zoë Quill'; give --alike"
    ):
        forget_person(site.file, Request(WHO), no_passphrase)
    receipt = forget_person(site.file, Request(WHO, "alike"), no_passphrase)
    left = FaceSet.load(site.folder / "faces")
    assert left.identities == ("Bo Reed", "Cy Zoëlle", "Di Marsh")
    assert left.counts().tolist() == [3, 3, 3]
    assert receipt.content["removed"]["face_sets"][0]["identical_images_of_others"] == 4
    with Gallery.open(site.door) as gallery:
        assert [person.name for person in gallery.persons()] == ["Bo Reed"]


def test_the_last_person_can_withdraw(tmp_path: Path) -> None:
    people = ("Bo Reed", WHO, "Cy Zoëlle")
    site = WithdrawalSite.make(tmp_path, people)
    for name in people:
        forget_person(site.file, Request(name), no_passphrase)
    assert len(FaceSet.load(site.folder / "faces")) == 0
    with Gallery.open(site.door) as gallery:
        assert gallery.persons() == []


def test_files_keep_their_modes(site: WithdrawalSite) -> None:
    """What only the owner and the group could read is not readable by others afterwards."""
    paths = [site.folder / "faces", *(site.folder / "faces").iterdir(), site.folder / "split.json"]
    paths.append(site.folder / "faces.skipped.csv")
    for path in paths:
        path.chmod(0o750 if path.is_dir() else 0o640)
    forget_person(site.file, Request(WHO), no_passphrase)
    assert {path.name: path.stat().st_mode & 0o777 for path in paths} == {
        path.name: 0o750 if path.is_dir() else 0o640 for path in paths
    }


def test_what_remains_is_listed(site: WithdrawalSite) -> None:
    """Copies that fedfr knows of, and files that are not of fedfr: without the name."""
    private = site.folder / "private"
    record_export(private, site.folder.parent / "model.safetensors", site.stores()[-1].folder.name, 4)
    FaceSet.load(site.folder / "faces").subset([0, 3]).save(site.folder / "public")
    edit(site.file, public="public")
    (site.folder / "photos" / WHO).mkdir(parents=True)
    for number in range(2):
        (site.folder / "photos" / WHO / f"{number}.jpg").write_bytes(b"a photo")
    (site.folder / "gone").symlink_to("nowhere")
    (site.folder / "notes.md").write_text(f"call {WHO} back", "utf-8")
    with Gallery.open(site.door) as gallery:
        gallery.journal.append("export")
    content = forget_person(site.file, Request(WHO), no_passphrase).content
    remains = {each["what"]: each["where"] for each in content["remains"]}
    text = json.dumps(content, ensure_ascii=False)
    assert any(what.startswith("a personalized model of round 4, exported ") for what in remains)
    assert str(site.folder.parent / "model.safetensors") in text
    assert "the same name or image among the public faces" in remains
    assert any(what.startswith("1 exported copies") for what in remains)
    mentioned = [each["where"] for each in content["remains"] if each["what"].startswith("a file or folder")]
    assert sorted(mentioned) == ["gone", "notes.md", f"photos/{content['person']}"]
    assert "Quill" not in text


def test_a_split_is_rewritten(site: WithdrawalSite) -> None:
    """A manifest names images by index: the images of the others stay in their parts."""
    faces = FaceSet.load(site.folder / "faces")
    expected = faces.images([2, 8, 11])
    Split("other", 0, "0" * 64, (), {}, (), (), lost_identities=(WHO, "Bo Reed")).save(
        site.folder / "old" / "split.json"
    )
    forget_person(site.file, Request(WHO), no_passphrase)
    opened = Site.open(site.file)
    left, division = opened.partitioned_faces
    assert [len(division.train), len(division.test)] == [6, 3]
    assert (left.images(list(division.test)) == expected).all()
    assert WHO.encode() not in (site.folder / "split.json").read_bytes()
    assert Split.load(site.folder / "old" / "split.json").lost_identities == ("Bo Reed",)
