"""Targets that read images and face sets."""

from __future__ import annotations

import contextlib
import pickle
from pathlib import Path

import cv2
import numpy as np
from tests.support.fuzz.face_samples import KINDS, NOISE, encoded, faces, identity_folders
from tests.support.fuzz.targets import Target

from fedfr.faces import FaceSet
from fedfr.faces.alignment.photographs.import_journal import ImportJournal as PhotographJournal
from fedfr.faces.alignment.photographs.outcome import Outcome
from fedfr.faces.alignment.photographs.photograph_reading import read_photograph
from fedfr.faces.alignment.photographs.reasons import RejectedPhotograph
from fedfr.faces.face_sets import NamedSet, combine
from fedfr.faces.identity_lists import read_identities
from fedfr.faces.readers import import_folder
from fedfr.faces.readers.choice import import_faces
from fedfr.faces.readers.image_reading import read_image
from fedfr.faces.readers.verification_sets import read_verification_set
from fedfr.faces.writers.recordio import write_recordio_file
from fedfr.recognition import RejectedPhoto, read_photo

__all__ = ["TARGETS"]


def _images(folder: Path) -> None:
    for suffix in KINDS:
        (folder / f"a{suffix}").write_bytes(encoded(suffix))
    wide = cv2.imencode(".jpg", NOISE, (cv2.IMWRITE_JPEG_PROGRESSIVE, 1))[1].tobytes()
    (folder / "unended.jpg").write_bytes(wide[:-2])
    (folder / "wide.pgm").write_bytes(b"P5\r\n# twelve bits\r\n4 4\r\n4095\r\n" + bytes(32))


def _read_images(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        read_image(path)


def _read_photographs(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        with contextlib.suppress(RejectedPhotograph):
            read_photograph(path)


def _read_photos(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        with contextlib.suppress(RejectedPhoto):
            read_photo(path.read_bytes())


def _records(folder: Path) -> None:
    write_recordio_file(folder / "train.rec", [(0, encoded(".png")), (1, encoded(".jpg")), (1, encoded(".png"))], 2)
    (folder / "property").write_text("2,112,112")


def _read_records(folder: Path) -> None:
    found = import_faces(folder)
    found.images(range(len(found)))
    import_faces(folder, folder / "linked", link=True)
    kept = FaceSet.load(folder / "linked")
    kept.images(range(len(kept)))


def _read_records_that_are_good(folder: Path) -> None:
    found = import_faces(folder, skip_bad=True)
    found.images(range(len(found)))


def _linked(folder: Path) -> None:
    _records(folder)
    import_faces(folder, folder / "linked", link=True)


def _read_linked(folder: Path) -> None:
    kept = FaceSet.load(folder / "linked")
    kept.images(range(len(kept)))
    kept.digests()


def _read_set(folder: Path) -> None:
    found = FaceSet.load(folder / "set")
    found.images(range(len(found)))
    found.digests()
    found.fingerprint()


def _several_sets(folder: Path) -> None:
    faces().save(folder / "private")
    (folder / "people.txt").write_text("# of both\nnobody\n" + faces().identities[0] + "\n", encoding="utf-8")
    private = NamedSet("private", "private", FaceSet.load(folder / "private"), {faces().identities[0]: "list"})
    combine([private], folder / "set")


def _read_several_sets(folder: Path) -> None:
    read_identities(folder / "people.txt")
    _read_set(folder)


def _bin(folder: Path) -> None:
    samples = [encoded(".png"), encoded(".jpg")] * 2
    (folder / "x.bin").write_bytes(pickle.dumps((samples, [True, False]), protocol=2))


def _read_bin(folder: Path) -> None:
    found = read_verification_set(folder / "x.bin").faces()
    found.images(range(len(found)))


def _examined(folder: Path) -> None:
    with PhotographJournal(folder / "faces.bin") as journal:
        journal.append([1, 2], Outcome("a.jpg", pixels=NOISE.astype(np.uint8)))
        journal.append([1, 2], Outcome("b.jpg", "no-face"))


def _read_examined(folder: Path) -> None:
    with PhotographJournal(folder / "faces.bin") as journal:
        for name in ("a.jpg", "b.jpg"):
            journal.known(name, [1, 2])


TARGETS = {
    "images": Target(
        (
            "faces.encoded_images",
            "faces.readers.image_reading",
            "faces.readers.pgm",
            "faces.image_headers",
            "faces.truncated_jpeg",
        ),
        _images,
        _read_images,
    ),
    "photographs": Target(("faces.alignment.photographs.photograph_reading",), _images, _read_photographs),
    "photos": Target(("recognition.photos.photo",), _images, _read_photos),
    "folder": Target(
        ("faces.readers.identity_folder", "faces.readers.aligned_folder"), identity_folders, import_folder
    ),
    "recordio": Target(
        (
            "faces.readers.recordio.format",
            "faces.readers.recordio.header",
            "faces.readers.recordio.index",
            "faces.readers.recordio.record_layout",
            "faces.readers.recordio.recordio_files",
            "faces.readers.recordio.record_pixels",
            "faces.readers.recordio_import",
        ),
        _records,
        _read_records,
    ),
    "recordio without its bad records": Target((), _records, _read_records_that_are_good),
    "linked set": Target(("faces.readers.recordio.linked",), _linked, _read_linked),
    "face set": Target(
        ("core.array_files", "faces.storage", "faces.faceset", "faces.array_columns", "faces.column_file"),
        lambda folder: faces().save(folder / "set"),
        _read_set,
    ),
    "several face sets": Target(
        ("faces.face_sets", "faces.identity_lists", "faces.set_links", "faces.joined_pixels"),
        _several_sets,
        _read_several_sets,
    ),
    "verification set": Target(
        (
            "faces.readers.verification_sets",
            "faces.readers.safe_pickle.operations",
            "faces.readers.safe_pickle.values",
            "faces.readers.safe_pickle.machine",
        ),
        _bin,
        _read_bin,
    ),
    "kept photographs": Target(("faces.alignment.photographs.import_journal",), _examined, _read_examined, "faces.bin"),
}
