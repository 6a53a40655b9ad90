"""``fedfr gallery journal``: check and list of a gallery's journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fedfr.cli.gallery_options import GalleryFolder, PassphraseFile, exit_with, open_gallery
from fedfr.cli.output import AsJson, print_json, print_lines

if TYPE_CHECKING:
    from fedfr.recognition.gallery.journal import JournalEntry

__all__ = ["journal"]


def journal(
    folder: GalleryFolder,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="Number of entries to show, the newest first.")
    ] = 20,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Check the whole journal and list its newest entries; exit code 1 if an entry was changed, removed or inserted.

    If so, the first such entry is named, and the entries before it are listed.
    """
    from fedfr.reporting.text_tables import screen_width, text_table

    with open_gallery(folder, passphrase_file) as gallery:
        check, entries = gallery.journal.verified_entries(limit)
    if as_json:
        print_json({"check": check.to_json(), "entries": [entry.to_json() for entry in entries]})
    else:
        if entries:
            titles = ["entry", "time (UTC)", "what", "outcome", "pseudonym", "score", "reasons"]
            print(text_table(titles, [_cells(entry) for entry in entries], screen_width()))
        print_lines(check.text)
    exit_with(0 if check.wrong is None else 1)


def _cells(entry: JournalEntry) -> list[str]:
    score = "" if entry.score is None else f"{entry.score:.2f}"
    shown = [str(entry.number), entry.time, entry.kind, entry.outcome]
    return [*shown, entry.person or "", score, ", ".join(entry.reasons)]
