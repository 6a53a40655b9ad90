"""`fedfr serve` and `fedfr gallery token`: wrong options, and tokens that are shown once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Fedfr

from fedfr.recognition.gallery.gallery_settings import GallerySettings, write_gallery_settings


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--port", "70000"], "--port is 70000; allowed are 1 to 65535, and 0 for a free one"),
        (["--tls-cert", "a"], "--tls-cert and --tls-key belong together; give both or none"),
        ([], "is not a gallery: it has no gallery.yaml"),
    ],
)
def test_wrong_options_are_one_line(fedfr: Fedfr, tmp_path: Path, arguments: list[str], expected: str) -> None:
    refused = fedfr("serve", str(tmp_path / "door"), *arguments)
    assert refused.code == 2
    assert expected in refused.err
    assert len(refused.err.splitlines()) == 1


def test_a_token_is_shown_once_and_can_be_revoked(fedfr: Fedfr, tmp_path: Path) -> None:
    folder = str(tmp_path)
    assert "is not a gallery" in fedfr("gallery", "token", "add", folder, "camera").err
    assert list(tmp_path.iterdir()) == []
    write_gallery_settings(tmp_path, GallerySettings())
    text = fedfr("gallery", "token", "add", folder, "camera").out.splitlines()[0]
    made = json.loads(fedfr("gallery", "token", "add", folder, "owner", "--scope", "admin", "--json").out)
    assert (made["name"], made["scope"], made["token"].startswith("fedfr_admin_")) == ("owner", "admin", True)
    listed = fedfr("gallery", "token", "list", folder, "--json").out
    assert [(each["name"], each["scope"]) for each in json.loads(listed)] == [("camera", "door"), ("owner", "admin")]
    for stored in tmp_path.iterdir():
        assert text.encode() not in stored.read_bytes()
    assert "camera" in fedfr("gallery", "token", "list", folder).out
    assert fedfr("gallery", "token", "revoke", folder, "camera").code == 0
    refused = fedfr("gallery", "token", "revoke", folder, "camera")
    assert (refused.code, "there is no token named 'camera'; there are: owner" in refused.err) == (2, True)
    refused = fedfr("gallery", "token", "add", folder, "owner")
    assert (refused.code, "there is a token named owner already" in refused.err) == (2, True)
    refused = fedfr("gallery", "token", "add", folder, "a/b")
    assert (refused.code, "use up to 64 letters" in refused.err) == (2, True)
