"""Figures of a report from constructed rows."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest

from fedfr.reporting.chart import Axis, Chart, Line
from fedfr.reporting.charts import Section, charts
from fedfr.reporting.drawing import export
from fedfr.reporting.histograms import histogram, scores_chart
from fedfr.reporting.markup import PageTable
from fedfr.results.curve_records import Curve
from fedfr.results.result_rows import Row

SVG = "http://www.w3.org/2000/svg"


def test_clients_with_equal_changes_are_in_order_of_name() -> None:
    """A set of names has another order in every process, and the page of the same results would be another."""
    names = [f"client-{number:02d}" for number in range(12)]
    rows = [
        Row(method, 0, 1, client, model, "personalized-1:1", "TAR@FAR=1e-1", value, 20, 200)
        for method, model, value in (("pretrained", "pretrained", 0.25), ("fedfr", "personalized", 0.75))
        for client in reversed(names)
    ]
    (drawn,) = (each for each in charts(Section(rows, [], [], [], "run")) if each.name == "clients")
    assert list(drawn.y.names) == names


def shown(text: bytes) -> list[str]:
    return ["".join(element.itertext()).strip() for element in ET.fromstring(text).iter(f"{{{SVG}}}text")]


def chart(x: Axis, y: Axis, *lines: Line) -> Chart:
    return Chart("roc", "TAR at FAR", "", lines, x, y, [("x", "y")], (("own", "solid"), ("for all", "dotted")))


@pytest.mark.parametrize("low", [3e-7, 2e-4, 0.02, 0.5])
def test_logarithmic_axes_are_labelled_at_decades_alone(low: float) -> None:
    line = Line("fedfr", [low, 1.0], [0.2, 0.4], "#e4572e")
    texts = shown(export(chart(Axis("FAR", log=True), Axis("FNMR", log=True), line), (), "svg"))
    numbers = [text for text in texts if re.match(r"[\d.]", text)]
    assert set(numbers) <= {"1", *(f"10⁻{sign}" for sign in "¹²³⁴⁵⁶⁷")}
    assert "10⁻¹" in numbers
    assert numbers.count("1") == 2, "the last decade of either axis"


def test_a_figure_explains_the_dashes_it_has_and_no_other() -> None:
    solid = Line("$x_1$ & <b>", [0.0, 1.0], [0.2, 0.4], "#e4572e", dash="solid")
    texts = shown(export(chart(Axis("a"), Axis("b"), solid), (), "svg"))
    assert "$x_1$ & <b>" in texts, "a name is a name, not a formula or markup"
    assert "own" in texts
    assert "for all" not in texts


@pytest.mark.parametrize(("form", "start"), [("pdf", b"%PDF-"), ("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_figures_do_not_depend_on_settings_of_matplotlib(form: str, start: bytes) -> None:
    drawn = chart(Axis("a"), Axis("b"), Line("fedfr", [0.0, 1.0], [0.2, 0.4], "#e4572e", "fedfr"))
    first = export(drawn, ("fedfr",), form)
    with mpl.rc_context({"font.size": 30, "axes.grid": False}):
        assert export(drawn, ("fedfr",), form) == first
        assert mpl.rcParams["font.size"] == 30
    assert first.startswith(start)


def test_a_method_that_is_not_chosen_is_not_in_the_file() -> None:
    lines = [Line(name, [0.0, 1.0], [0.2, 0.4], "#000000", name) for name in ("fedfr", "moon")]
    texts = shown(export(chart(Axis("a"), Axis("b"), *lines), ("moon",), "svg"))
    assert "moon" in texts
    assert "fedfr" not in texts


def test_many_clients_are_numbered_and_the_figure_stays_on_a_sheet() -> None:
    rows = [
        Row(method, 0, 1, f"client-{number:03d}", model, "personalized-1:1", "TAR@FAR=1e-1", value, 20, 200)
        for method, model, value in (("pretrained", "pretrained", 0.25), ("fedfr", "personalized", 0.75))
        for number in range(100)
    ]
    (clients,) = (each for each in charts(Section(rows, [], [], [], "run")) if each.name == "clients")
    assert clients.y.names == ()
    assert len(clients.table) == 101
    height = float(ET.fromstring(export(clients, ("fedfr",), "svg")).attrib["viewBox"].split()[3])
    assert height < 72 * 5


def test_bins_are_as_wide_as_the_number_of_scores_allows() -> None:
    """Freedman and Diaconis: of a normal distribution 2 · 1.349 σ / n^(1/3), here σ = 0.1."""
    generator = np.random.default_rng(0)
    for count in (50, 1000, 100_000):
        scores = np.histogram(generator.normal(0.2, 0.1, count), 400, (-1, 1))[0].tolist()
        edges, counts = histogram(scores)
        assert counts.sum() == count
        wanted = 2 * 1.349 * 0.1 / count ** (1 / 3)
        assert np.diff(edges)[0] == pytest.approx(wanted, rel=0.35)
        assert counts[0] > 0
        assert counts[-1] > 0
    assert len(histogram([0] * 400)[1]) == 0
    assert histogram([0] * 399 + [5])[1].tolist() == [5]


def test_bins_of_older_runs_join_the_narrower_ones() -> None:
    def curve(seed: int, counts: tuple[int, ...]) -> Curve:
        return Curve("fedfr", seed, 1, "personalized", "personalized-1:1", 2, (None,), counts, counts)

    wide, narrow = (0,) * 60 + (30, 10) + (0,) * 38, (0,) * 240 + (5,) * 8 + (0,) * 152
    both = scores_chart("personalized-1:1", [curve(0, wide), curve(1, narrow)])
    assert sum(int(str(line[5])) for line in both.table[1:] if line[2] == "genuine") == 80


def test_a_table_is_one_of_latex_and_of_markdown() -> None:
    made = PageTable("a-b", "A_1 & B", ("model", "x (%)"), [("fedfr_x", "**+1.0**"), ("a|b", "-2.0 ± 0.1")], "100 %.")
    latex = made.latex()
    assert r"\begin{tabular}{@{}lr@{}}" in latex
    assert r"fedfr\_x & \textbf{+1.0} \\" in latex
    assert r"a\textbar{}b & $-$2.0 $\pm$ 0.1 \\" in latex
    assert r"\caption{A\_1 \& B. 100 \%.}" in latex
    assert [latex.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    assert "| a\\|b | -2.0 ± 0.1 |" in made.markdown().splitlines()
    assert made.csv() == "model,x (%)\nfedfr_x,+1.0\na|b,-2.0 ± 0.1\n"
