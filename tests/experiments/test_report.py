"""Page of a run or a benchmark: complete, without network access, faces, names or paths."""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
import yaml
from tests.support.report_page import ReportPage, figure_rows
from tests.support.tiny_experiment import tiny_config

from fedfr.config.schema import load_config
from fedfr.core.errors import FedfrError
from fedfr.experiments.benchmark import Benchmark
from fedfr.experiments.benchmark_plan import plan_benchmark
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.report import cell_title, open_report, save_figures, save_tables, write_report


def test_page_loads_no_external_resources(report_page: ReportPage) -> None:
    # An SVG's `use` names a part of itself.
    assert not [
        (tag, name)
        for tag, values in report_page.elements
        for name, value in values.items()
        if name.rpartition(":")[2] in ("src", "href", "srcset") and not str(value).startswith("#")
    ]
    assert not {tag for tag, _ in report_page.elements} & {"link", "img", "iframe", "object", "video"}
    policy = [values["content"] for tag, values in report_page.elements if values.get("http-equiv") is not None]
    assert len(policy) == 1
    assert str(policy[0]).startswith("default-src 'none'")


def test_page_contains_no_names_and_no_paths(report_page: ReportPage, reported_benchmark: Benchmark) -> None:
    whole = (reported_benchmark.folder / "report.html").read_text(encoding="utf-8")
    assert "person-" not in whole
    assert str(reported_benchmark.folder.parent) not in whole
    assert "secret place" in report_page.text, "the last part of a path tells the reader which faces they were"


def test_paths_in_all_fields_are_shortened(
    reported_benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths in every spelling, in settings, messages and the description; the start is a relative path."""
    monkeypatch.chdir(tmp_path)
    start, run = "models of mine/start.safetensors", tmp_path / "run"
    (tmp_path / "models of mine").mkdir()
    source = reported_benchmark.folder / "scratch" / "seed-0"
    shutil.copy(source / "pretrained" / "generic.safetensors", start)
    faces = reported_benchmark.folder.parent / "secret place"
    settings = [f"model.start={start}", "pretrain.epochs=0", "method.name=pretrained", f"faces.path={faces}"]
    Experiment.create(tiny_config(tmp_path, *settings), run).run()
    config, environment = run / "config.yaml", run / "environment.json"
    text = yaml.safe_load(config.read_text(encoding="utf-8"))
    assert text["model"]["start"] == str(tmp_path / start)
    paths = ["/srv/faces of people", "~/faces", f"file://{tmp_path}/x", {"/opt/key": "see /opt/a/b, or /opt/c"}]
    text["split"]["settings"] |= {"pairs": str(tmp_path / "lists" / "pairs.txt"), "more": paths}
    config.write_text(yaml.safe_dump(text), encoding="utf-8")
    machine = {"python": sys.executable, "command": f"fedfr train {tmp_path}/my config.yaml --out={run}"}
    environment.write_text(json.dumps(json.loads(environment.read_text("utf-8")) | machine), encoding="utf-8")
    for rows in (run / "evaluation").glob("*.json"):
        content = json.loads(rows.read_text("utf-8"))
        content.append(content[0] | {"metric": "TAR@FAR=1e-3", "value": None, "refused": f"{tmp_path}/lost is gone"})
        rows.write_text(json.dumps(content), encoding="utf-8")
    whole = write_report(run).read_text(encoding="utf-8")
    page = ReportPage(whole)
    assert "from start.safetensors" in page.text
    assert "lost is gone" in page.text
    rest = whole + json.dumps([page.figures, page.tables])
    report = open_report(run)
    files = [*save_figures(report, tmp_path / "figures"), *save_tables(report, tmp_path / "tables")]
    for save in (save_figures, save_tables):
        with pytest.raises(FedfrError, match=r"cannot write .*report\.html/.*: .*choose a folder that can be written"):
            save(report, run / "report.html")
    exported = b"".join(file.read_bytes() for file in files)
    for place in (
        tmp_path,
        Path.home(),
        Path(tempfile.gettempdir()),
        faces,
        "models of mine",
        "/srv",
        "/opt",
        "lists/",
    ):
        assert str(place) not in rest
        assert str(place).encode() not in exported
    assert re.findall(r"(?<![\w<./-])~?/[^\s>/]+", page.text) == []


def test_page_of_a_single_run(reported_benchmark: Benchmark, tmp_path: Path) -> None:
    run = reported_benchmark.folder / "scratch" / "seed-1"
    path = write_report(run, tmp_path / "page.html")
    assert not (run / "report.html").exists()
    page = ReportPage(path.read_text(encoding="utf-8"))
    assert {line["seed"] for line in figure_rows(page, "clients")} == {"1"}
    assert "One seed is too few for an interval, which needs 3" in page.text
    assert "±" not in page.text
    assert "[95 %]" not in page.text
    rows = [row for _, row in open_report(run).results()]
    assert rows == Experiment.open(run).results()


def test_markup_in_a_setting_is_escaped(
    reported_benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan = reported_benchmark.plan.model_copy(update={"name": "</script><script>alert(1)</script>"})
    monkeypatch.setattr(Benchmark, "open", lambda folder: Benchmark(plan, reported_benchmark.folder))
    text = write_report(reported_benchmark.folder, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_report_without_finished_runs_is_refused(reported_benchmark: Benchmark, tmp_path: Path) -> None:
    with pytest.raises(FedfrError, match="holds no run"):
        write_report(tmp_path)
    (tmp_path / "benchmark.yaml").write_bytes((reported_benchmark.folder / "benchmark.yaml").read_bytes())
    with pytest.raises(FedfrError, match="has no finished seed yet"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_runs_without_stored_curves_have_tables(reported_benchmark: Benchmark, tmp_path: Path) -> None:
    run = reported_benchmark.folder / "scratch" / "seed-0"
    kept = {path: path.read_bytes() for path in (run / "evaluation" / "curves").iterdir()}
    for path in kept:
        path.unlink()
    try:
        page = ReportPage(write_report(run, tmp_path / "page.html").read_text(encoding="utf-8"))
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
    assert not [name for name in page.figures if re.match("roc|det|scores|search", name)]
    assert "personalized-1:1, TAR@FAR=1e-1 (%)" in page.text


def test_numbers_of_rounds_say_what_they_count(tmp_path: Path) -> None:
    made = Experiment.create(tiny_config(tmp_path, "baselines=[pretrained,distill,finetune,local]"), tmp_path / "run")
    assert " · 2 rounds (distill, finetune: 3 with their own) · BatchNorm " in made.describe().splitlines()[0]
    plain = Experiment.create(tiny_config(tmp_path, "federation.rounds=1"), tmp_path / "plain")
    assert " · 1 round · BatchNorm " in plain.describe()


@pytest.mark.parametrize(
    ("settings", "title"),
    [
        ([], "Starting model: random weights, pre-trained on the public images (scratch)"),
        (["model.start=/srv/net.ckpt"], "Starting model: net.ckpt, tuned on the public images (scratch)"),
        (["model.start=/srv/net.ckpt", "pretrain.epochs=0"], "Starting model: net.ckpt, as published (scratch)"),
    ],
)
def test_headings_name_the_starting_model(settings: list[str], title: str) -> None:
    plan = plan_benchmark("orl")
    assert cell_title(plan, "scratch", load_config("quickstart", settings)) == title
