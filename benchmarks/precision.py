"""Effect of bf16 on accuracy: the preset ``orl`` in fp32 and in bf16, paired by seed.

Run: ``python benchmarks/precision.py --out runs/precision [--seeds 5] [--json]``; about 3 minutes a seed, so it is no
part of ``make bench``. Shown is the mean difference bf16 − fp32 in points, with Student's 95 % interval over the seeds.
"""

from __future__ import annotations

from pathlib import Path

from harness import answer, parser
from paired import paired


def main() -> None:
    """Run all pairs and print the results."""
    options = parser(__doc__)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--seeds", type=int, default=5)
    given = options.parse_args()
    variants = {name: [f"runtime.precision={name}"] for name in ("fp32", "bf16")}
    lines = paired(variants, given.seeds, given.threads, given.out)
    answer("precision", lines, threads=given.threads, as_json=given.json)


if __name__ == "__main__":
    main()
