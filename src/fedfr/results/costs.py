"""Costs of rounds, read from ``metrics.jsonl``: time, bytes, memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from statistics import fmean

from fedfr.core.errors import FedfrError
from fedfr.core.files import read_json_lines

__all__ = ["DealCost", "DealCosts", "RoundCost", "deal_costs", "round_costs", "total"]


@dataclass(frozen=True)
class RoundCost:
    """Cost of one round of one method and seed, summed over its clients.

    ``steps``: SGD steps of the clients; ``images``: images processed in them; None in runs that did not record them.

    ``wall_seconds``: from the broadcast to the average, without evaluation; ``client_seconds``: training and feature
    extraction of the clients, which may have run in parallel; ``bytes_up``, ``bytes_down``: tensors of all messages;
    ``peak_bytes``: the largest resident size of a client's process.
    """

    method: str
    seed: int
    round: int
    wall_seconds: float = 0.0
    client_seconds: float = 0.0
    bytes_up: int = 0
    bytes_down: int = 0
    peak_bytes: int = 0
    steps: int | None = None
    images: int | None = None


def round_costs(events: Path, method: str, seed: int) -> list[RoundCost]:
    """Read the cost of every round from ``events``, oldest first; empty for a method without rounds.

    Raises :class:`FedfrError` for a damaged file.
    """
    updates: dict[int, list[dict[str, float]]] = {}
    wall: dict[int, float] = {}
    try:
        for event in read_json_lines(events):
            if event["event"] == "update":
                updates.setdefault(event["round"], []).append(event)
            if event["event"] == "round":
                wall[event["round"]] = event.get("seconds", 0.0)
        return [_sum(method, seed, number, wall.get(number, 0.0), updates[number]) for number in sorted(updates)]
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise FedfrError(f"{events} has a missing or damaged entry ({error!r}); restore or remove it") from error


def total(costs: Iterable[RoundCost]) -> RoundCost:
    """Sum the rounds of one method and seed; ``round`` is the last one. Raises ValueError if there are no rounds."""
    rounds = list(costs)
    last = max(rounds, key=lambda cost: cost.round)
    return RoundCost(
        last.method,
        last.seed,
        last.round,
        round(sum(cost.wall_seconds for cost in rounds), 2),
        round(sum(cost.client_seconds for cost in rounds), 2),
        sum(cost.bytes_up for cost in rounds),
        sum(cost.bytes_down for cost in rounds),
        max(cost.peak_bytes for cost in rounds),
        _sum_known([cost.steps for cost in rounds]),
        _sum_known([cost.images for cost in rounds]),
    )


@dataclass(frozen=True)
class DealCost:
    """Cost of a method in one deal, mean over deals, of all its clients and rounds; None where it was not recorded."""

    steps: float | None = 0.0
    images: float | None = 0.0
    bytes_up: float | None = 0.0
    bytes_down: float | None = 0.0
    client_seconds: float | None = 0.0


@dataclass(frozen=True)
class DealCosts:
    """Costs of methods by name, and a description of each machine that computed them, where it was recorded."""

    methods: Mapping[str, DealCost] = field(default_factory=dict)
    machines: tuple[str, ...] = ()

    def of(self, method: str) -> DealCost | None:
        """Return the cost of a method: nothing for one without rounds, None if no costs were recorded."""
        return self.methods.get(method, DealCost() if self.methods else None)


def deal_costs(costs: Iterable[RoundCost], machines: Iterable[str] = ()) -> DealCosts:
    """Return the mean cost of every method over its deals (seeds), from the costs of rounds."""
    deals: dict[str, dict[int, list[RoundCost]]] = {}
    for cost in costs:
        deals.setdefault(cost.method, {}).setdefault(cost.seed, []).append(cost)
    names = [each.name for each in fields(DealCost)]
    found = {}
    for method, seeds in deals.items():
        totals = [total(rounds) for rounds in seeds.values()]
        found[method] = DealCost(**{name: _mean_known([getattr(each, name) for each in totals]) for name in names})
    return DealCosts(found, tuple(dict.fromkeys(machines)))


def _mean_known(values: Sequence[float | None]) -> float | None:
    """Return the mean, None if a value is not known."""
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def _sum(method: str, seed: int, number: int, wall: float, updates: list[dict[str, float]]) -> RoundCost:
    return RoundCost(
        method,
        seed,
        number,
        wall,
        sum(update["seconds"] for update in updates),
        int(sum(update["bytes/up"] for update in updates)),
        int(sum(update["bytes/down"] for update in updates)),
        int(max(update["peak_rss_bytes"] for update in updates)),
        _sum_known([update.get("steps") for update in updates]),
        _sum_known([update.get("images/processed") for update in updates]),
    )


def _sum_known(values: Sequence[float | None]) -> int | None:
    """Return the sum of numbers, None if one is not known."""
    known = [value for value in values if value is not None]
    return int(sum(known)) if len(known) == len(values) else None
