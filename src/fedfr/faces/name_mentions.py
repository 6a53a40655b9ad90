"""Mentions of people in texts and files: found, and replaced by a pseudonym."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fedfr.core.files import parse_json, read_file
from fedfr.faces.name_matching import normalized_name

__all__ = ["Mentions"]

# Shorter names, and numbers, are words of other meanings: they count only where they are quoted or part of a path.
_SHORTEST = 4
_PARTS = re.compile(r"[/\\#,;\t\"']")
_TEXTS = (".csv", ".json", ".jsonl", ".txt", ".tsv")


class Mentions:
    """Finds names of people in texts, also where they are escaped as in JSON or in messages.

    With ``alike``, a part of a text that looks the same, such as one folder of a path, mentions the person, too.
    """

    def __init__(self, names: Iterable[str], *, alike: bool = True) -> None:
        given = {name for name in names if name.strip()}
        self._forms = {normalized_name(name) for name in given} if alike else set()
        forms = {form for name in given for form in _written(name)}
        ordered = sorted(forms, key=len, reverse=True)
        self._text = re.compile("|".join(_bounded(form, r"[^\W_]") for form in ordered) or "(?!)")
        # In bytes, a letter beyond ASCII is not told from a quotation mark: rather one word too many.
        in_bytes = "|".join(_bounded(form, "[0-9A-Za-z]") for form in ordered) or "(?!)"
        self._bytes = re.compile(in_bytes.encode("utf-8", "surrogatepass"))

    def in_text(self, text: str) -> bool:
        """Whether a text mentions a name."""
        if self._text.search(text):
            return True
        return any(part.strip() and normalized_name(part) in self._forms for part in (text, *_PARTS.split(text)))

    def in_bytes(self, content: bytes) -> bool:
        """Whether the content of a file has a name as text."""
        return self._bytes.search(content) is not None

    def replaced(self, text: str, pseudonym: str) -> str:
        """Return a text with the pseudonym in place of every name."""
        return self._text.sub(pseudonym, text)

    def replaced_bytes(self, content: bytes, pseudonym: str) -> tuple[bytes, int]:
        """Return the content of a file with the pseudonym in place of every name, and their number."""
        return self._bytes.subn(pseudonym.encode("ascii"), content)

    def without_entries(self, path: Path) -> tuple[bytes, int] | None:
        """Return a list in a file without the rows or entries that mention a name, and their number.

        None if the file is no list that can be read as CSV, JSON or lines of text.
        """
        kind = path.suffix.lower()
        if kind not in _TEXTS:
            return None
        try:
            content = read_file(path)
            text = content.decode("utf-8-sig")
            made, count = {".json": self._kept_json, ".csv": self._kept_rows}.get(kind, self._kept_lines)(text)
        except (OSError, ValueError, csv.Error):
            return None
        return (made.encode() if count else content), count

    def _kept_json(self, text: str) -> tuple[str, int]:
        content, count = self._kept(parse_json(text))
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n", count

    def _kept_lines(self, text: str) -> tuple[str, int]:
        lines = text.splitlines(keepends=True)
        kept = [line for line in lines if not self.in_text(line)]
        return "".join(kept), len(lines) - len(kept)

    def _kept_rows(self, text: str) -> tuple[str, int]:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
        kept = [row for row in rows if not any(map(self.in_text, row))]
        made = io.StringIO(newline="")
        csv.writer(made, lineterminator="\n").writerows(kept)
        return made.getvalue(), len(rows) - len(kept)

    def _kept(self, value: Any) -> tuple[Any, int]:
        """Return a JSON value without the elements of lists and entries of objects that mention a name."""
        if isinstance(value, list):
            pairs = [(each, self._kept(each)) for each in value if not self._is_mention(each)]
            return [kept for _, (kept, _) in pairs], len(value) - len(pairs) + sum(count for _, (_, count) in pairs)
        if isinstance(value, dict):
            found = {
                name: self._kept(each)
                for name, each in value.items()
                if not self.in_text(name) and not (isinstance(each, str) and self.in_text(each))
            }
            count = len(value) - len(found) + sum(count for _, count in found.values())
            return {name: kept for name, (kept, _) in found.items()}, count
        return value, 0

    def _is_mention(self, value: Any) -> bool:
        """Whether an element of a list is about a name: a text, or an object with a text that mentions it."""
        if isinstance(value, str):
            return self.in_text(value)
        return isinstance(value, dict) and any(isinstance(each, str) and self.in_text(each) for each in value.values())


def _written(name: str) -> list[str]:
    """Return a name as it is, and as JSON and error messages escape it."""
    return [
        name,
        json.dumps(name)[1:-1],
        json.dumps(name, ensure_ascii=False)[1:-1],
        repr(name)[1:-1],
        ascii(name)[1:-1],
    ]


def _bounded(form: str, letter: str) -> str:
    """Return the pattern of a name that is no part of a longer word; ``letter``: pattern of a letter or digit."""
    if len(form) < _SHORTEST or not any(map(str.isalpha, form)):
        return rf"(?<=['\"/\\]){re.escape(form)}(?=['\"/\\#])"
    start = f"(?<!{letter})" if form[0].isalnum() else ""
    end = f"(?!{letter})" if form[-1].isalnum() else ""
    return f"{start}{re.escape(form)}{end}"
