"""Operation of the service: its queue, metrics, rebuilds and internal errors."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx
import numpy as np
import pytest
from tests.support.doors import Door, save_tiny_model
from tests.support.service_client import checked, error
from tests.support.service_doors import NAMES, Served, jpeg_form, make_enrolled, served

from fedfr.core.locks import locked
from fedfr.recognition.enrolment.enrolment import Progress
from fedfr.recognition.rebuild import Rebuild
from fedfr.recognition.recognizer import Recognizer
from fedfr.recognition.service.gallery_models import (
    RebuildBody,
)
from fedfr.recognition.service.models import ErrorBody
from fedfr.recognition.service.rebuilding import RebuildJob


def test_the_queue_is_bounded_and_nothing_is_lost(enrolled_door: Door, tmp_path: Path) -> None:
    with served(enrolled_door, tmp_path / "door", workers=1, queue=2) as door:
        photo = door.photo(0)

        async def call(client: httpx.AsyncClient) -> httpx.Response:
            return await client.post("/v1/identify", files=jpeg_form(photo))

        answers = door.client.together([call] * 12)
        states = sorted(answer.status_code for answer in answers)
        assert states.count(200) >= 3
        assert set(states) == {200, 503}
        busy = next(answer for answer in answers if answer.status_code == 503)
        assert (error(busy, 503), busy.headers["retry-after"]) == ("busy", "1")
        assert (door.state.workers.active, door.state.budget.used) == (0, 0)
        assert door.client.post("/v1/identify", files=jpeg_form(photo)).json()["person"] == "ada"


def test_metrics_count_decisions_without_names(door: Served) -> None:
    door.client.post("/v1/identify", files=jpeg_form(door.photo(0)))
    door.client.post("/v1/identify", files=jpeg_form(door.stranger()))
    text = door.client.get("/metrics").text
    assert 'fedfr_decisions_total{operation="identify",outcome="accept"} 1' in text
    assert 'fedfr_decision_reasons_total{operation="identify",reason="below-threshold"} 1' in text
    assert 'fedfr_request_seconds_count{route="/v1/identify"} 2' in text
    assert "fedfr_enrolled 3\n" in text
    assert "fedfr_strangers 40\n" in text
    assert "fedfr_promised_rate 0.0721575\n" in text
    assert not any(word in text for word in (*NAMES, *door.ids().values()))


@pytest.mark.parametrize("with_strangers", [False, True])
def test_a_rebuild_runs_in_the_background(tmp_path: Path, with_strangers: bool) -> None:
    whole = make_enrolled(tmp_path / "whole", crops=True)
    model, asked = save_tiny_model(tmp_path / "new.safetensors", seed=5), threading.Event()

    def rebuild(recognizer: Recognizer, report: Progress) -> Rebuild:
        asked.wait(10)
        return recognizer.rebuild(model, strangers=whole.strangers if with_strangers else None, progress=report)

    with served(whole, tmp_path / "door") as door:
        assert error(door.client.post("/v1/rebuild"), 409) == "no-model"
        door.state.rebuild = RebuildJob(door.door.folder, rebuild)
        old = door.client.get("/v1/gallery").json()["space"]
        assert door.client.post("/v1/rebuild").status_code == 202
        assert error(door.client.post("/v1/rebuild"), 409) == "running"
        assert door.client.post("/v1/identify", files=jpeg_form(door.photo(0))).json()["person"] == "ada"
        asked.set()
        content = checked(door.client.get("/v1/rebuild"), RebuildBody)
        while content["state"] == "running":
            content = checked(door.client.get("/v1/rebuild"), RebuildBody)
        space = door.client.get("/v1/gallery").json()["space"]
        if with_strangers:
            assert (content["state"], content["result"]["people"], content["done"]) == ("done", 3, 3)
            assert space != old
        else:
            assert content["state"] == "failed"
            assert "--strangers" in content["error"]
            assert str(tmp_path) not in content["error"]
            assert space == old
        assert door.client.post("/v1/identify", files=jpeg_form(door.photo(0))).json()["person"] == "ada"


def test_an_internal_error_shows_nothing(door: Served, caplog: pytest.LogCaptureFixture) -> None:
    door.door.folder.joinpath("gallery.db").write_bytes(np.random.default_rng(0).bytes(4096))
    answer = door.client.get("/v1/persons")
    assert answer.status_code in {409, 500}
    content = checked(answer, ErrorBody, answer.status_code)
    assert "Traceback" not in answer.text
    assert str(door.door.folder) not in answer.text
    assert content["error"]["message"].isprintable()


def test_another_writer_is_not_a_mistake_of_the_client(door: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedfr.recognition.gallery.database.PATIENCE", 0.1)
    with locked(door.door.folder):
        answer = door.client("DELETE", f"/v1/persons/{door.ids()['ada']}")
        assert error(answer, 503) == "busy"
        assert answer.headers["retry-after"] == "2"
        assert str(door.door.folder) not in answer.text
    assert door.client("DELETE", f"/v1/persons/{door.ids()['ada']}").status_code == 200
