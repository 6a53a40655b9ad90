"""Kinds of bad input to do with coordinators and sites; their lines stand in ``messages.yaml`` as well."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml
from tests.support.bad_input import Case, Given, collector, cut

from fedfr.deployment.agreement import Agreement
from fedfr.deployment.certificates import make_authority
from fedfr.deployment.coordinator import Coordinator
from fedfr.deployment.secrets import make_node_key, save_key
from fedfr.deployment.site_folder import init_site
from fedfr.experiments.experiment import Experiment

__all__ = ["CASES"]

CASES: list[Case] = []
case = collector(CASES)


def coordinator(given: Given) -> str:
    """A coordinator in ``place/coordinator``; nginx could not be given that path, but is not asked."""
    made = Coordinator.init(given.place.parent / "coordinator", ["localhost"], "test", 9443, 9442)
    return str(shutil.move(made.folder, given.place / "coordinator"))


def key(given: Given, name: str = "site.key") -> Path:
    """A site's private key; the public one is beside it."""
    save_key(given.place / name, make_node_key())
    return given.place / name


def public(path: Path) -> str:
    """The public key beside a private one."""
    return f"{path}.pub"


def authority(given: Given) -> str:
    """A certificate of an authority."""
    make_authority(given.place / "tls", "test")
    return str(given.place / "tls" / "ca.crt")


def site(given: Given, *, agreement: bool = True, client: str = "client-01", **changes: object) -> str:
    """A site in ``place/site`` that has the agreement of the run, and no public faces."""
    folder = given.place / "site"
    init_site(folder, client, "localhost:1", Path(authority(given)), str(given.faceset), 9444, 1)
    if agreement:
        Agreement.of(Experiment.open(given.run).method_runs()[0]).save(folder / "agreement.yaml")
    content = yaml.safe_load((folder / "site.yaml").read_text("utf-8"))
    (folder / "site.yaml").write_text(yaml.safe_dump({**content, **changes}), "utf-8")
    return str(folder)


def new_site(given: Given, **changes: str) -> list[str]:
    """The command that makes one."""
    options = {"client": "north", "server": "fed.example.org:9443", **changes}
    options.setdefault("ca", str(given.place / "none.crt"))
    return ["site", "init", str(given.place / "site"), *(f"--{name}={value}" for name, value in options.items())]


# Coordinators


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
def submitting_a_path(given: Given) -> list[str]:
    return ["server", "submit", coordinator(given), "../first"]


@case
def submitting_a_run_that_was_never_made(given: Given) -> list[str]:
    return ["server", "submit", coordinator(given), "first"]


@case
def submitting_without_its_configuration(given: Given) -> list[str]:
    return ["server", "submit", coordinator(given), "first", str(given.place / "none.yaml")]


def submit(given: Given, **more: object) -> list[str]:
    """The command, with a configuration over the whole face set."""
    path = given.place / "first.yaml"
    split = {"recipe": "sites", "settings": {"clients": ["north", "south"], "generic_identities": 2}}
    content = {"faces": {"path": str(given.faceset)}, "split": split, "baselines": [], **more}
    path.write_text(yaml.safe_dump(content), "utf-8")
    return ["server", "submit", coordinator(given), "first", str(path)]


@case
def submitting_for_sites_that_are_not_registered(given: Given) -> list[str]:
    return submit(given)


@case
def submitting_a_method_that_pools(given: Given) -> list[str]:
    return submit(given, method={"name": "centralized"})


@case
def submitting_for_a_site_called_by_a_path(given: Given) -> list[str]:
    return submit(given, split={"recipe": "sites", "settings": {"clients": ["../north"]}})


@case
def withdrawing_a_run_that_was_never_made(given: Given) -> list[str]:
    return ["server", "withdraw", coordinator(given), "first"]


# Sites


@case
def site_with_a_scheme(given: Given) -> list[str]:
    return new_site(given, server="https://fed.example.org")


@case
def site_with_a_port_that_is_none(given: Given) -> list[str]:
    return new_site(given, port="0")


@case
def site_without_a_certificate(given: Given) -> list[str]:
    return new_site(given)


@case
def site_with_the_authoritys_key(given: Given) -> list[str]:
    return new_site(given, ca=authority(given).replace("ca.crt", "ca.key"))


@case
def site_in_a_used_folder(given: Given) -> list[str]:
    return new_site(given, ca=str(Path(site(given)) / "ca.crt"))


@case
def site_that_is_none(given: Given) -> list[str]:
    return ["site", "run", str(given.place)]


@case
def site_whose_key_others_can_read(given: Given) -> list[str]:
    folder = site(given)
    (given.place / "site" / "site.key").chmod(0o644)
    return ["site", "run", folder]


@case
def site_without_its_authority(given: Given) -> list[str]:
    folder = site(given)
    (given.place / "site" / "ca.crt").unlink()
    return ["site", "run", folder]


@case
def site_that_names_no_server(given: Given) -> list[str]:
    return ["site", "run", site(given, server=None)]


@case
def site_whose_server_is_none(given: Given) -> list[str]:
    return ["site", "run", site(given, server="fed.example.org")]


@case
def site_without_its_agreement(given: Given) -> list[str]:
    return ["site", "status", site(given, agreement=False)]


@case
def site_that_the_agreement_does_not_name(given: Given) -> list[str]:
    return ["site", "status", site(given, client="north")]


@case
def fetching_without_a_place(given: Given) -> list[str]:
    return ["site", "fetch", site(given, public=None)]


@case
def fetching_where_other_faces_are(given: Given) -> list[str]:
    return ["site", "fetch", site(given, public=str(given.faceset))]


@case
def fetching_without_the_authority(given: Given) -> list[str]:
    folder = site(given)
    (given.place / "site" / "ca.crt").unlink()
    return ["site", "fetch", folder]


@case
def exporting_before_the_first_round(given: Given) -> list[str]:
    return ["site", "export", site(given), str(given.place / "mine.safetensors")]
