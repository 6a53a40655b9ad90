"""Columns of a table with the cost of each method in one deal."""

from __future__ import annotations

from collections.abc import Iterable

from fedfr.reporting.text_tables import broken_title, text_table, wrapped
from fedfr.results.costs import DealCost, DealCosts

__all__ = ["COST_HEAD", "cost_cells", "cost_note", "costs_text"]

COST_HEAD = ("steps", "images", "MB up", "MB down", "client CPU seconds")


def cost_cells(costs: DealCosts, method: str) -> tuple[str, ...]:
    """Return the cells of :data:`COST_HEAD` for a method; a cost that was not recorded is a dash."""
    cost = costs.of(method)
    if cost is None:
        return ("–",) * len(COST_HEAD)
    return (
        _number(cost.steps),
        _number(cost.images),
        _number(cost.bytes_up, 1e6),
        _number(cost.bytes_down, 1e6),
        _seconds(cost),
    )


def costs_text(costs: DealCosts, methods: Iterable[str], width: int) -> list[str]:
    """Return a table of the methods' costs for a terminal and the note below it; empty without costs."""
    if not costs.methods:
        return []
    lines = [(name, *cost_cells(costs, name)) for name in dict.fromkeys(methods)]
    head = ("cost", *map(broken_title, COST_HEAD))
    return [text_table(head, lines, width), wrapped(cost_note(costs), width)]


def cost_note(costs: DealCosts) -> str:
    """Return what the columns hold and whether one machine measured the seconds; empty without costs."""
    if not costs.methods:
        return ""
    text = (
        "Costs are those of all clients and rounds of one deal, mean over deals: SGD steps, images processed in them, "
        "bytes of tensors sent up and down, processor time."
    )
    if any(cost.alone_seconds is not None for cost in costs.methods.values()):
        text += (
            " Clients of a simulation share the features of the public images; every client is charged with all of "
            "them, once in a round, as if it were alone; in brackets the seconds as measured."
        )
    else:
        text += (
            " Clients of a simulation share the features of the public images, which each of them would compute if it "
            "were alone."
        )
    if (start := costs.methods.get("pretrained")) is not None and start.steps:
        text += " The cost of pretrained is the server's, on the public images; the rows that begin with it add to it."
    if len(costs.machines) > 1:
        return f"{text} The seconds were measured on several machines ({'; '.join(costs.machines)})."
    if costs.machines:
        return f"{text} The seconds of all methods were measured on one machine ({costs.machines[0]})."
    return text


def _seconds(cost: DealCost) -> str:
    """Return the seconds of clients that share no features, in brackets those measured where they are others."""
    measured = _number(cost.client_seconds)
    alone = measured if cost.alone_seconds is None else _number(cost.alone_seconds)
    return measured if alone == measured else f"{alone} ({measured})"


def _number(value: float | None, unit: float = 1.0) -> str:
    """Format a number in a unit, with a digit after the point if it is below ten and not whole."""
    if value is None:
        return "–"
    scaled = value / unit
    return f"{scaled:.1f}" if scaled < 10 and scaled != round(scaled) else f"{scaled:,.0f}"
