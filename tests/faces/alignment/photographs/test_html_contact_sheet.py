"""HTML contact sheet: self-contained, complete, with escaped names."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.support.photograph_files import save, texture

from fedfr.core.errors import FedfrError
from fedfr.faces import FaceSet
from fedfr.faces.alignment.photographs.html_contact_sheet import check_contact_sheet_path, write_html_contact_sheet
from fedfr.faces.alignment.photographs.outcome import Outcome

HOSTILE = "<script>alert(\"1\")</script> & 'Zoë'"


class Page(HTMLParser):
    """Elements, their attributes, and the text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.values: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.values += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def page(tmp_path: Path) -> Page:
    pixels = np.stack([texture(112, 112, seed) for seed in range(32)])
    faces = FaceSet(pixels, [0] * 30 + [1] * 2, [HOSTILE, "Анна"], [f"{HOSTILE}/{number}.jpg" for number in range(32)])
    save(tmp_path / "in" / "b" / "x.png", texture(500, 400, 40))
    (tmp_path / "in" / "b" / "y.png").write_bytes(b"broken")
    skipped = [
        Outcome("b/x.png", "too-small", 400, 500, 1, 0.9, 30.5, 20.0),
        Outcome("b/y.png", "unreadable", detail=f"it says {HOSTILE}"),
        Outcome("b/notes.txt", "other-file"),
    ]
    write_html_contact_sheet(tmp_path / "sheets" / "sheet.html", tmp_path / "in", faces, skipped)
    return Page(tmp_path / "sheets" / "sheet.html")


def test_faces_and_skipped_files_are_shown(page: Page) -> None:
    images = [value or "" for name, value in page.values if name == "src"]
    assert len(images) == 1 + 24 + 2
    shapes = []
    for image in images:
        content = base64.b64decode(image.removeprefix("data:image/jpeg;base64,"), validate=True)
        decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert decoded is not None
        shapes.append(decoded.shape)
        if len(shapes) == 2:
            assert np.abs(decoded[..., ::-1].astype(int) - texture(112, 112, 0)).mean() < 12
    assert shapes == [(128, 102, 3), *[(112, 112, 3)] * 26]
    assert "32 faces of 2 identities, 3 files skipped" in page.text
    assert f"{HOSTILE} (30, the first 24 of them)" in page.text
    assert "b/x.png faces 1, score 0.9, size 30.5, sharpness 20.0" in page.text
    assert "Skipped, other-file" in page.text
    assert "keep it where their photographs may be" in page.text


def test_names_are_escaped_and_nothing_is_fetched(page: Page) -> None:
    assert "script" not in page.tags
    assert page.text.count(HOSTILE) >= 25
    assert {value for name, value in page.values if name in {"src", "href"}} == {
        value for name, value in page.values if name == "src" and (value or "").startswith("data:image/jpeg;base64,")
    }
    policy = dict(page.values)["content"] or ""
    assert re.match("default-src 'none';", policy)


def test_existing_files_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "there.html").touch()
    with pytest.raises(FedfrError, match=r"there\.html exists already; choose another name"):
        check_contact_sheet_path(tmp_path / "there.html")
    with pytest.raises(FedfrError, match=r"sheet\.png does not end in \.html"):
        check_contact_sheet_path(tmp_path / "sheet.png")
