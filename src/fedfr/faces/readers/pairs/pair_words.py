"""Vocabulary of pair lists: separators, labels, and column names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from fedfr.core.errors import FedfrError
from fedfr.core.files import read_file
from fedfr.faces.readers.listing import SUFFIXES

__all__ = [
    "FOLD_NUMBERS",
    "SEPARATORS",
    "checked_pair_label",
    "find_pair_columns",
    "is_flag",
    "looks_like_image",
    "normalized_word",
    "parse_pair_label",
    "read_text",
    "split_fields",
]

SAME = (
    *("1", "true", "t", "yes", "y", "same", "s", "same person", "genuine", "match", "matched", "mated", "positive"),
    *("pos", "intra"),
)
DIFFERENT = (
    *("0", "-1", "false", "f", "no", "n", "diff", "different", "d", "different person", "different people", "not same"),
    *("impostor", "imposter", "mismatch", "mismatched", "unmatched", "non-match", "non-matched", "non-mated"),
    *("negative", "neg", "inter", "extra"),
)
FIRST = ("a", "file1", "path1", "image1", "img1", "im1", "name1", "filename1", "imagea", "left", "first")
SECOND = ("b", "file2", "path2", "image2", "img2", "im2", "name2", "filename2", "imageb", "right", "second")
LABEL = ("same", "label", "issame", "sameperson", "match", "ismatch", "genuine", "target", "groundtruth")
FOLD_NUMBERS = frozenset(map(str, range(2, 11)))
"""Fold numbers, which CALFW and CPLFW may have in place of the label 1."""

SEPARATORS = ("\t", ";", ",", "|")
MAX_LENGTH = 4096
# The suffix shows where a path with spaces ends.
IMAGE = rf"(\S.*?(?:{'|'.join(map(re.escape, SUFFIXES))}))"
TWO_IMAGES = re.compile(rf"(?:(\S+)\s+)??{IMAGE}\s+{IMAGE}(?:\s+(\S+))?", re.IGNORECASE)


def normalized_word(text: str) -> str:
    """Return a word in lower case without blanks, hyphens and underscores; a sign before a number is kept."""
    return re.sub(r"(?<=.)[\W_]+", "", text.strip().lower())


_PAIR_LABELS = {normalized_word(word): truth for words, truth in ((SAME, True), (DIFFERENT, False)) for word in words}


def parse_pair_label(word: str) -> bool | None:
    """Return whether a label means a genuine pair; None for an unknown word."""
    try:
        number = float(word)
    except ValueError:
        return _PAIR_LABELS.get(normalized_word(word))
    return {1.0: True, 0.0: False, -1.0: False}.get(number)


def checked_pair_label(label: str | None, where: str) -> bool | None:
    """Parse the label of a pair, None if it is empty; raises :class:`FedfrError` for an unknown word."""
    if not (label or "").strip():
        return None
    same = parse_pair_label(label or "")
    if same is None:
        raise FedfrError(
            f"{where}: {label!r} is not a label of a pair; allowed are {', '.join(SAME)} and {', '.join(DIFFERENT)}"
        )
    return same


def read_text(path: Path) -> str:
    """Read a text file: UTF-16 if it begins with that byte order mark, as spreadsheets write it, else UTF-8."""
    content = read_file(path)
    return content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")


def split_fields(line: str) -> list[str]:
    """Split a line at tabs, else at semicolons, commas or bars, else at blanks.

    In the last case image paths may contain blanks if they end in an image suffix.
    """
    for separator in SEPARATORS:
        if separator in line:
            return [field.strip() for field in line.strip("\r\n").rstrip(separator).split(separator)]
    words = line.split()
    if len(words) > 2 and len(line) < MAX_LENGTH:
        found = TWO_IMAGES.fullmatch(line.strip())
        if found is not None and not (found[1] and found[4]):
            return [field for field in found.groups() if field]
        if found is None and looks_like_image(words[-2]) and is_flag(words[-1]) and not looks_like_image(words[0]):
            return line.strip().rsplit(None, 1)
    return words


def looks_like_image(text: str) -> bool:
    """Whether a field is a path or ends in an image suffix."""
    return "/" in text or "\\" in text or text.lower().endswith(SUFFIXES)


def is_flag(word: str) -> bool:
    """Whether a word is the label of a pair or a fold number in its place."""
    return parse_pair_label(word) is not None or word in FOLD_NUMBERS


def find_pair_columns(row: Sequence[str]) -> tuple[int, int, int | None] | None:
    """Return the columns of both images and of the label (or None) in a header; None if the row is not a header."""
    names = list(map(normalized_word, row))
    first, second, same = (
        next((names.index(name) for name in known if name in names), None) for known in (FIRST, SECOND, LABEL)
    )
    return None if first is None or second is None else (first, second, same)
