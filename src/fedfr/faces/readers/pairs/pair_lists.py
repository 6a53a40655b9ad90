"""Reading of pair lists: LFW's, lines of paths, CPLFW's two lines, CFP's folders and tables."""

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
    find_pair_columns,
    is_flag,
    looks_like_image,
    normalized_word,
    parse_verdict,
    read_text,
    required_verdict,
    split_fields,
)

__all__ = ["PAIR_LISTS", "ListedPair", "read_pair_list"]

LFW_LINES = "`name number number` or `name number name number`"
# Names with spaces, where no tabs say what belongs together.
WORDS = r"(\S+(?:\s+(?!\d+\s)\S+)*)"
ONE_PERSON = re.compile(rf"{WORDS}\s+(\d+)\s+(\d+)")
TWO_PEOPLE = re.compile(rf"{WORDS}\s+(\d+)\s+{WORDS}\s+(\d+)")


@dataclass(frozen=True)
class ListedPair:
    """One pair of a list: the two image names, the text that labels the pair, its meaning, and the file and line.

    ``verdict`` and ``same`` are None where the list does not say whether the pair shows one person.
    """

    first: str
    second: str
    verdict: str | None
    same: bool | None
    where: str


def read_pair_list(path: Path) -> list[ListedPair]:
    """Every pair of a list, in its order; raises :class:`FedfrError` naming file, line and what is wrong there.

    Blank lines are passed over. See ``docs/faces.md`` for the kinds of lists.
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
        raise FedfrError(f"{path} holds no pairs; list one at least")
    return pairs


def _pair(first: str, second: str, verdict: str | None, where: str) -> ListedPair:
    return ListedPair(first, second, verdict, required_verdict(verdict, where), where)


def _lines_of(path: Path) -> list[tuple[str, str]]:
    """Where each line stands that is neither blank nor a comment, and its text."""
    lines = enumerate(re.split(r"\r\n?|\n", read_text(path)), start=1)
    return [(f"{path}, line {number}", line) for number, line in lines if line.strip() and line.lstrip()[0] != "#"]


def _lines(path: Path) -> Iterator[ListedPair]:
    lines = _lines_of(path)
    if lines and find_pair_columns(split_fields(lines[0][1])) is not None:
        yield from _table(path)
        return
    announced = _announced(lines[0][1]) if lines else None
    if announced is not None:
        lines = lines[1:]
        if len(lines) != announced:
            raise FedfrError(f"{path}: {len(lines)} pairs, line 1 announces {announced}; it may be truncated")
    elif lines and _is_flagged(split_fields(lines[0][1])):
        yield from _two_lines(lines)
        return
    for where, line in lines:
        yield _lfw_pair(line, where) or _pair_of_paths(line, where, strict=announced is not None)


def _announced(line: str) -> int | None:
    """How many pairs the first line says there are: of each kind, in so many folds; None where it says none."""
    fields = split_fields(line)
    if len(fields) > 2 or not all(field.isascii() and field.isdecimal() and len(field) < 10 for field in fields):
        return None
    folds, per_kind = map(int, fields if len(fields) == 2 else ["1", *fields])
    return 2 * folds * per_kind


def _lfw_pair(line: str, where: str) -> ListedPair | None:
    people = _lfw_people(split_fields(line))
    if people is None and "\t" not in line:
        if found := ONE_PERSON.fullmatch(line.strip()):
            people = [found[1], found[2], found[1], found[3]]
        elif found := TWO_PEOPLE.fullmatch(line.strip()):
            people = [*found.groups()]
    return None if people is None else _pair_of_people(people, where)


def _lfw_people(fields: Sequence[str]) -> list[str] | None:
    """Name, number, name, number."""
    if len(fields) == 4 and fields[1].isdecimal() and fields[3].isdecimal():
        return list(fields)
    if len(fields) == 3 and fields[1].isdecimal() and fields[2].isdecimal():
        return [fields[0], fields[1], fields[0], fields[2]]
    return None


def _pair_of_people(people: Sequence[str], where: str) -> ListedPair:
    if any(len(number) > 9 for number in people[1::2]):
        raise FedfrError(f"{where}: expected {LFW_LINES}, found {' '.join(people)[:80]!r}")
    first, second = (f"{name}/{name}_{int(number):04d}" for name, number in (people[:2], people[2:]))
    return ListedPair(first, second, None, None, where)


def _pair_of_paths(line: str, where: str, *, strict: bool) -> ListedPair:
    fields = split_fields(line)
    if len(fields) == 3:
        begins = parse_verdict(fields[0]) is not None and parse_verdict(fields[2]) is None
        verdict, first, second = fields if begins else (fields[2], fields[0], fields[1])
        if looks_like_image(first) or looks_like_image(second) or parse_verdict(verdict) is not None:
            return _pair(first, second, verdict, where)
    if len(fields) == 2 and not strict:
        return _pair(fields[0], fields[1], None, where)
    raise FedfrError(
        f"{where}: expected {LFW_LINES}, or two paths and whether they show one person, found {line[:80]!r}"
    )


def _is_flagged(fields: Sequence[str]) -> bool:
    return len(fields) == 2 and is_flag(fields[1])


def _two_lines(lines: Sequence[tuple[str, str]]) -> Iterator[ListedPair]:
    """CALFW's and CPLFW's: an image and a flag in each line, two lines a pair."""
    for number in range(0, len(lines), 2):
        both = [split_fields(line) for _, line in lines[number : number + 2]]
        where, line = lines[min(number + 1, len(lines) - 1)]
        if len(both) < 2:
            raise FedfrError(f"{where}: the second image of the pair is missing; the list may be truncated")
        if not all(map(_is_flagged, both)) or both[0][1].lower() != both[1][1].lower():
            raise FedfrError(
                f"{where}: expected an image and whether the pair shows one person, the same in both lines of the "
                f"pair, found {line[:80]!r}"
            )
        (first, verdict), (second, _) = both
        yield _pair(first, second, "1" if verdict in FOLD_NUMBERS else verdict, where)


def _rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Where each row of a table stands that is not empty, and its fields."""
    text = read_text(path)
    start = re.split(r"[\r\n]", text, maxsplit=1)[0]
    sign = next((sign for sign in SEPARATORS if sign in start), None)
    if sign is None and path.suffix.lower() != ".csv":
        yield from ((where, split_fields(line)) for where, line in _lines_of(path))
        return
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=sign or ",")
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
            found = "one" if first or second else "none"
            raise FedfrError(f"{where}: expected the names of two images, found {found}")
        yield _pair(first, second, same or None, where)


def _is_lfw_table(row: Sequence[str]) -> bool:
    """Whether rows are those of LFW's lists, as ``name,imagenum1,imagenum2`` above them says or they show."""
    return _lfw_people(_filled(row)) is not None or [normalized_word(field)[:8] for field in row[:2]] == [
        "name",
        "imagenum",
    ]


def _lfw_rows(rows: Iterator[tuple[str, list[str]]]) -> Iterator[ListedPair]:
    for number, (where, row) in enumerate(rows):
        people = _lfw_people(_filled(row))
        if people is not None:
            yield _pair_of_people(people, where)
        elif number:
            raise FedfrError(f"{where}: expected {LFW_LINES}, found {' '.join(row)[:80]!r}")


def _filled(row: Sequence[str]) -> list[str]:
    return [field for field in row if field]


def _without_header(row: Sequence[str], where: str) -> tuple[int, int, int | None]:
    """Of a table whose first row is a pair already: two images, and before or behind them whether it is one person."""
    words = list(row)
    truths = [parse_verdict(field) is not None for field in words]
    if len(words) == 3 and truths[2]:
        return 0, 1, 2
    if len(words) == 3 and truths[0]:
        return 1, 2, 0
    if len(words) in (2, 3) and looks_like_image(words[0]) and looks_like_image(words[1]):
        return 0, 1, 2 if len(words) == 3 else None
    raise FedfrError(f"{where}: found the columns {', '.join(row)!r}; expected a, b and, if known, same")


def _folder(path: Path) -> Iterator[ListedPair]:
    """CFP's: ``Pair_list_F.txt`` and ``Pair_list_P.txt`` number images, ``Split/FP/01/same.txt`` … pair them."""
    root = next(
        (place for place in (path, path.parent, path.parent.parent) if any(place.glob("Pair_list_*.txt"))), None
    )
    if root is None:
        raise FedfrError(f"{path} is a folder without Pair_list_F.txt; give a list of pairs, or CFP's folder Protocol")
    kinds = (
        [path] if path.parent.name == "Split" else sorted(each for each in (root / "Split").glob("*") if each.is_dir())
    )
    if len(kinds) != 1:
        there = ", ".join(str(each) for each in kinds) or "none"
        raise FedfrError(f"{path} should have one kind of pairs in Split, it has {there}; name one of them")
    numbered = [_image_numbers(root / f"Pair_list_{letter}.txt") for letter in _letters(kinds[0])]
    for fold in sorted(each for each in kinds[0].iterdir() if each.is_dir()):
        for name, verdict in (("same.txt", "same"), ("diff.txt", "diff")):
            for where, line in _lines_of(fold / name):
                fields = split_fields(line)
                sides = list(zip(fields, numbered, strict=False))
                if len(fields) != 2 or not all(number in images for number, images in sides):
                    raise FedfrError(f"{where}: expected two numbers of images in Pair_list, found {line[:80]!r}")
                first, second = (images[number] for number, images in sides)
                yield _pair(first, second, verdict, where)


def _letters(kind: Path) -> str:
    """Which list each side of a pair is numbered in, by the folder's name: FF, FP."""
    if not re.fullmatch("[A-Z]{2}", kind.name):
        raise FedfrError(f"{kind} is not named FF or FP, which says what its images are numbered in; name it so")
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
        Entry("table", _table, "a CSV with two names of images and, if known, whether they show one person"),
        Entry("folder", _folder, "CFP's folder Protocol, or one of the folders in its Split"),
    ),
)
