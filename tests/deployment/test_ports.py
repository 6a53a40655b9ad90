"""Two sites on one machine: who uses a port is said by name, and a port need not be chosen."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from tests.support.neighbours import listening_for
from tests.support.site_standing import Standing, edit

from fedfr.core.errors import FedfrError
from fedfr.core.files import locked, write_json
from fedfr.deployment.background import wait_for
from fedfr.deployment.checks import CheckResult, check_site
from fedfr.deployment.coordinator_service import CoordinatorService
from fedfr.deployment.listeners import listeners
from fedfr.deployment.site import SiteConfig
from fedfr.deployment.site_service import RUNNING, run_site
from fedfr.deployment.status import site_status


@pytest.fixture
def standing(tmp_path: Path) -> Standing:
    return Standing.make(tmp_path)


def port_line(standing: Standing) -> CheckResult:
    (found,) = (line for line in check_site(standing.site_file) if line.what == "port")
    return found


def test_a_port_that_another_site_uses_is_told_with_whose_it_is(standing: Standing, tmp_path: Path) -> None:
    """By the check, before and while this site runs, and by the start itself, at once."""
    folder = tmp_path / "the other site"
    folder.mkdir()
    with listening_for(folder) as (process, port):
        edit(standing.site_file, port=port)
        expected = f"{port} is used by process {process} (the site in {folder})"
        for running in (False, True):
            if running:
                with locked(standing.site):
                    line = port_line(standing)
            else:
                line = port_line(standing)
            assert (line.found, line.remedy) == (
                expected,
                "stop that process, or choose another port in the configuration",
            )
        write_json(standing.site / RUNNING, {"process": 1, "since": "long ago"})
        with pytest.raises(FedfrError, match=f"the site in {folder}"):
            run_site(standing.site_file)
        assert not (standing.site / RUNNING).exists(), "what the last process said is true no more"


@pytest.mark.parametrize("neighbour", ["{}-2", "{}.old", "{} 2", "a{}"])
def test_a_neighbour_whose_folder_is_called_alike_is_another(standing: Standing, neighbour: str) -> None:
    folder = Path(neighbour.format(standing.site.resolve()))
    with listening_for(folder) as (process, port), locked(standing.site):
        edit(standing.site_file, port=port)
        assert port_line(standing).found == f"{port} is used by process {process} (the site in {folder})"


def test_its_own_process_is_told_as_such(standing: Standing) -> None:
    with listening_for(standing.site.resolve()) as (process, port):
        edit(standing.site_file, port=port)
        with locked(standing.site):
            assert (
                port_line(standing).found
                == f"{port}, in use by its own process {process} (the site in {standing.site.resolve()})"
            )
    with locked(standing.site):
        assert port_line(standing).found == f"no process listens at {port} although `run` is active"


def test_without_a_port_one_is_found(standing: Standing) -> None:
    edit(standing.site_file, port=None)
    assert SiteConfig.load(standing.site_file).port is None
    assert port_line(standing) == CheckResult("port", "a free port is chosen at every start")


def test_a_coordinator_whose_port_another_has_says_so_and_ends(standing: Standing, tmp_path: Path) -> None:
    """Not restarted for ever, whichever of its two ports it is."""
    config = standing.coordinator.config
    for port in (config.inner_port, config.port):
        said: list[str] = []
        with listening_for(tmp_path / "another", port) as (process, _):
            made = CoordinatorService(standing.coordinator, said.append)
            try:
                code = made.run()
            except FedfrError as error:
                code, said = 1, [str(error)]
        assert code == 1
        expected = (
            f"{port} is used by process {process} (the site in {tmp_path / 'another'}); stop that process, or choose"
        )
        assert any(text.startswith(expected) for text in said), said


def test_who_listens_with_ipv6_and_nobody() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as made:
        (found,) = listeners(made.getsockname()[1])
        port = made.getsockname()[1]
    wait_for(lambda: not listeners(port), "the end", 10)
    assert found.process is not None


def test_status_and_check_tell_of_a_process_that_dies_again_and_again(standing: Standing) -> None:
    told = {
        "process": None,
        "since": "2026-01-01T10:00:00+00:00",
        "starts": 7,
        "problem": "flower-supernode ended with code 1 after 2 s",
        "problem_since": "2026-01-01T10:00:00+00:00",
        "next_start": "2026-01-01T10:01:00+00:00",
        "port": 0,
    }
    write_json(standing.site / RUNNING, told)
    assert "node" not in site_status(standing.site_file), "it does not run, whatever is left of it"
    with locked(standing.site):
        found = site_status(standing.site_file)
        (line,) = (each for each in check_site(standing.site_file) if each.what == "running")
    assert (found["node"], found["starts"]) == ("down since 2026-01-01T10:00:00+00:00", 7)
    assert found["last_problem"] == "2026-01-01T10:00:00+00:00 flower-supernode ended with code 1 after 2 s"
    assert line.found.endswith("ended with code 1 after 2 s, start 8 follows at 2026-01-01T10:01:00+00:00")
    for damaged in ("{", "[]", '"text"', json.dumps({key: ["?"] for key in told}), '{"next_start": "soon"}'):
        (standing.site / RUNNING).write_text(damaged, "utf-8")
        with locked(standing.site):
            assert "process" not in site_status(standing.site_file).get("node", "")
            assert [each.what for each in check_site(standing.site_file) if each.what == "running"]
