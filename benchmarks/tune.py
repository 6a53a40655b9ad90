"""Choose every method's settings by the same rules, on people whom no test of the benchmark contains.

Run: ``python benchmarks/tune.py --benchmark lfw-fed --start FILE --set faces.path=FACES --out runs/tuning``. The trials
are the scenario ``tuning`` of the benchmark. For every method the learning rate is searched first, in factors of two
around ``--rate`` and bracketed: if the best one is at an edge, the next rate on that side is tried. Then the method's
own settings are searched in the same way. Every method has ``--trials``, since the best of more trials is better by
chance alone: what is left is spent on half, quarter and eighth steps, unless ``--no-refine`` is given. ``--from``
begins at rates that another search chose, ``--carry`` keeps its other settings.

The score of a trial is the mean of the strictest metrics of generic 1:1, personalized 1:1 and 1:N, each of the better
of the method's models, or of the personalized one where a setting concerns that model alone. A trial in which a client
failed counts as diverged. Variants of another method have its settings (``VARIANTS`` in ``tuned_methods.py``) and are
tried only where they have settings of their own.

The trials of ``pretrained`` are for the starting model: a checkpoint's tuning on the public images, ``tuned_start`` of
the definition. All other trials begin from it. Therefore tune ``--methods pretrained`` first, write the result to the
definition, and repeat the command with the other methods, in the same folder. Others are refused while the definition
has other settings than the trials of ``pretrained`` chose.

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
from itertools import groupby
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
from trial_records import chosen, chosen_start, tuned
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


def tunes_start(tuning: Tuning) -> bool:
    """Whether trials begin from a checkpoint that is tuned on the public images."""
    config = tuning.config(START, {})
    return config.model.start != SCRATCH and config.pretrain.epochs > 0


def searched(tuning: Tuning, given: Sequence[str] | None) -> list[str]:
    """Return the methods to search, by default those of the scenario: first the start, a variant after its base."""
    names = tuning.plan.methods if given is None else given
    for name in names:
        if name == START and given is not None and not tunes_start(tuning):
            raise FedfrError(f"--methods {START}: only a checkpoint is tuned; give --start FILE, or leave it out")
        if name != START and METHODS[name]({}).rounds(1) == 0:
            raise FedfrError(f"--methods {name}: it has no training and so nothing to choose; leave it out")
    bases = (VARIANTS[name] for name in names if name in VARIANTS)
    found = [name for name in dict.fromkeys([*bases, *names]) if name != START or tunes_start(tuning)]
    return sorted(found, key=lambda name: name != START)


def search(tuning: Tuning, methods: Sequence[str], jobs: int) -> None:
    """Run all trials; those of other methods begin when those of the starting model have ended."""
    for _, names in groupby(methods, key=lambda name: name == START):
        some = list(names)
        print(f"{', '.join(some)}: begun", flush=True)
        tuning.begin(some)
        tuning.run(some, jobs)


def keep(tuning: Tuning, name: str, command: str) -> Path:
    """Copy the record of a finished search to ``benchmarks/NAME/``, with its plan, machine and commit.

    Raises :class:`FedfrError` if it has no trials of a starting model that could be tuned.
    """
    if tunes_start(tuning) and not chosen_start(tuning.records):
        raise FedfrError(f"{tuning.path} has no trials of {START}, from which all others begin; search it, too")
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
    parser.add_argument("--trials", type=_positive, default=8, help="of every method")
    parser.add_argument(
        "--refine",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="spend trials that are left on finer steps",
    )
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
        if given.carry and not given.known:
            raise FedfrError("--carry needs --from, which names the settings; give both, or leave --carry out")
        known = known_settings(given.known, given.benchmark, given.start) if given.known else {}
        tuning = Tuning(
            plan, given.out, given.trials, given.rate, given.remove_runs, given.refine, known, carry=given.carry
        )
        methods = searched(tuning, given.methods.split(",") if given.methods else None)
        search(tuning, methods, given.jobs)
    except KeyboardInterrupt:
        print("interrupted; repeat the command to continue", file=sys.stderr)
        return 130
    except FedfrError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"\n{summary(tuning, methods, screen_width())}\n")
    if found := chosen_start(tuning.records):
        print(f"tuned_start: {yaml.safe_dump(found, default_flow_style=True, width=1000).strip()}")
    for name, settings in tuned(tuning.records).items():
        print(f"{name}: {yaml.safe_dump(settings, default_flow_style=True, width=1000).strip()}")
    try:
        if given.keep:
            print(keep(tuning, given.keep, shlex.join(["python", "benchmarks/tune.py", *sys.argv[1:]])))
    except FedfrError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
