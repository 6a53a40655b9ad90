"""Targets that read faces, and lists of them."""

from __future__ import annotations

import contextlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import cv2
import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tests.support.fuzz.targets import Target
from tests.support.ijb_set import make_ijb

from fedfr.faces import FaceSet
from fedfr.faces.alignment.photographs.import_journal import ImportJournal as PhotographJournal
from fedfr.faces.alignment.photographs.landmarks import read_landmarks
from fedfr.faces.alignment.photographs.outcome import Outcome
from fedfr.faces.alignment.photographs.photograph_reading import read_photograph
from fedfr.faces.alignment.photographs.reasons import RejectedPhotograph
from fedfr.faces.exclusions import read_exclusions
from fedfr.faces.face_sets import NamedSet, combine, read_identities
from fedfr.faces.readers import import_folder
from fedfr.faces.readers.choice import import_faces
from fedfr.faces.readers.ijb.benchmark_folder import find_ijb
from fedfr.faces.readers.image_reading import read_image
from fedfr.faces.readers.pairs.face_pairs import read_pairs
from fedfr.faces.readers.verification_sets import read_verification_set
from fedfr.faces.splits.partition_files import read_partitions
from fedfr.faces.writers import export_faces
from fedfr.faces.writers.recordio import write_recordio_file

__all__ = ["TARGETS"]


NOISE = cv2.resize(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8), (112, 112))


KINDS = (".jpg", ".png", ".pgm", ".bmp", ".gif", ".webp", ".tiff", ".ppm")


def faces(people: int = 3, images: int = 2) -> FaceSet:
    """Flat faces of people who are not."""
    values = np.arange(people * images, dtype=np.uint8)
    pixels = np.broadcast_to(values[:, None, None, None], (people * images, 112, 112, 3)).copy()
    labels = np.repeat(np.arange(people), images)
    names = tuple(f"p{label}/{row}.png" for row, label in enumerate(labels.tolist()))
    return FaceSet(pixels, labels, tuple(f"p{label}" for label in range(people)), names)


def _encoded(suffix: str) -> bytes:
    image = NOISE[:, :, 0] if suffix == ".pgm" else NOISE
    return cv2.imencode(suffix, image)[1].tobytes()


def _images(folder: Path) -> None:
    for suffix in KINDS:
        (folder / f"a{suffix}").write_bytes(_encoded(suffix))
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


def _people(folder: Path) -> None:
    for name in ("anna", "bo"):
        (folder / name).mkdir()
        (folder / name / "1.png").write_bytes(_encoded(".png"))


def _records(folder: Path) -> None:
    write_recordio_file(folder / "train.rec", [(0, _encoded(".png")), (1, _encoded(".jpg")), (1, _encoded(".png"))], 2)
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
    samples = [_encoded(".png"), _encoded(".jpg")] * 2
    (folder / "x.bin").write_bytes(pickle.dumps((samples, [True, False]), protocol=2))


def _read_bin(folder: Path) -> None:
    found = read_verification_set(folder / "x.bin").faces()
    found.images(range(len(found)))


PAIRS = {
    "lfw.txt": "1\t1\np0\t1\t2\np0\t1\tp1\t1\n",
    "paths.txt": "p0/0.png p0/1.png 1\np0/0.png p1/2.png 0\n\n",
    "pairs.csv": "file1,file2,same\np0/0.png,p0/1.png,yes\np0/0.png,p1/2.png,no\n",
}


def _pairs(folder: Path) -> None:
    for name, text in PAIRS.items():
        (folder / name).write_text(text)


def _read_pair_lists(folder: Path) -> None:
    known = faces()
    names = tuple(f"p{row // 2}/p{row // 2}_000{row % 2 + 1}.png" for row in range(6))
    read_pairs(folder / "lfw.txt", FaceSet(known.images(range(6)), known.labels, known.identities, names))
    for name in ("paths.txt", "pairs.csv"):
        read_pairs(folder / name, known)


def _landmarks(folder: Path) -> None:
    line = "anna/1.png\t38\t51\t73\t51\t56\t71\t41\t92\t70\t92\t0.9\n"
    (folder / "points.tsv").write_text(line + line.replace("anna", "bo"))


def _ijb(folder: Path) -> None:
    make_ijb(folder, subjects=3, probes=1)


def _read_ijb(folder: Path) -> None:
    found = find_ijb(folder)
    if found is not None:
        found.pairs, found.searches  # noqa: B018 - they are read when asked for
        found.images.pixels(0, 2) if hasattr(found.images, "pixels") else len(found.images)


def _exported(form: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        export_faces(faces(), folder / "out", form)

    return make


def _read_exported(folder: Path) -> None:
    import_faces(folder / "out")


def _listed(folder: Path) -> None:
    _people(folder)
    rows = [("anna/1.png", "anna", 3), ("bo/1.png", "bo", 4)]
    lines = [json.dumps({"file_name": file, "identity": who, "age": age}) for file, who, age in rows]
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")


def _partitions(folder: Path) -> None:
    (folder / "a.csv").write_text("index,partition\n0,north\n1,south\n2,\n")
    (folder / "a.json").write_text(json.dumps({"p0/0.png": 0, "p1/2.png": "west"}))
    table = pa.table({"index": [0, 1], "partition": ["a", "b"]})
    pq.write_table(table, folder / "a.parquet")


def _read_partitions(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        read_partitions(path, faces())


def _saved(folder: Path) -> None:
    samples = [{"bytes": _encoded(".png"), "path": None} for _ in range(3)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    made = datasets.Dataset.from_dict({"image": samples, "label": [0, 1, 1]}, features=features)
    made.save_to_disk(str(folder / "saved"))


def _examined(folder: Path) -> None:
    with PhotographJournal(folder / "faces.bin") as journal:
        journal.append([1, 2], Outcome("a.jpg", pixels=NOISE.astype(np.uint8)))
        journal.append([1, 2], Outcome("b.jpg", "no-face"))


def _read_examined(folder: Path) -> None:
    with PhotographJournal(folder / "faces.bin") as journal:
        for name in ("a.jpg", "b.jpg"):
            journal.known(name, [1, 2])


def _findings(folder: Path) -> None:
    rows = "kind,image,identity,index,decision\nduplicate,p0/1.png,p0,1,exclude\nduplicate,p1/2.png,p1,2,keep\n"
    (folder / "findings.csv").write_text(rows)


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
    "folder": Target(("faces.readers.identity_folder", "faces.readers.aligned_folder"), _people, import_folder),
    "imagefolder": Target(
        ("faces.readers.metadata", "faces.readers.imagefolder", "faces.readers.image_rows"), _listed, import_faces
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
        ("core.array_files", "faces.storage", "faces.faceset", "faces.array_columns"),
        lambda folder: faces().save(folder / "set"),
        _read_set,
    ),
    "several face sets": Target(
        ("faces.face_sets", "faces.set_links", "faces.joined_pixels"), _several_sets, _read_several_sets
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
    "pair lists": Target(
        ("faces.readers.pairs.face_pairs", "faces.readers.pairs.pair_lists", "faces.readers.pairs.pair_words"),
        _pairs,
        _read_pair_lists,
    ),
    "landmarks": Target(
        ("faces.alignment.photographs.landmarks",), _landmarks, lambda folder: read_landmarks(folder / "points.tsv")
    ),
    "ijb": Target(
        (
            "faces.readers.ijb.text_lines",
            "faces.readers.ijb.number_lines",
            "faces.readers.ijb.media",
            "faces.readers.ijb.template_pairs",
            "faces.readers.ijb.searches",
        ),
        _ijb,
        _read_ijb,
    ),
    "parquet": Target(
        ("faces.readers.huggingface.table_files", "faces.readers.huggingface.column_choice"),
        _exported("parquet"),
        _read_exported,
        mebibytes=4096,
    ),
    "saved dataset": Target(
        ("faces.readers.huggingface.dataset_files",), _saved, lambda folder: import_faces(folder / "saved")
    ),
    "kept photographs": Target(("faces.alignment.photographs.import_journal",), _examined, _read_examined, "faces.bin"),
    "findings": Target(
        ("faces.exclusions",), _findings, lambda folder: read_exclusions(folder / "findings.csv", faces())
    ),
    "exported imagefolder": Target((), _exported("imagefolder"), _read_exported),
    "partitions": Target(
        ("faces.splits.partition_files", "faces.row_files"), _partitions, _read_partitions, mebibytes=4096
    ),
}
