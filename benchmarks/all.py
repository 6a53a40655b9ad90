"""Run every benchmark, one after the other, each in its own process; results in ``benchmarks/results/``.

Run: ``make bench`` or ``python benchmarks/all.py [--only NAME …]``; at most 20 minutes on 2 cores. ``--tables`` writes
the newest results into benchmarks/README.md and docs/ instead, and draws the plot; a test checks the tables.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from fedfr.core.threads import let_threads_sleep

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


DOCS = HERE.parent / "docs"
# Scenarios about the gain of a federation; those without stored results are left out.
WORTH = (
    *(f"pins-fed/worth-{axis}" for axis in ("images", "identities", "clients", "public")),
    *(f"lfw-fed/worth-{axis}" for axis in ("identities", "clients")),
)
# Stored results of `fedfr benchmark` (see methods.py), the table made from them, and its page.
METHOD_TABLES = (
    ("lfw-fed/checkpoint", "overview", DOCS / "benchmarks.md"),
    ("lfw-fed/checkpoint", "claims", DOCS / "benchmarks.md"),
    ("lfw-fed/scratch", "overview", DOCS / "benchmarks.md"),
    ("lfw-fed/scratch", "claims", DOCS / "benchmarks.md"),
    ("lfw-fed/identities", "figure", DOCS / "benchmarks.md"),
    ("pins-fed/identities", "figure", DOCS / "benchmarks.md"),
    ("orl/results", "overview", DOCS / "benchmarks.md"),
    *((name, "worth", DOCS / "explanation" / "federation.md") for name in WORTH),
    ("orl/results", "costs", DOCS / "methods.md"),
    ("orl/updates", "changes", DOCS / "methods.md"),
    ("lfw-fed/updates", "changes", DOCS / "methods.md"),
)
BEGIN, END = "<!-- results of make bench -->", "<!-- end of results -->"


def newest() -> Path:
    """Return the path of the newest results."""
    return max((HERE / "results").glob("*.json"), key=lambda path: path.name)


def table(path: Path) -> str:
    """Return the results as a Markdown table."""
    results = json.loads(path.read_text(encoding="utf-8"))
    one = results[0]
    rows = ["| script | measured | asked for | found | |", "|---|---|---|---|---|"]
    for name, line in ((result["benchmark"], line) for result in results for line in result["lines"]):
        mark = {True: "✓", False: "**not met**", None: ""}[line["met"]]
        share = "" if line["share"] is None else f"; {100 * line['share']:.0f} % of {line['limit']}"
        rows.append(f"| `{name}` | {line['what']} | {line['wanted']} | {line['found']}{share} | {mark} |")
    where = f"{one['machine']}, torch {one['torch']}, {one['date']}, commit {one['commit']}: `make bench`"
    return "\n".join([BEGIN, *rows, "", where, END])


def contents() -> list[tuple[Path, str]]:
    """Return each page with the content between its marks."""
    import methods
    import quickstart_cpus
    import scaling

    path = newest()
    found = [
        (HERE / "README.md", table(path)),
        (DOCS / "scaling.md", "\n".join([BEGIN, scaling.table(path), END])),
        (DOCS / "explanation" / "costs.md", "\n".join([BEGIN, scaling.paper_table(path), END])),
    ]
    quickstart = json.loads(quickstart_cpus.RESULTS.read_text(encoding="utf-8"))
    for document, text in (
        (HERE.parent / "README.md", quickstart_cpus.summary(quickstart)[0]),
        (DOCS / "benchmarks.md", quickstart_cpus.runs_table(quickstart)),
    ):
        found.append((document, f"<!-- results of the quickstart -->\n{text}\n{END}"))
    for name, kind, document in METHOD_TABLES:
        folder = HERE / name
        if (folder / "results.csv").exists():
            text = getattr(methods, kind)(folder)
            found.append((document, "\n".join([f"<!-- {kind} of {name} -->", text, END])))
    return found


def write_tables() -> None:
    """Put the newest results between the marks of every document, and draw the plot."""
    for document, content in contents():
        begin = content.partition("\n")[0]
        before, mark, rest = document.read_text(encoding="utf-8").partition(begin)
        if not mark:
            raise SystemExit(f"{document} has no line {begin}; put it, and {END} below it, where the table shall stand")
        document.write_text(before + content + rest.partition(END)[2], encoding="utf-8")
    import many_clients
    import methods

    for name in WORTH:
        if (HERE / name / "results.csv").exists():
            methods.draw_worth(HERE / name)
    results = json.loads(newest().read_text(encoding="utf-8"))
    lines = next(result["lines"] for result in results if result["benchmark"] == "many_clients")
    many_clients.draw(lines, HERE / "results" / "many_clients.svg")


def main() -> int:
    """Run the benchmarks; return 1 if one failed. A target that was not met is a result, not a failure."""
    let_threads_sleep(os.environ)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=SCRIPTS, default=SCRIPTS)
    parser.add_argument("--tables", action="store_true", help="write the newest results into the documents")
    given = parser.parse_args()
    if given.tables:
        write_tables()
        return 0
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
