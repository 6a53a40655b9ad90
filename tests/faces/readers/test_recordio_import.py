"""Face sets from RecordIO files: linked, converted or decoded on access."""

from __future__ import annotations

import os
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.support.recordio_files import flat, insightface, records

from fedfr.core.errors import FedfrError
from fedfr.faces import IMPORTERS, FaceSet, FacesWarning, import_faces, import_recordio, load_faces, make_split
from fedfr.faces.readers.recordio.header import pack_payload
from fedfr.faces.readers.recordio.linked import LinkedPixels
from fedfr.faces.writers.recordio import RecordWriter, write_recordio_file

Make = Callable[[Path], Path]


@pytest.mark.parametrize(
    ("sample", "first", "counts"),
    [
        ("fedfr_public", 0, [14, 15, 13, 14, 13, 12]),
        ("fedfr_client_0001", 8, [12, 15, 12, 13, 15, 14, 13, 14]),
        ("insightface", 0, [13, 16, 12, 14, 12, 15]),
    ],
)
def test_the_samples_in_every_form(data_dir: Path, tmp_path: Path, sample: str, first: int, counts: list[int]) -> None:
    source = data_dir / "recordio" / sample
    lies = import_recordio(source / "train.rec")
    linked = import_recordio(source, tmp_path / "linked")
    seen: list[tuple[int, int]] = []
    converted = import_recordio(source, tmp_path / "made", lambda *done: seen.append(done), link=False)
    assert lies.counts().tolist() == counts
    assert lies.identities == tuple(f"{first + label:07d}" for label in range(len(counts)))
    assert lies.names[counts[0]] == f"{first + 1:07d}/{counts[0] + 1:08d}"
    assert seen == [(done, sum(counts)) for done in range(1, sum(counts) + 1)]
    for other in (linked, converted, FaceSet.load(tmp_path / "linked")):
        assert other.fingerprint() == lies.fingerprint()
        assert other.digests() == lies.digests()
        assert other.names == lies.names
        np.testing.assert_array_equal(other.images([5, 0, -1]), lies.images([5, 0, -1]))
    assert isinstance(linked._pixels, LinkedPixels)
    assert isinstance(converted._pixels, np.memmap)
    size = {name: sum(path.stat().st_size for path in (tmp_path / name).iterdir()) for name in ("linked", "made")}
    assert size["linked"] < 20_000 < size["made"]


def test_the_sample_without_images(data_dir: Path) -> None:
    with pytest.raises(FedfrError, match=r"tricky/train\.rec: record 1 at byte 0 holds no JPEG or PNG"):
        import_recordio(data_dir / "recordio" / "tricky").digests()


def test_the_sample_matches_its_originals(data_dir: Path) -> None:
    """Its recompressed images differ by a few grey levels from their originals, and by far more from other images."""
    image = import_recordio(data_dir / "recordio" / "insightface").images([0])[0].astype(int)
    distance = {}
    for number in (1, 2):
        sample = cv2.imread(str(data_dir / "lfw112" / "Gordon_Brown" / f"Gordon_Brown_000{number}.jpg"))
        assert sample is not None
        distance[number] = float(np.abs(sample[:, :, ::-1] - image).mean())
    assert distance[1] < 3
    assert distance[2] > 20


@pytest.mark.parametrize("form", ["as it lies", "linked"])
def test_a_linked_set_can_be_used_like_any_other(tmp_path: Path, form: str) -> None:
    path = insightface(tmp_path / "train.rec", [4, 4, 4, 7, 7, 9])
    faces = import_recordio(path, None if form == "as it lies" else tmp_path / "set")
    part = faces.subset([5, 0, 3])
    assert part.identities == ("0000004", "0000007", "0000009")
    assert part.images([0, 1, 2]).mean((1, 2, 3)).tolist() == [60, 10, 40]
    assert part.digests() == tuple(faces.digests()[index] for index in (5, 0, 3))
    packed = pickle.dumps(part)
    assert len(packed) < 3_000
    again = pickle.loads(packed)
    np.testing.assert_array_equal(again.images([2, 0]), part.images([2, 0]))
    assert again.fingerprint() == part.fingerprint()
    part.save(tmp_path / "saved")
    assert FaceSet.load(tmp_path / "saved").fingerprint() == part.fingerprint()
    assert faces.encoded(3) == flat(40)
    assert FaceSet.load(tmp_path / "saved").encoded(0) is None


def test_the_papers_split_takes_people_in_the_order_of_labels(tmp_path: Path) -> None:
    labels = [label for label in (3, 1, 8, 2, 5, 4) for _ in range(3)]
    faces = load_faces(records(tmp_path / "train.rec", labels))
    assert faces.identities == ("0000001", "0000002", "0000003", "0000004", "0000005", "0000008")
    reduced = {"private_min_images": 3, "private_max_images": 3, "public_min_images": 3, "public_max_images": 3}
    split = make_split(
        faces, "ms1m-fedfr", **reduced, public_identities=2, clients=2, identities_per_client=1, test_count=1
    )
    order = list(faces.identities)
    random.Random(100).shuffle(order)
    assert [split.identities[client] for client in split.clients] == [(order[0],), (order[1],)]
    assert set(split.identities["public"]) == set(order[3:5])


def test_files_of_another_kind(data_dir: Path, tmp_path: Path) -> None:
    shutil.copy(next((data_dir / "lfw112" / "Abdullah_Gul").iterdir()), tmp_path / "a.jpg")
    (tmp_path / "text.rec").write_text("not records, though it says so\n")
    (tmp_path / "none").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "a.rec").touch()
    (tmp_path / "two" / "b.rec").touch()
    for name, message in (
        ("a.jpg", r"a\.jpg is not a RecordIO file \(it starts with ff d8 ff e0, expected 0a 23 d7 ce\); give a train"),
        ("text.rec", r"text\.rec is not a RecordIO file \(it starts with 6e 6f 74 20"),
        ("two", r"two should hold one \.rec file, it holds a\.rec, b\.rec; give one of them"),
        ("none", r"none should hold one \.rec file, it holds none; give a train\.rec"),
        ("gone", "gone does not exist"),
    ):
        with pytest.raises(FedfrError, match=message):
            import_recordio(tmp_path / name)
    with pytest.raises(FedfrError, match=r"text\.rec holds no images: the 1st record at byte 0 has 6e 6f 74 20"):
        import_recordio(tmp_path / "text.rec", skip_bad=True)
    (tmp_path / "names").mkdir()
    odd = records(tmp_path / "names" / os.fsdecode(b"J\xf6rg.rec"))
    with pytest.raises(FedfrError, match="has a name that is not UTF-8; rename it"):
        import_recordio(odd)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_read_permission(tmp_path: Path) -> None:
    path = records(tmp_path / "train.rec")
    path.chmod(0)
    with pytest.raises(FedfrError, match=r"cannot read .*: Permission denied"):
        import_recordio(path)


def test_other_sizes_and_contradictory_properties_are_reported(tmp_path: Path) -> None:
    samples = [(0, flat(40)), (1, flat(50, (60, 80)))]
    write_recordio_file(tmp_path / "train.rec", samples, 2)
    for text, said in (
        ("2,112,112\n", None),
        ("3,112,112", "declares 3 identities, 2 have"),
        ("x", "declares no id"),
    ):
        (tmp_path / "property").write_text(text)
        with pytest.warns(FacesWarning) as caught:
            faces = import_recordio(tmp_path, tmp_path / f"set {text[0]}")
        messages = [str(warning.message) for warning in caught]
        assert messages[0].startswith("1 of 2 images were not 112x112 and resized")
        assert len(messages) == 1 + (said is not None)
        assert said is None or said in messages[1]
        assert faces.images([0, 1]).mean((1, 2, 3)).tolist() == [40, 50]
    (tmp_path / "property").unlink()
    with pytest.warns(FacesWarning, match="1 identity records cover images with other labels; the labels"):
        import_recordio(insightface(tmp_path / "torn.rec", [0, 0, 1], torn=True))


def test_a_linked_set_reports_a_changed_or_missing_file(tmp_path: Path) -> None:
    (tmp_path / "over there").mkdir()
    path = records(tmp_path / "over there" / "train.rec")
    import_recordio(path, tmp_path / "set")
    kept = path.read_bytes()
    path.write_bytes(kept + b"more")
    with pytest.raises(
        FedfrError, match=r"train\.rec has \d+ bytes, but had \d+ when .*set was written; import it again"
    ):
        FaceSet.load(tmp_path / "set")
    path.unlink()
    with pytest.raises(FedfrError, match=r"train\.rec, the file with the images of .*set, is missing; restore it"):
        FaceSet.load(tmp_path / "set")
    path.write_bytes(kept)
    for name, content, message in (
        ("digests.npy", b"", "is missing, truncated or not a NumPy file"),
        ("records.npy", (tmp_path / "set" / "digests.npy").read_bytes(), "holds uint8"),
        ("records.json", b"{}", "does not describe a RecordIO file"),
        ("records.json", b"{", "is not readable JSON"),
    ):
        damaged = tmp_path / f"damaged {len(content)}"
        shutil.copytree(tmp_path / "set", damaged)
        (damaged / name).write_bytes(content)
        with pytest.raises(FedfrError, match=message):
            FaceSet.load(damaged)
    assert len(FaceSet.load(tmp_path / "set")) == 3


def test_choice_of_the_importer(tmp_path: Path) -> None:
    (tmp_path / "people" / "anna").mkdir(parents=True)
    (tmp_path / "people" / "anna" / "1.png").write_bytes(flat(9))
    (tmp_path / "rec").mkdir()
    path = records(tmp_path / "rec" / "train.rec")
    assert import_faces(str(tmp_path / "people")).identities == ("anna",)
    assert import_faces(path).fingerprint() == import_faces(tmp_path / "rec").fingerprint()
    assert IMPORTERS["recordio"](path, tmp_path / "set").fingerprint() == load_faces(tmp_path / "set").fingerprint()
    with pytest.raises(FedfrError, match=r"--link has no effect on .*people, which is read by the importer folder"):
        import_faces(tmp_path / "people", link=True)
    with pytest.raises(FedfrError, match="orl is not a folder"):
        import_faces(Path("orl"))


def test_ids_that_repeat_need_an_index(tmp_path: Path) -> None:
    path = tmp_path / "train.rec"
    with path.open("wb") as file:
        writer = RecordWriter(file)
        for key in range(3):
            writer.write(key, pack_payload(key, 0, flat(key)))
    path.with_suffix(".idx").write_bytes(writer.index())
    assert import_recordio(path).labels.tolist() == [0, 1, 2]
    path.with_suffix(".idx").unlink()
    with pytest.raises(FedfrError, match=r"train\.rec has two records with key 0, at bytes 0 and"):
        import_recordio(path)
