"""Gain of a federation over the best alternative without one, on results made by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import stdev

import pytest
from scipy.stats import t as student

from fedfr.reporting.charts import Section
from fedfr.reporting.drawing import draw
from fedfr.reporting.gain import gain_chart, gain_table, gain_text, section_gains
from fedfr.reporting.page import Report, page
from fedfr.results.costs import RoundCost
from fedfr.results.federation_gain import Gain
from fedfr.results.intervals import holm
from fedfr.results.metric_groups import Deals
from fedfr.results.result_rows import Row

START = (0.80, 0.81, 0.79, 0.80)
GENERIC = {"few": (0.83, 0.84, 0.81, 0.82), "many": (0.80, 0.82, 0.79, 0.80)}
# By point and method: the mean over two clients in each of four deals.
PERSONAL = {
    "few": {
        "fedfr": (0.70, 0.72, 0.69, 0.71),
        "local-fedfr": (0.60, 0.75, 0.60, 0.61),
        "frozen-head": (0.64, 0.65, 0.64, 0.65),
        "local": (0.40, 0.41, 0.42, 0.40),
    },
    "many": {
        "fedfr": (0.75, 0.76, 0.75, 0.77),
        "local-fedfr": (0.76, 0.77, 0.77, 0.76),
        "frozen-head": (0.70, 0.70, 0.71, 0.70),
        "local": (0.50, 0.51, 0.52, 0.50),
    },
}
FEW = Section([], [], [], [], "few", 5.0)


def rows_of(point: str, *, without: tuple[str, ...] = ()) -> list[Row]:
    """Rows of a point, with a second metric that only some have, and the other scorings' protocols."""

    def row(method: str, model: str, protocol: str, seed: int, client: str, value: float) -> Row:
        return Row(method, seed, 1, client, model, protocol, "TAR@FAR=1e-3", value, 100, 10_000)

    found = []
    for seed in range(4):
        found.append(row("pretrained", "pretrained", "generic-1:1", seed, "", START[seed]))
        found.append(row("published", "published", "generic-1:1", seed, "", START[seed] - 0.05))
        found.append(row("fedfr", "generic", "generic-1:1", seed, "", GENERIC[point][seed]))
        found.append(row("fedfr", "generic", "generic-1:1 flip", seed, "", 0.99))
        for number, step in enumerate((-0.02, 0.02)):
            client = f"client-{number}"
            found.append(row("pretrained", "pretrained", "personalized-1:1", seed, client, 0.3))
            found.append(row("fedfr", "generic", "personalized-1:1", seed, client, 0.999))
            for method, values in PERSONAL[point].items():
                model = "local" if method == "local" else "personalized"
                found.append(row(method, model, "personalized-1:1", seed, client, values[seed] + step))
    found.append(replace(found[0], metric="TAR@FAR=1e-4", value=None, refused="few"))
    return [each for each in found if each.method not in without]


def costs() -> list[RoundCost]:
    """Two rounds in four seeds with two clients each."""
    each = [("fedfr", 8_000_000, 40.0), ("frozen-head", 0, 6.0)]
    return [
        RoundCost(name, seed, number, 1.0, seconds, up, 2 * up, 1)
        for name, up, seconds in each
        for seed in range(4)
        for number in (1, 2)
    ]


def sections(**given: tuple[str, ...]) -> list[Section]:
    return [
        replace(FEW, rows=rows_of("few", **given), costs=costs()),
        replace(FEW, name="many", at=60.0, rows=rows_of("many", **given)),
    ]


def found(gains: list[Gain]) -> dict[tuple[str, str], Gain]:
    return {(gain.point.label, gain.model): gain for gain in gains}


def test_the_alternative_has_the_best_mean_at_its_point() -> None:
    gains = found(section_gains(sections()))
    assert list(gains) == [("5", "generic"), ("60", "generic"), ("5", "personalized"), ("60", "personalized")]
    assert {place: gain.alternative[0] for place, gain in gains.items()} == {
        ("5", "generic"): "pretrained",
        ("60", "generic"): "pretrained",
        ("5", "personalized"): "frozen-head",
        ("60", "personalized"): "local-fedfr",
    }
    few = gains["5", "personalized"]
    differences = [a - b for a, b in zip(PERSONAL["few"]["fedfr"], PERSONAL["few"]["frozen-head"], strict=True)]
    mean, half = sum(differences) / 4, student.ppf(0.975, 3) * stdev(differences) / 2
    assert few.difference.mean == pytest.approx(mean)
    assert (few.difference.low, few.difference.high) == pytest.approx((mean - half, mean + half))
    assert (few.federated, few.alone) == pytest.approx((0.705, 0.645))
    assert {gain.metric for gain in gains.values()} == {"TAR@FAR=1e-3"}


def test_a_clients_own_backbone_is_an_alternative_to_the_generic_model() -> None:
    """Its value in a deal is the mean over its clients."""
    alone = {"few": (0.825, 0.83, 0.82, 0.815), "many": (0.7, 0.7, 0.7, 0.7)}
    given = [
        replace(
            section,
            rows=[
                *section.rows,
                *(
                    Row(
                        "local-fedfr", seed, 1, client, "backbone", "generic-1:1", "TAR@FAR=1e-3", value + step, 99, 999
                    )
                    for seed, value in enumerate(alone[section.name])
                    for client, step in (("client-0", -0.01), ("client-1", 0.01))
                ),
            ],
        )
        for section in sections()
    ]
    gains = found(section_gains(given))
    few, many = (gains[point, "generic"] for point in ("5", "60"))
    assert (few.alternative, many.alternative[0]) == (("local-fedfr", "backbone"), "pretrained")
    assert few.alone == pytest.approx(sum(alone["few"]) / 4)
    assert few.difference.mean == pytest.approx(sum(GENERIC["few"]) / 4 - sum(alone["few"]) / 4)
    assert few.difference.deals == 4


def test_gains_and_rises_are_settled_by_intervals_corrected_for_all_of_a_model() -> None:
    gains = found(section_gains(sections()))
    for model in ("generic", "personalized"):
        few, many = (gains[point, model] for point in ("5", "60"))
        assert few.rise is None
        assert many.rise is not None
        plain = [each.p_value for each in (few.difference, many.difference, many.rise) if each.p_value is not None]
        assert [few.p_value, many.p_value, many.rise_p] == pytest.approx(holm(plain))
    assert {place for place, gain in gains.items() if gain.settled} == {("5", "generic"), ("5", "personalized")}
    assert {place for place, gain in gains.items() if gain.rise_settled} == {("60", "generic"), ("60", "personalized")}
    assert gains["60", "personalized"].difference.mean < 0


def test_a_rise_is_paired_by_deal_also_with_other_clients() -> None:
    few, many = sections()
    named = [replace(row, client=row.client and f"of-{row.client}") for row in many.rows]
    more = [replace(row, client="third") for row in named if row.client == "of-client-0"]
    given = found(section_gains([few, replace(many, rows=[*named, *more])]))
    rise = given["60", "personalized"].rise
    # The third client has the values of the first, 2 points below the mean of both.
    steps = [
        late - 0.02 / 3 - early for early, late in zip(PERSONAL["few"]["fedfr"], PERSONAL["many"]["fedfr"], strict=True)
    ]
    assert rise is not None
    assert rise.mean == pytest.approx(sum(steps) / 4)
    half = student.ppf(0.975, 3) * stdev(steps) / 2
    assert (rise.low, rise.high) == pytest.approx((rise.mean - half, rise.mean + half))
    apart = found(section_gains([replace(few, group="a"), replace(many, group="b")]))
    assert all(gain.rise is None for gain in apart.values()), "other groups are no steps of an axis"


def test_costs_are_for_one_client() -> None:
    gain = found(section_gains(sections()))["5", "personalized"]
    assert (gain.cost.bytes_up, gain.cost.bytes_down, gain.cost.seconds) == (8e6, 16e6, 40.0)
    assert (gain.alternative_cost.bytes_up, gain.alternative_cost.seconds) == (0, 6.0)


@pytest.mark.parametrize("missing", ["fedfr", "local-fedfr"])
def test_a_gain_needs_the_federation_and_its_counterpart_alone(missing: str) -> None:
    assert section_gains(sections(without=(missing,))) == []


def test_there_is_no_interval_without_replications() -> None:
    two = [replace(each, rows=[row for row in each.rows if row.seed < 2]) for each in sections()]
    shared = [replace(each, deals=Deals(people=10, shared=3)) for each in sections()]
    for given, reason in ((two, "An interval needs 3 deals"), (shared, "No intervals: deals train on the same people")):
        gains = section_gains(given)
        assert all(gain.difference.low is None and not gain.settled for gain in gains)
        assert reason in gain_table("images", gains).note
        assert not any(line.spread for line in gain_chart("images", gains).lines)


def test_a_gain_that_few_people_make_has_no_interval() -> None:
    """Above 90 % without outcomes by person: the deals are enough, the people may not be."""
    high = [replace(each, rows=[replace(r, value=r.value and r.value + 0.2) for r in each.rows]) for each in sections()]
    gains = section_gains(high)
    assert {gain.difference.low is None for gain in gains if gain.model == "personalized"} == {True}
    note = gain_table("images", gains).note
    assert "rests on fewer than 10 people" in note
    assert "needs 3 deals" not in note
    assert "rests on" not in gain_table("images", section_gains(sections())).note


def test_a_model_that_lacks_a_client_is_no_alternative() -> None:
    few, many = sections()
    few = replace(
        few,
        rows=[row for row in few.rows if (row.method, row.client, row.seed) != ("frozen-head", "client-0", 0)],
    )
    assert found(section_gains([few, many]))["5", "personalized"].alternative[0] == "local-fedfr"


def test_the_table_fits_a_terminal_and_marks_what_is_settled() -> None:
    text = gain_text("training images per person", section_gains(sections()), 80)
    assert max(map(len, text.splitlines())) <= 80
    assert "+6.0 [" in text
    assert text.count("]*") == 4, "two gains and two rises"
    markdown = gain_table("images", section_gains(sections())).markdown()
    assert "| 5, personalized | 70.5 | frozen-head personalized | 64.5 | **+6.0 [" in markdown
    assert "| rise from the point above [95 %] | deals |" in markdown
    assert "| 8.0 | 16.0 | 40 | 6 |" in markdown


def test_the_figure_has_both_models_with_their_intervals() -> None:
    gains = section_gains(sections())
    chart = gain_chart("images", gains)
    zero, generic, personal = chart.lines
    assert (zero.x, zero.y) == ([5.0, 60.0], [0.0, 0.0])
    assert (generic.label, personal.label) == ("fedfr generic", "fedfr personalized")
    assert generic.dash != personal.dash
    own = found(gains)
    assert personal.y == pytest.approx([100 * own[at, "personalized"].difference.mean for at in ("5", "60")])
    high = own["5", "personalized"].difference.high
    assert high is not None
    assert personal.spread[0] == pytest.approx(100 * (high - own["5", "personalized"].difference.mean))
    assert len(chart.table) == 5
    assert all(math.isfinite(place) for line in draw(chart, chart.name).points for point in line for place in point)


def test_the_page_of_a_scenario_shows_figure_and_table() -> None:
    report = Report("worth", [], sections(), "", {}, "images")
    text = page(report)
    assert '<figure id="federation-gain">' in text
    assert "Gain of the federation against images" in text
    assert "federation-gain" in report.tables
    assert page(replace(report, axis="")).find("federation-gain") < 0


def test_points_without_a_number_have_their_names() -> None:
    gains = section_gains([replace(each, at=None) for each in sections()])
    chart = gain_chart("public faces", gains)
    assert chart.x.names == ("few", "many")
    assert chart.lines[1].x == [0.0, 1.0]
