"""The page of a run or a benchmark: whole, without network, faces or names, and its data are the results."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import re
import shutil
import sys
import tempfile
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
import yaml
from tests.support.tiny_experiment import SETTINGS, tiny_config, tiny_faces

from fedfr.config.schema import parse_overrides
from fedfr.core.errors import FedfrError
from fedfr.experiments.benchmark import Benchmark
from fedfr.experiments.benchmark_plan import Plan
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.report import open_report, save_figures, save_tables, write_report
from fedfr.reporting.benchmark_table import overview_table
from fedfr.results.costs import round_costs
from fedfr.results.result_rows import Row


class Page(HTMLParser):
    """Elements with their attributes, the data, and the text that is read."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.figures: dict[str, Any] = {}
        self.tables: dict[str, dict[str, str]] = {}
        self._inside: tuple[str, str | None] = ("", None)
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside = tag, dict(attrs).get("id")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._inside = ("", None)

    def handle_data(self, data: str) -> None:
        tag, name = self._inside
        if name == "data":
            content = json.loads(gzip.decompress(base64.b64decode(data)))
            self.figures, self.tables = content["figures"], content["tables"]
        elif not tag:
            self.text += data


def table(page: Page, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(page.figures[name]["csv"])))


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    """Three methods, two seeds, every round evaluated; the folder of faces has a name that must not come out."""
    folder = tmp_path_factory.mktemp("benchmark")
    faces = folder / "secret place"
    tiny_faces(alike=0.6).save(faces)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(parse_overrides(SETTINGS)), encoding="utf-8")
    settings = {"faces": {"path": str(faces)}, "evaluation": {"every": 1}}
    methods = ("local", "fedavg", "fedfr")
    plan = Plan(
        name="tiny", config=str(folder / "tiny.yaml"), budget="cpu", methods=methods, seeds=(0, 1), settings=settings
    )
    made = Benchmark.begin(plan, folder / "out")
    made.run()
    return made


@pytest.fixture(scope="module")
def page(benchmark: Benchmark) -> Page:
    return Page(write_report(benchmark.folder).read_text(encoding="utf-8"))


def test_nothing_is_fetched(page: Page) -> None:
    # An SVG's `use` names a part of itself.
    assert not [
        (tag, name)
        for tag, values in page.elements
        for name, value in values.items()
        if name.rpartition(":")[2] in ("src", "href", "srcset") and not str(value).startswith("#")
    ]
    assert not {tag for tag, _ in page.elements} & {"link", "img", "iframe", "object", "video"}
    policy = [values["content"] for tag, values in page.elements if values.get("http-equiv") is not None]
    assert len(policy) == 1
    assert str(policy[0]).startswith("default-src 'none'")


def test_no_person_and_no_place_is_named(page: Page, benchmark: Benchmark) -> None:
    whole = (benchmark.folder / "report.html").read_text(encoding="utf-8")
    assert "person-" not in whole
    assert str(benchmark.folder.parent) not in whole
    assert "secret place" in page.text, "the last part of a path tells the reader which faces they were"


def test_no_place_is_named_by_any_field(benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings with places in every spelling, a relative start among them, and the description made of them."""
    monkeypatch.chdir(tmp_path)
    start, run = "models of mine/start.safetensors", tmp_path / "run"
    (tmp_path / "models of mine").mkdir()
    source = benchmark.folder / "scratch" / "seed-0"
    shutil.copy(source / "pretrained" / "generic.safetensors", start)
    faces = benchmark.folder.parent / "secret place"
    settings = [f"model.start={start}", "pretrain.epochs=0", "method.name=pretrained", f"faces.path={faces}"]
    Experiment.create(tiny_config(tmp_path, *settings), run).run()
    config, environment = run / "config.yaml", run / "environment.json"
    text = yaml.safe_load(config.read_text(encoding="utf-8"))
    assert text["model"]["start"] == str(tmp_path / start)
    planted = ["/srv/faces of people", "~/faces", f"file://{tmp_path}/x", {"/opt/key": "see /opt/a/b, or /opt/c"}]
    text["split"]["settings"] |= {"pairs": str(tmp_path / "lists" / "pairs.txt"), "more": planted}
    config.write_text(yaml.safe_dump(text), encoding="utf-8")
    machine = {"python": sys.executable, "command": f"fedfr train {tmp_path}/my config.yaml --out={run}"}
    environment.write_text(json.dumps(json.loads(environment.read_text("utf-8")) | machine), encoding="utf-8")
    for rows in (run / "evaluation").glob("*.json"):
        content = json.loads(rows.read_text("utf-8"))
        content.append(content[0] | {"metric": "TAR@FAR=1e-3", "value": None, "refused": f"{tmp_path}/lost is gone"})
        rows.write_text(json.dumps(content), encoding="utf-8")
    whole = write_report(run).read_text(encoding="utf-8")
    page = Page(whole)
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


@pytest.mark.parametrize("name", ["roc-personalized-1-1", "roc-generic-1-1", "search-personalized-1-N", "clients"])
def test_the_figures_are_there_with_a_legend_of_every_line(page: Page, name: str) -> None:
    assert ("figure", {"id": name}) in page.elements
    ids = {values.get("id") for tag, values in page.elements if tag == "g"}
    labelled = [number for number, line in enumerate(page.figures[name]["lines"]) if line["label"]]
    assert len(labelled) > 1
    for number in labelled:
        assert {f"{name}--{number}-key", f"{name}--{number}-text"} <= ids


def test_every_kind_of_figure_is_drawn_and_no_id_is_used_twice(page: Page, benchmark: Benchmark) -> None:
    assert {name.partition("-")[0] for name in page.figures} == {
        "roc",
        "det",
        "search",
        "clients",
        "rounds",
        "bytes",
        "time",
        "scores",
    }
    # Elements that one line draws – itself and its markers or bars – share its id.
    ids = [str(values["id"]) for _, values in page.elements if "id" in values]
    once = [each for each in ids if not re.search(r"--\d+$", each)]
    assert len(once) == len(set(once))
    assert (benchmark.folder / "report.html").stat().st_size < 1_500_000


def test_curves_pass_through_the_results(page: Page, benchmark: Benchmark) -> None:
    rows = [result.row for result in benchmark.results()]
    compared = 0
    for method, model in (("pretrained", "pretrained"), ("local", "local"), ("fedfr", "personalized")):
        exact = fmean(
            row.value
            for row in rows
            if (row.method, row.model, row.protocol, row.metric) == (method, model, "personalized-1:1", "TAR@FAR=1e-1")
            and row.value is not None
        )
        (drawn,) = (
            float(line["TAR"])
            for line in table(page, "roc-personalized-1-1")
            if (line["method"], line["model"], float(line["FAR"])) == (method, model, 0.1)
        )
        # Two clients in two seeds with 3 genuine pairs each: one pair of one client may share a bin with the threshold.
        assert drawn == pytest.approx(exact, abs=1 / 12 + 1e-6)
        assert 0 < exact < 1
        compared += 1
    assert compared == 3


def test_clients_go_from_the_start_to_their_own_model(page: Page, benchmark: Benchmark) -> None:
    rows = {
        (row.method, row.model, str(row.seed), row.client): row.value
        for row in (result.row for result in benchmark.results())
        if (row.protocol, row.metric) == ("personalized-1:1", "TAR@FAR=1e-1")
    }
    lines = table(page, "clients")
    assert len(lines) == 4
    for line in lines:
        where = line["seed"], line["client"]
        assert float(line["pretrained"]) == rows["pretrained", "pretrained", *where]
        assert float(line["fedfr"]) == rows["fedfr", "personalized", *where]


def test_rounds_begin_at_the_start_and_end_at_the_result(page: Page, benchmark: Benchmark) -> None:
    lines = [line for line in table(page, "rounds-generic-1-1") if line["method"] == "fedavg"]
    assert [line["round"] for line in lines] == ["0", "1", "2"]
    rows = [
        result.row
        for result in benchmark.results()
        if (result.row.protocol, result.row.metric) == ("generic-1:1", "TAR@FAR=1e-1")
    ]

    def mean(method: str) -> float:
        return fmean(row.value for row in rows if row.method == method and row.value is not None)

    values = [float(line["TAR@FAR=1e-1"]) for line in lines]
    assert values[0] == pytest.approx(mean("pretrained"))
    assert values[2] == pytest.approx(mean("fedavg"))


def test_bytes_are_those_of_the_messages(page: Page, benchmark: Benchmark) -> None:
    spent = {
        line["method"]: float(line["sent up and down, all clients (MB)"]) for line in table(page, "bytes-generic-1-1")
    }
    cost = {result.row.method: result.bytes_up + result.bytes_down for result in benchmark.results()}
    assert spent["fedfr"] == pytest.approx(cost["fedfr"] / 1e6)
    assert spent["fedavg"] == pytest.approx(cost["fedavg"] / 1e6)


def test_histograms_count_every_pair(page: Page, benchmark: Benchmark) -> None:
    counted = sum(
        int(line["count"])
        for line in table(page, "scores-personalized-1-1")
        if (line["method"], line["model"]) == ("fedfr", "personalized")
    )
    rows = [
        result.row
        for result in benchmark.results()
        if (result.row.method, result.row.model, result.row.protocol) == ("fedfr", "personalized", "personalized-1:1")
    ]
    assert counted == sum(row.genuine + row.impostor for row in rows if row.metric == "TAR@FAR=1e-1")


def test_a_line_that_is_being_written_is_left_out(benchmark: Benchmark, tmp_path: Path) -> None:
    events = benchmark.folder / "scratch" / "seed-0" / "metrics.jsonl"
    half = tmp_path / "metrics.jsonl"
    half.write_bytes(events.read_bytes() + b'{"time": 17')
    whole = round_costs(events, "fedfr", 0)
    assert round_costs(half, "fedfr", 0) == whole
    assert [cost.round for cost in whole] == [1, 2]
    assert all(cost.wall_seconds > 0 for cost in whole)


def test_rounds_are_those_that_were_evaluated(tmp_path: Path) -> None:
    """With half of the clients in a round, the others' models are older than the round that is looked at."""
    more = ["method.name=fedavg", "federation.rounds=3", "federation.participation=0.5", "evaluation.every=2"]
    run = Experiment.create(tiny_config(tmp_path, *more, alike=0.6), tmp_path / "run")
    run.run()
    told = run.history()
    assert {number for number, _ in told} == {2}
    assert {row.round for _, row in told if row.model == "personalized"} - {2}, "somebody sat out"
    lines = table(Page(write_report(tmp_path / "run").read_text(encoding="utf-8")), "rounds-personalized-1-1")
    assert [line["round"] for line in lines if line["model"] == "personalized"] == ["0", "2", "3"]


def test_tables_say_what_may_be_concluded(page: Page) -> None:
    assert "personalized-1:1, TAR@FAR=1e-1 (%)" in page.text
    assert "Intervals over 2 seeds and their clients" in page.text
    assert "fedfr personalized" in page.text


def test_the_overview_shows_the_strictest_rate_that_all_can_show(benchmark: Benchmark) -> None:
    rows = [result.row for result in benchmark.results()]
    head, lines = overview_table(rows)
    assert head[0] == "model"
    assert "personalized-1:1 TAR@FAR=1e-1" in head
    assert not [title for title in head if "released" in title]
    place = head.index("personalized-1:1 TAR@FAR=1e-1")
    (cell,) = (cells[place] for cells in lines if cells[0] == "fedfr personalized")
    values = [
        [row.value for row in rows if row.seed == seed and _is_fedfr_tar(row) and row.value is not None]
        for seed in (0, 1)
    ]
    means = [fmean(each) for each in values]
    worst = min(value for each in values for value in each)
    assert cell == f"{100 * fmean(means):.1f} ± {100 * stdev(means):.1f} ({100 * worst:.1f})"
    # One model that is refused the strict rate moves everybody to the laxer one.
    strict = [replace(row, metric="TAR@FAR=1e-2") for row in rows if row.metric == "TAR@FAR=1e-1"]
    both = [*rows, *strict]
    assert "personalized-1:1 TAR@FAR=1e-2" in overview_table(both)[0]
    both.remove(next(row for row in strict if row.protocol == "personalized-1:1"))
    assert "personalized-1:1 TAR@FAR=1e-1" in overview_table(both)[0]
    without = [*rows, *(replace(row, value=None) if row.method == "local" else row for row in strict)]
    assert "personalized-1:1 TAR@FAR=1e-1" in overview_table(without)[0], "one model is refused it altogether"


def _is_fedfr_tar(row: Row) -> bool:
    where = row.method, row.model, row.protocol, row.metric
    return where == ("fedfr", "personalized", "personalized-1:1", "TAR@FAR=1e-1")


def test_a_run_has_a_page_too(benchmark: Benchmark, tmp_path: Path) -> None:
    run = benchmark.folder / "scratch" / "seed-1"
    path = write_report(run, tmp_path / "page.html")
    assert not (run / "report.html").exists()
    page = Page(path.read_text(encoding="utf-8"))
    assert {line["seed"] for line in table(page, "clients")} == {"1"}
    assert "One seed: there is no interval" in page.text
    assert "±" not in page.text
    assert "[95 %]" not in page.text
    rows = [row for _, row in open_report(run).results()]
    assert rows == Experiment.open(run).results()


def test_markup_in_a_setting_stays_text(benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plan = benchmark.plan.model_copy(update={"name": "</script><script>alert(1)</script>"})
    monkeypatch.setattr(Benchmark, "open", lambda folder: Benchmark(plan, benchmark.folder))
    text = write_report(benchmark.folder, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_nothing_finished_nothing_reported(benchmark: Benchmark, tmp_path: Path) -> None:
    with pytest.raises(FedfrError, match="holds no run"):
        write_report(tmp_path)
    (tmp_path / "benchmark.yaml").write_bytes((benchmark.folder / "benchmark.yaml").read_bytes())
    with pytest.raises(FedfrError, match="has no finished seed yet"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_older_runs_without_curves_have_their_tables(benchmark: Benchmark, tmp_path: Path) -> None:
    run = benchmark.folder / "scratch" / "seed-0"
    kept = {path: path.read_bytes() for path in (run / "evaluation" / "curves").iterdir()}
    for path in kept:
        path.unlink()
    try:
        page = Page(write_report(run, tmp_path / "page.html").read_text(encoding="utf-8"))
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
    assert not [name for name in page.figures if re.match("roc|det|scores|search", name)]
    assert "personalized-1:1, TAR@FAR=1e-1 (%)" in page.text
