"""Claims of the FedFR paper about pairs of models, compared with results of a benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fedfr.reporting.table import column_title, markdown_table
from fedfr.results.comparison import DISJOINT, Deals, Difference, Key, compare, metric_groups, shared_metrics
from fedfr.results.result_rows import Row

__all__ = ["GENERIC", "SEARCH", "VERIFY", "Claim", "claims_table", "difference_text"]

GENERIC, VERIFY, SEARCH = "generic-1:1", "personalized-1:1", "personalized-1:N"


@dataclass(frozen=True)
class Claim:
    """Claim of the paper: the sign of ``one`` − ``other`` is +1, −1, or not negative (0)."""

    text: str
    protocol: str
    one: Key
    other: Key
    sign: int


def _personal(method: str) -> Key:
    return method, "personalized"


def _generic(method: str) -> Key:
    return method, method if method == "pretrained" else "generic"


CLAIMS = (
    Claim("FedAvg alone hurts the generic model", GENERIC, _generic("fedavg"), _generic("pretrained"), -1),
    Claim("… and helps the personal one", VERIFY, _personal("fedavg"), _generic("pretrained"), 1),
    Claim("hard negatives repair the generic model", GENERIC, _generic("fedfr-hn"), _generic("fedavg"), 1),
    Claim("… and help the personal one", VERIFY, _personal("fedfr-hn"), _personal("fedavg"), 1),
    Claim(
        "the contrastive term lifts the generic model further",
        GENERIC,
        _generic("fedfr-hn-con"),
        _generic("fedfr-hn"),
        1,
    ),
    Claim("… at some personal cost", VERIFY, _personal("fedfr-hn-con"), _personal("fedfr-hn"), -1),
    Claim("DFC gives the best personal model", VERIFY, _personal("fedfr"), _personal("fedfr-hn-con"), 1),
    Claim("… without loss to the generic one", GENERIC, _generic("fedfr"), _generic("fedfr-hn-con"), 0),
    *(
        claim
        for name in ("fedavg", "moon", "fedprox", "fedface")
        for claim in (
            Claim(f"FedFR is ahead of {name}, 1:1", VERIFY, _personal("fedfr"), _personal(name), 1),
            Claim(f"FedFR is ahead of {name}, 1:N", SEARCH, _personal("fedfr"), _personal(name), 1),
            Claim(f"FedFR's generic model is not behind {name}'s", GENERIC, _generic("fedfr"), _generic(name), 0),
        )
    ),
)


MARGIN = 0.01


def claims_table(rows: Sequence[Row], claims: Sequence[Claim] = CLAIMS, deals: Deals = DISJOINT) -> str:
    """Return the paper's claims, the measured differences and whether they agree, as a Markdown table."""
    found = {(group.protocol, group.metric): group for group in metric_groups(rows, deals)}
    head, lines = ("the paper", "figure", "difference [95 %]", "here"), []
    for claim in claims:
        shared = shared_metrics(
            [row for row in rows if (row.method, row.model) in (claim.one, claim.other)], claim.protocol
        )
        if not shared:
            continue
        metric = shared[0]
        difference = compare(found[claim.protocol, metric], claim.one, claim.other)
        if difference is not None:
            pair = f"{column_title(*claim.one)} − {column_title(*claim.other)}"
            lines.append(
                (
                    claim.text,
                    f"{claim.protocol} {metric}: {pair}",
                    difference_text(difference),
                    _verdict(claim, difference),
                )
            )
    return markdown_table(head, lines)


def _verdict(claim: Claim, found: Difference) -> str:
    """Return whether the interval agrees with the paper: yes, no, or not settled.

    "Not behind" is a claim of non-inferiority by :data:`MARGIN`.
    """
    if found.low is None or found.high is None:
        return "not settled"
    if claim.sign == 0 and found.low > -MARGIN:
        return "yes"
    if not found.significant:
        return "not settled"
    return "yes" if claim.sign * found.mean > 0 else "**no**"


def difference_text(found: Difference) -> str:
    """Format a difference in percentage points, with its interval if there is one."""
    if found.low is None or found.high is None:
        return f"{100 * found.mean:+.1f}"
    return f"{100 * found.mean:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
