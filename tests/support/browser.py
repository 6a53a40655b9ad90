"""Headless Chromium for tests of pages."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

__all__ = ["Browser", "browser"]


class Browser:
    """A page in a window of a given width, light or dark; files go to ``downloads``."""

    def __init__(self, driver: webdriver.Chrome, downloads: Path) -> None:
        self.driver = driver
        self.downloads = downloads

    def open(self, page: Path, *, width: int, dark: bool = False, height: int = 900) -> None:
        """Load the file in a screen of this width and wait until every figure is drawn."""
        self.screen(width=width, dark=dark, height=height)
        self.driver.get(page.resolve().as_uri())
        self.wait(lambda: bool(self.run(_DRAWN)))

    def screen(self, *, width: int, dark: bool = False, height: int = 900) -> None:
        """Set the size of the screen and the preferred colours."""
        command: Any = self.driver.execute_cdp_cmd
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        command("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        command("Emulation.setEmulatedMedia", {"features": [scheme]})

    def run(self, script: str, *arguments: object) -> Any:
        """The value of a script's `return`."""
        return self.driver.execute_script(script, *arguments)

    def click(self, selector: str) -> None:
        """Bring it into view and press it, as a person does."""
        element = self.driver.find_element(By.CSS_SELECTOR, selector)
        self.run("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def wait(self, happened: Callable[[], bool]) -> None:
        """Until ``happened``; raises selenium's TimeoutException after half a minute."""
        WebDriverWait(self.driver, 30).until(lambda _: happened())

    def complaints(self) -> list[str]:
        """What the page has written to the console since the last call, warnings and errors."""
        entries: list[dict[str, str]] = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [f"{entry['level']}: {entry['message']}" for entry in entries]

    def screenshot(self, path: Path) -> None:
        """Return the whole page as PNG."""
        height = self.run("return document.documentElement.scrollHeight")
        width = self.run("return document.documentElement.clientWidth")
        command: Any = self.driver.execute_cdp_cmd
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        command("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.save_screenshot(str(path))


_DRAWN = "return document.documentElement.dataset.drawn !== undefined"


@contextlib.contextmanager
def browser(downloads: Path, arguments: Sequence[str] = (), *, offline: bool = True) -> Iterator[Browser]:
    """Start Chromium with further arguments; fails where `make test-slow` has not installed it."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.fail("chromium or chromedriver is missing; `make test-slow` installs both")
    options = Options()
    options.binary_location = binary
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--force-color-profile=srgb",
        *arguments,
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options=options, service=Service(driver)) as running:
        allowed = {"behavior": "allow", "downloadPath": str(downloads.resolve())}
        running.execute_cdp_cmd("Browser.setDownloadBehavior", allowed)
        if offline:
            running.execute_cdp_cmd("Network.enable", {})
            running.execute_cdp_cmd(
                "Network.emulateNetworkConditions",
                {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0},
            )
        yield Browser(running, downloads)
