"""The report in a real browser without network: rendering, readability, controls."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from xml.etree import ElementTree as ET

import cv2
import pytest
from selenium.webdriver.common.by import By
from tests.support.browser import Browser, browser
from tests.support.tiny_experiment import tiny_config

from fedfr.experiments.experiment import Experiment
from fedfr.experiments.report import write_report

pytestmark = pytest.mark.slow

SVG = "http://www.w3.org/2000/svg"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with eight methods, every round evaluated, in a folder with a space in its name."""
    folder = tmp_path_factory.mktemp("report page")
    more = "[local,centralized,fedavg,fedprox,moon,fedface,fedfr-hn-con]"
    config = tiny_config(folder, "method.name=fedfr", f"baselines={more}", "evaluation.every=1", alike=0.6)
    Experiment.create(config, folder / "a run").run()
    return write_report(folder / "a run")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("downloads")) as running:
        yield running


FIGURES = "return [...document.querySelectorAll('figure')].map(f => f.id)"
# Every figure has drawn lines or markers, and a legend that says which.
EMPTY = """return [...document.querySelectorAll('figure')].filter(figure => {
  const shown = (end) => [...figure.querySelectorAll(`[id^="${figure.id}--"]`)].filter(
    element => end.test(element.id) && element.style.display !== 'none');
  return !shown(/--\\d+$/).some(line => line.querySelector('path, use')) || !shown(/-text$/).length;
}).map(figure => figure.id)"""
# Text that is cut off by the figure it stands in, or that lies on another.
CUT = """return [...document.querySelectorAll('.plot svg')].flatMap(svg => {
  const box = svg.getBoundingClientRect();
  const texts = [...svg.querySelectorAll('text')].filter(text => text.getClientRects().length);
  const boxes = texts.map(text => text.getBoundingClientRect());
  return texts.filter((text, at) => {
    const own = boxes[at];
    const outside = own.left < box.left - 2 || own.right > box.right + 2 || own.bottom > box.bottom + 2;
    return outside || boxes.some((other, place) => place > at && own.left < other.right - 2 &&
      other.left < own.right - 2 && own.top < other.bottom - 3 && other.top < own.bottom - 3);
  }).map(text => `${svg.closest('figure').id}: ${text.textContent}`);
})"""
SMALL = """return [...document.querySelectorAll('p, td, th, label, summary')].filter(element =>
  parseFloat(getComputedStyle(element).fontSize) < 9).map(element => element.textContent).concat(
  [...document.querySelectorAll('.plot svg')].filter(svg => 8 * svg.clientWidth / svg.viewBox.baseVal.width < 8.5)
  .map(svg => svg.closest('figure').id))"""
INK = "return getComputedStyle(document.querySelector('.plot svg text')).fill"


@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize("dark", [False, True])
def test_every_figure_is_drawn_and_fits(chromium: Browser, page: Path, width: int, dark: bool, tmp_path: Path) -> None:
    chromium.open(page, width=width, dark=dark)
    assert len(chromium.run(FIGURES)) == 17
    assert chromium.run("return document.documentElement.dataset.drawn") == "17"
    assert chromium.run(EMPTY) == []
    assert chromium.run(CUT) == []
    assert chromium.run(SMALL) == []
    assert chromium.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    ground = chromium.run("return getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(20, 23, 28)" if dark else "rgb(255, 255, 255)")
    assert chromium.run(INK) == ("rgb(230, 232, 235)" if dark else "rgb(28, 32, 38)")
    chromium.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 100_000
    assert chromium.complaints() == []


LEGEND = """return [...document.querySelectorAll('#roc-personalized-1-1 [id$="-text"]')].filter(
  text => text.getClientRects().length).map(text => text.textContent.trim())"""
HEIGHT = "return document.querySelector('#roc-personalized-1-1 svg').viewBox.baseVal.height"


def test_methods_are_hidden_and_shown_and_the_legend_follows(chromium: Browser, page: Path) -> None:
    chromium.open(page, width=1400)
    before, few = chromium.run(LEGEND), chromium.run(HEIGHT)
    assert "fedfr personalized" in before
    assert "moon personalized" not in before, "with nine methods the others wait behind their names"
    for name in ("moon", "fedprox", "fedface"):
        chromium.click(f"input[data-method={name}]")
    assert chromium.run(HEIGHT) > few, "the legend has room for those that came"
    assert chromium.run(CUT) == []
    chromium.click("input[data-method=fedfr]")
    assert {"moon generic", "moon personalized"} <= {*chromium.run(LEGEND)}
    assert not [label for label in chromium.run(LEGEND) if label.startswith("fedfr ")]
    assert chromium.complaints() == []


def test_the_point_under_the_pointer_has_a_tooltip(chromium: Browser, page: Path) -> None:
    chromium.open(page, width=1400)
    key = chromium.driver.find_element(By.CSS_SELECTOR, "#rounds-personalized-1-1 svg")
    chromium.run("arguments[0].scrollIntoView({block: 'center'})", key)
    point = """const svg = document.querySelector('#rounds-personalized-1-1 svg');
      const use = svg.querySelector('[id="rounds-personalized-1-1--1"] use').getBoundingClientRect();
      svg.dispatchEvent(new PointerEvent('pointermove', {clientX: use.left + use.width / 2, clientY: use.top +
        use.height / 2}));
      return document.getElementById('tip').innerText"""
    told = chromium.run(point)
    assert "round 0" in told
    assert "TAR@FAR=1e-1 (%)" in told


def test_figures_are_exported_as_svg_and_png(chromium: Browser, page: Path) -> None:
    """Exported alone, black on white also in a dark page, with the visible lines only."""
    chromium.open(page, width=1400, dark=True)
    name = "roc-personalized-1-1"
    for form in ("svg", "png"):
        chromium.click(f"#{name} button[data-form={form}]")
        chromium.wait(partial(_has_content, chromium.downloads / f"{name}.{form}"))
    svg = (chromium.downloads / f"{name}.svg").read_text(encoding="utf-8")
    texts = {"".join(element.itertext()).strip() for element in ET.fromstring(svg).iter(f"{{{SVG}}}text")}
    assert {"FAR", "TAR (%)", "10⁻¹", "fedfr personalized", "a client's own model"} <= texts
    assert "moon personalized" not in texts
    assert "var(" not in svg
    assert "#1c2026" in svg
    png = cv2.imread(str(chromium.downloads / f"{name}.png"))
    assert png is not None
    assert png.shape[1] == 1350, "4.5 inches at 300 dots"
    assert (png[0, 0] == 255).all()
    assert png.min() < 60
    assert chromium.complaints() == []


def test_tables_are_exported_as_latex_and_markdown(chromium: Browser, page: Path) -> None:
    chromium.open(page, width=1400)
    for form, expected in (("tex", r"\toprule"), ("md", "|---|"), ("csv", "model,")):
        chromium.click(f"button[data-table=overview][data-form={form}]")
        path = chromium.downloads / f"overview.{form}"
        chromium.wait(partial(_has_content, path))
        assert expected in path.read_text(encoding="utf-8")
    assert chromium.complaints() == []


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def test_data_of_figures_are_exported_as_csv(chromium: Browser, page: Path) -> None:
    chromium.open(page, width=1400)
    for name in chromium.run(FIGURES):
        # Chromium asks before the eleventh download of one visit, which nobody answers here.
        chromium.open(page, width=1400)
        chromium.click(f"#{name} button[data-form=csv]")
        path = chromium.downloads / f"{name}.csv"
        chromium.wait(partial(_has_content, path))
        lines = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
        assert len(lines) > 1, name
        assert {len(line) for line in lines} == {len(lines[0])}, name
    assert chromium.complaints() == []


def test_the_page_is_printed_black_on_white(chromium: Browser, page: Path) -> None:
    chromium.open(page, width=1400, dark=True)
    chromium.driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]},
    )
    chromium.wait(lambda: chromium.run(INK) == "rgb(28, 32, 38)")
    assert chromium.run("return getComputedStyle(document.body).color") == "rgb(28, 32, 38)"
    hidden = "return getComputedStyle(document.querySelector('figure button')).display"
    assert chromium.run(hidden) == "none"
    printed = base64.b64decode(chromium.driver.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert printed.startswith(b"%PDF")
    assert len(printed) > 50_000
    chromium.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
