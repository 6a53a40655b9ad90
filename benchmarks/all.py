"""Every benchmark, one after the other, each in a process of its own; results in ``benchmarks/results/``.

Run: ``make bench`` or ``python benchmarks/all.py [--only NAME …]``; at most 20 minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
SCRIPTS = (
    "local_update",
    "slimface_step",
    "hard_negatives",
    "public_features",
    "personalized_verification",
    "aggregation",
    "reading",
    "startup",
    "many_clients",
    "device",
)


def main() -> int:
    """Run them; 1 when one failed (a figure that was not met is a result, not a failure)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=SCRIPTS, default=SCRIPTS)
    given = parser.parse_args()
    results, failed = [], []
    for name in given.only:
        started = time.monotonic()
        command = [sys.executable, str(HERE / f"{name}.py"), "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=False)
        seconds = time.monotonic() - started
        if done.returncode:
            failed.append(name)
            print(f"{name}: failed with exit code {done.returncode}", flush=True)
            continue
        result = json.loads(done.stdout)
        results.append({**result, "seconds": round(seconds, 1)})
        for line in result["lines"]:
            mark = {True: "met", False: "NOT MET", None: "-"}[line["met"]]
            print(f"{name} ({seconds:.0f} s): {line['what']}: {line['found']} [{line['wanted']}: {mark}]", flush=True)
    if results:
        machine = re.sub(r"[^a-z0-9]+", "-", results[0]["machine"].lower()).strip("-")
        path = HERE / "results" / f"{results[0]['date']}-{machine}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(f"\nwritten: {path}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
