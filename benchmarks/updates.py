"""Do updates in few bits cost accuracy? The quickstart with full updates, in bf16 and in eight bits, each seed a pair.

Run: ``python benchmarks/updates.py --out runs/updates [--seeds 5] [--json]``; about 5 minutes a seed, so it is
no part of ``make bench``. Shown is the mean difference from full updates in points, with Student's 95 % interval over
the seeds.
"""

from __future__ import annotations

from pathlib import Path

from harness import answer, parser
from paired import paired


def main() -> None:
    """Run all pairs and answer."""
    options = parser(__doc__)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--seeds", type=int, default=5)
    given = options.parse_args()
    variants = {name: [f"federation.updates={name}"] for name in ("full", "bf16", "int8")}
    lines = paired(variants, given.seeds, given.threads, given.out)
    answer("updates", lines, threads=given.threads, as_json=given.json)


if __name__ == "__main__":
    main()
