"""Calibration, journal, every view at each width, what is said in words, drift, and tokens."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from tests.support.door_pages import PAGE_CHECKS, STRANGERS, DoorPage
from tests.support.visitors import ADA, STRANGER, photo_files

from fedfr.recognition.calibration.drift import WINDOW
from fedfr.recognition.decision import Decision, reasons_to_json
from fedfr.recognition.recognizer import Recognizer
from fedfr.recognition.service.tokens import Tokens

pytestmark = pytest.mark.slow

VIEWS = ("door", "enrol", "people", "calibration", "journal")


def test_calibration_is_a_figure_and_a_table(page: DoorPage) -> None:
    page.open("calibration")
    page.wait(lambda: bool(page.all(".plot svg .threshold")))
    found = httpx.get(f"{page.address}/v1/calibration").json()
    drawn = page.one(".plot svg").get_attribute("aria-label") or ""
    assert f"The threshold is {found['identify']['value']:.2f}" in drawn
    for name in ("strangers", "own"):
        assert len(page.all(f".bars.{name} rect")) == sum(count > 0 for count in found["histograms"][name])
    page.click_summary("The figure as a table")
    rows = [[int(cell) for cell in re.findall(r"\t(\d+)", row)] for row in page.texts(".histogram tbody tr")]
    assert [sum(column) for column in zip(*rows, strict=True)] == [STRANGERS, 6]
    assert page.texts(".tile .number")[3] == str(STRANGERS)
    page.fill("rate", "1")
    page.click("Calibrate")
    page.wait_for(".rate .message.bad", "the best rate they prove is 0.07")
    assert "Request " in page.text(".rate .request")
    page.fill("rate", "20")
    page.click("Calibrate")
    page.wait_for(".rate .message.good", "Calibrated.")
    assert httpx.get(f"{page.address}/v1/calibration").json()["fpir"] == 0.2


def test_the_journal_names_nobody(page: DoorPage, tmp_path: Path) -> None:
    for person in (ADA, STRANGER):
        (photo,) = photo_files(tmp_path, person, range(20, 21))
        httpx.post(f"{page.address}/v1/identify", files={"file": photo.read_bytes()}).raise_for_status()
    page.open("journal")
    page.wait(lambda: bool(page.all(".entries tbody tr")))
    assert {"Accepted", "Not recognized", "Done"} <= {*page.texts(".entries .chip")}
    assert not re.search("Ada|Ben", page.text("main"))
    assert "Not enough decisions yet" in page.text(".drift")
    entries = len(page.all(".entries tbody tr"))
    page.one("#shown").find_element(By.CSS_SELECTOR, "option[value=changes]").click()
    assert 0 < len(page.all(".entries tbody tr")) < entries
    assert {*page.texts(".entries td:nth-child(2)")} >= {"Enrolment", "Calibration"}


@pytest.mark.parametrize(("width", "dark"), [(360, False), (360, True), (1280, True), (1280, False)])
def test_every_view_fits_and_can_be_read(page: DoorPage, width: int, dark: bool) -> None:
    page.open(width=width, dark=dark)
    for view in VIEWS:
        page.go(view)
        page.wait(lambda: not page.all(".loading"))
        assert page.browser.run(PAGE_CHECKS) == [], view
        assert page.browser.run("return document.documentElement.scrollWidth") <= width
    page.browser.run(
        """const bad = [document.createElement('button'), document.createElement('p')];
        bad[1].append('faint');
        bad[1].style.color = getComputedStyle(document.body).backgroundColor;
        document.querySelector('main').append(...bad);"""
    )
    assert [complaint.split()[0] for complaint in page.browser.run(PAGE_CHECKS)] == ["button.", "button.", "p."]
    ground = page.browser.run("return getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(16, 22, 28)" if dark else "rgb(244, 246, 248)")


IN_WORDS = """const done = arguments[arguments.length - 1];
  Promise.all([import('/page/door.js'), import('/page/words.js')]).then(([door, words]) => done([
    arguments[0].map((given) => door.noticesOf(given).map((notice) => notice.textContent)),
    arguments[1].map((share) => words.percent(share)),
    arguments[2].map((llr) => words.evidence(llr)).map(({headline, detail}) => `${headline} ${detail}`)]));"""


def test_states_and_numbers_are_put_into_words(page: DoorPage) -> None:
    page.open()
    quiet = {
        "gallery": {"problem": None, "needs_photo": [], "notices": [], "detector": True, "drift": "ok"},
        "admin": True,
    }
    drift = {"drift": {"text": "accepted people score lower"}}

    def but(**changes: object) -> dict[str, object]:
        return {**quiet, "gallery": {**quiet["gallery"], **changes}}  # type: ignore[dict-item]

    cases = [
        (quiet, ""),
        ({**quiet, **drift}, ""),
        (
            {**but(drift="recalibrate"), **drift},
            "Calibrate again: the promised rate may no longer hold.Accepted people score lower.",
        ),
        ({**but(drift="watch"), **drift}, "Keep an eye on the door"),
        ({**but(drift="recalibrate"), "admin": False}, "The calibration no longer fits this door."),
        ({**but(drift="watch"), "admin": False}, "Recent decisions differ from the calibration."),
        (but(needs_photo=["a", "b"]), "2 people need a new photo"),
        ({**but(needs_photo=1), "admin": False}, "1 person needs a new photo"),
        (but(detector=False), "This gallery has no face detector."),
        *((but(problem=one), one["text"]) for one in reasons_to_json(("space-changed", "not-calibrated"))),
        (but(notices=["no decisions: not-calibrated: …", "1 stranger resembles"]), "1 stranger resembles."),
    ]
    shares = [0, 0.0098, 0.5, 0.00012, 0.1, 0.09996, 0.999, 1]
    notices, percents, evidence = page.browser.driver.execute_async_script(
        IN_WORDS, [given for given, _ in cases], shares, [None, 0.1, -1.2, 3, 12]
    )
    for (_, expected), found in zip(cases, notices, strict=True):
        assert (len(found), expected in "".join(found)) == (int(bool(expected)), True), (expected, found)
    assert [text.replace("\u00a0", "") for text in percents] == [
        *("0%", "0.98%", "50%", "0.012%", "10%", "10%", "99.9%", "100%")
    ]
    assert [text.split(" Such a score comes ")[-1] for text in evidence[1:]] == [
        "about as often from an enrolled person as from a stranger.",
        "about 3.3 times as often from a stranger as from an enrolled person.",
        "about 20 times as often from an enrolled person as from a stranger.",
        "about 160,000 times as often from an enrolled person as from a stranger.",
    ]
    assert "unknown" in evidence[0]


def test_a_token_is_asked_for_and_decides_what_is_shown(page: DoorPage, folder: Path) -> None:
    """The last test: from the first token on the service needs one. Decisions that do not fit are in the journal."""
    with Recognizer.open(folder) as recognizer:
        calibration = recognizer.calibration()
        assert calibration is not None
        while recognizer.journal(1)[0].number < 2 * WINDOW:
            recognizer.note(Decision("reject", score=-0.9, threshold=0.5, calibration=calibration.id))
    door, admin = (Tokens(folder).add(scope, scope) for scope in ("door", "admin"))
    page.open()
    assert "Sign in" in page.text("main")
    for given, expected in (("fedfr_door_wrong", "This token is not valid"), (door, "Door only")):
        page.wait(lambda: bool(page.all("#token")))
        page.fill("token", given)
        page.press(Keys.ENTER)
        page.wait_for("body", expected)
    assert page.texts("nav a") == ["Door", "Calibration"]
    assert "The calibration no longer fits this door." in page.text(".notices")
    assert "Tell the person who runs this service." in page.text(".notices")
    assert not re.search(r"\d", page.text(".notices"))
    assert page.all("#rate") == []
    page.browser.driver.get(f"{page.address}/#people")
    page.wait(lambda: bool(page.all(".view.door")))
    assert door not in page.browser.driver.current_url
    stored = "return [Object.keys(sessionStorage), localStorage.length, document.cookie]"
    assert page.browser.run(stored) == [["fedfr-token"], 0, ""]
    page.click("Sign out")
    page.wait(lambda: bool(page.all("#token")))
    assert page.browser.run(stored) == [[], 0, ""]
    page.fill("token", admin)
    page.press(Keys.ENTER)
    page.wait_for("nav", "Journal")
    page.wait_for(".notices", "median -0.90")
    page.click("See the details")
    page.wait_for(".drift", "Calibrate again: the promised rate may no longer hold.")
    page.browser.screen(width=360)
    assert page.browser.run("return document.documentElement.scrollWidth") <= 360
    Tokens(folder).revoke("admin")
    page.click("People")
    page.wait_for("main", "it may have been revoked")
