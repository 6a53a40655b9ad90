"""``fedfr faces import --importer``: importers by name, including one of another package."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.cli.conftest import Fedfr

import fedfr as library
from fedfr.core.named_objects import parameters_of
from fedfr.faces import IMPORTERS, FaceSet

OWN = f"{__name__}:squares"
SYNTHETIC = f"{__name__}:synthetic"


def synthetic() -> FaceSet:
    images = np.random.default_rng(0).integers(0, 256, (4, 112, 112, 3), np.uint8)
    return FaceSet(images, [0, 0, 1, 1], ("anna", "ben"))


def squares(path: str) -> FaceSet:
    names = Path(path).read_text(encoding="utf-8").split()
    return FaceSet(np.full((len(names), 112, 112, 3), 7, np.uint8), range(len(names)), tuple(names))


def test_an_importer_of_another_package_by_name(fedfr: Fedfr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IMPORTERS, "_registered", {})
    library.register_importer("squares", squares)
    (tmp_path / "names.txt").write_text("anna ben", encoding="utf-8")
    for name in (OWN, "squares"):
        place = tmp_path / name.rpartition(":")[0]
        answer = fedfr("faces", "import", tmp_path / "names.txt", place / "set", "--importer", name, "--json")
        assert answer.code == 0, answer.err
        assert json.loads(answer.out)["identities"] == 2
        assert FaceSet.load(place / "set").identities == ("anna", "ben")


def test_an_importer_without_a_path_is_its_own_source(fedfr: Fedfr, tmp_path: Path) -> None:
    answer = fedfr("faces", "import", SYNTHETIC, tmp_path / "set")
    assert answer.code == 0, answer.err
    assert FaceSet.load(tmp_path / "set").fingerprint() == synthetic().fingerprint()


@pytest.mark.parametrize("name", [name for name in IMPORTERS.builtin if "path" in parameters_of(IMPORTERS[name])])
def test_a_missing_source_is_refused(fedfr: Fedfr, tmp_path: Path, name: str) -> None:
    answer = fedfr("faces", "import", tmp_path / "absent", tmp_path / "set", "--importer", name)
    assert (answer.code, answer.out) == (2, "")
    assert str(tmp_path / "absent") in answer.err
    assert answer.err.count("\n") == 1
    assert not (tmp_path / "set").exists()


def test_a_named_importer_overrides_recognition(fedfr: Fedfr, samples: Path, tmp_path: Path) -> None:
    assert fedfr("faces", "import", samples, tmp_path / "a", "--importer", "folder").code == 0
    answer = fedfr("faces", "import", samples, tmp_path / "b", "--importer", "parquet")
    assert answer.code == 2
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--importer", "folders"], "unknown importer 'folders'; did you mean 'folder'? known: folder, orl"),
        (["--importer", "no_such_package:read"], "there is no module 'no_such_package'; install its package"),
        (["--importer", f"{__name__}:OWN"], "is a str; give a function with some or all of the parameters path, dest"),
        (["--importer", OWN, "--link"], f"--link has no effect on names.txt, which is read by the importer {OWN}"),
    ],
)
def test_mistakes_are_one_line(
    fedfr: Fedfr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("names.txt").write_text("anna", encoding="utf-8")
    answer = fedfr("faces", "import", "names.txt", "set", *options)
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err
    assert answer.err.count("\n") == 1
    assert not Path("set").exists()
