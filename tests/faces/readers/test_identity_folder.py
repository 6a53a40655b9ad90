"""Import of a folder with one sub-folder per identity."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fedfr.core.errors import FedfrError
from fedfr.faces import IMPORTERS, FaceSet, FacesWarning, import_folder


def image(path: Path, value: int = 0, size: tuple[int, int] = (112, 112)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix.lower(), np.full((*size, 3), value, np.uint8))[1].tobytes())


def test_identities_and_images_are_in_order_of_name(tmp_path: Path) -> None:
    image(tmp_path / "Zoë Müller" / "b 2.PNG", 40)
    image(tmp_path / "Zoë Müller" / "a 1.png", 30)
    image(tmp_path / "Анна" / "лицо.bmp", 50)
    image(tmp_path / "Adam" / "x.Jpeg", 20)
    image(tmp_path / "顔\u3000一" / "x.png", 60)
    image(tmp_path / ".hidden" / "x.png", 99)
    image(tmp_path / "Adam" / ".x.png", 99)
    seen: list[tuple[int, int]] = []
    faces = import_folder(tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert faces.identities == ("Adam", "Zoë Müller", "Анна", "顔\u3000一")
    assert faces.names[:3] == ("Adam/x.Jpeg", "Zoë Müller/a 1.png", "Zoë Müller/b 2.PNG")
    assert faces.labels.tolist() == [0, 1, 1, 2, 3]
    assert faces.images(range(5)).mean((1, 2, 3)).tolist() == [20, 30, 40, 50, 60]
    assert seen == [(done, 5) for done in range(1, 6)]


def test_the_destination_holds_the_same_set(tmp_path: Path) -> None:
    for index, name in enumerate("cab"):
        image(tmp_path / "in put" / name / "1.png", 10 * index)
    in_memory = import_folder(str(tmp_path / "in put"))
    on_disk = import_folder(tmp_path / "in put", dest=tmp_path / "out put")
    assert isinstance(on_disk._pixels, np.memmap)
    assert on_disk.fingerprint() == in_memory.fingerprint() == FaceSet.load(tmp_path / "out put").fingerprint()
    assert on_disk.names == in_memory.names
    np.testing.assert_array_equal(on_disk.images([0, 1, 2]), in_memory.images([0, 1, 2]))


def test_other_sizes_are_resized_with_one_warning(tmp_path: Path) -> None:
    image(tmp_path / "a" / "1.png", 5)
    image(tmp_path / "a" / "2.png", 6, (250, 250))
    image(tmp_path / "b" / "1.png", 7, (40, 90))
    with pytest.warns(FacesWarning, match="2 images were not 112x112 and resized") as caught:
        faces = import_folder(tmp_path)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert faces.images(range(3)).mean((1, 2, 3)).tolist() == [5, 6, 7]


def test_skipped_files_are_counted_in_one_warning(tmp_path: Path) -> None:
    image(tmp_path / "a" / "1.png")
    image(tmp_path / "a" / "deeper" / "1.png")
    (tmp_path / "a" / "notes.txt").touch()
    (tmp_path / "README").touch()
    (tmp_path / "nobody").mkdir()
    with pytest.warns(FacesWarning, match="left out 3 other files or nested folders and 1 identity folder") as caught:
        faces = import_folder(tmp_path)
    assert len(caught) == 1
    assert faces.identities == ("a",)


def test_a_corrupt_image_is_named_and_leaves_no_files(tmp_path: Path) -> None:
    image(tmp_path / "in" / "a" / "1.png")
    (tmp_path / "in" / "a" / "2.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
    for dest in (None, tmp_path / "out"):
        with pytest.raises(FedfrError, match=r"a/2\.jpg is not a readable image"):
            import_folder(tmp_path / "in", dest=dest)
    assert [entry.name for entry in tmp_path.iterdir()] == ["in"]


def test_a_failed_import_leaves_no_files_and_keeps_an_earlier_set(tmp_path: Path) -> None:
    image(tmp_path / "in" / "a" / "1.png", 77)
    before = import_folder(tmp_path / "in", dest=tmp_path / "out").fingerprint()
    (tmp_path / "in" / "a" / "2.png").write_bytes(b"")
    with pytest.raises(FedfrError, match=r"2\.png"):
        import_folder(tmp_path / "in", dest=tmp_path / "new")
    (tmp_path / "in" / "a" / "2.png").unlink()
    with pytest.raises(FedfrError, match="out already holds files; give a new or empty folder"):
        import_folder(tmp_path / "in", dest=tmp_path / "out")
    assert FaceSet.load(tmp_path / "out").fingerprint() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_unsuitable_folders_are_refused(tmp_path: Path) -> None:
    image(tmp_path / "in" / "a" / "1.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FedfrError, match="nowhere is not a folder"):
        import_folder(tmp_path / "nowhere")
    with pytest.raises(FedfrError, match="has no images in sub-folders"):
        import_folder(tmp_path / "empty")
    with pytest.raises(FedfrError, match="has no images in sub-folders"):
        import_folder(tmp_path / "in" / "a")
    for dest in (tmp_path / "in", tmp_path / "in" / "out", tmp_path):
        with pytest.raises(FedfrError, match="are inside one another"):
            import_folder(tmp_path / "in", dest=dest)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.tex").touch()
    with pytest.raises(FedfrError, match="already holds files"):
        import_folder(tmp_path / "in", dest=tmp_path / "used")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps file names that are not UTF-8")
def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"J\xf6rg")).mkdir()
    with pytest.raises(FedfrError, match="has a name that is not UTF-8"):
        import_folder(tmp_path)


def test_real_faces(data_dir: Path, tmp_path: Path) -> None:
    for name in ("Aaron_Peirsol", "Abdullah_Gul", "Ai_Sugiyama"):
        shutil.copytree(data_dir / "lfw112" / name, tmp_path / "linked target" / name)
    (tmp_path / "linked").symlink_to(tmp_path / "linked target")
    faces = IMPORTERS["folder"](tmp_path / "linked", dest=tmp_path / "out")
    assert faces.identities == ("Aaron_Peirsol", "Abdullah_Gul", "Ai_Sugiyama")
    assert faces.counts().tolist() == [len(list((data_dir / "lfw112" / name).iterdir())) for name in faces.identities]
    assert len(set(faces.digests())) == len(faces)
    # Skin is redder than it is blue: a colour order that is swapped shows here.
    red, _, blue = faces.images(range(len(faces)))[:, 40:80, 40:72].mean((0, 1, 2))
    assert red > blue + 10
