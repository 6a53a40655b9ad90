"""Verification sets of a run: rows as for a single model, checked before the run begins, unchanged on resuming."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from tests.support.tiny_experiment import SETTINGS, tiny_config

from fedfr.config.schema import load_config, parse_overrides
from fedfr.core.errors import FedfrError
from fedfr.experiments.benchmark import Benchmark
from fedfr.experiments.benchmark_plan import Plan
from fedfr.experiments.evaluator import EvaluatedModel, Evaluator
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.model_evaluation import evaluate
from fedfr.experiments.report import open_report
from fedfr.experiments.run_sets import SETS
from fedfr.faces import FaceSet, import_orl, pack_pairs
from fedfr.reporting.benchmark_table import benchmark_tables, results_text

TRAINED = 14


def pairs_of(faces: FaceSet, people: range) -> list[str]:
    """As many genuine as impostor pairs of some people: each image with the next one, and with the next person's."""
    images = {person: np.flatnonzero(faces.labels == person) for person in people}
    genuine = [(own[place], own[place + 1]) for own in images.values() for place in range(0, len(own) - 1, 2)]
    others = [*list(people)[1:], people[0]]
    impostor = [(images[a][place], images[b][place]) for a, b in zip(people, others, strict=True) for place in range(5)]
    return [f"{faces.names[a]},{faces.names[b]}" for both in zip(genuine, impostor, strict=True) for a, b in both]


@pytest.fixture(scope="module")
def orl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with ``faceset``, the first people of ORL, pairs of all the others and of few, and of the first."""
    folder, faces = tmp_path_factory.mktemp("orl"), import_orl()
    faces.subset(np.flatnonzero(faces.labels < TRAINED).tolist()).save(folder / "faceset")
    for name, people in (("orl", range(TRAINED, 40)), ("small", range(TRAINED, 18)), ("trained", range(TRAINED))):
        (folder / "pairs.csv").write_text("\n".join(["a,b", *pairs_of(faces, people)]) + "\n", encoding="utf-8")
        pack_pairs(faces, folder / "pairs.csv", folder / f"{name}.bin")
    return folder


@pytest.fixture(scope="module")
def run(orl: Path) -> Experiment:
    config = tiny_config(
        orl, "method.name=fedavg", "evaluation.scoring=[plain,flip]", f"evaluation.sets={{o: {orl}/orl.bin}}"
    )
    experiment = Experiment.create(config, orl / "run")
    experiment.run(progress=False)
    return experiment


def test_every_generic_model_has_the_rows_of_a_model_evaluated_alone(run: Experiment, orl: Path) -> None:
    ours = [row for row in run.results() if row.protocol.startswith("verification-set")]
    assert {row.protocol for row in ours} == {"verification-set o"}
    for name, model in (("pretrained", "pretrained/generic.safetensors"), ("fedavg", "generic.safetensors")):
        alone = evaluate(run.folder / model, faces=orl / "orl.bin", settings=None)
        found = {row.metric: row for row in ours if row.method == name}
        fars = {row.metric: row for row in alone if "FAR" not in row.metric or row.metric in found}
        assert {metric: row.value for metric, row in found.items()} == {
            metric: row.value for metric, row in fars.items()
        }
        assert (found["accuracy"].genuine, found["accuracy"].impostor, found["accuracy"].client) == (130, 130, "")
        assert found["accuracy"].value is not None
        assert found["TAR@FAR=1e-1"].value is not None


def test_a_run_is_evaluated_again_on_its_sets_alone(run: Experiment) -> None:
    rows = evaluate(run.folder, protocols=["verification-set"])
    assert rows == [row for row in run.results() if row.protocol == "verification-set o"]


def test_tables_of_several_seeds_and_the_report_contain_the_set(run: Experiment) -> None:
    rows = run.results()
    told = " ".join(results_text(rows).split())
    assert "verification-set o" in told
    assert "ends of 95 % intervals over pairs, not people" in told
    assert "over pairs" not in results_text([row for row in rows if row.protocol != "verification-set o"])
    assert any(name.startswith("verification-set-o-accuracy") for name in open_report(run.folder).tables)
    assert not any("low95" in name for name in open_report(run.folder).tables), "ends of intervals have no means"


def damaged(orl: Path, place: Path) -> dict[str, tuple[Path, str]]:
    """By kind of fault: a file with it, and the beginning of the error."""
    content = (orl / "orl.bin").read_bytes()
    (place / "cut.bin").write_bytes(content[:-1000])
    wide = cv2.imencode(".png", np.zeros((112, 96, 3), np.uint8))[1].tobytes()
    (place / "wide.bin").write_bytes(pickle.dumps(([wide, wide], [True])))
    images, same = pickle.loads(content)
    (place / "image.bin").write_bytes(pickle.dumps(([*images[:5], images[5][:-400], *images[6:]], same)))
    return {
        "missing": (place / "none.bin", r"cannot read .*none\.bin: No such file"),
        "folder": (place, r"cannot read .*: Is a directory"),
        "truncated": (place / "cut.bin", r".*cut\.bin is not a complete set of verification pairs"),
        "shape": (place / "wide.bin", r".*wide\.bin: image 0 of pair 0 is 96x112"),
        "image": (place / "image.bin", r".*image\.bin: image 5 of pair 2 "),
        "trained": (orl / "trained.bin", r"image \d+ of pair \d+ in .*trained\.bin is s\d+/.* whom this run trains on"),
    }


@pytest.mark.parametrize("fault", ["missing", "folder", "truncated", "shape", "image", "trained"])
def test_a_faulty_set_is_refused_before_the_run_begins(fault: str, orl: Path, tmp_path: Path) -> None:
    path, message = damaged(orl, tmp_path)[fault]
    out = tmp_path / "run"
    with pytest.raises(FedfrError, match=rf"^evaluation\.sets\.bad: {message}") as caught:
        Experiment.create(tiny_config(orl, f"evaluation.sets={{good: {orl}/orl.bin, bad: {path}}}"), out)
    assert "\n" not in str(caught.value)
    assert not out.exists()


def test_a_run_is_resumed_with_the_same_set_only(orl: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.bin"
    path.write_bytes((orl / "small.bin").read_bytes())
    config = tiny_config(orl, "method.name=pretrained", f"evaluation.sets.own={path}")
    Experiment.create(config, tmp_path / "run")
    images, same = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps((images, [not each for each in same])))
    for _ in range(2):
        with pytest.raises(
            FedfrError, match=r"evaluation\.sets\.own: .*own\.bin has changed since .*run began; restore"
        ):
            Experiment.open(tmp_path / "run").run(progress=False)
    # Stored differently, it is the same set.
    path.write_bytes(pickle.dumps((images, np.asarray(same)), protocol=2))
    rows = Experiment.open(tmp_path / "run").run(progress=False)
    path.unlink()
    assert Experiment.open(tmp_path / "run").run(progress=False) == rows, "finished results need no set"
    with pytest.raises(FedfrError, match=r"evaluation\.sets\.own: cannot read"):
        evaluate(tmp_path / "run")
    path.write_bytes(pickle.dumps((images, same)))
    for record in ("{}", "[]", '{"own": "sha"}'):
        (tmp_path / "run" / SETS).write_text(record, encoding="utf-8")
        with pytest.raises(FedfrError, match=r"evaluation\.sets\.own is not a set that .*run began with"):
            evaluate(tmp_path / "run")


def test_all_seeds_of_a_benchmark_are_evaluated_on_the_same_set(orl: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.bin"
    path.write_bytes((orl / "small.bin").read_bytes())
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(parse_overrides(SETTINGS)), encoding="utf-8")
    settings = {"faces": {"path": str(orl / "faceset")}, "evaluation": {"sets": {"own": str(path)}}}
    plan = Plan(
        name="tiny",
        config=str(tmp_path / "tiny.yaml"),
        budget="cpu",
        methods=("pretrained",),
        seeds=(0,),
        settings=settings,
    )
    Benchmark.begin(plan, tmp_path / "out").run()
    path.write_bytes((orl / "trained.bin").read_bytes())
    more = Benchmark.begin(plan.model_copy(update={"seeds": (0, 1)}), tmp_path / "out")
    with pytest.raises(FedfrError, match=r"own\.bin has changed since .*seed-0 began"):
        more.run()
    path.write_bytes((orl / "small.bin").read_bytes())
    results = [result.row for result in more.run() if result.row.protocol == "verification-set own"]
    assert {row.seed for row in results} == {0, 1}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("evaluation.sets=lfw.bin", "give the path of each verification set by a name"),
        ("evaluation.sets.lfw=3", "give the path of each verification set by a name"),
        ("evaluation.sets={flip: a.bin}", "name 'flip' is that of a scoring"),
        ("evaluation.sets={lfw flip: a.bin}", "name 'lfw flip': give at most 40 letters"),
        ("evaluation.sets={cfp_fp: a.bin, CFP-FP: b.bin}", "name 'CFP-FP' differs from another only in case"),
    ],
)
def test_a_set_needs_a_path_and_a_name_of_its_own(given: str, message: str) -> None:
    with pytest.raises(FedfrError, match=rf"evaluation\.sets.*{message}"):
        load_config(None, [given])


def test_a_path_is_relative_to_the_file_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("evaluation: {sets: {lfw: sets/lfw.bin}}", encoding="utf-8")
    config = load_config(tmp_path / "run.yaml", ["evaluation.sets.own=~/own.bin"])
    assert config.evaluation.sets == {"lfw": str(tmp_path / "sets/lfw.bin"), "own": str(Path.home() / "own.bin")}


def test_an_interval_holds_for_the_pairs_of_the_set(run: Experiment) -> None:
    rows = [replace(row, seed=seed) for row in run.results() for seed in range(3)]
    everywhere = ", and for the public set and the starting file that all seeds have in common."
    told = {table.protocol: table.conclusion for table in benchmark_tables(rows)}
    assert told["verification-set o"].endswith(
        f"these pairs, most of which all seeds are tested on, not for other people{everywhere}"
    )
    assert told["generic-1:1"].endswith(f"faces, cameras and numbers of clients like these{everywhere}")


def test_without_a_usable_model_the_rows_of_a_set_are_refused(run: Experiment) -> None:
    evaluated = EvaluatedModel("fedavg", 0, 1, "generic")
    evaluator = Evaluator(run.components, ["verification-set"])
    rows = evaluator.without_model("its features are NaN", lambda how, features: how.generic(features, evaluated))
    wanted = [row for row in run.results() if row.protocol == "verification-set o" and row.method == "fedavg"]
    assert [(row.metric, row.genuine) for row in rows] == [(row.metric, row.genuine) for row in wanted]
    assert all(row.value is None and row.refused for row in rows)
