"""Status of runs and sites, read from their folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.deployment_folders import OTHER, RUN, SITE, Deployment, edit

import fedfr
from fedfr.core.errors import FedfrError
from fedfr.core.files import write_json
from fedfr.core.locks import locked
from fedfr.deployment.coordinator import Coordinator
from fedfr.deployment.site import Site
from fedfr.deployment.site_status_file import SiteStatusFile, busy_with_other_runs, read_site_statuses
from fedfr.deployment.state_files import STOPPED, SUBMITTED
from fedfr.deployment.status import site_status, status_of, table
from fedfr.engines.flower.site_state import SiteStatus
from fedfr.federation.private_state import PrivateState
from fedfr.federation.private_store import PrivateStore


def update(client: str, number: int, **more: object) -> dict[str, object]:
    event = {"event": "update", "round": number, "client": client, "count": 40 + number, "seconds": 12.34 + number}
    return {**event, "bytes/up": 1_500_000, "bytes/down": 12_000_000, **more}


def refused(client: str, number: int, reason: str) -> dict[str, object]:
    return {"event": "refused", "round": number, "client": client, "reason": reason}


EVENTS: list[dict[str, object]] = [
    {"event": "pretrain", "epoch": 1, "loss/total": 3.2, "learning_rate": 0.1},
    update(SITE, 1),
    refused(OTHER, 1, "clinic-b failed in round 1: it stopped"),
    {"event": "round", "round": 1},
    update(SITE, 2),
    refused(OTHER, 2, "clinic-b did not answer in round 2"),
]
HALF = json.dumps({"event": "round", "round": 2})[:-3]


def write(deployment: Deployment, events: list[dict[str, object]], rest: str = "") -> None:
    lines = [json.dumps({"time": 1.0, "method": "fedfr", **event}) + "\n" for event in events]
    (deployment.run / "metrics.jsonl").write_text("".join(lines) + rest, "utf-8")


def run_of(deployment: Deployment, name: str = RUN) -> dict[str, Any]:
    found = status_of(deployment.coordinator)
    assert json.loads(json.dumps(found)) == found
    run: dict[str, Any] = found["runs"][name]
    return run


def test_status_of_a_new_run(deployment: Deployment) -> None:
    assert status_of(deployment.coordinator) == {
        "name": "hospitals",
        "running": False,
        "sites": [SITE, OTHER],
        "queue": [RUN],
        "runs": {
            RUN: {
                "method": "fedfr",
                "round": 0,
                "rounds": 2,
                "state": "waiting",
                "position": 1,
                "sites": {SITE: {"refused": 0}, OTHER: {"refused": 0}},
            }
        },
    }


@pytest.mark.parametrize("rest", ["", HALF, "{", '{"event": "upd'])
def test_last_update_of_each_site(deployment: Deployment, rest: str) -> None:
    """The last line may be incomplete while the run is active."""
    write(deployment, EVENTS, rest)
    run = run_of(deployment)
    assert (run["round"], run["state"]) == (1, "waiting")
    assert run["sites"] == {
        SITE: {
            "refused": 0,
            "round": 2,
            "seconds": 14.34,
            "images": 42,
            "bytes_up": 1_500_000,
            "bytes_down": 12_000_000,
        },
        OTHER: {"refused": 2, "reason": "clinic-b did not answer in round 2"},
    }


def test_incomplete_events_and_unknown_clients(deployment: Deployment) -> None:
    """Reports of a site may lack any field."""
    event = update(SITE, 1)
    del event["seconds"]
    write(deployment, [event, refused("stranger", 1, "no key of this run")])
    run = run_of(deployment)
    assert run["sites"][SITE]["seconds"] is None
    assert run["sites"]["stranger"] == {"refused": 1, "reason": "no key of this run"}
    assert "–" in table(status_of(deployment.coordinator))


def test_the_states_of_a_run(deployment: Deployment) -> None:
    assert run_of(deployment)["state"] == "waiting"
    with locked(deployment.run):
        assert run_of(deployment)["state"] == "running"
    deployment.coordinator.withdraw(RUN)
    assert run_of(deployment)["state"] == "withdrawn"
    write(deployment, [{"event": "round", "round": 1}, {"event": "round", "round": 2}])
    assert run_of(deployment)["state"] == "ended"
    (deployment.run / STOPPED).write_text("round 2: 0 of 2 clients delivered, the quorum is 1\n", "utf-8")
    assert run_of(deployment)["state"] == "stopped: round 2: 0 of 2 clients delivered, the quorum is 1"
    (deployment.run / STOPPED).unlink()
    (deployment.run / SUBMITTED).write_bytes(b"")
    assert run_of(deployment)["state"] == "waiting"


def test_queue_and_status_of_sites(deployment: Deployment) -> None:
    """An active run with a missing site, and a queued one: as JSON and as a table."""
    behind = deployment.coordinator.runs / "again"
    shutil.copytree(deployment.run, behind)
    (behind / SUBMITTED).write_text('{"place": 2}', "utf-8")
    board = SiteStatusFile(deployment.run)
    board(SITE, SiteStatus("ready"))
    reason = "its site is connected and silent (for 40 s); look at its log"
    board(OTHER, SiteStatus("silent", reason))
    since = read_site_statuses(deployment.run)[OTHER]["since"]
    board(OTHER, SiteStatus("silent", reason.replace("40 s", "12 min")))
    assert read_site_statuses(deployment.run)[OTHER]["since"] == since, "that it lasts is no change"
    board(SITE, SiteStatus("not connected", "its site is not connected; start it"))
    board(SITE, SiteStatus("ready"))
    assert "problem" not in read_site_statuses(deployment.run)[SITE], "it is over"
    with locked(deployment.run):
        found = status_of(deployment.coordinator)
        assert found["queue"] == [RUN, "again"]
        assert found["runs"][RUN]["waiting_for"] == [OTHER]
        site = found["runs"][RUN]["sites"][OTHER]
        assert (site["state"], site["since"]) == ("silent", since)
        assert site["problem"] == "its site is connected and silent; look at its log"
        lines = table(found).splitlines()
    assert f"{RUN}: fedfr, round 0 of 2, running, waiting for {OTHER}" in lines
    assert f"    silent since {since}" in lines
    assert f"again: fedfr, round 0 of 2, waiting, number 2 in the queue, behind {RUN}" in lines
    assert "state" not in run_of(deployment)["sites"][OTHER], "unknown while the run is not active"
    (deployment.run / "sites.json").write_text('{"half', "utf-8")
    assert run_of(deployment)["sites"][OTHER] == {"refused": 0}
    # What a site was given and has not answered keeps it from the next run, for a while.
    board(SITE, SiteStatus("training", round=2))
    assert busy_with_other_runs(behind, 3600)[SITE].startswith("round 2 of run first since ")
    assert busy_with_other_runs(behind, -1) == {}
    assert busy_with_other_runs(deployment.run, 3600) == {}


@pytest.mark.parametrize("state", ["late", "refused"])
def test_late_and_refused_sites_are_not_waited_for(deployment: Deployment, state: str) -> None:
    board = SiteStatusFile(deployment.run)
    board(SITE, SiteStatus("training", round=1))
    board(OTHER, SiteStatus(state, "no reply within 3600 s", 1))
    with locked(deployment.run):
        assert run_of(deployment)["waiting_for"] == [SITE]


@pytest.mark.parametrize("value", [None, 3, "?", [], ["?"], {}, {"state": "silent"}, {"next_start": "soon"}])
def test_damaged_status_files_hide_no_run(deployment: Deployment, value: object) -> None:
    """Status files with values of every type at every depth."""
    keys = ("state", "since", "problem", "problem_since", "next_start", "starts", "process")
    for content in (value, {OTHER: value}, {OTHER: {**dict.fromkeys(keys, "?"), **dict.fromkeys(keys[::2], value)}}):
        write_json(deployment.run / "sites.json", content)
        write_json(deployment.coordinator.folder / "serving.json", content)
        with locked(deployment.coordinator.folder), locked(deployment.run):
            assert f"{RUN}: fedfr, round 0 of 2, running" in table(status_of(deployment.coordinator))


def test_status_of_the_server(deployment: Deployment) -> None:
    with locked(deployment.coordinator.folder):
        assert status_of(deployment.coordinator)["running"] is True
    assert status_of(deployment.coordinator)["running"] is False


def test_a_damaged_run_hides_no_other(deployment: Deployment) -> None:
    broken = deployment.coordinator.runs / "broken"
    shutil.copytree(deployment.run, broken)
    (broken / "config.yaml").write_text("rounds: [", "utf-8")
    found = status_of(deployment.coordinator)["runs"]
    assert [*found] == ["broken", RUN]
    assert found["broken"]["state"].startswith(f"damaged: configuration {broken / 'config.yaml'} is not readable YAML")
    assert found[RUN]["state"] == "waiting"
    assert "broken: unknown, round 0 of 0, damaged: " in table(status_of(deployment.coordinator))


@pytest.mark.parametrize("line", ["\x00\x00", "3", '{"event": "update"}', '{"event": "round"}'])
def test_damaged_events_hide_no_other_run(deployment: Deployment, line: str) -> None:
    shutil.copytree(deployment.run, deployment.coordinator.runs / "other")
    write(deployment, EVENTS, f"{line}\n")
    found = status_of(deployment.coordinator)["runs"]
    assert found[RUN]["state"].startswith(f"damaged: {deployment.run / 'metrics.jsonl'} ")
    assert found["other"]["state"] == "waiting"


def test_errors_with_unusual_line_separators(deployment: Deployment) -> None:
    line = {"time": "then", "level": "error", "message": "one\u2028line\x85only"}
    (deployment.site / "log.jsonl").write_text(json.dumps(line, ensure_ascii=False) + "\n", "utf-8")
    assert site_status(deployment.site_file)["last_error"] == "then one\u2028line\x85only"


def test_a_coordinator_without_runs(tmp_path: Path) -> None:
    made = Coordinator.init(tmp_path / "coordinator", ["localhost"], "empty", 9443, 9442)
    assert status_of(made) == {"name": "empty", "running": False, "sites": [], "queue": [], "runs": {}}
    assert table(status_of(made)) == "empty: not running; 0 sites"


def test_table_of_a_status(deployment: Deployment) -> None:
    write(deployment, EVENTS)
    (deployment.run / STOPPED).write_text("below the quorum\n", "utf-8")
    assert table(status_of(deployment.coordinator)).splitlines() == [
        "hospitals: not running; 2 sites",
        "",
        "first: fedfr, round 1 of 2, stopped: below the quorum",
        "  site                     round  seconds  images   MB up  MB down  refused",
        "  clinic-a                     2     14.3      42     1.5     12.0        0",
        "  clinic-b                     –        –       –       –        –        2",
        "    last refusal: clinic-b did not answer in round 2",
    ]
    narrow = table(status_of(deployment.coordinator), 60).splitlines()
    assert max(map(len, narrow)) <= 60
    assert narrow[3:7] == [
        "  site",
        "     round  seconds  images   MB up  MB down  refused",
        "  clinic-a",
        "         2     14.3      42     1.5     12.0        0",
    ]


# A site


def test_status_of_a_new_site(deployment: Deployment) -> None:
    site = Site.open(deployment.site_file)
    assert site_status(deployment.site_file) == {
        "client": SITE,
        "server": f"localhost:{deployment.coordinator.config.port}",
        "running": False,
        "training": False,
        "rounds_kept": [],
        "last_error": "",
        "agreement": site.agreement.fingerprint[:12],
        "version": fedfr.__version__,
    }
    assert not site.private.exists()


def test_status_of_a_training_site(deployment: Deployment) -> None:
    site = Site.open(deployment.site_file)
    store = PrivateStore(site.private, SITE)
    for number in (3, 4):
        store.save(PrivateState(number, {"weight": torch.zeros(2)}, torch.zeros(3, 2)))
    lines = [
        {"time": "2026-01-02T03:04:05.678+00:00", "level": "error", "message": "an old one"},
        {"time": "2026-01-03T03:04:05.678+00:00", "level": "error", "message": "the faces are gone"},
        {"time": "2026-01-04T03:04:05.678+00:00", "level": "info", "message": "round 4 is done"},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (deployment.site / "log.jsonl").write_text(text + '{"time": "2026', "utf-8")
    edit(deployment.site_file, server=None)
    with locked(deployment.site), locked(site.private):
        found = site_status(deployment.site_file)
    assert (found["running"], found["training"], found["rounds_kept"]) == (True, True, [3, 4])
    assert found["last_error"] == "2026-01-03T03:04:05.678+00:00 the faces are gone"
    assert found["server"] == ""


@pytest.mark.parametrize("line", ["3", "null", "[]", '{"level": "error"}', '"error"', "\x00\x00", "{}"])
def test_damaged_lines_of_a_log_are_skipped(deployment: Deployment, line: str) -> None:
    good = json.dumps({"time": "then", "level": "error", "message": "a real one"})
    (deployment.site / "log.jsonl").write_text(f"{good}\n{line}\n", "utf-8")
    assert site_status(deployment.site_file)["last_error"] == "then a real one"


def test_status_without_an_agreement(deployment: Deployment) -> None:
    (deployment.site / "agreement.yaml").unlink()
    with pytest.raises(FedfrError, match=r"there is no agreement .*; put the coordinator's file there"):
        site_status(deployment.site_file)
