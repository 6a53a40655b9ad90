"""Exported face sets, opened with the library ``datasets`` and imported again."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.tiny_experiment import tiny_faces

from fedfr.core.errors import FedfrError, WriteError
from fedfr.faces import EXPORTERS, FaceSet, export_faces, import_faces, load_faces
from fedfr.faces.writers import parquet as parquet_exporter

NAMES = ("Anna Test", "train", "../up", 'Zoë, die "Erste"\n', "007", "NA", "2020-01-01", "test", "-", " ", "x" * 300)
"""People whose names a file system, CSV, or the library itself would take for something else."""

FORMS = pytest.mark.parametrize("form", EXPORTERS.names)


@pytest.fixture(autouse=True)
def _pyarrow() -> None:
    if find_spec("pyarrow") is None:
        pytest.skip("pyarrow is not installed; pip install 'fedfr[hf]'")


@pytest.fixture(scope="module")
def faces() -> FaceSet:
    """Strange names, sorted as importers sort them, and images of one person that do not follow each other."""
    made = tiny_faces(len(NAMES), 3)
    order = np.random.default_rng(5).permutation(len(made))
    pixels = made.images(order)
    return FaceSet(pixels, made.labels[order], sorted(NAMES), [f"Bild {number}/ü" for number in order])


@FORMS
def test_all_contents_are_read_back(faces: FaceSet, form: str, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    dest = tmp_path / "für alle test"
    facts = export_faces(faces, dest, form, lambda *done: seen.append(done))
    assert facts == {"images": 33, "identities": 11, "files": len([path for path in dest.rglob("*") if path.is_file()])}
    assert seen[-1] == (33, 33)
    back = import_faces(dest)
    assert back.fingerprint() == faces.fingerprint()
    assert back.identities == faces.identities
    assert back.names == faces.names
    assert np.array_equal(back.images(range(33)), faces.images(range(33)))


@FORMS
def test_the_library_datasets_opens_the_export(hf: Any, faces: FaceSet, form: str, tmp_path: Path) -> None:
    export_faces(faces, tmp_path / "out test", form)
    dataset = hf.load_dataset(form, data_dir=str(tmp_path / "out test"), cache_dir=str(tmp_path / "cache"))
    assert list(dataset) == ["train"]
    rows = dataset["train"]
    assert rows.column_names == ["image", "identity", "name"]
    assert isinstance(rows.features["image"], hf.Image)
    images = np.stack([np.asarray(image) for image in rows["image"]])
    assert np.array_equal(images, faces.images(range(33)))
    identities = rows["identity"]
    if form == "parquet":
        assert isinstance(rows.features["identity"], hf.ClassLabel)
        identities = [rows.features["identity"].int2str(number) for number in identities]
    assert list(identities) == [faces.identities[label] for label in faces.labels]
    assert list(rows["name"]) == list(faces.names)


@FORMS
def test_export_through_the_library_and_import(hf: Any, faces: FaceSet, form: str, tmp_path: Path) -> None:
    export_faces(faces, tmp_path / "out", form)
    rows = hf.load_dataset(form, data_dir=str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    rows.save_to_disk(str(tmp_path / "saved"))
    rows.to_parquet(str(tmp_path / "again.parquet"))
    for place in (tmp_path / "saved", tmp_path / "again.parquet"):
        assert import_faces(place).fingerprint() == faces.fingerprint()


def test_exports_need_no_network_and_load_few_modules(faces: FaceSet, tmp_path: Path) -> None:
    """Sockets are an error; the library itself is never loaded, and pyarrow only where it reads or writes."""
    faces.save(tmp_path / "set")
    (tmp_path / "run.py").write_text(
        "import socket, sys\n"
        "def refused(*given, **more): raise SystemExit('a socket')\n"
        "socket.socket.connect = socket.getaddrinfo = refused\n"
        "from fedfr.faces import export_faces, import_faces, load_faces\n"
        "faces = load_faces('set')\n"
        "export_faces(faces, 'folder', 'imagefolder'), import_faces('folder')\n"
        "assert not {'pyarrow', 'pandas'} & set(sys.modules)\n"
        "export_faces(faces, 'tables', 'parquet')\n"
        "assert import_faces('tables').fingerprint() == faces.fingerprint()\n"
        "assert 'pyarrow' in sys.modules\n"
        "assert not {'datasets', 'huggingface_hub', 'torch'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "run.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_large_sets_are_in_several_files(
    hf: Any, faces: FaceSet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(parquet_exporter, "ROWS_PER_FILE", 12)
    monkeypatch.setattr(parquet_exporter, "ROWS_PER_GROUP", 5)
    seen: list[tuple[int, int]] = []
    assert export_faces(faces, tmp_path / "out", "parquet", lambda *done: seen.append(done))["files"] == 3
    assert [done for done, _ in seen] == [5, 10, 12, 17, 22, 24, 29, 33]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"train-{number:05d}-of-00003.parquet" for number in range(3)
    ]
    assert import_faces(tmp_path / "out").fingerprint() == faces.fingerprint()
    rows = hf.load_dataset("parquet", data_dir=str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert list(rows["name"]) == list(faces.names)


def test_damage_to_an_exported_file_is_detected(faces: FaceSet, tmp_path: Path) -> None:
    """Pages have checksums, so that a flipped bit is an error."""
    export_faces(faces, tmp_path / "out", "parquet")
    path = next((tmp_path / "out").iterdir())
    content = bytearray(path.read_bytes())
    at = content.index(b"IDAT") + 2000
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(FedfrError, match=r"is not a complete Parquet file \(.*CRC"):
        import_faces(path)


@pytest.fixture
def _little_room() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@FORMS
@pytest.mark.usefixtures("_little_room")
def test_a_full_disk_leaves_no_files(faces: FaceSet, form: str, tmp_path: Path) -> None:
    """With a limit of 20 KB per file, less than one image, no file is left."""
    with pytest.raises(WriteError, match=r"cannot write .*out: .*(File too large|errno 27)") as caught:
        export_faces(faces, tmp_path / "out", form)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@FORMS
def test_invalid_exports_are_refused(faces: FaceSet, form: str, tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.tex").touch()
    with pytest.raises(FedfrError, match="already holds files"):
        export_faces(faces, tmp_path / "used", form)
    with pytest.raises(WriteError, match="Not a directory"):
        export_faces(faces, tmp_path / "used" / "thesis.tex" / "out", form)
    with pytest.raises(FedfrError, match="hold no images; there is nothing to export"):
        export_faces(faces.subset([]), tmp_path / "out", form)
    with pytest.raises(FedfrError, match="unknown format 'parket'; did you mean 'parquet'"):
        export_faces(faces, tmp_path / "out", "parket")
    assert [path.name for path in tmp_path.rglob("*")] == ["used", "thesis.tex"]


def test_metadata_is_plain_json(faces: FaceSet, tmp_path: Path) -> None:
    export_faces(faces, tmp_path / "out", "imagefolder")
    lines = (tmp_path / "out" / "train" / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    first = json.loads(lines[0])
    assert first == {
        "file_name": f"{faces.labels[0]:07d}/00000000.png",
        "identity": faces.identities[faces.labels[0]],
        "name": faces.names[0],
    }


def test_export_of_a_linked_recordio_file(data_dir: Path, tmp_path: Path) -> None:
    """Linked images are decoded during the export; identities keep their numbers and order."""
    faces = load_faces(data_dir / "recordio" / "insightface" / "train.rec")
    export_faces(faces, tmp_path / "out", "parquet")
    back = import_faces(tmp_path / "out")
    assert back.fingerprint() == faces.fingerprint()
    assert back.names == faces.names
