"""Tables as LaTeX (booktabs), Markdown and CSV, for papers and other pages."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fedfr.reporting.table import markdown_table

__all__ = ["TABLE_FORMATS", "PageTable", "csv_text", "latex_text"]

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "−": "$-$",
        "–": "--",
        "±": r"$\pm$",
        "→": r"$\to$",
        "·": r"$\cdot$",
        "⌊": r"$\lfloor$",
        "⌋": r"$\rfloor$",
        "…": r"\dots{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': r"\textquotedbl{}",
    }
)


@dataclass(frozen=True)
class PageTable:
    """A table of the report: name, title, head, lines and a note.

    Cells enclosed in two asterisks are bold.
    """

    name: str
    title: str
    head: Sequence[str]
    lines: Sequence[Sequence[str]]
    note: str = ""

    def markdown(self) -> str:
        """Return the table as Markdown."""
        lines = [[cell.replace("|", r"\|") for cell in line] for line in self.lines]
        parts = [f"**{self.title}**", markdown_table(self.head, lines), self.note]
        return "\n\n".join(part for part in parts if part) + "\n"

    def latex(self) -> str:
        """Return the table as LaTeX with the package booktabs."""
        columns = "l" + "r" * (len(self.head) - 1)
        body = [" & ".join(_latex_cell(cell) for cell in line) + r" \\" for line in self.lines]
        caption = latex_text(". ".join(part.rstrip(".") for part in (self.title, self.note) if part) + ".")
        return "\n".join(
            [
                r"% needs \usepackage{booktabs}",
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{caption}}}",
                rf"\label{{tab:{self.name}}}",
                rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
                r"\toprule",
                " & ".join(latex_text(title) for title in self.head) + r" \\",
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
                "",
            ]
        )

    def csv(self) -> str:
        """Return the table as CSV, without marks of bold cells."""
        return csv_text([self.head, *([_plain(cell) for cell in line] for line in self.lines)])


TABLE_FORMATS: Mapping[str, Callable[[PageTable], str]] = {
    "tex": PageTable.latex,
    "md": PageTable.markdown,
    "csv": PageTable.csv,
}


def latex_text(text: str) -> str:
    """Escape a text for LaTeX."""
    return text.translate(_LATEX)


def csv_text(table: Sequence[Sequence[object]]) -> str:
    """Return rows as CSV text."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table)
    return text.getvalue()


def _latex_cell(cell: str) -> str:
    plain = _plain(cell)
    # A leading hyphen in a cell is a minus sign.
    shown = latex_text(plain.replace("-", "−", 1)) if plain.startswith("-") else latex_text(plain)
    return rf"\textbf{{{shown}}}" if plain != cell else shown


def _plain(cell: str) -> str:
    return cell[2:-2] if cell.startswith("**") and cell.endswith("**") and len(cell) > 4 else cell
