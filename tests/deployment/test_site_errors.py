"""Refusals of a site on the terminal of ``fedfr site run`` and in its log."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable

import pytest
from flwr.app import Context, Message, RecordDict
from tests.support.deployment_folders import SITE, Deployment, edit
from tests.support.grid import FakeGrid
from tests.support.tiny_experiment import BACKBONE

from fedfr.core.errors import FedfrError
from fedfr.deployment.agreement import Agreement
from fedfr.deployment.client_app import app
from fedfr.deployment.logs import show_errors
from fedfr.deployment.process_output import OutputParser, OutputRecord
from fedfr.engines.flower.wire import hello_request_records
from fedfr.federation.engine import failure_of


def terminal(text: str, parser: OutputParser | None = None) -> list[OutputRecord]:
    """What the supervisor shows of this output of a SuperNode."""
    parser = parser or OutputParser()
    return [*(record for line in text.splitlines() for record in parser.feed(line)), *parser.flush()]


def ask(site: Deployment, agreement: str) -> None:
    """Let the site answer the request for its client id."""
    FakeGrid({})  # sets the identity that Flower's messages need
    message = Message(hello_request_records(agreement), 1, "query.hello")
    app(message, Context(1, 1, {"site": str(site.site_file)}, RecordDict(), {}))


def truncate(deployment: Deployment) -> None:
    pixels = deployment.site / "faces" / "pixels.npy"
    pixels.write_bytes(pixels.read_bytes()[:100])


@pytest.mark.parametrize(
    ("damage", "begin", "end"),
    [
        (
            lambda made: edit(made.site / "agreement.yaml", seed=5),
            f"{SITE}: not taking part: the run has agreement ",
            "put the run's file in place of this site's, see `agreement` in site.yaml",
        ),
        (
            lambda made: edit(made.site_file, allow=[]),
            f"the agreement names {BACKBONE}, external code that this site's operator has not allowed; ",
            f"add it to `allow` in site.yaml: allow: [{BACKBONE}]",
        ),
        (lambda made: (made.site / "agreement.yaml").unlink(), "there is no agreement …; ", "full text in log.jsonl"),
        (truncate, f"{SITE}: ", "full text in log.jsonl"),
        (
            lambda made: shutil.rmtree(made.site / "public"),
            f"{SITE}: not taking part: the public faces are missing",
            "download them with `fedfr site fetch`",
        ),
        (
            lambda made: edit(made.site_file, public=None),
            f"{SITE}: not taking part: the public faces are missing",
            "download them with `fedfr site fetch`",
        ),
        (
            lambda made: shutil.copytree(made.site / "faces", made.site / "public", dirs_exist_ok=True),
            f"{SITE}: not taking part: the public faces differ from those of the agreement",
            "download them with `fedfr site fetch`",
        ),
    ],
    ids=[
        "agreement",
        "code",
        "no agreement",
        "truncated faces",
        "no public folder",
        "no public faces",
        "other public faces",
    ],
)
def test_a_refusal_is_one_line_on_the_terminal_and_in_the_log(
    deployment: Deployment,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Deployment], object],
    begin: str,
    end: str,
) -> None:
    agreement = Agreement.load(deployment.site / "agreement.yaml", [BACKBONE]).fingerprint
    ask(deployment, agreement)
    assert capsys.readouterr().err == ""
    damage(deployment)
    ask(deployment, agreement)
    (shown,) = terminal(capsys.readouterr().err)
    assert shown.level == logging.ERROR
    assert shown.shareable.startswith(begin)
    assert shown.shareable.endswith(end)
    assert str(deployment.site) not in shown.shareable
    *_, logged = map(json.loads, (deployment.site / "log.jsonl").read_text("utf-8").splitlines())
    assert logged["level"] == "error"
    assert logged["message"].startswith(begin.partition("…")[0])


def test_exceptions_are_shown_without_their_text(capsys: pytest.CaptureFixture[str]) -> None:
    show_errors()
    show_errors()
    for client, error in (("", ValueError("Ada")), (SITE, KeyError("Ada")), ("", FedfrError("it's 'Ada'; rename"))):
        failure_of(client, error)
    parser, text = OutputParser(), capsys.readouterr().err
    assert [record.shareable for record in terminal(text, parser)] == [
        "the site stopped: an error; full text in log.jsonl",
        f"{SITE} stopped: an error; full text in log.jsonl",
        "it's …; rename; full text in log.jsonl",
    ]
    # A site is asked again every few seconds; the repeated lines are for the debug log.
    again = terminal(text, parser)
    assert [record.shareable for record in again] == ["", "", ""]
    assert all(record.full_text for record in again)
