"""Claims of the FedFR paper about pairs of models, compared with results of a benchmark.

Tables 1 and 2 of the paper (Liu et al., AAAI 2022) and its figure over identities per client. The values belong to its
setting; what can come back elsewhere is their order, so that a claim is the sign of a difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from fedfr.reporting.benchmark_table import points
from fedfr.reporting.table import column_title, markdown_table
from fedfr.results.comparison import (
    DISJOINT,
    MARGIN,
    Deals,
    Difference,
    Key,
    MetricGroup,
    compare,
    corrected,
    metric_groups,
    shared_metrics,
    summaries,
)
from fedfr.results.result_rows import Row

__all__ = ["GENERIC", "SEARCH", "VERIFY", "Claim", "claims_table", "difference_text", "figure_table"]

GENERIC, GENERIC_SEARCH, VERIFY, SEARCH = "generic-1:1", "generic-1:N", "personalized-1:1", "personalized-1:N"
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

    A verdict rests on the interval of its own difference; it is bold if all of it also holds corrected for all claims
    of the table (Holm).
    """
    found = [measured for claim in claims if (measured := _measure(claim, rows, deals)) is not None]
    lines = []
    for each, family in zip(found, corrected([each.difference for each in found]), strict=True):
        verdict = _verdict(each.claim.sign, each.difference)
        direction = family is not None and (family.differs or (not each.claim.sign and family.not_behind))
        bold = direction and ("equal" not in verdict or (family is not None and family.equal))
        figure = f"{each.claim.protocol} {each.metric}: {each.pair}"
        told = f"**{verdict}**" if bold else verdict
        lines.append((each.claim.text, figure, difference_text(each.difference), told))
    return markdown_table(("the paper", "here", "difference [95 %]", "verdict"), lines)


def figure_table(cells: Mapping[float, Sequence[Row]], axis: str, deals: Deals = DISJOINT) -> str:
    """Return the paper's figure, generic TAR against identities per client, as a Markdown table with verdicts.

    ``cells`` are rows by position on the axis. The paper: FedFR is ahead of FedFace at every position, not behind
    pooled training, and rises with every position.
    """
    groups = _groups_of_cells(cells, deals)
    head = (axis, "pretrained", "fedface", "fedfr", "centralized", "fedfr − fedface", "fedfr − centralized")
    lines, before = [], None
    for at, group in groups.items():
        shown = (_mean(group, _generic(name)) for name in head[1:5])
        compared = [compare(group, _generic("fedfr"), _generic(name)) for name in ("fedface", "centralized")]
        told = (_told(sign, each) for sign, each in zip((1, 0), compared, strict=True))
        rise = "" if before is None else _told(1, _between(group, before))
        lines.append((f"{at:g}", *shown, *told, rise))
        before = group
    metric = next(iter(groups.values())).metric
    return f"{GENERIC} {metric} (%)\n\n{markdown_table((*head, 'fedfr − fedfr one row above'), lines)}"


def _groups_of_cells(cells: Mapping[float, Sequence[Row]], deals: Deals) -> dict[float, MetricGroup]:
    each = [shared_metrics(rows, GENERIC) for rows in cells.values()]
    metric = next(metric for metric in each[0] if all(metric in others for others in each))
    return {
        at: next(group for group in metric_groups(rows, deals) if (group.protocol, group.metric) == (GENERIC, metric))
        for at, rows in cells.items()
    }


def _between(group: MetricGroup, before: MetricGroup) -> Difference | None:
    """Return FedFR's difference between two positions, paired by deal."""
    key = _generic("fedfr")
    values = {("now", ""): group.values.get(key, {}), ("before", ""): before.values.get(key, {})}
    # People who are tested at both positions are not known to the comparison: influences are of one position.
    own = Deals(group.deals.people, group.deals.shared)
    return compare(replace(group, values=values, deals=own), ("now", ""), ("before", ""))


def _mean(group: MetricGroup, key: Key) -> str:
    return f"{100 * summaries(group)[key].mean:.1f}" if key in group.values else "–"


def _told(sign: int, found: Difference | None) -> str:
    return "–" if found is None else f"{difference_text(found)} {_verdict(sign, found)}"


def _measure(claim: Claim, rows: Sequence[Row], deals: Deals) -> _Measured | None:
    """Return the difference of a claim at the strictest rate that both models have; None if one is missing."""
    ours = [row for row in rows if row.protocol == claim.protocol]
    one, other = (_model(key, ours) for key in (claim.one, claim.other))
    both = [row for row in ours if (row.method, row.model) in (one, other)]
    if {(row.method, row.model) for row in both} != {one, other}:
        return None
    for metric in shared_metrics(both, claim.protocol)[:1]:
        group = next(group for group in metric_groups(both, deals) if group.metric == metric)
        difference = compare(group, one, other)
        if difference is not None:
            return _Measured(claim, one, other, metric, difference)
    return None


def _model(key: Key, rows: Sequence[Row]) -> Key:
    """Return the key itself, or the better model of a method at the strictest rate that all its models have."""
    method, model = key
    if model != BETTER:
        return key
    own = [row for row in rows if row.method == method]
    metric = next(iter(shared_metrics(own, own[0].protocol)), None) if own else None
    means: dict[str, list[float]] = {}
    for row in own:
        if row.metric == metric and row.value is not None:
            means.setdefault(row.model, []).append(row.value)
    return method, max(means, key=lambda name: fmean(means[name]), default=model)


def _verdict(sign: int, found: Difference) -> str:
    """Return whether the claim returns, is reversed or not settled, and whether both are equal within :data:`MARGIN`.

    "Not behind" (sign 0) is a claim of non-inferiority by the margin. Equal is what two one-sided tests at 5 % accept.
    """
    if found.low is None or found.high is None:
        return "not settled"
    equal = "equal within 1 point" if found.equivalent(MARGIN) else ""
    if sign == 0:
        direction = "returns" if found.low > -MARGIN else "reversed" if found.significant and found.mean < 0 else ""
    else:
        direction = ("returns" if sign * found.mean > 0 else "reversed") if found.significant else ""
    return ", ".join(filter(None, (direction, equal))) or "not settled"


def difference_text(found: Difference) -> str:
    """Format a difference in percentage points, with its interval if there is one."""
    if found.low is None or found.high is None:
        return points(found.mean)
    return f"{points(found.mean)} [{points(found.low)}, {points(found.high)}]"
