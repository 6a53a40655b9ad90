"""Reading of pair lists: LFW's, lines of paths, CPLFW's two lines, CFP's folders, and tables."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedfr.core.errors import FedfrError
from fedfr.core.registry import Entry, Registry
from fedfr.faces.readers.pairs.pair_words import (
    FOLD_NUMBERS,
    SEPARATORS,
    checked_pair_label,
    find_pair_columns,
    is_flag,
    looks_like_image,
    normalized_word,
    parse_pair_label,
    read_text,
    split_fields,
)

__all__ = ["PAIR_LISTS", "ListedPair", "read_pair_list"]

LFW_LINES = "`name number number` or `name number name number`"
# Names with spaces in lines without tabs.
WORDS = r"(\S+(?:\s+(?!\d+\s)\S+)*)"
ONE_PERSON = re.compile(rf"{WORDS}\s+(\d+)\s+(\d+)")
TWO_PEOPLE = re.compile(rf"{WORDS}\s+(\d+)\s+{WORDS}\s+(\d+)")


@dataclass(frozen=True)
class ListedPair:
    """One pair of a list: two image names, the label as text and as ``same``, and the location of the line.

    ``label`` and ``same`` are None if the list does not label the pair.
    """

    first: str
    second: str
    label: str | None
    same: bool | None
    where: str


def read_pair_list(path: Path) -> list[ListedPair]:
    """Read the pairs of a list in order; raises :class:`FedfrError` naming file, line and fault.

    Blank lines are skipped. ``docs/faces.md`` describes the kinds of lists.
    """
    read = PAIR_LISTS["folder" if path.is_dir() else "table" if path.suffix.lower() == ".csv" else "lines"]
    try:
        pairs = list(read(path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text in lines"
        raise FedfrError(
            f"cannot read the pairs {path} ({reason}); give a list like LFW's pairs.txt, or a CSV with columns a, b"
        ) from error
    if not pairs:
        raise FedfrError(f"{path} holds no pairs; list at least one")
    return pairs


def _pair(first: str, second: str, label: str | None, where: str) -> ListedPair:
    return ListedPair(first, second, label, checked_pair_label(label, where), where)


def _lines_of(path: Path) -> list[tuple[str, str]]:
    """Return location and text of each line that is neither blank nor a comment."""
    lines = enumerate(re.split(r"\r\n?|\n", read_text(path)), start=1)
    return [(f"{path}, line {number}", line) for number, line in lines if line.strip() and line.lstrip()[0] != "#"]


def _lines(path: Path) -> Iterator[ListedPair]:
    lines = _lines_of(path)
    if lines and find_pair_columns(split_fields(lines[0][1])) is not None:
        yield from _table(path)
        return
    declared = _declared_pairs(lines[0][1]) if lines else None
    if declared is not None:
        lines = lines[1:]
        if len(lines) != declared:
            raise FedfrError(f"{path}: {len(lines)} pairs, line 1 declares {declared}; it may be truncated")
    elif lines and _is_image_and_label(split_fields(lines[0][1])):
        yield from _two_lines(lines)
        return
    for where, line in lines:
        yield _lfw_pair(line, where) or _pair_of_paths(line, where, strict=declared is not None)


def _declared_pairs(line: str) -> int | None:
    """Return the number of pairs by the first line (folds and pairs per kind and fold); None if it is a pair."""
    fields = split_fields(line)
    if len(fields) > 2 or not all(field.isascii() and field.isdecimal() and len(field) < 10 for field in fields):
        return None
    folds, per_kind = map(int, fields if len(fields) == 2 else ["1", *fields])
    return 2 * folds * per_kind


def _lfw_pair(line: str, where: str) -> ListedPair | None:
    fields = _lfw_fields(split_fields(line))
    if fields is None and "\t" not in line:
        if found := ONE_PERSON.fullmatch(line.strip()):
            fields = [found[1], found[2], found[1], found[3]]
        elif found := TWO_PEOPLE.fullmatch(line.strip()):
            fields = [*found.groups()]
    return None if fields is None else _pair_of_lfw_fields(fields, where)


def _lfw_fields(fields: Sequence[str]) -> list[str] | None:
    """Return name, number, name, number; None for other fields."""
    if len(fields) == 4 and fields[1].isdecimal() and fields[3].isdecimal():
        return list(fields)
    if len(fields) == 3 and fields[1].isdecimal() and fields[2].isdecimal():
        return [fields[0], fields[1], fields[0], fields[2]]
    return None


def _pair_of_lfw_fields(fields: Sequence[str], where: str) -> ListedPair:
    if any(len(number) > 9 for number in fields[1::2]):
        raise FedfrError(f"{where}: expected {LFW_LINES}, found {' '.join(fields)[:80]!r}")
    first, second = (f"{name}/{name}_{int(number):04d}" for name, number in (fields[:2], fields[2:]))
    return ListedPair(first, second, None, None, where)


def _pair_of_paths(line: str, where: str, *, strict: bool) -> ListedPair:
    fields = split_fields(line)
    if len(fields) == 3:
        label_first = parse_pair_label(fields[0]) is not None and parse_pair_label(fields[2]) is None
        label, first, second = fields if label_first else (fields[2], fields[0], fields[1])
        if looks_like_image(first) or looks_like_image(second) or parse_pair_label(label) is not None:
            return _pair(first, second, label, where)
    if len(fields) == 2 and not strict:
        return _pair(fields[0], fields[1], None, where)
    raise FedfrError(f"{where}: expected {LFW_LINES}, or two paths and the label of the pair, found {line[:80]!r}")


def _is_image_and_label(fields: Sequence[str]) -> bool:
    return len(fields) == 2 and is_flag(fields[1])


def _two_lines(lines: Sequence[tuple[str, str]]) -> Iterator[ListedPair]:
    """Yield the pairs of CALFW and CPLFW: an image and a label per line, two lines per pair."""
    for number in range(0, len(lines), 2):
        both = [split_fields(line) for _, line in lines[number : number + 2]]
        where, line = lines[min(number + 1, len(lines) - 1)]
        if len(both) < 2:
            raise FedfrError(f"{where}: the second image of the pair is missing; the list may be truncated")
        if not all(map(_is_image_and_label, both)) or both[0][1].lower() != both[1][1].lower():
            raise FedfrError(
                f"{where}: expected an image and the label of the pair, equal in both lines of the pair, "
                f"found {line[:80]!r}"
            )
        (first, label), (second, _) = both
        yield _pair(first, second, "1" if label in FOLD_NUMBERS else label, where)


def _rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield location and fields of each row of a table that is not empty."""
    text = read_text(path)
    start = re.split(r"[\r\n]", text, maxsplit=1)[0]
    separator = next((separator for separator in SEPARATORS if separator in start), None)
    if separator is None and path.suffix.lower() != ".csv":
        yield from ((where, split_fields(line)) for where, line in _lines_of(path))
        return
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator or ",")
    for row in rows:
        if any(field.strip() for field in row):
            yield f"{path}, line {rows.line_num}", [field.strip() for field in row]


def _table(path: Path) -> Iterator[ListedPair]:
    rows = _rows(path)
    where, head = next(rows, (f"{path}, line 1", [""]))
    columns = find_pair_columns(head)
    if columns is None:
        rows = itertools.chain([(where, head)], rows)
        if _is_lfw_table(head):
            yield from _lfw_rows(rows)
            return
        columns = _without_header(head, where)
    for where, row in rows:
        first, second, same = (row[place] if place is not None and place < len(row) else "" for place in columns)
        if not (first and second):
            present = "one" if first or second else "none"
            raise FedfrError(f"{where}: expected the names of two images, found {present}")
        yield _pair(first, second, same or None, where)


def _is_lfw_table(row: Sequence[str]) -> bool:
    """Whether the rows are those of LFW's lists, by their header ``name,imagenum1,imagenum2`` or their form."""
    return _lfw_fields(_filled(row)) is not None or [normalized_word(field)[:8] for field in row[:2]] == [
        "name",
        "imagenum",
    ]


def _lfw_rows(rows: Iterator[tuple[str, list[str]]]) -> Iterator[ListedPair]:
    for number, (where, row) in enumerate(rows):
        fields = _lfw_fields(_filled(row))
        if fields is not None:
            yield _pair_of_lfw_fields(fields, where)
        elif number:
            raise FedfrError(f"{where}: expected {LFW_LINES}, found {' '.join(row)[:80]!r}")


def _filled(row: Sequence[str]) -> list[str]:
    return [field for field in row if field]


def _without_header(row: Sequence[str], where: str) -> tuple[int, int, int | None]:
    """Return the columns of two images and the label, or None, of a table without header, from its first row."""
    words = list(row)
    is_label = [parse_pair_label(field) is not None for field in words]
    if len(words) == 3 and is_label[2]:
        return 0, 1, 2
    if len(words) == 3 and is_label[0]:
        return 1, 2, 0
    if len(words) in (2, 3) and looks_like_image(words[0]) and looks_like_image(words[1]):
        return 0, 1, 2 if len(words) == 3 else None
    raise FedfrError(f"{where}: found the columns {', '.join(row)!r}; expected a, b and, if known, same")


def _folder(path: Path) -> Iterator[ListedPair]:
    """Yield the pairs of CFP: ``Pair_list_F.txt`` and ``Pair_list_P.txt`` number images, ``Split/FP/…`` pair them."""
    root = next(
        (place for place in (path, path.parent, path.parent.parent) if any(place.glob("Pair_list_*.txt"))), None
    )
    if root is None:
        raise FedfrError(f"{path} is a folder without Pair_list_F.txt; give a list of pairs, or CFP's folder Protocol")
    kinds = (
        [path] if path.parent.name == "Split" else sorted(each for each in (root / "Split").glob("*") if each.is_dir())
    )
    if len(kinds) != 1:
        present = ", ".join(str(each) for each in kinds) or "none"
        raise FedfrError(f"{path} should have one kind of pairs in Split, it has {present}; give one of them")
    numbered = [_image_numbers(root / f"Pair_list_{letter}.txt") for letter in _letters(kinds[0])]
    for fold in sorted(each for each in kinds[0].iterdir() if each.is_dir()):
        for name, label in (("same.txt", "same"), ("diff.txt", "diff")):
            for where, line in _lines_of(fold / name):
                fields = split_fields(line)
                sides = list(zip(fields, numbered, strict=False))
                if len(fields) != 2 or not all(number in images for number, images in sides):
                    raise FedfrError(f"{where}: expected two numbers of images in Pair_list, found {line[:80]!r}")
                first, second = (images[number] for number, images in sides)
                yield _pair(first, second, label, where)


def _letters(kind: Path) -> str:
    """Return the letters of the lists that number the two sides of a pair, from the name of the folder: FF, FP."""
    if not re.fullmatch("[A-Z]{2}", kind.name):
        raise FedfrError(f"{kind} is not named FF or FP after the lists that number its images; rename it")
    return kind.name


def _image_numbers(path: Path) -> dict[str, str]:
    numbers: dict[str, str] = {}
    for where, line in _lines_of(path):
        number, _, name = line.strip().partition("\t" if "\t" in line else " ")
        if not number.isdecimal() or not name.strip():
            raise FedfrError(f"{where}: expected a number and the path of an image, found {line[:80]!r}")
        numbers[number] = name.strip()
    return numbers


PAIR_LISTS: Registry[Callable[[Path], Iterator[ListedPair]]] = Registry(
    "kind of list",
    (
        Entry("lines", _lines, "LFW's pairs.txt, lines of two paths, or CPLFW's two lines"),
        Entry("table", _table, "a CSV with two image names and, if known, the label of the pair"),
        Entry("folder", _folder, "CFP's folder Protocol, or one of the folders in its Split"),
    ),
)
