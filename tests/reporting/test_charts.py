"""Figures of a report from rows made by hand."""

from __future__ import annotations

from fedfr.reporting.charts import Section, charts
from fedfr.rows import Row


def test_clients_that_change_alike_stand_in_the_order_of_their_names() -> None:
    """A set of names has another order in every process, and the page of the same results would be another."""
    names = [f"client-{number:02d}" for number in range(12)]
    rows = [
        Row(method, 0, 1, client, model, "personalized-1:1", "TAR@FAR=1e-1", value, 20, 200)
        for method, model, value in (("pretrained", "pretrained", 0.25), ("fedfr", "personalized", 0.75))
        for client in reversed(names)
    ]
    (chart,) = (chart for chart in charts(Section(rows, [], [], [], "run")) if chart.name == "clients")
    assert chart.traces[1]["y"] == names
