"""What observers infer from a small federation, as published and with each protection: AUC over seeds.

Run: ``python benchmarks/privacy_audit.py --out runs/privacy-audit [--seeds 3] [--variants …] [--rounds 2] [--json]``.

The federation is that of ``attacks.py``: ORL, five clients of four people, 8 public identities, 12 people whom nobody
trains on, the model and the training of the preset ``quickstart``. Every seed deals the people anew, so that seeds
share people. Variants:

- ``plain``: every update and its public prototypes are sent (``federation.prototypes=share``), as published;
- ``keep``: public prototypes stay at the clients (``federation.prototypes=keep``), as by default;
- ``secure``: like ``plain``, but the server receives sums only (``federation.secure=sum``);
- ``dp``: like ``plain`` with noise for a person at every site, ε = 8 at δ = 1e-5 (``privacy.dp=site``). So few people
  need noise that leaves nothing of the training, and such a plan is refused; the agreed number of people is therefore
  1 000 for each site. That changes nothing in the protection of the four who are there, and they train nearly nothing.

Shown are means over seeds of the AUC, with Student's 95 % interval, and of the TPR at 1 % FPR. Repeating the command
continues it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from fedfr.experiments.privacy_audit import audit_run, stored_audit
from fedfr.results.audit_rows import AuditRow
from harness import Line, answer, parser
from seeded_runs import begun, interval, seeded

SETTINGS = (
    *("split.settings.clients=5", "split.settings.identities_per_client=4", "split.settings.public_identities=8"),
    *("baselines=[]", "evaluation.fars=[0.1]"),
)
SHARE = "federation.prototypes=share"
VARIANTS = {
    "plain": (SHARE,),
    "keep": ("federation.prototypes=keep",),
    "secure": (SHARE, "federation.secure=sum", "federation.largest_count=1000"),
    "dp": (SHARE, "privacy.dp=site", "privacy.people=1000"),
}


def audited(folder: Path, settings: Sequence[str], beside: Path | None) -> list[AuditRow]:
    """Run, or resume, and audit one seed of one variant; the starting model of the run ``beside`` is reused."""
    begun("quickstart", folder, [*SETTINGS, *settings], beside).run(False)
    return stored_audit(folder) or audit_run(folder)


def line(variant: str, rows: Sequence[AuditRow]) -> Line:
    """Return the line of an inference by an observer; ``rows`` are those of the seeds."""
    name = f"{variant}: {rows[0].inference}, {rows[0].observer}"
    found = [row.auc for row in rows if row.auc is not None]
    if not found:
        return Line(name, "", rows[0].left_out, None)
    shown, rates = f"AUC {fmean(found):.2f}", [row.tpr for row in rows if row.tpr is not None]
    if len(found) > 2:
        _, low, high = interval(found)
        shown += f" ({max(low, 0):.2f} to {min(high, 1):.2f})"
    controls = [row.positive_control for row in rows if row.positive_control is not None]
    shuffled = [row.shuffled for row in rows if row.shuffled is not None]
    shown += f", TPR {100 * fmean(rates):.0f} %, control {min(controls):.2f}, shuffled {fmean(shuffled):.2f}"
    bounds = [row.epsilon for row in rows if row.epsilon is not None]
    if bounds:
        shown += f", ε at least {max(bounds):.2f}"
    return Line(name, "", shown, None, figures={"auc": found, "tpr": rates, "epsilon": bounds})


def table(results: Mapping[str, Any]) -> str:
    """Return the results of ``--json`` as a Markdown table: AUC and its interval by inference, observer and variant."""
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for each in results["lines"]:
        variant, _, question = each["what"].partition(": ")
        inference, _, observer = question.partition(", ")
        found = each["figures"].get("auc")
        shown = "–"
        if found:
            shown = f"{fmean(found):.2f}"
            if len(found) > 2:
                _, low, high = interval(found)
                shown += f" [{max(low, 0):.2f}, {min(high, 1):.2f}]"
            if bounds := each["figures"]["epsilon"]:
                shown += f", ε ≥ {max(bounds):.2f}"
        cells.setdefault((inference, observer), {})[variant] = shown
    variants = list(dict.fromkeys(variant for own in cells.values() for variant in own))
    rows = [f"| inference | observer | {' | '.join(variants)} |", "|---" * (2 + len(variants)) + "|"]
    for (inference, observer), own in cells.items():
        if any(value != "–" for value in own.values()):
            rows.append(f"| {inference} | {observer} | {' | '.join(own.get(name, '–') for name in variants)} |")
    where = f"{results['machine']}, torch {results['torch']}, {results['date']}, commit {results['commit']}"
    return "\n".join([*rows, "", f"{where}: `{results['command']}`"])


def main() -> None:
    """Run and audit every variant and print the results."""
    options = parser(__doc__)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--rounds", type=int, default=2)
    options.add_argument("--variants", nargs="+", default=[*VARIANTS], choices=VARIANTS)
    given = options.parse_args()
    found: dict[str, list[list[AuditRow]]] = {}
    for seed in range(given.seeds):
        start: Path | None = None
        for variant in given.variants:
            folder = given.out / f"{variant}-{seed}"
            settings = [*seeded(seed, given.threads), f"federation.rounds={given.rounds}", *VARIANTS[variant]]
            found.setdefault(variant, []).append(audited(folder, settings, start))
            start = start or folder
    lines = [line(name, rows) for name, seeds in found.items() for rows in zip(*seeds, strict=True)]
    answer("privacy_audit", lines, threads=given.threads, as_json=given.json)


if __name__ == "__main__":
    main()
