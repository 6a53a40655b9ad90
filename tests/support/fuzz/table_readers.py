"""Targets that read lists and tables about faces."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from tests.support.fuzz.face_samples import encoded, faces, identity_folders
from tests.support.fuzz.targets import Target
from tests.support.ijb_set import make_ijb

from fedfr.faces import FaceSet
from fedfr.faces.alignment.photographs.landmarks import read_landmarks
from fedfr.faces.exclusions import read_exclusions
from fedfr.faces.readers.choice import import_faces
from fedfr.faces.readers.ijb.benchmark_folder import find_ijb
from fedfr.faces.readers.pairs.face_pairs import read_pairs
from fedfr.faces.splits.partition_files import read_partitions
from fedfr.faces.writers import export_faces

__all__ = ["TARGETS"]


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
    identity_folders(folder)
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
    samples = [{"bytes": encoded(".png"), "path": None} for _ in range(3)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    made = datasets.Dataset.from_dict({"image": samples, "label": [0, 1, 1]}, features=features)
    made.save_to_disk(str(folder / "saved"))


def _findings(folder: Path) -> None:
    rows = "kind,image,identity,index,decision\nduplicate,p0/1.png,p0,1,exclude\nduplicate,p1/2.png,p1,2,keep\n"
    (folder / "findings.csv").write_text(rows)


TARGETS = {
    "imagefolder": Target(
        ("faces.readers.metadata", "faces.readers.imagefolder_import", "faces.readers.image_rows"),
        _listed,
        import_faces,
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
    "findings": Target(
        ("faces.exclusions",), _findings, lambda folder: read_exclusions(folder / "findings.csv", faces())
    ),
    "exported imagefolder": Target((), _exported("imagefolder"), _read_exported),
    "partitions": Target(
        ("faces.splits.partition_files", "faces.row_files"), _partitions, _read_partitions, mebibytes=4096
    ),
}
