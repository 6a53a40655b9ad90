"""Invalid input to ``fedfr server``; the expected errors are in ``messages.yaml``."""

from __future__ import annotations

from pathlib import Path

import yaml
from tests.support.bad_input import Case, Given, collector, cut
from tests.support.deployment_cases import coordinator, key, public

from fedfr.deployment.coordinator import Coordinator

__all__ = ["CASES"]

CASES: list[Case] = []
case = collector(CASES)


__all__ = ["CASES"]


@case
def coordinator_in_a_used_folder(given: Given) -> list[str]:
    return ["server", "init", str(given.run), "--host", "fed.example.org"]


@case
def coordinator_in_a_file(given: Given) -> list[str]:
    (given.place / "file").write_text("mine")
    return ["server", "init", str(given.place / "file"), "--host", "fed.example.org"]


@case
def coordinator_where_nginx_cannot_look(given: Given) -> list[str]:
    return ["server", "init", str(given.place / "coordinator"), "--host", "fed.example.org"]


@case
def coordinator_with_a_scheme(given: Given) -> list[str]:
    return ["server", "init", str(given.place.parent / "new"), "--host", "https://fed.example.org"]


@case
def coordinator_of_two_words(given: Given) -> list[str]:
    return ["server", "init", str(given.place.parent / "new"), "--host", "fed.example.org", "--name", "two words"]


@case
def coordinator_with_one_port(given: Given) -> list[str]:
    return ["server", "init", str(given.place.parent / "new"), "--host", "fed.example.org", "--inner-port", "9443"]


@case
def coordinator_with_a_port_that_is_none(given: Given) -> list[str]:
    return ["server", "init", str(given.place.parent / "new"), "--host", "fed.example.org", "--port", "99999"]


@case
def coordinator_without_a_host(given: Given) -> list[str]:
    return ["server", "init", str(given.place.parent / "new")]


@case
def coordinator_that_is_none(given: Given) -> list[str]:
    return ["server", "status", str(given.run)]


@case
def coordinators_configuration_cut_short(given: Given) -> list[str]:
    folder = coordinator(given)
    (given.place / "coordinator" / "server.yaml").write_text("name: test\nhosts: [localhost", "utf-8")
    return ["server", "check", folder]


@case
def coordinators_authority_lost(given: Given) -> list[str]:
    folder = coordinator(given)
    (given.place / "coordinator" / "tls" / "ca.key").unlink()
    return ["server", "admit", folder, "ada"]


@case
def person_called_server(given: Given) -> list[str]:
    return ["server", "admit", coordinator(given), "server"]


@case
def registering_the_private_key(given: Given) -> list[str]:
    return ["server", "register", coordinator(given), "north", str(key(given))]


@case
def registering_no_key(given: Given) -> list[str]:
    return ["server", "register", coordinator(given), "north", str(given.place / "none.pub")]


@case
def registering_a_key_cut_short(given: Given) -> list[str]:
    made = key(given)
    cut(Path(public(made)), 0.5)
    return ["server", "register", coordinator(given), "north", public(made)]


@case
def registering_an_id_twice(given: Given) -> list[str]:
    folder = coordinator(given)
    Coordinator.open(Path(folder)).register("north", Path(public(key(given))))
    return ["server", "register", folder, "north", public(key(given, "other.key"))]


@case
def registering_a_key_twice(given: Given) -> list[str]:
    folder, made = coordinator(given), public(key(given))
    Coordinator.open(Path(folder)).register("north", Path(made))
    return ["server", "register", folder, "south", made]


@case
def registering_a_path(given: Given) -> list[str]:
    return ["server", "register", coordinator(given), "../north", public(key(given))]


@case
def unregistering_a_stranger(given: Given) -> list[str]:
    folder = coordinator(given)
    Coordinator.open(Path(folder)).register("north", Path(public(key(given))))
    return ["server", "unregister", folder, "../north"]


@case
def withdrawing_a_run_that_was_never_made(given: Given) -> list[str]:
    return ["server", "withdraw", coordinator(given), "first"]


def submit(given: Given, **more: object) -> list[str]:
    """Run the command with a configuration of the whole face set."""
    path = given.place / "first.yaml"
    split = {"recipe": "sites", "settings": {"clients": ["north", "south"], "generic_identities": 2}}
    content = {"faces": {"path": str(given.faceset)}, "split": split, "baselines": [], **more}
    path.write_text(yaml.safe_dump(content), "utf-8")
    return ["server", "submit", coordinator(given), "first", str(path)]


@case
def submitting_a_path(given: Given) -> list[str]:
    return ["server", "submit", coordinator(given), "../first"]


@case
def submitting_a_run_that_was_never_made(given: Given) -> list[str]:
    return ["server", "submit", coordinator(given), "first"]


@case
def submitting_without_its_configuration(given: Given) -> list[str]:
    return ["server", "submit", coordinator(given), "first", str(given.place / "none.yaml")]


@case
def submitting_for_sites_that_are_not_registered(given: Given) -> list[str]:
    return submit(given)


@case
def submitting_a_method_that_pools(given: Given) -> list[str]:
    return submit(given, method={"name": "centralized"})


@case
def submitting_for_a_site_called_by_a_path(given: Given) -> list[str]:
    return submit(given, split={"recipe": "sites", "settings": {"clients": ["../north"]}})
