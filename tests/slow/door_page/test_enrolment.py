"""Enrolment through the page: files, camera, the same person twice, and all of it with the keyboard."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import pytest
from selenium.webdriver.common.keys import Keys
from tests.support.door_pages import DoorPage
from tests.support.visitors import ADA, BEN, empty_room, photo_files, visitor

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, empty_gallery: Path) -> Path:
    """A gallery in which nobody is enrolled before the first test."""
    made = tmp_path_factory.mktemp("enrolment") / "gallery"
    shutil.copytree(empty_gallery, made)
    return made


SIGHT = """const canvas = Object.assign(document.createElement('canvas'), {width: 64, height: 48});
  const drawing = canvas.getContext('2d');
  drawing.drawImage(document.querySelector('.tray > li:last-child img'), 0, 0, 64, 48);
  return drawing.getImageData(0, 0, 64, 48).data.reduce((sum, value) => (31 * sum + value) % 1000003, 0)"""


def test_people_are_enrolled_from_files_and_from_the_camera(page: DoorPage, folder: Path) -> None:
    page.open()
    assert "Nobody can be recognized at present" in page.text(".notices")
    assert "nobody is enrolled" in page.text(".notices")
    page.click("Enrol people")
    wall = folder.parent / "wall.png"
    cv2.imwrite(str(wall), empty_room())
    page.fill("name", "Ada")
    page.one("#enrol-file").send_keys("\n".join(map(str, [*photo_files(folder.parent, ADA, range(3)), wall])))
    page.wait(lambda: page.texts(".tray .chip") == ["Good", "Good", "Good", "No face found"])
    page.click("Enrol with 4 photos")
    assert page.enrolled() == [], "without agreement nobody is enrolled"
    page.one("#agreed").click()
    page.click("Enrol with 4 photos")
    page.wait_for(".trouble", "Ada is enrolled, with 3 of 4 photos.")
    assert page.texts(".tray .chip") == ["Enrolled", "Enrolled", "Enrolled", "Not enrolled"]
    assert "Face the camera, with light from the front." in page.text(".tray")

    page.click("Enrol another person")
    page.fill("name", "Ben")
    page.show([visitor(BEN, moment) for moment in range(12)])
    seen: list[int] = []
    while len(seen) < 3:
        page.wait_for(".hint-live", "Good: take the photo.")
        page.click("Take photo")
        page.wait(lambda: len(page.all(".tray > li")) > len(seen))
        page.wait(lambda: page.browser.run("return document.querySelector('.tray > li:last-child img').complete"))
        if (sight := page.browser.run(SIGHT)) in seen:  # the video shows each image for a while
            page.one(".tray > li:last-child .remove").click()
        else:
            seen.append(sight)
    page.wait(lambda: page.texts(".tray .chip") == ["Good"] * 3)
    page.one("#agreed").click()
    page.click("Enrol with 3 photos")
    page.wait_for(".trouble", "Ben is enrolled.")
    assert page.enrolled() == ["Ada", "Ben"]


def test_the_same_person_is_not_enrolled_under_a_second_name_unnoticed(page: DoorPage, folder: Path) -> None:
    page.open("enrol")
    page.fill("name", "Eve")
    page.one("#enrol-file").send_keys("\n".join(map(str, photo_files(folder.parent, ADA, range(10, 12)))))
    page.one("#agreed").click()
    page.wait(lambda: page.texts(".tray .chip") == ["Good"] * 2)
    page.click("Enrol with 2 photos")
    page.wait_for(".trouble", "This face resembles somebody who is enrolled. Nothing was enrolled.")
    assert page.enrolled() == ["Ada", "Ben"]
    page.click("Add photos to Ada")
    page.wait_for("h1", "Add photos of Ada")
    page.one("#enrol-file").send_keys(str(photo_files(folder.parent, ADA, range(12, 13))[0]))
    page.one("#agreed").click()
    page.click("Add 1 photo")
    page.wait_for(".trouble", "4 photos altogether.")


def test_everything_can_be_done_with_the_keyboard(page: DoorPage, folder: Path) -> None:
    page.open("people")
    page.tab_to("#skip")
    page.press(Keys.ENTER)
    assert page.browser.run("return document.activeElement.id") == "content"
    page.open("people")
    page.tab_to('nav a[href="#enrol"]')
    page.press(Keys.ENTER)
    page.wait(lambda: page.browser.run("return document.activeElement.textContent") == "Enrol a person")
    page.tab_to("#name")
    page.press("Carol")
    assert page.tab_to(".camera button") == 1
    page.press(Keys.ENTER)
    page.wait(lambda: bool(page.all(".running")))
    page.press(Keys.ENTER)
    page.tab_to("#enrol-file")
    outline = page.browser.run("return getComputedStyle(document.querySelector('#enrol-file + label')).outlineStyle")
    assert outline == "solid", "the label shows the focus of the file field"
    page.one("#enrol-file").send_keys(
        "\n".join(map(str, photo_files(folder.parent, 2, range(2))))
    )  # no dialog of the system
    page.wait(lambda: page.texts(".tray .chip") == ["Good"] * 2)
    page.tab_to("#agreed")
    page.press(Keys.SPACE)
    page.tab_to("[type=submit]")
    page.press(Keys.ENTER)
    page.wait_for(".trouble", "Carol is enrolled")
    page.open("people")
    page.tab_to('[aria-label="Delete Carol"]')
    page.press(Keys.ENTER)
    assert page.one("dialog button:last-child").get_attribute("disabled")
    page.press(Keys.ESCAPE)
    page.wait(lambda: not page.all("dialog"))
    assert page.browser.run("return document.activeElement.ariaLabel") == "Delete Carol", "the focus comes back"
    page.press(Keys.ENTER)
    page.press("carol", Keys.ENTER)
    page.wait_for(".trouble", "Carol is deleted.")
    assert page.enrolled() == ["Ada", "Ben"]
