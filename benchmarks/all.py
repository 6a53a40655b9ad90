"""Run every benchmark, one after the other, each in its own process; results in ``benchmarks/results/``.

Run: ``make bench`` or ``python benchmarks/all.py [--only NAME …]``; at most 20 minutes on 2 cores. ``--tables`` writes
the newest results into benchmarks/README.md and docs/ instead, and draws the plot; a test checks the tables.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from fedfr.core.threads import let_threads_sleep

HERE = Path(__file__).parent
SCRIPTS = (
    "local_update",
    "slimface_step",
    "frozen_norms",
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
WORTH = tuple(f"pins-fed/worth-{axis}" for axis in ("images", "identities", "clients", "public"))
# Stored results of `fedfr benchmark` (see methods.py), the table made from them, and its page.
METHOD_TABLES = (
    ("lfw-fed/checkpoint", "headline", HERE.parent / "README.md"),
    *((f"{name}/tuning/checkpoint", "trials", DOCS / "benchmarks.md") for name in ("lfw-fed", "pins-fed")),
    *(
        (f"{name}/checkpoint", kind, DOCS / "benchmarks.md")
        for name in ("lfw-fed", "pins-fed")
        for kind in ("overview", "differences", "claims")
    ),
    ("pins-fed/equal-steps", "differences", DOCS / "benchmarks.md"),
    ("lfw-fed/equal-steps", "differences", DOCS / "benchmarks.md"),
    ("lfw-fed/personalization", "differences", DOCS / "benchmarks.md"),
    ("lfw-fed/scratch", "overview", DOCS / "benchmarks.md"),
    ("lfw-fed/scratch", "claims", DOCS / "benchmarks.md"),
    ("lfw-fed/identities", "figure", DOCS / "benchmarks.md"),
    ("pins-fed/identities", "figure", DOCS / "benchmarks.md"),
    ("orl/results", "overview", DOCS / "benchmarks.md"),
    *((name, "worth", DOCS / "explanation" / "federation.md") for name in WORTH),
    ("orl/results", "costs", DOCS / "methods.md"),
    ("orl/updates", "changes", DOCS / "methods.md"),
    ("lfw-fed/updates", "changes", DOCS / "methods.md"),
    ("orl/prototypes", "changes", DOCS / "explanation" / "privacy.md"),
    ("lfw-fed/prototypes", "changes", DOCS / "explanation" / "privacy.md"),
)
# Kept lines in door/<name>.json (without them there is no table), the mark of their table, the command, and the page.
DOOR_TABLES = (
    (
        "speed",
        "speed of recognition",
        "recognition_speed.py --insightface FOLDER",
        DOCS / "explanation" / "recognizers.md",
    ),
    (
        "sizes",
        "speed for larger photographs",
        "recognition_speed.py --sizes --models mobilefacenet",
        DOCS / "explanation" / "recognizers.md",
    ),
    ("onnx", "decisions in ONNX", "onnx_models.py decisions --threads 1", DOCS / "models.md"),
    (
        "onnx-personalized",
        "decisions of a personalized model in ONNX",
        "onnx_models.py personalized --every 60 --threads 1",
        DOCS / "models.md",
    ),
)
# Scripts whose stored results have a table on a page of their own.
PRIVACY_TABLES = (
    ("attacks", DOCS / "methods.md"),
    ("secure_sums", DOCS / "explanation" / "secure-sums.md"),
    ("privacy_audit", DOCS / "explanation" / "privacy-audit.md"),
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


def lines_table(results: dict[str, Any], command: str) -> str:
    """Return the lines of one benchmark as a Markdown table, with the command below."""
    rows = ["| measured | asked for | found | |", "|---|---|---|---|"]
    for line in results["lines"]:
        mark = {True: "✓", False: "**not met**", None: ""}[line["met"]]
        rows.append(f"| {line['what']} | {line['wanted']} | {line['found']} | {mark} |")
    where = f"{results['machine']}, torch {results['torch']}, {results['date']}, commit {results['commit']}"
    return "\n".join([*rows, "", f"{where}: `python benchmarks/{command} --json`"])


def contents() -> list[tuple[Path, str]]:
    """Return each page with the content between its marks."""
    import door_galleries
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
    door = HERE / "door" / "promise.json"
    text = door_galleries.promise_table(json.loads(door.read_text(encoding="utf-8")))
    found.append((DOCS / "explanation" / "thresholds.md", f"<!-- promise of galleries -->\n{text}\n{END}"))
    for name, title, command, document in DOOR_TABLES:
        kept = HERE / "door" / f"{name}.json"
        if kept.exists():
            text = lines_table(json.loads(kept.read_text(encoding="utf-8")), command)
            found.append((document, f"<!-- {title} -->\n{text}\n{END}"))
    for name, document in PRIVACY_TABLES:
        kept = HERE / "privacy" / f"{name}.json"
        if kept.exists():
            text = importlib.import_module(name).table(json.loads(kept.read_text(encoding="utf-8")))
            found.append((document, f"<!-- results of {name} -->\n{text}\n{END}"))
    for name, kind, document in METHOD_TABLES:
        folder = HERE / name
        if (folder / "about.json").exists():
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
