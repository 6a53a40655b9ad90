"""Primary comparisons of a benchmark: a family that is declared before the runs and corrected together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fedfr.core.settings import Settings
from fedfr.results.comparison import Comparison, compare, corrected
from fedfr.results.metric_groups import (
    DISJOINT,
    Deals,
    Key,
    MetricGroup,
    better_model,
    meant_model,
    metric_groups,
    shared_metrics,
)
from fedfr.results.result_rows import Row

__all__ = ["Primary", "PrimaryComparison", "PrimaryFamily", "primary_family"]


class Primary(Settings):
    """Declaration of a family: ``method`` minus each of ``against`` in each of ``protocols``, with plain scores.

    ``method`` is compared by the model that is meant for the protocol's people, every other method by its model with
    the higher mean over deals, which favours it. A protocol's metric is the strictest at a rate that all these models
    have.
    """

    method: str
    against: tuple[str, ...]
    protocols: tuple[Literal["generic-1:1", "personalized-1:1"], ...]


@dataclass(frozen=True)
class PrimaryComparison:
    """One comparison of the family, ``one`` − ``other``, with p-values corrected for the family."""

    group: MetricGroup
    one: Key
    other: Key
    found: Comparison

    @property
    def verdict(self) -> str:
        """Whether ``one`` is ahead or behind, and whether both are equal; else ``not settled``."""
        side = ("ahead" if self.found.difference.mean > 0 else "behind") if self.found.differs else ""
        return ", ".join(filter(None, (side, self.found.equality))) or "not settled"


@dataclass(frozen=True)
class PrimaryFamily:
    """Comparisons of a family that can be made, and protocol and method of those that cannot."""

    comparisons: tuple[PrimaryComparison, ...]
    missing: tuple[tuple[str, str], ...]

    def metric(self, protocol: str) -> MetricGroup | None:
        """Return the metric of a protocol, with the values of all models; None if nothing is compared there."""
        return next((each.group for each in self.comparisons if each.group.protocol == protocol), None)

    def of(self, protocol: str, method: str) -> PrimaryComparison | None:
        """Return the comparison with a method in a protocol."""
        ours = (each for each in self.comparisons if (each.group.protocol, each.other[0]) == (protocol, method))
        return next(ours, None)


def primary_family(rows: Sequence[Row], primary: Primary | None, deals: Deals = DISJOINT) -> PrimaryFamily:
    """Return the comparisons of a declared family; empty where none is declared.

    All comparisons that can be made count in the correction (Holm), also those without an interval, so that the size of
    the family does not depend on the results.
    """
    if primary is None:
        return PrimaryFamily((), ())
    pairs: list[tuple[MetricGroup, Key, Key]] = []
    differences, missing = [], []
    for protocol in primary.protocols:
        group = _group(rows, primary, protocol, deals)
        one = meant_model(group, primary.method)
        for name in primary.against:
            other = better_model(group, name)
            difference = compare(group, one, other) if one and other else None
            if one and other and difference:
                pairs.append((group, one, other))
                differences.append(difference)
            else:
                missing.append((protocol, name))
    tested = zip(pairs, corrected(differences, len(differences)), strict=True)
    return PrimaryFamily(tuple(PrimaryComparison(*pair, found) for pair, found in tested if found), tuple(missing))


def _group(rows: Sequence[Row], primary: Primary, protocol: str, deals: Deals) -> MetricGroup:
    """Return the strictest metric that the family's models have, with the values of all models; empty without one."""
    every = [row for row in rows if row.protocol == protocol]
    strictest = shared_metrics([row for row in every if row.method in (primary.method, *primary.against)], protocol)[:1]
    found = (group for group in metric_groups(every, deals) if group.metric in strictest)
    return next(found, MetricGroup(protocol, "", {}))
