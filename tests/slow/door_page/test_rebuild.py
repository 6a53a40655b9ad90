"""A change of the model, started and followed on the page; the old model decides until the new one is complete."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from selenium.webdriver.common.keys import Keys
from tests.support.door_pages import DoorPage, serving_here
from tests.support.doors import Door, save_tiny_model
from tests.support.service_doors import NAMES, make_enrolled, png

from fedfr import FaceSet
from fedfr.recognition.enrolment.enrolment import Progress
from fedfr.recognition.rebuild import Rebuild
from fedfr.recognition.recognizer import Recognizer

pytestmark = pytest.mark.slow


@dataclass
class Steps:
    """The rebuild of a service, which goes on to the next person when the test says so."""

    model: Path
    strangers: FaceSet | None = None
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def __call__(self, recognizer: Recognizer, report: Progress) -> Rebuild:
        def progress(done: int, total: int) -> None:
            report(done, total)
            if total == len(NAMES):
                self.go.acquire(timeout=120)

        return recognizer.rebuild(self.model, strangers=self.strangers, progress=progress)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Door:
    return make_enrolled(tmp_path_factory.mktemp("rebuild"), crops=True)


@pytest.fixture(scope="module")
def folder(door: Door) -> Path:
    """A gallery that keeps crops, with a random network and without a detector."""
    return door.folder


@pytest.fixture(scope="module")
def steps(door: Door) -> Steps:
    return Steps(save_tiny_model(door.folder.parent / "new.safetensors", seed=5))


@pytest.fixture(scope="module")
def address(folder: Path, port: int, steps: Steps) -> Iterator[str]:
    with serving_here(folder, port, steps) as found:
        yield found


def test_a_rebuild_is_started_and_followed(page: DoorPage, door: Door, steps: Steps) -> None:
    photo = door.folder.parent / "ada.png"
    photo.write_bytes(png(door.photos(0)[4]))

    def space() -> str:
        return str(httpx.get(f"{page.address}/v1/gallery").json()["space"])

    def recognized() -> None:
        page.go("door")
        page.one("#door-file").send_keys(str(photo))
        page.wait_for(".outcome", "ada")

    old = space()
    page.open("calibration")
    page.wait_for(".model", "Change to the newest model")
    page.click("Change to the newest model")
    page.wait_for(".model .message.bad", "The model was not changed.")
    _, reason, where = page.texts(".model .message.bad p")
    assert reason.startswith("Features of the strangers are needed from the new model; ")
    assert (reason.count("."), reason[-1]) == (1, "."), "one sentence"
    assert "fedfr gallery rebuild" in where
    assert space() == old

    steps.strangers = door.strangers
    assert page.browser.run("return document.activeElement.matches('.model .trouble')"), "the focus is not lost"
    page.tab_to(".model button")
    page.press(Keys.ENTER)
    page.wait_for(".model", "1 of 3 done.")
    assert page.one(".model progress").get_attribute("value") == "1"
    recognized()
    assert space() == old
    page.go("calibration")
    page.wait_for(".model", "1 of 3 done.")
    assert old in page.text(".model")
    steps.go.release()
    page.wait_for(".model", "2 of 3 done.")
    steps.go.release(2)
    page.wait_for(".model .message.good", "3 people can be recognized.")
    assert space() != old
    assert space() in page.text(".model"), "the page names the new model"
    page.click("Change to the newest model")
    page.wait_for(".model .message.info", "The gallery has the newest model already.")
    recognized()
    page.go("journal")
    page.wait_for(".entries", "Rebuild for a new model")
