"""The door view: visits before the camera, photos, cameras that do not start, and a service that does not answer."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import httpx
import pytest
from tests.support.browser import browser
from tests.support.door_pages import PAGE_CHECKS, STRANGERS, DoorPage
from tests.support.visitors import ADA, BEN, STRANGER, empty_room, photo_files, visitor

pytestmark = pytest.mark.slow

CALLS = """return performance.getEntriesByType('resource').filter(each => each.name.endsWith('/v1/watch'))
  .map(each => [each.startTime, each.responseEnd])"""
BOX = """const box = document.querySelector('.overlay rect').getBoundingClientRect();
  const view = document.querySelector('video').getBoundingClientRect();
  return [(box.left + box.width / 2 - view.left) / view.width, (box.top + box.height / 2 - view.top) / view.height,
    box.width / view.width]"""


SHIFTS = """const done = arguments[0];
  new PerformanceObserver((list) => done(list.getEntries().filter(each => !each.hadRecentInput).reduce(
    (sum, each) => sum + each.value, 0))).observe({type: 'layout-shift', buffered: true});
  setTimeout(() => done(0), 500);"""


def test_the_door_recognizes_enrolled_people_and_nobody_else(page: DoorPage) -> None:
    def decisions() -> list[str]:
        found = httpx.get(f"{page.address}/v1/journal?limit=20").json()["entries"]
        return [entry["outcome"] for entry in found if entry["kind"] == "identify"]

    page.open()
    page.show([visitor(ADA, 20)])
    page.wait_for(".outcome", "Ada")
    card = page.text(".decision")
    assert re.search(r"Score 0\.\d\d+\s+needed: more than 0\.\d\d", card)
    assert re.search(r"At most \d[\d.]*\s% of strangers \(1 in \d+\) pass in one visit", card)
    assert f"Tested with {STRANGERS} strangers against 2 enrolled people" in card
    assert "evidence for an enrolled person" in card
    assert page.browser.run(PAGE_CHECKS) == []
    x, y, width = page.browser.run(BOX)
    assert (0.3 < x < 0.7, 0.3 < y < 0.7, 0.2 < width < 0.6) == (True, True, True)
    assert page.text("#announcer").startswith("Ada. Recognized")
    page.wait(lambda: len(page.browser.run(CALLS)) >= 8)
    assert decisions() == ["accept"], "a visit of many images has one entry"
    calls = page.browser.run(CALLS)
    for (began, ended), (following, _) in itertools.pairwise(calls):
        assert following >= ended, "two images at once"
        assert following - began > 350

    page.show([visitor(STRANGER, 0)])
    page.wait_for(".outcome", "Not recognized")
    assert "Step out of view for a few seconds first." in page.text(".decision")
    assert not re.search("Ada|Ben", page.browser.run("return document.body.textContent"))
    assert page.all(".overlay .reject")
    assert page.browser.run(PAGE_CHECKS) == []

    page.show([empty_room()])
    page.wait_for(".outcome", "No face in view")
    assert not page.all(".overlay rect")
    assert decisions() == ["reject", "accept"], "nothing is noted while nobody is in view"
    page.click("Stop camera")
    page.wait_for(".cover", "The camera is off.")
    assert page.browser.driver.execute_async_script(SHIFTS) < 0.02


def test_a_photo_does_instead_of_the_camera(page: DoorPage, folder: Path) -> None:
    page.open()
    page.one("#door-file").send_keys(str(photo_files(folder.parent, BEN, range(20, 21))[0]))
    page.wait_for(".outcome", "Ben")
    assert page.one(".shown img").get_attribute("alt") == "Photo photo-1-20.png"
    assert page.all(".shown .box.accept")
    page.one("#door-file").send_keys(__file__)
    page.wait_for(".outcome", "No decision")
    assert "not an image of a supported format" in page.text(".decision")


@pytest.mark.parametrize(
    ("arguments", "explained", "cameras"),
    [
        (["--use-fake-device-for-media-stream", "--deny-permission-prompts"], "The camera is blocked.", 0),
        (["--use-fake-device-for-media-stream=device-count=0"], "No camera was found.", 0),
        (["--use-fake-device-for-media-stream=device-count=2", "--use-fake-ui-for-media-stream"], "", 2),
    ],
)
def test_refusal_absence_and_choice_of_a_camera(
    page: DoorPage, tmp_path: Path, arguments: list[str], explained: str, cameras: int
) -> None:
    with browser(tmp_path, arguments, offline=False) as running:
        other = DoorPage(running, page.address, page.video)
        other.open()
        other.click("Start camera")
        if explained:
            other.wait_for(".cover", explained)
            assert "photos instead" in other.text(".cover")
        else:
            other.wait(lambda: len(other.all("#camera-choice option")) == cameras)
        assert other.one("#camera-choice").is_displayed() == (cameras > 1)


def test_a_lost_service_and_too_many_requests_are_explained(page: DoorPage, folder: Path, port: int) -> None:
    page.open()
    page.show([visitor(ADA, moment) for moment in (20, 21)])
    page.wait_for(".outcome", "Ada")
    page.browser.run(
        """const card = document.querySelector('.decision');
        window.told = [];
        new MutationObserver(() => window.told.push(card.textContent))
          .observe(card, {subtree: true, childList: true, characterData: true});"""
    )
    with httpx.Client() as other:

        def paused() -> bool:
            for _ in range(300):
                other.get(f"{page.address}/v1/none")
            return "Paused" in json.dumps(page.browser.run("return window.told"))

        page.wait(paused)
    page.wait_for(".outcome", "Ada")
    driver = page.browser.driver
    driver.execute_cdp_cmd("Network.enable", {})
    lost = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", lost)
    page.wait_for("#connection", "Connection lost.")
    page.wait_for(".outcome", "Connection lost")
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", {**lost, "offline": False})
    driver.execute_cdp_cmd("Network.disable", {})
    page.wait_for(".outcome", "Ada")
    assert page.text("#connection") == ""
