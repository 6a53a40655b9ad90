"""``--track``: trackers receive the values of metrics.jsonl and the evaluation under the same names."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from prometheus_client.parser import text_string_to_metric_families
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tests.support.tiny_experiment import tiny_config

from fedfr.core.errors import FedfrError
from fedfr.deployment.background import free_port
from fedfr.experiments.experiment import Experiment
from fedfr.reporting.progress import Silent
from fedfr.reporting.tracking import Tracking

RANK = ("generic", "generic-1:N", "rank-1")


class Notes(Silent):
    """Progress that records its notes."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        """Keep it."""
        self.said.append(text)


def tracked_run(folder: Path, *names: str) -> tuple[Path, list[str]]:
    """A finished run of FedAvg over two evaluated rounds, with its recorded notes."""
    run, notes = folder / "a run", Notes()
    with Tracking(notes, names, run) as shown:
        experiment = Experiment.create(tiny_config(folder, "method.name=fedavg", "evaluation.every=1"), run, shown)
        experiment.run(shown)
    return run, notes.said


def events(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def numbers(event: dict[str, Any]) -> dict[str, float]:
    return {
        name: value
        for name, value in event.items()
        if isinstance(value, int | float) and name not in ("time", "round", "epoch")
    }


def tensorboard(run: Path, subject: str) -> dict[str, dict[int, float]]:
    reader = EventAccumulator(str(run / "tensorboard" / subject))
    reader.Reload()
    tags = reader.Tags()["scalars"]
    return {tag: {point.step: point.value for point in reader.Scalars(tag)} for tag in tags}


def test_tensorboard_shows_every_number(tmp_path: Path) -> None:
    run, said = tracked_run(tmp_path, "tensorboard")
    assert not [text for text in said if "track" in text]
    compared = 0
    for event in events(run):
        subject = "seed-0/" + ("pretrained" if event["event"] == "pretrain" else event["method"])
        subject += f"/{event['client']}" if "client" in event else ""
        found = tensorboard(run, subject)
        for name, value in numbers(event).items():
            step = int(event["round"] if "round" in event else event["epoch"])
            assert found[name][step] == pytest.approx(value, rel=1e-6)
            compared += 1
    assert compared > 30
    rows = [row for row in Experiment.open(run).results() if row.method == "fedavg" and row.model == "generic"]
    found = tensorboard(run, "seed-0/fedavg/generic")
    own = [row.value for row in rows if (row.protocol, row.metric) == ("personalized-1:1", "TAR@FAR=1e-1")]
    assert found["personalized-1-1/TAR@FAR=1e-1"][2] == pytest.approx(fmean(map(float, filter(None, own))))
    assert set(found["personalized-1-1/TAR@FAR=1e-1"]) == {1, 2}


@pytest.mark.slow
def test_mlflow_gets_every_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    run, said = tracked_run(tmp_path, "mlflow")
    assert not [text for text in said if "track" in text]
    client = MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    number = (run / "mlflow-run.txt").read_text(encoding="utf-8").strip()
    compared = 0
    for event in events(run):
        if event["event"] != "update":
            continue
        for name, value in numbers(event).items():
            history = client.get_metric_history(number, f"seed-0/fedavg/{event['client']}/{name}")
            assert [point.value for point in history if point.step == event["round"]] == [value]
            compared += 1
    assert compared > 20
    assert client.get_metric_history(number, "seed-0/fedavg/generic/generic-1-1/TAR at FAR 1e-1")
    assert client.get_run(number).info.status == "FINISHED"
    # Gone on with, it stays one run.
    with Tracking(Silent(), ["mlflow"], run) as shown:
        shown.event({"event": "round", "seed": 0, "method": "fedavg", "round": 3, "clients": 2})
    assert [run.info.run_id for run in client.search_runs([client.get_run(number).info.experiment_id])] == [number]


def test_prometheus_reads_every_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read over HTTP while the run lasts; afterwards the port is closed."""
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("FEDFR_PROMETHEUS", address)
    run = tmp_path / "run"
    with Tracking(Silent(), ["prometheus"], run) as shown:
        experiment = Experiment.create(tiny_config(tmp_path, "method.name=fedavg"), run, shown)
        rows = experiment.run(shown)
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=20) as answer:
            text = answer.read().decode()
    found = {
        (sample.labels["subject"], sample.labels.get("name", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels
    }
    newest = {(event["client"], event["round"]): event for event in events(run) if event["event"] == "update"}
    last = newest["client-01", max(number for _, number in newest)]
    for name, value in numbers(last).items():
        assert found["seed-0/fedavg/client-01", name] == pytest.approx(value)
    assert found["seed-0/fedavg/client-01", ""] == last["round"]
    (figure,) = [row.value for row in rows if (row.model, row.protocol, row.metric) == RANK]
    assert found["seed-0/fedavg/generic", "generic-1-N/rank-1"] == pytest.approx(figure)
    with pytest.raises(urllib.error.URLError, match="refused"):
        urllib.request.urlopen(f"http://{address}/metrics", timeout=20)


@pytest.mark.parametrize("address", ["9464", "localhost", "localhost:0", "localhost:http", ":9464", "localhost:70000"])
def test_invalid_addresses_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("FEDFR_PROMETHEUS", address)
    with pytest.raises(FedfrError, match=f"FEDFR_PROMETHEUS = '{address}'; give one such as 127"):
        Tracking(Silent(), ["prometheus"], tmp_path)


def test_a_port_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        monkeypatch.setenv("FEDFR_PROMETHEUS", address)
        with pytest.raises(FedfrError, match=f"cannot listen at {address}: Address already in use; set FEDFR_PROM"):
            Tracking(Silent(), ["prometheus"], tmp_path)


def test_steps_that_are_repeated_are_shown_once(tmp_path: Path) -> None:
    for last, value in ((3, 1.0), (2, 2.0)):
        with Tracking(Silent(), ["tensorboard"], tmp_path) as shown:
            for number in range(last - 1, last + 1):
                shown.event({"event": "round", "seed": 0, "method": "fedavg", "round": number, "value": value})
    found = tensorboard(tmp_path, "seed-0/fedavg")["value"]
    assert found == {1: 2.0, 2: 2.0}, "a resumed run takes back what comes after the round it goes on from"


def test_a_failing_tracker_is_dropped_and_the_run_continues(tmp_path: Path) -> None:
    notes = Notes()
    run = tmp_path / "run"
    experiment = Experiment.create(tiny_config(tmp_path, "method.name=fedavg"), run)
    (run / "tensorboard").write_text("in the way", encoding="utf-8")
    with Tracking(notes, ["tensorboard"], run) as shown:
        rows = experiment.run(shown)
    assert rows
    assert len([text for text in notes.said if text.startswith("--track tensorboard is dropped: cannot write")]) == 1


def test_nothing_is_begun_without_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(FedfrError, match="MLFLOW_TRACKING_URI is not set; give the address"):
        Tracking(Silent(), ["mlflow"], tmp_path / "run")
    with pytest.raises(FedfrError, match="unknown tracker 'tensorbord'; did you mean 'tensorboard'"):
        Tracking(Silent(), ["tensorbord"], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_server_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    notes = Notes()
    with Tracking(notes, ["mlflow"], tmp_path) as shown:
        shown.event({"event": "round", "seed": 0, "method": "fedavg", "round": 1, "clients": 2})
        shown.event({"event": "round", "seed": 0, "method": "fedavg", "round": 2, "clients": 2})
    assert len(notes.said) == 1
    assert notes.said[0].startswith("--track mlflow is dropped: MLflow reports an error")
    assert not list(tmp_path.iterdir())
