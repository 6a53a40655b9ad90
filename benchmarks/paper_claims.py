"""Claims of the FedFR paper about pairs of models, compared with results of a benchmark.

Tables 1 and 2 of the paper (Liu et al., AAAI 2022) and its figure over identities per client. The values belong to its
setting; what can come back elsewhere is their order, so that a claim is the sign of a difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedfr.reporting.benchmark_table import difference_text
from fedfr.reporting.table import column_title, markdown_table
from fedfr.results.comparison import Comparison, Difference, between, compare, corrected
from fedfr.results.metric_groups import (
    DISJOINT,
    Deals,
    Key,
    MetricGroup,
    better_model,
    metric_groups,
    shared_metrics,
    summaries,
)
from fedfr.results.result_rows import Row

__all__ = ["GENERIC", "SEARCH", "VERIFY", "Claim", "claims_table", "figure_table"]

GENERIC, GENERIC_SEARCH, VERIFY, SEARCH = "generic-1:1", "generic-1:N", "personalized-1:1", "personalized-1:N"
NO_DEALS: Mapping[float, Deals] = {}
BETTER = "better"
"""In place of a model: the method's model with the highest mean."""


@dataclass(frozen=True)
class Claim:
    """Claim of the paper: the sign of ``one`` − ``other`` is +1, −1, or not negative (0)."""

    text: str
    protocol: str
    one: Key
    other: Key
    sign: int


def _personal(method: str) -> Key:
    return method, method if method in ("pretrained", "centralized", "local") else "personalized"


def _generic(method: str) -> Key:
    return method, method if method in ("pretrained", "centralized") else "generic"


def _step(texts: tuple[str, str], one: str, other: str, signs: tuple[int, int]) -> list[Claim]:
    """Return the claims of two neighbouring rows of Table 1: of the generic and of the personal model, 1:1 and 1:N."""
    generic, personal = texts
    return [
        Claim(f"{generic}, 1:1", GENERIC, _generic(one), _generic(other), signs[0]),
        Claim(f"{generic}, 1:N", GENERIC_SEARCH, _generic(one), _generic(other), signs[0]),
        Claim(f"{personal}, 1:1", VERIFY, _personal(one), _personal(other), signs[1]),
        Claim(f"{personal}, 1:N", SEARCH, _personal(one), _personal(other), signs[1]),
    ]


def _personal_pair(text: str, one: str, other: str, sign: int) -> list[Claim]:
    """Return the claims of two rows of Table 2, which has personal models only."""
    return [
        Claim(f"{text}, {kind}", protocol, _personal(one), _personal(other), sign)
        for kind, protocol in (("1:1", VERIFY), ("1:N", SEARCH))
    ]


_WITHOUT_DFC = "fedfr-hn-con"
TABLE_1 = (
    *_step(
        ("FedAvg alone hurts the generic model", "FedAvg alone helps the personal one"),
        "fedavg",
        "pretrained",
        (-1, 1),
    ),
    *_step(
        ("hard negatives repair the generic model", "hard negatives help the personal one"),
        "fedfr-hn",
        "fedavg",
        (1, 1),
    ),
    *_step(
        ("the contrastive term lifts the generic model", "the contrastive term costs the personal one"),
        _WITHOUT_DFC,
        "fedfr-hn",
        (1, -1),
    ),
    *_step(
        ("DFC costs the generic model nothing", "DFC lifts the personal one"),
        "fedfr",
        _WITHOUT_DFC,
        (0, 1),
    ),
    *_step(
        ("FedFR's generic model is not behind pooled training", "pooled training is ahead of FedFR's personal one"),
        "fedfr",
        "centralized",
        (0, -1),
    ),
)
TABLE_2 = (
    *_personal_pair("fine-tuning FedFR without DFC harms", "finetune-fedfr", _WITHOUT_DFC, -1),
    *_personal_pair("distillation is ahead of fine-tuning", "distill-fedfr", "finetune-fedfr", 1),
    *_personal_pair("a CosFace branch is ahead of distillation", "branch-cosface", "distill-fedfr", 1),
    *_personal_pair("DFC is ahead of a CosFace branch", "fedfr", "branch-cosface", 1),
)
OTHERS = tuple(
    claim
    for name in ("fedavg", "moon", "fedprox", "fedface")
    for kind, personal, generic in (("1:1", VERIFY, GENERIC), ("1:N", SEARCH, GENERIC_SEARCH))
    for claim in (
        Claim(f"FedFR is ahead of {name}, {kind}", personal, _personal("fedfr"), (name, BETTER), 1),
        Claim(f"FedFR's generic model is not behind {name}'s, {kind}", generic, _generic("fedfr"), _generic(name), 0),
    )
)
CLAIMS = (*TABLE_1, *TABLE_2, *OTHERS)


@dataclass(frozen=True)
class _Measured:
    claim: Claim
    one: Key
    other: Key
    metric: str
    difference: Difference

    @property
    def pair(self) -> str:
        return f"{column_title(*self.one)} − {column_title(*self.other)}"


def claims_table(rows: Sequence[Row], claims: Sequence[Claim] = CLAIMS, deals: Deals = DISJOINT) -> str:
    """Return the paper's claims, the measured differences and what comes back, as a Markdown table.

    The claims are a family of their own: a verdict rests on p-values corrected for all claims of the table (Holm), see
    :func:`_verdict`.
    """
    found = [measured for claim in claims if (measured := _measure(claim, rows, deals)) is not None]
    lines = []
    for each, compared in zip(found, corrected([each.difference for each in found], len(found)), strict=True):
        figure = f"{each.claim.protocol} {each.metric}: {each.pair}"
        told = "–" if compared is None else _verdict(each.claim.sign, compared)
        lines.append((each.claim.text, figure, difference_text(each.difference), told))
    table = markdown_table(("the paper", "here", "difference [95 %]", "verdict"), lines)
    return f"{table}\n\n{_family(len(found), 'claims')}"


def figure_table(cells: Mapping[float, Sequence[Row]], axis: str, deals: Mapping[float, Deals] = NO_DEALS) -> str:
    """Return the paper's figure, generic TAR against identities per client, as a Markdown table with verdicts.

    ``cells`` are rows by position on the axis, ``deals`` what the seeds of each have in common. The paper: FedFR is
    ahead of FedFace at every position, not behind pooled training, and rises with every position. All differences of
    the table are one family.
    """
    groups = _groups_of_cells(cells, deals)
    head = (axis, "pretrained", "fedface", "fedfr", "centralized", "fedfr − fedface", "fedfr − centralized")
    fedfr = _generic("fedfr")
    differences: list[Difference | None] = []
    before = None
    for group in groups.values():
        differences += [compare(group, fedfr, _generic(name)) for name in ("fedface", "centralized")]
        differences.append(None if before is None else between(group, before, fedfr))
        before = group
    told = iter(corrected(differences, sum(each is not None for each in differences)))
    lines = []
    for number, (at, group) in enumerate(groups.items()):
        shown = (_mean(group, _generic(name)) for name in head[1:5])
        ahead, not_behind, rise = (_told(sign, next(told)) for sign in (1, 0, 1))
        lines.append((f"{at:g}", *shown, ahead, not_behind, rise if number else ""))
    metric = next(iter(groups.values())).metric
    count = sum(each is not None for each in differences)
    table = markdown_table((*head, "fedfr − fedfr one row above"), lines)
    return f"{GENERIC} {metric} (%)\n\n{table}\n\n{_family(count, 'differences')}"


def _family(count: int, what: str) -> str:
    """Return the sentence below a table of the paper's claims."""
    return (
        f"These {count} {what} are a family of their own: verdicts are corrected for all of them (Holm) and say what "
        "of the paper returns; intervals are uncorrected. They are no primary comparisons of this benchmark."
    )


def _groups_of_cells(cells: Mapping[float, Sequence[Row]], deals: Mapping[float, Deals]) -> dict[float, MetricGroup]:
    each = [shared_metrics(rows, GENERIC) for rows in cells.values()]
    metric = next(metric for metric in each[0] if all(metric in others for others in each))
    return {
        at: next(
            group
            for group in metric_groups(rows, deals.get(at, DISJOINT))
            if (group.protocol, group.metric) == (GENERIC, metric)
        )
        for at, rows in cells.items()
    }


def _mean(group: MetricGroup, key: Key) -> str:
    return f"{100 * summaries(group)[key].mean:.1f}" if key in group.values else "–"


def _told(sign: int, found: Comparison | None) -> str:
    return "–" if found is None else f"{difference_text(found.difference)} {_verdict(sign, found)}"


def _measure(claim: Claim, rows: Sequence[Row], deals: Deals) -> _Measured | None:
    """Return the difference of a claim at the strictest rate that its models have; None if one is missing.

    Of a method with a choice of models, the better one at this rate is compared.
    """
    method, model = claim.other
    ours = [
        row
        for row in rows
        if row.protocol == claim.protocol
        and ((row.method, row.model) == claim.one or (row.method == method and model in (BETTER, row.model)))
    ]
    for metric in shared_metrics(ours, claim.protocol)[:1]:
        group = next(group for group in metric_groups(ours, deals) if group.metric == metric)
        other = better_model(group, method) if model == BETTER else claim.other
        difference = None if other is None else compare(group, claim.one, other)
        if other is not None and difference is not None:
            return _Measured(claim, claim.one, other, metric, difference)
    return None


def _verdict(sign: int, found: Comparison) -> str:
    """Return whether a claim returns, does not, is reversed or not settled, and whether both are equal.

    All words rest on p-values corrected for the table. A claim that one model is ahead returns where the difference has
    its sign, is reversed where it has the other one and is larger than the margin, and else does not return. "Not
    behind" (sign 0) returns where the first model is not behind by the margin, and is reversed where it is behind by
    more. A claim whose own interval, uncorrected, supports or contradicts it is not settled (alone: + or −).
    """
    difference = found.difference
    if difference.low is None or difference.high is None:
        return "not settled"
    side = (sign or 1) * difference.mean
    if sign == 0:
        direction = "returns" if found.not_behind else "reversed" if found.larger and side < 0 else ""
        supported, contradicted = difference.low > -difference.margin, difference.high < -difference.margin
    else:
        against = "reversed" if found.larger else "does not return"
        direction = ("returns" if side > 0 else against) if found.differs else ""
        supported, contradicted = (difference.significant and held for held in (side > 0, side < 0))
    alone = " (alone: +)" if supported else " (alone: −)" if contradicted else ""
    return ", ".join(filter(None, (direction, found.equality))) or f"not settled{alone}"
