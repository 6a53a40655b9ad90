"""Ports of several sites on one machine: users of a port are named, and free ports are chosen."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.deployment_folders import Deployment, edit
from tests.support.neighbours import listening_for

from fedfr.core.errors import FedfrError
from fedfr.core.files import write_json
from fedfr.core.locks import locked
from fedfr.deployment.background import free_port, wait_for
from fedfr.deployment.checks import CheckResult, check_site
from fedfr.deployment.coordinator_service import CoordinatorService
from fedfr.deployment.listeners import listeners
from fedfr.deployment.site_config import SiteConfig
from fedfr.deployment.site_service import RUNNING, run_site
from fedfr.deployment.status import site_status


def port_line(deployment: Deployment) -> CheckResult:
    (found,) = (line for line in check_site(deployment.site_file) if line.what == "port")
    return found


def test_a_port_in_use_is_reported_with_the_site_that_uses_it(deployment: Deployment, tmp_path: Path) -> None:
    """By the check before and while this site runs, and by the start of the site."""
    folder = tmp_path / "the other site"
    folder.mkdir()
    with listening_for(folder) as (process, port):
        edit(deployment.site_file, port=port)
        expected = f"{port} is used by process {process} (the site in {folder})"
        for running in (False, True):
            if running:
                with locked(deployment.site):
                    line = port_line(deployment)
            else:
                line = port_line(deployment)
            assert (line.found, line.remedy) == (
                expected,
                "stop that process, or choose another port in the configuration",
            )
        write_json(deployment.site / RUNNING, {"process": 1, "since": "long ago"})
        with pytest.raises(FedfrError, match=f"the site in {folder}"):
            run_site(deployment.site_file)
        assert not (deployment.site / RUNNING).exists(), "what the last process said is true no more"


@pytest.mark.parametrize("neighbour", ["{}-2", "{}.old", "{} 2", "a{}"])
def test_folders_with_similar_names_are_told_apart(deployment: Deployment, neighbour: str) -> None:
    folder = Path(neighbour.format(deployment.site.resolve()))
    with listening_for(folder) as (process, port), locked(deployment.site):
        edit(deployment.site_file, port=port)
        assert port_line(deployment).found == f"{port} is used by process {process} (the site in {folder})"


def test_a_port_used_by_the_sites_own_process(deployment: Deployment) -> None:
    with listening_for(deployment.site.resolve()) as (process, port):
        edit(deployment.site_file, port=port)
        with locked(deployment.site):
            assert (
                port_line(deployment).found
                == f"{port}, in use by its own process {process} (the site in {deployment.site.resolve()})"
            )
    with locked(deployment.site):
        assert port_line(deployment).found == f"no process listens at {port} although `run` is active"


def test_without_a_configured_port_a_free_one_is_chosen(deployment: Deployment) -> None:
    edit(deployment.site_file, port=None)
    assert SiteConfig.load(deployment.site_file).port is None
    assert port_line(deployment) == CheckResult("port", "a free port is chosen at every start")


def test_a_coordinator_with_a_port_in_use_ends_with_an_error(deployment: Deployment, tmp_path: Path) -> None:
    """It is not restarted for ever, for either of its two ports."""
    config = deployment.coordinator.config
    for port in (config.inner_port, config.port):
        said: list[str] = []
        with listening_for(tmp_path / "another", port) as (process, _):
            made = CoordinatorService(deployment.coordinator, said.append)
            try:
                code = made.run()
            except FedfrError as error:
                code, said = 1, [str(error)]
        assert code == 1
        expected = (
            f"{port} is used by process {process} (the site in {tmp_path / 'another'}); stop that process, or choose"
        )
        assert any(text.startswith(expected) for text in said), said


def test_listeners_on_ipv6_and_on_unused_ports() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as made:
        (found,) = listeners(made.getsockname()[1])
        port = made.getsockname()[1]
    wait_for(lambda: not listeners(port), "the end", 10)
    assert found.process is not None


def test_status_and_check_report_a_process_that_keeps_ending(deployment: Deployment) -> None:
    told = {
        "process": None,
        "since": "2026-01-01T10:00:00+00:00",
        "starts": 7,
        "problem": "flower-supernode ended with code 1 after 2 s",
        "problem_since": "2026-01-01T10:00:00+00:00",
        "next_start": "2026-01-01T10:01:00+00:00",
        "port": 0,
    }
    write_json(deployment.site / RUNNING, told)
    assert "node" not in site_status(deployment.site_file), "it does not run, whatever is left of it"
    with locked(deployment.site):
        found = site_status(deployment.site_file)
        (line,) = (each for each in check_site(deployment.site_file) if each.what == "running")
    assert (found["node"], found["starts"]) == ("down since 2026-01-01T10:00:00+00:00", 7)
    assert found["last_problem"] == "2026-01-01T10:00:00+00:00 flower-supernode ended with code 1 after 2 s"
    assert line.found.endswith("ended with code 1 after 2 s, start 8 follows at 2026-01-01T10:01:00+00:00")
    for damaged in ("{", "[]", '"text"', json.dumps({key: ["?"] for key in told}), '{"next_start": "soon"}'):
        (deployment.site / RUNNING).write_text(damaged, "utf-8")
        with locked(deployment.site):
            assert "process" not in site_status(deployment.site_file).get("node", "")
            assert [each.what for each in check_site(deployment.site_file) if each.what == "running"]


def test_ports_are_not_given_twice_and_not_to_neighbouring_processes() -> None:
    given = [free_port() for _ in range(50)]
    assert len(set(given)) == 50
    assert max(given) < 32768
    with socket.create_server(("127.0.0.1", given[-1] + 1)):
        assert free_port() != given[-1] + 1
    command = [sys.executable, "-c", "from fedfr.deployment.background import free_port; print(free_port())"]
    others = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    found = [int(process.communicate()[0]) for process in others]
    assert len({port // 256 for port in found}) == 3
