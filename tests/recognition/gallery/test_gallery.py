"""Galleries: what is enrolled is found again, also after rekey, export, another space and a change that failed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.support.galleries import CROP, DIM, SPACE, filled_gallery, photos, read_everything, units

from fedfr.core.errors import FedfrError, InUseError
from fedfr.core.locks import locked
from fedfr.recognition.gallery.gallery import Gallery
from fedfr.recognition.gallery.gallery_settings import GallerySettings


def test_a_gallery_returns_what_was_stored(tmp_path: Path) -> None:
    filled_gallery(tmp_path / "door").close()
    with Gallery.open(tmp_path / "door") as gallery:
        ada, bo = gallery.persons()
        assert (ada.name, bo.name, gallery.count()) == ("Ada Quill", "Bo Reed", 2)
        assert gallery.find("  ada QUILL") == ada
        assert gallery.find("nobody") is None
        templates = gallery.templates()
        assert templates.ids == (ada.id, bo.id)
        mean = units(2).mean(axis=0)
        np.testing.assert_allclose(templates.matrix[0], mean / np.linalg.norm(mean), atol=1e-6)
        features = gallery.features(person_id=ada.id)
        assert features.photos == ada.photos
        np.testing.assert_array_equal(features.matrix, units(2))
        assert gallery.features().ids == (ada.id, ada.id, bo.id, bo.id)
        stored = gallery.photos(ada.id)[1]
        assert (stored.quality, stored.digest, stored.has_crop) == ({"sharpness": 12.5}, "0001", True)
        np.testing.assert_array_equal(gallery.crops(ada.id)[ada.photos[0]], CROP)
        strangers = gallery.strangers()
        assert strangers is not None
        assert strangers.digest == "strangers-digest"
        np.testing.assert_array_equal(strangers.features, units(300, seed=99))
        assert gallery.strangers(kind="cohort") is None
        assert gallery.calibration() == {"threshold": 0.25}


def test_photos_are_added_and_removed_with_their_template(tmp_path: Path) -> None:
    with filled_gallery(tmp_path / "door") as gallery:
        ada = gallery.persons()[0]
        new = gallery.add_photos(ada.id, photos(1, seed=5, crop=False))
        gallery.remove_photos(ada.id, ada.photos)
        np.testing.assert_allclose(gallery.templates().matrix[0], units(1, seed=5)[0], atol=1e-6)
        gallery.remove_photos(ada.id, new)
        assert gallery.person(ada.id).photos == ()
        assert gallery.templates().ids == (gallery.persons()[1].id,)


def test_held_out_photos_are_in_no_template(tmp_path: Path) -> None:
    with filled_gallery(tmp_path / "door") as gallery:
        ada, before = gallery.persons()[0], gallery.templates().matrix
        first, second = gallery.add_photos(ada.id, [replace(photo, held_out=True) for photo in photos(2, seed=5)])
        np.testing.assert_array_equal(gallery.templates().matrix, before)
        features = gallery.features(person_id=ada.id)
        assert features.held_out.tolist() == [False, False, True, True]
        np.testing.assert_array_equal(features.matrix[2:], units(2, seed=5))
        # In another space, too, and after the others were removed.
        gallery.put_features("sha256:4567", dict(zip(gallery.person(ada.id).photos, units(4, seed=9), strict=True)))
        mean = units(4, seed=9)[:2].mean(axis=0)
        np.testing.assert_allclose(gallery.templates("sha256:4567").matrix[0], mean / np.linalg.norm(mean), atol=1e-6)
        gallery.remove_photos(ada.id, [*ada.photos, first])
        assert [(photo.number, photo.held_out) for photo in gallery.photos(ada.id)] == [(second, True)]
        assert gallery.templates().ids == (gallery.persons()[1].id,)


@pytest.mark.parametrize("name", ["ada_quill", "ADA QUILL", "Ada \u00a0Quill", "\u0410da Quill"])
def test_names_that_look_alike_are_one_person(tmp_path: Path, name: str) -> None:
    with filled_gallery(tmp_path / "door") as gallery:
        with pytest.raises(FedfrError, match=r"'Ada Quill' is enrolled already .* looks the same"):
            gallery.add_person(name)
        ada, bo = gallery.persons()
        with pytest.raises(FedfrError, match="is enrolled already"):
            gallery.rename(bo.id, name)
        assert gallery.rename(ada.id, "ada quill").name == "ada quill"
        assert gallery.rename(bo.id, "Bob").name == "Bob"
        assert gallery.find("Bo Reed") is None


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 101, "\udcff"])
def test_unusable_names_are_refused(tmp_path: Path, name: str) -> None:
    with filled_gallery(tmp_path / "door") as gallery, pytest.raises(FedfrError, match="printable characters"):
        gallery.add_person(name)


def test_a_change_is_made_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    with filled_gallery(tmp_path / "door") as gallery:
        before, revision = read_everything(gallery), gallery.revision
        with pytest.raises(FedfrError, match="not unit features"):
            _half_a_change(gallery)
        assert read_everything(gallery) == before
        assert gallery.revision == revision
        with gallery.change():
            gallery.add_person("Cy", photos(2, seed=7))
            gallery.remove(gallery.persons()[0].id)
        assert [person.name for person in gallery.persons()] == ["Bo Reed", "Cy"]
        assert gallery.revision == revision + 1


def _half_a_change(gallery: Gallery) -> None:
    with gallery.change():
        gallery.add_person("Cy", photos(2, seed=7))
        gallery.remove(gallery.persons()[0].id)
        gallery.set_strangers(SPACE, np.ones((4, DIM), np.float32), "bad")


def test_another_space_is_built_beside_the_active_one(tmp_path: Path) -> None:
    with filled_gallery(tmp_path / "door") as gallery:
        ada, bo = gallery.persons()
        gallery.put_features("sha256:new", dict(zip(ada.photos, units(2, 64), strict=True)))
        assert gallery.templates().matrix.shape == (2, DIM)
        assert gallery.templates("sha256:new").ids == (ada.id,)
        with pytest.raises(FedfrError, match="is active; switch"):
            gallery.drop_space(SPACE)
        gallery.switch("sha256:new")
        assert gallery.calibration() is None
        gallery.drop_space(SPACE)
        assert gallery.spaces() == {"sha256:new": 64}
        assert gallery.person(bo.id).photos == bo.photos, "the crops are kept"
        with pytest.raises(FedfrError, match="has no space"):
            gallery.templates(SPACE)
    with Gallery.open(tmp_path / "door") as gallery:
        assert gallery.active_space == "sha256:new"
        read_everything(gallery)


def test_rekey_and_export_keep_everything(tmp_path: Path) -> None:
    door = tmp_path / "door"
    with filled_gallery(door) as gallery:
        before = read_everything(gallery)
        gallery.rekey()
        assert read_everything(gallery) == before
        (door / "models").mkdir()
        (door / "models" / "a.safetensors").write_bytes(b"weights")
        (door / "tokens.json").write_text("{}")
        gallery.export(tmp_path / "copy", "correct horse")
        assert not (tmp_path / "copy" / "tokens.json").exists()
        with pytest.raises(FedfrError, match="already holds files"):
            gallery.export(tmp_path / "copy", "correct horse")
        with pytest.raises(FedfrError, match="is inside the gallery"):
            gallery.export(door / "copy", "correct horse")
    shutil.rmtree(door)
    with pytest.raises(FedfrError, match="needs its passphrase"):
        Gallery.open(tmp_path / "copy")
    assert (tmp_path / "copy" / "models" / "a.safetensors").read_bytes() == b"weights"
    with Gallery.open(tmp_path / "copy", "correct horse") as copy:
        assert read_everything(copy) == before
        copy.rekey()
    with Gallery.open(tmp_path / "copy") as copy:
        assert read_everything(copy) == before


def test_an_interrupted_change_of_the_key_is_finished_before_a_passphrase_is_asked_for(tmp_path: Path) -> None:
    """Killed after the database was sealed with the new key, and before its file had its name."""
    door = tmp_path / "door"
    with Gallery.create(door, passphrase="correct horse") as gallery:
        old = (door / "site.key").read_bytes()
        gallery.rekey()
    (door / "site.key").rename(door / "site.key.new")
    (door / "site.key").write_bytes(old)
    with pytest.raises(FedfrError, match="without passphrase, and one was given; leave it out"):
        Gallery.open(door, "correct horse")
    with Gallery.open(door) as gallery:
        read_everything(gallery)
    assert not (door / "site.key.new").exists()


def test_two_processes_share_a_gallery(tmp_path: Path) -> None:
    """One process enrols and changes the key while another has the gallery open."""
    with filled_gallery(tmp_path / "door") as gallery:
        revision = gallery.revision
        program = (
            "import sys, pathlib; from tests.support.galleries import Gallery, photos\n"
            "with Gallery.open(pathlib.Path(sys.argv[1])) as g: g.add_person('Cy', photos(2, 5)); g.rekey()"
        )
        subprocess.run([sys.executable, "-c", program, str(tmp_path / "door")], check=True)
        assert gallery.revision > revision
        assert [person.name for person in gallery.persons()] == ["Ada Quill", "Bo Reed", "Cy"]
        gallery.journal.append("identify", "accept", score=0.5)
        assert gallery.journal.verify().wrong is None
        with locked(tmp_path / "door"), pytest.raises(InUseError), gallery.change(patience=0):
            pass
        gallery.remove(gallery.persons()[0].id)


def test_settings_changed_by_two_processes_are_both_in_force(tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "door") as one, Gallery.open(tmp_path / "door") as other:
        one.change_settings(journal_days=7)
        assert other.change_settings(crops="keep") == GallerySettings(journal_days=7, crops="keep")
        assert one.reload_settings() == other.settings
        assert one.unconfirmed == {}


def test_settings_are_checked_and_written_for_people(tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "door", GallerySettings(fpir=0.001, crops="keep")) as gallery:
        assert gallery.change_settings(journal_days=7).crops == "keep"
        with pytest.raises(FedfrError, match=r"gallery.yaml: unknown setting 'colour'; known here: fpir"):
            gallery.change_settings(colour="red")
        with pytest.raises(FedfrError, match="already"):
            Gallery.create(tmp_path / "door")
    path = tmp_path / "door" / "gallery.yaml"
    path.write_text(path.read_text().replace("fpir: 0.001", "fpir: 1.5"))
    with pytest.raises(FedfrError, match=r"gallery.yaml: fpir = 1.5: give a number above 0 and below 1"):
        Gallery.open(tmp_path / "door")
    path.unlink()
    with pytest.raises(FedfrError, match="is not a gallery"):
        Gallery.open(tmp_path / "door")
