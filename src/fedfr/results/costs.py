"""Costs of rounds, read from ``metrics.jsonl``: time, bytes, memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from statistics import fmean

from fedfr.core.errors import FedfrError
from fedfr.core.files import read_json, read_json_lines, write_json
from fedfr.results.stored_records import records_of

__all__ = [
    "STARTING_COST",
    "DealCost",
    "DealCosts",
    "EpochCost",
    "RoundCost",
    "deal_costs",
    "epoch_costs",
    "round_costs",
    "starting_cost",
    "total",
    "write_epoch_costs",
]

STARTING_COST = "cost.json"
"""Name of the file with the cost of a starting model, beside it."""


@dataclass(frozen=True)
class RoundCost:
    """Cost of one round of one method and seed, summed over its clients.

    ``steps``: SGD steps of the clients; ``images``: images processed in them. Costs of clients are None where they were
    not recorded, as with sites that do not report them.

    ``wall_seconds``: from the broadcast to the average, without evaluation; ``client_seconds``: processor time of the
    clients' processes in training and feature extraction, which other processes on the machine do not lengthen;
    ``alone_seconds``: the same if no client shared features of public faces with others, None where it is not known;
    ``bytes_up``, ``bytes_down``: tensors of all messages; ``peak_bytes``: the largest resident size of a client's
    process.
    """

    method: str
    seed: int
    round: int
    wall_seconds: float = 0.0
    client_seconds: float | None = 0.0
    bytes_up: int = 0
    bytes_down: int = 0
    peak_bytes: int | None = 0
    steps: int | None = None
    images: int | None = None
    alone_seconds: float | None = None

    @property
    def charged_seconds(self) -> float | None:
        """Processor time of clients that share no features, or where that is not known, of the clients as they ran."""
        return self.client_seconds if self.alone_seconds is None else self.alone_seconds


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


def starting_cost(path: Path, seed: int, *, trained: bool = True) -> RoundCost:
    """Return the cost of a starting model, of which ``path`` has one entry per epoch; the seconds are the server's.

    Without the file: nothing if the model is not ``trained``, else unknown.
    """
    if not path.exists():
        unknown = None if trained else 0
        return RoundCost("pretrained", seed, 0, client_seconds=unknown, steps=unknown, images=unknown)
    costs = epoch_costs(path)
    steps, images = sum(cost.steps for cost in costs), sum(cost.images for cost in costs)
    wall, processor = sum(cost.seconds for cost in costs), sum(cost.cpu_seconds for cost in costs)
    return RoundCost("pretrained", seed, 0, round(wall, 2), round(processor, 2), steps=steps, images=images)


@dataclass(frozen=True)
class EpochCost:
    """Cost of an epoch of pre-training: wall and processor time, SGD steps, images processed in them."""

    seconds: float
    cpu_seconds: float
    steps: int
    images: int


def epoch_costs(path: Path) -> list[EpochCost]:
    """Read the costs of epochs that :func:`write_epoch_costs` wrote; raises :class:`FedfrError` for a damaged file."""
    return records_of(EpochCost, read_json(path), path)


def write_epoch_costs(path: Path, costs: Iterable[EpochCost]) -> None:
    """Write the costs of epochs, oldest first."""
    write_json(path, [asdict(cost) for cost in costs])


def total(costs: Iterable[RoundCost]) -> RoundCost:
    """Sum the rounds of one method and seed; ``round`` is the last one. Raises ValueError if there are no rounds."""
    rounds = list(costs)
    last = max(rounds, key=lambda cost: cost.round)
    return RoundCost(
        last.method,
        last.seed,
        last.round,
        round(sum(cost.wall_seconds for cost in rounds), 2),
        _rounded(_known([cost.client_seconds for cost in rounds], sum)),
        sum(cost.bytes_up for cost in rounds),
        sum(cost.bytes_down for cost in rounds),
        _whole(_known([cost.peak_bytes for cost in rounds], max)),
        _whole(_known([cost.steps for cost in rounds], sum)),
        _whole(_known([cost.images for cost in rounds], sum)),
        _rounded(_known([cost.alone_seconds for cost in rounds], sum)),
    )


@dataclass(frozen=True)
class DealCost:
    """Cost of a method in one deal, mean over deals, of all its clients and rounds; None where it was not recorded."""

    steps: float | None = 0.0
    images: float | None = 0.0
    bytes_up: float | None = 0.0
    bytes_down: float | None = 0.0
    client_seconds: float | None = 0.0
    alone_seconds: float | None = None


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
        found[method] = DealCost(**{name: _known([getattr(each, name) for each in totals], fmean) for name in names})
    return DealCosts(found, tuple(dict.fromkeys(machines)))


def _sum(method: str, seed: int, number: int, wall: float, updates: list[dict[str, float]]) -> RoundCost:
    return RoundCost(
        method,
        seed,
        number,
        wall,
        _known([update.get("cpu_seconds") for update in updates], sum),
        int(sum(update["bytes/up"] for update in updates)),
        int(sum(update["bytes/down"] for update in updates)),
        _whole(_known([update.get("peak_rss_bytes") for update in updates], max)),
        _whole(_known([update.get("steps") for update in updates], sum)),
        _whole(_known([update.get("images/processed") for update in updates], sum)),
        _rounded(_known([_alone(update) for update in updates], sum)),
    )


def _alone(update: Mapping[str, float]) -> float | None:
    """Return the processor time of a client if it had computed all features of public faces itself."""
    names = ("cpu_seconds", "feature_seconds", "feature_seconds_alone")
    if any(update.get(name) is None for name in names):
        return None
    every, spent, alone = (update[name] for name in names)
    return every - spent + alone


def _known(values: Sequence[float | None], combine: Callable[[list[float]], float]) -> float | None:
    """Return the sum, mean or maximum of numbers, None if one is not known."""
    known = [value for value in values if value is not None]
    return combine(known) if len(known) == len(values) else None


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
