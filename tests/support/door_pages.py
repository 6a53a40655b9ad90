"""The page of a service in a browser with a fake camera."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import uvicorn
from numpy.typing import NDArray
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from tests.support.browser import Browser, browser
from tests.support.drawn_faces import draw_faces
from tests.support.photograph_files import YUNET
from tests.support.visitors import write_video

from fedfr.models import UserPreprocessing
from fedfr.recognition.recognizer import Recognizer
from fedfr.recognition.service.app import create_app
from fedfr.recognition.service.limits import ServiceLimits
from fedfr.recognition.service.rebuilding import RebuildWork
from fedfr.recognition.service.state import ServiceState

__all__ = ["FPIR", "PAGE_CHECKS", "STRANGERS", "DoorPage", "door_page", "make_gallery", "serving", "serving_here"]

STRANGERS = 40
FPIR = 0.1
PAGE_CHECKS = (Path(__file__).parent / "page_checks.js").read_text(encoding="utf-8")
"""Script that returns what is wrong with a page for people with a screen reader or weak eyes."""


def make_gallery(folder: Path, models_dir: Path) -> None:
    """Create a gallery with a detector and a published model, in which nobody is enrolled."""
    Recognizer.create(
        folder,
        model=models_dir / "mobilefacenet_casia.ckpt",
        user_preprocessing=UserPreprocessing("RGB", 127.5, 128.0),
        detector=models_dir / YUNET,
        strangers=draw_faces(STRANGERS, 1, seed=7),
        fpir=FPIR,
    ).close()


@contextlib.contextmanager
def serving(folder: Path, port: int) -> Iterator[str]:
    """Run ``fedfr serve`` until the block ends; yields its address."""
    command = [sys.executable, "-m", "fedfr", "serve", str(folder), "--port", str(port), "--threads", "1"]
    address = f"http://127.0.0.1:{port}"
    with (folder.parent / "serve.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=dict(os.environ))
    try:
        while not _ready(address):
            assert process.poll() is None, (folder.parent / "serve.log").read_text(encoding="utf-8")
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@contextlib.contextmanager
def serving_here(folder: Path, port: int, rebuild: RebuildWork) -> Iterator[str]:
    """Serve a gallery from a thread of this process, with a rebuild that a test can watch; yields the address."""
    state = ServiceState(folder, ServiceLimits(), rebuild=rebuild)
    server = uvicorn.Server(uvicorn.Config(create_app(state), port=port, ws="none", log_config=None))
    thread = threading.Thread(target=server.run)
    with Recognizer.open(folder) as recognizer:
        state.open(recognizer)
        thread.start()
        try:
            while not _ready(f"http://127.0.0.1:{port}"):
                assert thread.is_alive()
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(30)


def _ready(address: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return bool(httpx.get(f"{address}/v1/health", timeout=5).json()["status"] == "ok")
    return False


@dataclass
class DoorPage:
    """The page in a browser whose camera shows ``video``."""

    browser: Browser
    address: str
    video: Path

    def enrolled(self) -> list[str]:
        """Return the names of the enrolled people."""
        return sorted(each["name"] for each in httpx.get(f"{self.address}/v1/persons").json()["persons"])

    def open(self, view: str = "door", *, width: int = 1280, dark: bool = False) -> None:
        """Load the page anew and wait for a view."""
        self.browser.screen(width=width, dark=dark)
        self.browser.driver.get("about:blank")
        self.browser.driver.get(f"{self.address}/#{view}")
        self.wait(lambda: bool(self.all(f".view.{view} h1, .sign-in")) and not self.all(".loading"))

    def go(self, view: str) -> None:
        """Follow a link of the navigation."""
        self.browser.click(f'nav a[href="#{view}"]')
        self.wait(lambda: bool(self.all(f".view.{view} h1")))

    def show(self, images: Sequence[NDArray[np.uint8]]) -> None:
        """Hold these images before the camera, and start it."""
        if self.all(".running"):
            self.click("Stop camera")
        write_video(self.video, images)
        self.click("Start camera")
        self.wait(lambda: bool(self.all(".running")))

    def all(self, selector: str) -> list[WebElement]:
        """Return the elements."""
        return self.browser.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        """Return the only element."""
        (found,) = self.all(selector)
        return found

    def texts(self, selector: str) -> list[str]:
        """Return the visible texts of elements, read at one moment."""
        found: list[str] = self.browser.run(
            "return [...document.querySelectorAll(arguments[0])].map(element => element.innerText.trim())", selector
        )
        return found

    def text(self, selector: str = "body") -> str:
        """Return the visible text of the only element."""
        (found,) = self.texts(selector)
        return found

    def click(self, label: str) -> None:
        """Press the button or link with this label."""
        for element in self.all("button, a"):
            if element.is_displayed() and label in element.text:
                self.browser.run("arguments[0].scrollIntoView({block: 'center'})", element)
                element.click()
                return
        raise AssertionError(f"no button {label!r} among {[element.text for element in self.all('button, a')]}")

    def click_summary(self, label: str) -> None:
        """Open what is folded under this label."""
        (element,) = [each for each in self.all("summary") if label in each.text]
        self.browser.run("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def fill(self, field: str, text: str) -> None:
        """Replace the text of a field."""
        element = self.one(f"#{field}")
        element.clear()
        element.send_keys(text)

    def press(self, *keys: str) -> None:
        """Press keys where the focus is."""
        ActionChains(self.browser.driver).send_keys(*keys).perform()

    def tab_to(self, reached: str) -> int:
        """Press the tabulator until the element with this selector has the focus; returns how often."""
        for number in range(1, 80):
            self.press(Keys.TAB)
            if self.browser.run("return document.activeElement.matches(arguments[0])", reached):
                return number
        raise AssertionError(f"the keyboard does not reach {reached}")

    def wait(self, happened: Callable[[], bool]) -> None:
        """Wait until something has happened."""
        self.browser.wait(happened)

    def wait_for(self, selector: str, text: str) -> None:
        """Wait until an element has this text in it."""
        self.wait(lambda: any(text in found for found in self.texts(selector)))


@contextlib.contextmanager
def door_page(folder: Path, address: str) -> Iterator[DoorPage]:
    """Start a browser with a fake camera."""
    video = folder / "camera.y4m"
    arguments = (
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={video}",
    )
    with browser(folder, arguments, offline=False) as running:
        yield DoorPage(running, address, video)
