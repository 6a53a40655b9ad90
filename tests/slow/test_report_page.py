"""The report in a real browser, without network: drawn, readable, and its buttons do what they say."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.slow.browser import Browser, browser
from tests.tiny import tiny_config

from fedfr.experiment import Experiment
from fedfr.report import write_report

pytestmark = pytest.mark.slow


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
# Every figure has as many drawn paths or points as traces that are shown.
EMPTY = """return [...document.querySelectorAll('.plot')].filter(plot =>
  plot.data.some(t => t.visible !== false) && !plot.querySelector('.scatterlayer .trace path'))
  .map(plot => plot.parentElement.id)"""
# Text that is cut off by the figure it stands in.
CUT = """return [...document.querySelectorAll('.plot')].flatMap(plot => {
  const box = plot.getBoundingClientRect();
  return [...plot.querySelectorAll('.xtitle, .ytitle, .xtick text, .ytick text')].filter(text => {
    const own = text.getBoundingClientRect();
    return own.left < box.left - 2 || own.right > box.right + 2 || own.bottom > box.bottom + 2;
  }).map(text => `${plot.parentElement.id}: ${text.textContent}`);
})"""
SMALL = """return [...document.querySelectorAll('p, td, th, label, summary, .xtick text')].filter(element =>
  parseFloat(getComputedStyle(element).fontSize) < 9).map(element => element.textContent)"""


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("dark", [False, True])
def test_every_figure_is_drawn_and_fits(chromium: Browser, page: Path, width: int, dark: bool, tmp_path: Path) -> None:
    chromium.open(page, width=width, dark=dark)
    assert len(chromium.run(FIGURES)) == 13
    assert chromium.run("return document.documentElement.dataset.drawn") == "13"
    assert chromium.run(EMPTY) == []
    assert chromium.run(CUT) == []
    assert chromium.run(SMALL) == []
    assert chromium.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    ground = chromium.run("return getComputedStyle(document.body).backgroundColor")
    plots = chromium.run("return [...document.querySelectorAll('.plot')].map(p => p.layout.paper_bgcolor)")
    assert ground == ("rgb(20, 23, 28)" if dark else "rgb(255, 255, 255)")
    assert set(plots) == {"#14171c" if dark else "#ffffff"}
    chromium.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 100_000
    assert chromium.complaints() == []


def test_methods_are_hidden_and_shown(chromium: Browser, page: Path) -> None:
    chromium.open(page, width=1400)
    shown = """return [...document.querySelectorAll('.plot')].some(plot =>
      plot.data.some(t => t.meta?.method === arguments[0] && t.visible !== false))"""
    assert chromium.run(shown, "fedfr")
    assert not chromium.run(shown, "moon"), "with nine methods the others wait behind their names"
    for name in ("moon", "fedfr"):
        chromium.click(f"input[data-method={name}]")
    assert chromium.run(shown, "moon")
    assert not chromium.run(shown, "fedfr")
    assert chromium.complaints() == []


def test_a_roc_curve_becomes_a_det_curve_and_back(chromium: Browser, page: Path) -> None:
    chromium.open(page, width=1400)
    state = """const plot = document.querySelector('#roc-personalized-1-1 .plot');
      return [plot.layout.yaxis.type, plot.layout.yaxis.title.text,
        plot.data.flatMap(trace => trace.y)]"""
    kind, title, accepted = chromium.run(state)
    assert (kind, title) in (("linear", "TAR (%)"), (None, "TAR (%)"))
    chromium.click("#roc-personalized-1-1 .other")
    kind, title, rejected = chromium.run(state)
    assert (kind, title) == ("log", "FNMR (%)")
    pairs = [(a, r) for a, r in zip(accepted, rejected, strict=True) if r is not None]
    assert pairs
    assert all(abs(a + r - 100) < 1e-9 for a, r in pairs)
    chromium.click("#roc-personalized-1-1 .other")
    assert chromium.run(state)[1:] == ["TAR (%)", accepted]
    assert chromium.complaints() == []


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def test_the_data_come_as_csv(chromium: Browser, page: Path) -> None:
    chromium.open(page, width=1400)
    for name in chromium.run(FIGURES):
        # Chromium asks before the eleventh download of one visit, which nobody answers here.
        chromium.open(page, width=1400)
        chromium.click(f"#{name} .csv")
        path = chromium.downloads / f"{name}.csv"
        chromium.wait(partial(_has_content, path))
        lines = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
        assert len(lines) > 1, name
        assert {len(line) for line in lines} == {len(lines[0])}, name
    assert chromium.complaints() == []


def test_it_prints_in_black_on_white(chromium: Browser, page: Path) -> None:
    chromium.open(page, width=1400, dark=True)
    chromium.driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]},
    )
    grounds = "return [...document.querySelectorAll('.plot')].map(p => p.layout.paper_bgcolor)"
    chromium.wait(lambda: set(chromium.run(grounds)) == {"#ffffff"})
    assert chromium.run("return getComputedStyle(document.body).color") == "rgb(28, 32, 38)"
    hidden = "return getComputedStyle(document.querySelector('figure button')).display"
    assert chromium.run(hidden) == "none"
    printed = base64.b64decode(chromium.driver.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert printed.startswith(b"%PDF")
    assert len(printed) > 50_000
    chromium.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
