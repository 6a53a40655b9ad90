"""Parser of the HTML report: its elements, its text, and the data of its figures and tables."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
from html.parser import HTMLParser
from typing import Any


class ReportPage(HTMLParser):
    """Content of a report: elements with their attributes, data of figures and tables, visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.figures: dict[str, Any] = {}
        self.tables: dict[str, dict[str, str]] = {}
        self._inside: tuple[str, str | None] = ("", None)
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside = tag, dict(attrs).get("id")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._inside = ("", None)

    def handle_data(self, data: str) -> None:
        tag, name = self._inside
        if name == "data":
            content = json.loads(gzip.decompress(base64.b64decode(data)))
            self.figures, self.tables = content["figures"], content["tables"]
        elif not tag:
            self.text += data


def figure_rows(page: ReportPage, name: str) -> list[dict[str, str]]:
    """Return the data of a figure as rows."""
    return list(csv.DictReader(io.StringIO(page.figures[name]["csv"])))
