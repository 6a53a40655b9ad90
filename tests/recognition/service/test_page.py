"""Files of the web page: packaged, complete, without anything the content policy forbids, and true to the service."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from tests.support.service_client import ServiceClient

from fedfr.recognition.calibration.drift import Level
from fedfr.recognition.decision import REASONS, Outcome
from fedfr.recognition.gallery.journal import KINDS, OUTCOMES
from fedfr.recognition.service import app as service_app
from fedfr.recognition.service.app import create_app
from fedfr.recognition.service.limits import ServiceLimits
from fedfr.recognition.service.state import ServiceState

SERVICE = Path(service_app.__file__).parent
PAGE = SERVICE / "page"
FILES = sorted(path.name for path in PAGE.iterdir())
SCRIPTS = {name: (PAGE / name).read_text(encoding="utf-8") for name in FILES if name.endswith(".js")}
CODE = "\n".join(SCRIPTS.values())
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
OWN_CODES = {"lost", "stopped"}
"""Problems that the page finds itself: no connection, and a call that it has ended."""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceClient]:
    with ServiceClient(create_app(ServiceState(tmp_path_factory.mktemp("gallery"), ServiceLimits()))) as made:
        yield made


def keys_of(constant: str) -> set[str]:
    """Keys of an object that a script declares."""
    found = re.search(rf"const {constant} = \{{(.*?)\n\}};", CODE, re.DOTALL)
    assert found is not None, constant
    return set(re.findall(r"(?:^\s*|, )\"?([a-z-]+)\"?: [\[\"]", found[1], re.MULTILINE))


def test_every_file_is_packaged_and_served(client: ServiceClient) -> None:
    packaged = tomllib.loads((PAGE.parents[4] / "pyproject.toml").read_text(encoding="utf-8"))
    assert "recognition/service/page/*" in packaged["tool"]["setuptools"]["package-data"]["fedfr"]
    assert {"index.html", "main.js", "base.css"} <= set(FILES)
    assert all(path.is_file() for path in PAGE.iterdir()), "subfolders are neither packaged nor served"
    for name in FILES:
        answer = client.get(f"/page/{name}")
        assert answer.status_code == 200
        assert answer.content == (PAGE / name).read_bytes()
        assert answer.headers["content-type"].split(";")[0] == TYPES[Path(name).suffix]
    assert client.get("/").content == (PAGE / "index.html").read_bytes()


def test_every_file_is_used_and_every_used_file_exists() -> None:
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    used = {"index.html", *re.findall(r"/page/([\w.]+)", html), *re.findall(r'from "\./([\w.]+)"', CODE)}
    assert used == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_no_file_has_what_the_content_policy_forbids(name: str) -> None:
    text = (PAGE / name).read_text(encoding="utf-8")
    outside = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*", text)) - {"http://www.w3.org/2000/svg"}
    assert outside == set()
    forbidden = r"javascript:|@import|url\((?!#)"
    if name.endswith((".html", ".svg")):
        forbidden += r"|\son\w+\s*=|\sstyle\s*=|<style|<script(?![^>]* src=)|<base|<iframe|<object"
    if name.endswith(".js"):
        forbidden += r"|innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|new Function"
        forbidden += r"|\bstyle: |setAttribute\(\"(?:style|on)|localStorage|indexedDB|document\.cookie|\bcaches\b"
        forbidden += r"|sessionStorage" if name != "api.js" else ""
    assert re.findall(forbidden, text) == []


def test_every_call_of_the_page_is_an_operation_of_the_service(client: ServiceClient) -> None:
    paths = client.get("/v1/openapi.json").json()["paths"]
    operations = {(method, re.sub(r"\{.*?\}", "{}", path)) for path, methods in paths.items() for method in methods}
    calls = re.findall(r"\b(get|post|remove)\([\"`](/v1/[^\"`]*)[\"`]", CODE)
    assert len(calls) == len(re.findall(r"[\"`]/v1/", CODE)), "an address that no call names"
    assert len(calls) >= 15
    for method, path in calls:
        called = re.sub(r"\$\{.*?\}", "{}", path.partition("?")[0])
        assert ({"remove": "delete"}.get(method, method), called) in operations


def test_codes_of_the_page_exist() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in SERVICE.glob("*.py"))
    errors = set(re.findall(r"ApiError\(\s*\d{3},\s*\"([a-z-]+)\"", sources))
    compared = set(re.findall(r"\bcode [!=]== \"([a-z-]+)\"", CODE))
    assert {"no-face", "locked-out", "starting", "similar-person", "not-calibrated"} <= compared
    assert compared <= errors | set(REASONS) | OWN_CODES
    assert keys_of("HELP") <= set(REASONS)
    decisions = set(re.findall(r"decision\.decision === \"([a-z-]+)\"", CODE))
    assert decisions
    assert decisions <= set(get_args(Outcome))


def test_the_journal_has_words_for_every_entry() -> None:
    assert keys_of("KINDS") == set(KINDS)
    assert keys_of("OUTCOMES") == set(OUTCOMES)
    assert keys_of("LEVELS") == set(get_args(Level))


def test_every_reason_has_advice_for_people() -> None:
    """The page shows text and advice of the service as sentences, so neither is one already."""
    for code, reason in REASONS.items():
        assert re.fullmatch(r"[a-z-]+", code)
        for text in (reason.text, reason.advice):
            assert text
            assert not text.endswith(".")
