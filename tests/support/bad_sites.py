"""Invalid input to ``fedfr site``; the expected errors are in ``messages.yaml``."""

from __future__ import annotations

from pathlib import Path

from tests.support.bad_input import Case, Given, collector
from tests.support.deployment_cases import authority, new_site, site

__all__ = ["CASES"]

CASES: list[Case] = []
case = collector(CASES)


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
