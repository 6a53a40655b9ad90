"""Fixtures that run the command line in this process: exit code, standard output, standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import pytest
import typer.main
from tests.support.doors import Door, make_door
from tests.support.tiny_experiment import SETTINGS, tiny_faces

from fedfr.cli import main


@dataclass(frozen=True)
class Answer:
    """Output and exit code of a command."""

    code: int
    out: str
    err: str


Fedfr = Callable[..., Answer]


def answered(answer: Answer) -> Any:
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


@pytest.fixture(scope="session", autouse=True)
def _commands_built_once() -> Iterator[None]:
    """The tree of all commands is built once in this process: that takes most of the time of a small command."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", cache(typer.main.get_command))
        yield


@pytest.fixture
def fedfr(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Fedfr:
    """``fedfr("train", …)``."""

    def run(*arguments: str | Path) -> Answer:
        monkeypatch.setattr(sys, "argv", ["fedfr", *map(str, arguments)])
        capfd.readouterr()
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        out, err = capfd.readouterr()
        return Answer(code, out, err)

    return run


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images: 14 people, 5 images each, in every supported format."""
    folder = tmp_path_factory.mktemp("images") / "of people"
    faces, suffixes = tiny_faces(), ("png", "jpg", "bmp", "pgm", "jpeg")
    for index, label in enumerate(faces.labels):
        path = folder / faces.identities[label] / f"{index:03d}.{suffixes[index % 5]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = faces.images([index])[0][:, :, ::-1]
        grey = path.suffix == ".pgm"
        assert cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if grey else image)
    return folder


@pytest.fixture(scope="session")
def faceset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved face set."""
    folder = tmp_path_factory.mktemp("faces") / "set"
    tiny_faces().save(folder)
    return folder


@pytest.fixture(scope="session")
def settings(faceset: Path) -> list[str]:
    """``--set`` options of an experiment that takes seconds."""
    values = [*SETTINGS, "model.backbone=slimface-small", f"faces.path={faceset}", "federation.rounds=1"]
    return [part for value in values for part in ("--set", value)]


@pytest.fixture(scope="session")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty configuration: everything by ``--set``."""
    path = tmp_path_factory.mktemp("config") / "run.yaml"
    path.write_text("{}\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def gallery_place(tmp_path_factory: pytest.TempPathFactory) -> Door:
    """A gallery with two people, and photos of four beside it: photos of PERSON/NUMBER.png."""
    folder = tmp_path_factory.mktemp("gallery") / "a place"
    folder.mkdir()
    door = make_door(folder, crops=True)
    for person in range(4):
        for number, image in enumerate(door.photos(person)):
            path = folder / f"photos of {person}" / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            assert cv2.imwrite(str(path), image[:, :, ::-1])
    with door.open() as recognizer:
        for person, name in enumerate(("ada", "Jürgen Groß")):
            assert recognizer.enrol(name, door.photos(person, 0, 3), aligned=True).enrolled
    return door
