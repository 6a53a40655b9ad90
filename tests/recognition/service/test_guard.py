"""Checks before a request reaches the application: its sender, its site, its rate; and the form of all errors."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.service_client import ServiceClient

from fedfr.core.errors import FedfrError
from fedfr.recognition.service.app import create_app
from fedfr.recognition.service.limits import ServiceLimits
from fedfr.recognition.service.state import ServiceState
from fedfr.recognition.service.tokens import Tokens


@pytest.fixture
def client(tmp_path: Path) -> Iterator[ServiceClient]:
    with ServiceClient(create_app(ServiceState(tmp_path, ServiceLimits()))) as made:
        yield made


def code(response: object) -> str:
    """Code of an error whose form is the documented one."""
    content = json.loads(response.text)  # type: ignore[attr-defined]
    assert content.keys() == {"error", "request_id"}
    assert content["error"].keys() == {"code", "message", "details"}
    assert "\n" not in content["error"]["message"]
    assert response.headers["x-request-id"] == content["request_id"]  # type: ignore[attr-defined]
    return str(content["error"]["code"])


def test_the_health_is_open_and_says_no_more(tmp_path: Path) -> None:
    Tokens(tmp_path).add("camera", "door")
    with ServiceClient(create_app(ServiceState(tmp_path, ServiceLimits()))) as client:
        assert client.get("/v1/health").json() == {"status": "starting"}
        assert code(client.get("/v1/gallery")) == "no-token"


@pytest.mark.parametrize(
    ("method", "path", "status", "expected"),
    [
        ("GET", "/v1/nothing", 404, "not-found"),
        ("GET", "/page/../app.py", 404, "not-found"),
        ("GET", "/page/..%2fapp.py", 404, "not-found"),
        ("PUT", "/v1/persons", 405, "method-not-allowed"),
        ("OPTIONS", "/v1/persons", 405, "method-not-allowed"),
        ("POST", "/v1/calibration", 415, "wrong-type"),
        ("GET", "/v1/journal?limit=0", 422, "invalid"),
        ("GET", "/v1/journal?limits=3", 422, "unknown-parameter"),
        ("GET", "/v1/gallery", 503, "starting"),
    ],
)
def test_errors_have_one_form(client: ServiceClient, method: str, path: str, status: int, expected: str) -> None:
    answer = client(method, path)
    assert (answer.status_code, code(answer)) == (status, expected)
    if status == 405:
        assert answer.headers["allow"] == "GET, POST"


@pytest.mark.parametrize(
    ("host", "refused"),
    [
        ("127.0.0.1:8080", False),
        ("localhost", False),
        ("[::1]:8080", False),
        ("LOCALHOST.:80", False),
        ("attacker.example", True),
        ("127.0.0.1.attacker.example:8080", True),
        ("localhost@attacker.example", True),
        ("", True),
        ("[::1", True),
        ("192.168.0.9", True),
        ("127.0.0.1:8080, attacker.example", True),
        ("attacker.example@localhost", True),
    ],
)
def test_requests_to_another_name_are_refused(client: ServiceClient, host: str, refused: bool) -> None:
    answer = client.get("/v1/health", headers={"Host": host})
    assert (answer.status_code == 421) == refused
    if refused:
        assert code(answer) == "wrong-host"


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({"Origin": "http://127.0.0.1:8080"}, False),
        ({"Origin": "http://127.0.0.1:8081"}, True),
        ({"Origin": "http://localhost:8080"}, True),
        ({"Origin": "null"}, True),
        ({"Origin": "http://[attacker"}, True),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, True),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"}, True),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, False),
        ({"Sec-Fetch-Site": "same-origin"}, False),
    ],
)
def test_pages_of_other_sites_are_refused(client: ServiceClient, headers: dict[str, str], refused: bool) -> None:
    answer = client.get("/", headers=headers)
    assert (answer.status_code == 403) == refused
    assert "access-control-allow-origin" not in answer.headers


def test_without_tokens_the_service_is_for_this_machine_alone(tmp_path: Path) -> None:
    app = create_app(ServiceState(tmp_path, ServiceLimits()))
    with ServiceClient(app, address="192.168.0.9") as other, ServiceClient(app) as local:
        assert code(other.get("/v1/persons")) == "local-only"
        assert code(local.get("/v1/persons", headers={"X-Forwarded-For": "192.168.0.9"})) == "local-only"
        assert code(local.get("/v1/persons")) == "starting"


def test_tokens_decide_what_is_allowed_from_the_next_request_on(tmp_path: Path) -> None:
    app = create_app(ServiceState(tmp_path, ServiceLimits(failed_burst=2)))
    tokens = Tokens(tmp_path)
    door, admin = tokens.add("camera", "door"), tokens.add("owner", "admin")
    assert door not in tokens.path.read_text(encoding="utf-8")
    assert tokens.path.stat().st_mode & 0o777 == 0o600
    with ServiceClient(app, door) as camera, ServiceClient(app, admin) as owner, ServiceClient(app) as nobody:
        assert code(camera.get("/v1/gallery")) == "starting"
        assert code(camera.get("/v1/persons")) == "wrong-scope"
        assert code(owner.get("/v1/persons")) == "starting"
        assert code(nobody.get("/v1/gallery", headers={"X-Api-Key": admin})) == "starting"
        tokens.revoke("camera")
        tokens.revoke("owner")
        assert code(camera.get("/v1/gallery")) == "wrong-token"
        assert code(nobody.get("/v1/gallery")) == "no-token"  # it does not become open again
        assert code(nobody.get("/v1/gallery", headers={"Authorization": b"Bearer \xff"})) == "wrong-token"
        answer = owner.get("/v1/gallery")
        assert (code(answer), answer.status_code) == ("too-many-requests", 429)
        assert 0 < int(answer.headers["retry-after"]) < 60


@pytest.mark.parametrize("content", ["", "[]", '{"tokens": [{}]}', '{"tokens": [1]}', '{"tokens": null}', "\0"])
def test_damaged_tokens_open_nothing(tmp_path: Path, content: str) -> None:
    tokens = Tokens(tmp_path)
    text = tokens.add("owner", "admin")
    tokens.path.write_text(content, encoding="utf-8")
    with ServiceClient(create_app(ServiceState(tmp_path, ServiceLimits())), text) as client:
        answer = client.get("/v1/persons")
        assert (answer.status_code, code(answer)) == (503, "tokens-unreadable")
        assert str(tmp_path) not in answer.text


def test_readable_tokens_open_nothing(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path)
    text = tokens.add("owner", "admin")
    tokens.path.chmod(0o644)
    with ServiceClient(create_app(ServiceState(tmp_path, ServiceLimits())), text) as client:
        assert code(client.get("/v1/persons")) == "tokens-unreadable"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another user")
def test_tokens_of_another_user_open_nothing(tmp_path: Path) -> None:
    """A user who can write in the folder, and cannot read the key, adds a token."""
    (tmp_path / "site.key").write_bytes(bytes(32))
    text = Tokens(tmp_path).add("mine", "admin")
    os.chown(tmp_path / "tokens.json", 4321, 4321)
    with pytest.raises(FedfrError, match="belongs to another user than the key"):
        Tokens(tmp_path).find(text)
    os.chown(tmp_path / "site.key", 4321, 4321)
    assert Tokens(tmp_path).find(text) is not None


def test_a_client_that_sends_too_many_requests_waits(tmp_path: Path) -> None:
    with ServiceClient(create_app(ServiceState(tmp_path, ServiceLimits(rate=0.1, burst=3)))) as client:
        answers = [client.get("/v1/health") for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
        assert answers[-1].headers["retry-after"] == "10"
        assert code(answers[-1]) == "too-many-requests"


def test_the_addresses_of_one_network_are_one_client(tmp_path: Path) -> None:
    """A machine has 2^64 IPv6 addresses; with one for each request it would push others out of the table."""
    app = create_app(ServiceState(tmp_path, ServiceLimits(rate=0.001, burst=3.0)))
    found = []
    for number in range(4):
        with ServiceClient(app, address=f"2001:db8::{number:x}") as client:
            found.append(client.get("/v1/health").status_code)
    assert found == [200, 200, 200, 429]


def test_the_page_has_a_strict_policy_and_is_sent_once(client: ServiceClient) -> None:
    first = client.get("/")
    policy = first.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert first.headers["x-content-type-options"] == "nosniff"
    assert "<style" not in first.text
    again = client.get("/", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
