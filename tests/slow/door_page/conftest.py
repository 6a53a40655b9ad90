"""The page of a service in Chromium with a fake camera; a test file has a service and a browser of its own."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.door_pages import DoorPage, door_page, make_gallery, serving
from tests.support.visitors import ADA, BEN, empty_room, visitor, write_video

from fedfr.recognition.recognizer import Recognizer


@pytest.fixture(scope="session")
def empty_gallery(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Path:
    """A gallery in which nobody is enrolled."""
    made = tmp_path_factory.mktemp("empty") / "gallery"
    make_gallery(made, models_dir)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, empty_gallery: Path) -> Path:
    """The gallery that is served, with two people."""
    made = tmp_path_factory.mktemp("page") / "gallery"
    shutil.copytree(empty_gallery, made)
    with Recognizer.open(made) as recognizer:
        for person, name in ((ADA, "Ada"), (BEN, "Ben")):
            assert recognizer.enrol(name, [visitor(person, moment) for moment in range(3)]).accepted == 3
    return made


@pytest.fixture(scope="module")
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def address(folder: Path, port: int) -> Iterator[str]:
    """The address of the service."""
    with serving(folder, port) as found:
        yield found


@pytest.fixture(scope="module")
def page(folder: Path, address: str) -> Iterator[DoorPage]:
    """The page in an open browser, with nobody before the camera."""
    with door_page(folder.parent, address) as opened:
        write_video(opened.video, [empty_room()])
        yield opened


@pytest.fixture(autouse=True)
def no_complaints(page: DoorPage) -> Iterator[None]:
    """No violation of the content policy and no exception, whatever a test does."""
    yield
    told = page.browser.complaints()
    assert [line for line in told if "Failed to load resource" not in line] == []
