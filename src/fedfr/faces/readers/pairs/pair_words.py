"""Vocabulary of pair lists: separators, words for same or different, and column names."""

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
    "find_pair_columns",
    "is_flag",
    "looks_like_image",
    "normalized_word",
    "parse_verdict",
    "read_text",
    "required_verdict",
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
TRUTH = ("same", "label", "issame", "sameperson", "match", "ismatch", "genuine", "target", "groundtruth")
FOLD_NUMBERS = frozenset(map(str, range(2, 11)))
"""What CALFW and CPLFW may write for 1: the fold."""

SEPARATORS = ("\t", ";", ",", "|")
MAX_LENGTH = 4096
# An ending shows where a path with spaces is over.
IMAGE = rf"(\S.*?(?:{'|'.join(map(re.escape, SUFFIXES))}))"
TWO_IMAGES = re.compile(rf"(?:(\S+)\s+)??{IMAGE}\s+{IMAGE}(?:\s+(\S+))?", re.IGNORECASE)


def normalized_word(text: str) -> str:
    """A word to compare by: without case, blanks, hyphens and underscores; a sign before a number stays."""
    return re.sub(r"(?<=.)[\W_]+", "", text.strip().lower())


_VERDICTS = {normalized_word(word): truth for words, truth in ((SAME, True), (DIFFERENT, False)) for word in words}


def parse_verdict(word: str) -> bool | None:
    """What a word says of a pair; None where it is none of those known."""
    try:
        number = float(word)
    except ValueError:
        return _VERDICTS.get(normalized_word(word))
    return {1.0: True, 0.0: False, -1.0: False}.get(number)


def required_verdict(verdict: str | None, where: str) -> bool | None:
    """What a list says of a pair, None for nothing; raises :class:`FedfrError` for a word that is not known."""
    if not (verdict or "").strip():
        return None
    truth = parse_verdict(verdict or "")
    if truth is None:
        raise FedfrError(
            f"{where}: {verdict!r} does not say whether two images show one person; allowed are {', '.join(SAME)} and "
            f"{', '.join(DIFFERENT)}"
        )
    return truth


def read_text(path: Path) -> str:
    """The text of a file: UTF-16 where it begins with that byte order mark, as "Unicode text" of spreadsheets does."""
    content = read_file(path)
    return content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")


def split_fields(line: str) -> list[str]:
    """Fields of a line: parted at tabs, else at semicolons, commas or bars, else at blanks.

    Paths of images may then hold blanks, where their endings show how far they go.
    """
    for sign in SEPARATORS:
        if sign in line:
            return [field.strip() for field in line.strip("\r\n").rstrip(sign).split(sign)]
    words = line.split()
    if len(words) > 2 and len(line) < MAX_LENGTH:
        found = TWO_IMAGES.fullmatch(line.strip())
        if found is not None and not (found[1] and found[4]):
            return [field for field in found.groups() if field]
        if found is None and looks_like_image(words[-2]) and is_flag(words[-1]) and not looks_like_image(words[0]):
            return line.strip().rsplit(None, 1)
    return words


def looks_like_image(text: str) -> bool:
    """Whether a field is a path, or ends as images do."""
    return "/" in text or "\\" in text or text.lower().endswith(SUFFIXES)


def is_flag(word: str) -> bool:
    """Whether a word says something of a pair, or is the number of a fold in its place."""
    return parse_verdict(word) is not None or word in FOLD_NUMBERS


def find_pair_columns(row: Sequence[str]) -> tuple[int, int, int | None] | None:
    """Where a header names two images and whether they show one person; None where it is no header."""
    names = list(map(normalized_word, row))
    first, second, same = (
        next((names.index(name) for name in known if name in names), None) for known in (FIRST, SECOND, TRUTH)
    )
    return None if first is None or second is None else (first, second, same)
