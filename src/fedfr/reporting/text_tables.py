"""Plain-text tables that fit a given width; further columns continue in blocks below."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Sequence

from rich.cells import cell_len

__all__ = ["broken_title", "screen_width", "text_table", "wrapped"]

_GAP = "  "
_LEAST = 40


def screen_width() -> int:
    """Return the width of the terminal: ``COLUMNS`` if set, 80 without a terminal."""
    return max(shutil.get_terminal_size((80, 24)).columns, _LEAST)


def wrapped(text: str, width: int, indent: str = "  ") -> str:
    """Wrap a sentence to ``width`` with continuation lines indented; words and paths are not broken."""
    return textwrap.fill(
        text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, drop_whitespace=True
    )


def broken_title(title: str) -> str:
    r"""Return a title of a column with line breaks; ``[95 %]`` and ``− model`` are not broken.

    >>> from fedfr.reporting.text_tables import broken_title
    >>> broken_title("− fedfr personalized [95 %]").split("\n")
    ['− fedfr', 'personalized', '[95 %]']
    """
    return re.sub(r"(?<!−) (?!%\])", "\n", title)


def text_table(head: Sequence[str], lines: Sequence[Sequence[str]], width: int) -> str:
    """Return a table with the first column left-aligned, the others right-aligned; titles may have several lines.

    Columns that do not fit continue in blocks below, each with the first column. Nothing is cut: a column wider than
    ``width`` makes the table wider.
    """
    titles = [title.split("\n") for title in head]
    sizes = [
        max(cell_len(text) for text in (*title, *(line[place] for line in lines))) for place, title in enumerate(titles)
    ]
    blocks: list[list[int]] = [[]]
    used = sizes[0]
    for place in range(1, len(head)):
        needed = len(_GAP) + sizes[place]
        if blocks[-1] and used + needed > width:
            blocks.append([])
            used = sizes[0]
        blocks[-1].append(place)
        used += needed
    return "\n\n".join(_block([0, *places], titles, lines, sizes) for places in blocks)


def _block(
    places: Sequence[int], titles: Sequence[Sequence[str]], lines: Sequence[Sequence[str]], sizes: Sequence[int]
) -> str:
    tall = max(len(titles[place]) for place in places)
    # Short titles are placed directly above the rule.
    above = [[*[""] * (tall - len(titles[place])), *titles[place]] for place in places]
    chosen = [sizes[place] for place in places]
    rule = "─" * (sum(chosen) + len(_GAP) * (len(places) - 1))
    rows = [[line[place] for place in places] for line in lines]
    head = [_row([title[number] for title in above], chosen) for number in range(tall)]
    return "\n".join([*head, rule, *(_row(cells, chosen) for cells in rows)])


def _row(cells: Sequence[str], sizes: Sequence[int]) -> str:
    first, *others = ((cell, " " * (size - cell_len(cell))) for cell, size in zip(cells, sizes, strict=True))
    return _GAP.join([first[0] + first[1], *(space + cell for cell, space in others)]).rstrip()
