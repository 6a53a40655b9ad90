"""Export of a split for the released tools, and its import."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.support.tiny_experiment import tiny_faces

from fedfr.core.errors import FedfrError, WriteError
from fedfr.faces import FaceSet, Split, export_recordio, import_recordio, load_faces, make_split
from fedfr.faces.readers.recordio import RecordFile
from fedfr.faces.readers.recordio.header import unpack_header

CLIENTS = "split_train_i0006c0002"
IMAGES = {
    "split_pretrain_4/client_0000/train.rec": 20,
    f"{CLIENTS}/client_0000/train.rec": 9,
    f"{CLIENTS}/client_0001/train.rec": 9,
    "local_gallery_6/test.rec": 18,
    "local_veri_6/test.rec": 12,
}


@pytest.fixture(scope="module")
def faces() -> FaceSet:
    """Images of one person do not follow each other."""
    made = tiny_faces()
    return made.subset(np.random.default_rng(5).permutation(len(made)))


@pytest.fixture(scope="module")
def split(faces: FaceSet) -> Split:
    return make_split(
        faces, "general", public_identities=4, clients=2, identities_per_client=3, test_count=2, min_images=4
    )


def grouped(faces: FaceSet, images: Sequence[int]) -> list[int]:
    return sorted(images, key=lambda index: (faces.labels[index], index))


def numbers(path: Path) -> tuple[float, ...]:
    lines = (line.split("\t") for line in path.with_suffix(".idx").read_text().splitlines())
    offset = {int(key): int(place) for key, place in lines}[0]
    return unpack_header(RecordFile(path).payload(offset)).labels


def test_pixels_and_identities_are_read_back(faces: FaceSet, split: Split, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    folder = tmp_path / "für die Werkzeuge"
    assert export_recordio(faces, split, folder, progress=lambda *done: seen.append(done)) == IMAGES
    assert seen == [(done, 68) for done in range(1, 69)]
    first = 0
    parts = {"split_pretrain_4/client_0000": split.public}
    parts |= {f"{CLIENTS}/client_{number:04d}": client.train for number, client in enumerate(split.clients.values())}
    for name, images in parts.items():
        wanted = faces.subset(grouped(faces, images))
        back = import_recordio(folder / name)
        assert back.digests() == wanted.digests()
        assert back.labels.tolist() == wanted.labels.tolist()
        people = wanted.num_identities
        if name.startswith("split_pretrain"):
            assert numbers(folder / name / "train.rec") == (len(images) + 1, people)
            assert back.identities[0] == "0000000"
        else:
            assert numbers(folder / name / "train.rec") == (len(images) + 1, people, first)
            assert back.identities == tuple(f"{first + number:07d}" for number in range(people))
            first += people


def test_test_images_of_all_clients_are_in_one_file(faces: FaceSet, split: Split, tmp_path: Path) -> None:
    export_recordio(faces, split, tmp_path / "out")
    for name, attribute in (("local_gallery_6", "train"), ("local_veri_6", "test")):
        order = [index for client in split.clients.values() for index in grouped(faces, getattr(client, attribute))]
        back = import_recordio(tmp_path / "out" / name)
        assert back.digests() == faces.subset(order).digests()
        per_person = len(order) // 6
        assert back.labels.tolist() == [number for number in range(6) for _ in range(per_person)]
        assert numbers(tmp_path / "out" / name / "test.rec") == (len(order) + 1, 6)
    lines = (tmp_path / "out" / "local_veri_6" / "idx_id_pair.txt").read_text().splitlines()
    assert lines == ["idx id", *(f"{key + 1} {key // 2}" for key in range(12))]
    assert not (tmp_path / "out" / "local_gallery_6" / "idx_id_pair.txt").exists()


def test_jpegs_have_the_requested_quality(faces: FaceSet, split: Split, tmp_path: Path) -> None:
    sizes = {}
    for quality in (95, 20):
        name = str(quality)
        export_recordio(faces, split, tmp_path / name, "jpeg", quality)
        sizes[quality] = (tmp_path / name / "local_veri_6" / "test.rec").stat().st_size
        back = import_recordio(tmp_path / name / "split_pretrain_4" / "client_0000")
        bgr = faces.images([grouped(faces, split.public)[0]])[0][:, :, ::-1]
        done, expected = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
        assert done
        assert back.encoded(0) == expected.tobytes()
    assert sizes[20] < sizes[95] / 2


def test_kept_images_have_identical_bytes(data_dir: Path, tmp_path: Path) -> None:
    """What the released scripts do: they pack the compressed images again."""
    faces = load_faces(data_dir / "recordio" / "insightface" / "train.rec")
    split = make_split(
        faces, "general", public_identities=2, clients=2, identities_per_client=1, test_count=3, min_images=4
    )
    export_recordio(faces, split, tmp_path / "out", "kept")
    back = import_recordio(tmp_path / "out" / "split_pretrain_2" / "client_0000")
    order = grouped(faces, split.public)
    assert [back.encoded(index) for index in range(len(back))] == [faces.encoded(index) for index in order]


def test_invalid_exports_are_refused(faces: FaceSet, split: Split, tmp_path: Path) -> None:
    other = make_split(faces.subset(range(60)), "general", public_identities=2, clients=1, identities_per_client=2)
    for arguments, message in (
        ((faces, split, tmp_path / "out", "kept"), "these faces hold decoded pixels, not compressed images"),
        ((faces, split, tmp_path / "out", "webp"), "unknown encoding 'webp'; .*known: png, jpeg, kept"),
        ((faces, split, tmp_path / "out", "jpeg", 0), "quality = 0; give 1 to 100"),
        ((faces, other, tmp_path / "out"), "was made for faces"),
    ):
        with pytest.raises(FedfrError, match=message):
            export_recordio(*arguments)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.tex").touch()
    with pytest.raises(FedfrError, match="already holds files"):
        export_recordio(faces, split, tmp_path / "used")
    with pytest.raises(WriteError, match="Not a directory"):
        export_recordio(faces, split, tmp_path / "used" / "thesis.tex" / "out")
    assert [path.name for path in tmp_path.rglob("*")] == ["used", "thesis.tex"]


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file may grow beyond 10 kB, as on a disk that is almost full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_disk")
@pytest.mark.parametrize("work", ["export", "import", "link"])
def test_a_full_disk_leaves_no_files(faces: FaceSet, split: Split, data_dir: Path, tmp_path: Path, work: str) -> None:
    source = data_dir / "recordio" / "fedfr_client_0001"
    works: dict[str, Callable[[], object]] = {
        "export": lambda: export_recordio(faces, split, tmp_path / "out"),
        "import": lambda: import_recordio(source, tmp_path / "out", link=False),
        "link": lambda: import_recordio(source, tmp_path / "out"),
    }
    if work == "link":  # its files are small: the limit has to be so too
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    with pytest.raises(WriteError, match=r"cannot write .*out: File too large; free space or choose a folder"):
        works[work]()
    assert list(tmp_path.iterdir()) == []


def test_without_public_and_test_images_their_files_are_left_out(tmp_path: Path) -> None:
    faces = tiny_faces(3, 3)
    split = make_split(faces, "general", public_identities=0, clients=1, identities_per_client=3, test_count=0)
    written = export_recordio(faces, split, tmp_path / "out")
    assert written == {"split_train_i0003c0001/client_0000/train.rec": 9, "local_gallery_3/test.rec": 9}
    shutil.rmtree(tmp_path / "out" / "local_gallery_3")
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.*")) == ["train.idx", "train.rec"]
