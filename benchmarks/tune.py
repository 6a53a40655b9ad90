"""Choose every method's settings by the same rules, on people whom no test of the benchmark contains.

Run: ``python benchmarks/tune.py --benchmark lfw-fed --start FILE --set faces.path=FACES --out runs/tuning``. The trials
are the scenario ``tuning`` of the benchmark. For every method the learning rate is searched first, in factors of two
around ``--rate`` and bracketed: if the best one is at an edge, the next rate on that side is tried. Then the method's
own settings are searched in the same way. A method has ``--trials`` at most and may need fewer; ``--refine`` spends the
rest on half steps. ``--from`` begins at rates that another search chose, ``--carry`` keeps its other settings.

The score of a trial is the mean of the strictest metrics of generic 1:1, personalized 1:1 and 1:N, each of the better
of the method's models, or of the personalized one where a setting concerns that model alone. A trial in which a client
failed counts as diverged. Variants of another method have its settings (``VARIANTS`` in ``tuned_methods.py``) and are
tried only where they have settings of their own. The trials of ``pretrained`` are for the starting model: a
checkpoint's tuning on the public images, ``tuned_start`` of the definition.

Every trial is a run folder below ``--out``, and ``trials.csv`` there records them. The same command continues an
interrupted search. ``--keep NAME`` copies the record of a finished search to ``benchmarks/NAME/``.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

from fedfr.config.schema import parse_overrides
from fedfr.core.errors import FedfrError
from fedfr.experiments.benchmark_plan import SCRATCH, plan_benchmark
from fedfr.experiments.report import shorten_paths
from fedfr.methods import METHODS
from fedfr.reporting.text_tables import screen_width, text_table
from harness import place, sleeping_threads
from setting_search import open_ends
from trial_records import chosen, tuned
from tuned_methods import START, VARIANTS
from tuning import DEFINITION, Tuning, known_settings

HERE = Path(__file__).parent


def summary(tuning: Tuning, methods: Sequence[str], width: int) -> str:
    """Return a table of the chosen settings, with what the trials did not bracket."""
    best, lines = chosen(tuning.records), []
    for method in methods:
        if method in best:
            ends = open_ends(tuning.axes(method), tuning.done(method))
            for number, (name, value) in enumerate(best[method].settings.items()):
                score = best[method].score
                shown = "–" if score is None else f"{100 * score:.2f}"
                first = (method, f"{shown}, {len(tuning.done(method))}") if not number else ("", "")
                lines.append((*first, name, f"{value:g}", ends.get(name, "")))
    return text_table(("method", "score, trials", "setting", "chosen", ""), lines, width)


def keep(tuning: Tuning, name: str, command: str) -> Path:
    """Copy the record of a finished search to ``benchmarks/NAME/``, with its plan, machine and commit."""
    target = HERE / name
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(tuning.path, target / "trials.csv")
    plan = shorten_paths(tuning.plan.model_dump(mode="json"))
    (target / "plan.yaml").write_text(yaml.safe_dump(plan, sort_keys=False), encoding="utf-8")
    methods = dict.fromkeys(trial.method for trial in tuning.records)
    ends = {name: found for name in methods if (found := open_ends(tuning.axes(name), tuning.done(name)))}
    about = {"command": command, **place(), "kept": time.strftime("%Y-%m-%d"), "trials": tuning.trials, "open": ends}
    (target / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return target


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def main() -> int:
    """Search, print the chosen settings in the form of the benchmark's definition; return the exit status."""
    sleeping_threads()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--benchmark", required=True)
    parser.add_argument("--budget", default="cpu")
    parser.add_argument("--start", default=SCRATCH, help="scratch, or a checkpoint")
    parser.add_argument("--methods", help="names, separated by commas; by default those of the scenario")
    parser.add_argument("--trials", type=_positive, default=9, help="of every method, at most")
    parser.add_argument("--refine", action="store_true", help="spend trials that are left on half and quarter steps")
    parser.add_argument("--rate", type=float, default=0.005, help="centre of the learning rates")
    parser.add_argument(
        "--from",
        dest="known",
        metavar="TRIALS.CSV",
        help=f"begin at the rates that another search chose, or ({DEFINITION}) at those of the benchmark's definition",
    )
    parser.add_argument("--carry", action="store_true", help="the other settings are those of --from and not searched")
    parser.add_argument("--jobs", type=_positive, default=1, help="trials at a time, each with one thread")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="A.B=C")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--remove-runs", action="store_true", help="delete the run of a trial when it is recorded")
    parser.add_argument("--keep", metavar="NAME", help="copy the record to benchmarks/NAME, lfw-fed/tuning/scratch say")
    given = parser.parse_args()
    try:
        plan = plan_benchmark(
            given.benchmark,
            budget=given.budget,
            scenario="tuning",
            starts=[given.start],
            settings=parse_overrides(given.settings),
        )
        methods = given.methods.split(",") if given.methods else list(plan.methods)
        methods = list(dict.fromkeys(VARIANTS[name] for name in methods if name in VARIANTS)) + methods
        methods = list(dict.fromkeys(methods))
        for name in methods:
            if name != START and METHODS[name]({}).rounds(1) == 0:
                raise FedfrError(f"--methods {name}: it has no training and so nothing to choose; leave it out")
        if given.carry and not given.known:
            raise FedfrError("--carry needs --from, which names the settings; give both, or leave --carry out")
        known = known_settings(given.known, given.benchmark, given.start) if given.known else {}
        tuning = Tuning(
            plan, given.out, given.trials, given.rate, given.remove_runs, given.refine, known, carry=given.carry
        )
        print("start: starting model and its evaluation, which all trials share", flush=True)
        tuning.begin()
        tuning.run(methods, given.jobs)
    except KeyboardInterrupt:
        print("interrupted; repeat the command to continue", file=sys.stderr)
        return 130
    except FedfrError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"\n{summary(tuning, methods, screen_width())}\n")
    for name, settings in tuned(tuning.records).items():
        print(f"{name}: {yaml.safe_dump(settings, default_flow_style=True, width=1000).strip()}")
    if given.keep:
        print(keep(tuning, given.keep, shlex.join(["python", "benchmarks/tune.py", *sys.argv[1:]])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
