"""Import of photographs: detect, align and store the face of each; list those that were skipped."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fedfr.core.errors import FedfrError
from fedfr.core.files import move_folder, read_json, write_atomically, write_json
from fedfr.core.operating_system import usable_cores
from fedfr.core.short_repr import Brief
from fedfr.faces.alignment.photographs.aligners import Aligner
from fedfr.faces.alignment.photographs.html_contact_sheet import check_contact_sheet_path, write_html_contact_sheet
from fedfr.faces.alignment.photographs.import_journal import ImportJournal
from fedfr.faces.alignment.photographs.outcome import Limits, Outcome, align_photograph
from fedfr.faces.alignment.photographs.reasons import OTHER_FILE
from fedfr.faces.alignment.photographs.skipped import count_reasons, skipped_csv
from fedfr.faces.alignment.photographs.thread_pool import map_in_threads
from fedfr.faces.alignment.photographs.workspace import (
    PLAN,
    Plan,
    remove_abandoned,
    remove_workspace,
    workspace,
    workspace_of,
)
from fedfr.faces.faceset import FaceSet
from fedfr.faces.readers.image_reading import Progress, warn_of_similar_names
from fedfr.faces.readers.listing import Listing, check_apart, find_source, list_images
from fedfr.faces.storage import check_destination, write_faces

__all__ = ["SKIPPED", "PhotographImport", "import_photographs"]

SKIPPED = "skipped.csv"


@dataclass(frozen=True, repr=False)
class PhotographImport(Brief):
    """Result of an import of photographs: the face set and what was skipped.

    ``photographs`` is their number; ``skipped`` has one :class:`Outcome` with a reason per file without a face, files
    that are not images included; ``lost`` are the identities without any face.
    """

    faces: FaceSet
    photographs: int
    skipped: tuple[Outcome, ...]
    lost: tuple[str, ...]

    def counts(self) -> dict[str, int]:
        """Skipped files by reason."""
        return count_reasons(self.skipped)


def import_photographs(
    path: str | os.PathLike[str],
    dest: str | os.PathLike[str],
    aligner: Aligner,
    limits: Limits | None = None,
    progress: Progress | None = None,
    *,
    sheet: Path | None = None,
    threads: int | None = None,
) -> PhotographImport:
    """Align the face of every ``path``/<identity>/<image> into the face set ``dest``.

    Images are those of :func:`~fedfr.faces.readers.identity_folder.import_folder`, of any size. ``dest`` holds
    ``skipped.csv`` and ``photographs.json`` (settings, counts) beside the faces; ``sheet`` is an HTML page that shows
    them. Up to ``threads`` images (by default one per core) are in memory at a time; no bit depends on how many.

    Killed, the import goes on when it is called again: what is done lies in a hidden folder beside ``dest``, and a
    photograph that changed is done again. Raises :class:`FedfrError` where :func:`import_folder` does, but for images
    that cannot be read; when another process does the same; when it was begun with other settings; and when no
    photograph gives a face (``dest``.skipped.csv then says why).
    """
    limits = limits or Limits()
    source, target = find_source(path), Path(dest).resolve()
    check_apart(source, target)
    if sheet is not None:
        check_contact_sheet_path(sheet)
    begun = (workspace_of(target) / PLAN).is_file()
    if not begun:
        remove_abandoned(target)
        check_destination(target)
    listing = list_images(source)
    plan = {
        "photographs": str(source),
        **aligner.facts,
        **{f"least_{name}": value for name, value in dataclasses.asdict(limits).items() if name != "several"},
        "several": limits.several,
        "opencv": cv2.__version__,
    }
    with workspace(target, plan) as work:
        made = _made_with(target, plan)
        if not made:
            _check_still_free(target, work, begun=begun)
        with ImportJournal(work / "faces.bin") as journal:
            outcomes = _examine_all(listing, aligner, limits, journal, progress, threads or usable_cores())
            skipped = (
                *(outcome for outcome in outcomes if outcome.reason),
                *(Outcome(name, OTHER_FILE) for name in listing.others),
            )
            aligned = [row for row, outcome in enumerate(outcomes) if not outcome.reason]
            if not aligned:
                beside = target.with_name(f"{target.name}.{SKIPPED}")
                write_atomically(beside, skipped_csv(skipped))
                remove_workspace(work)
                raise FedfrError(_nothing(source, count_reasons(skipped), beside))
            if not made:
                _publish(work, target, listing, aligned, journal, skipped, plan)
        faces = FaceSet.load(target)
        if sheet is not None:
            write_html_contact_sheet(sheet, source, faces, skipped)
        remove_workspace(work)
    lost = sorted({*listing.identities, *listing.empty} - {*faces.identities})
    return PhotographImport(faces, len(listing.files), skipped, tuple(lost))


def _examine_all(
    listing: Listing, aligner: Aligner, limits: Limits, journal: ImportJournal, progress: Progress | None, threads: int
) -> list[Outcome]:
    """The outcome of every photograph, in order; those that are new go into the journal as they come."""
    stamps = [_stamp(file) for file in listing.files]
    found = [journal.known(name, stamp) for name, stamp in zip(listing.names, stamps, strict=True)]
    # What could not be read may have been mended without a trace in size and time: a right, a disk that came back.
    found = [None if outcome is not None and outcome.reason == "unreadable" else outcome for outcome in found]
    done, total = sum(outcome is not None for outcome in found), len(found)
    if done and progress is not None:
        progress(done, total)

    def one(row: int) -> tuple[int, Outcome]:
        return row, align_photograph(listing.files[row], listing.names[row], aligner, limits)

    missing = [row for row, outcome in enumerate(found) if outcome is None]
    for row, outcome in map_in_threads(one, missing, threads):
        journal.append(stamps[row], outcome)
        found[row] = dataclasses.replace(outcome, pixels=None)
        done += 1
        if progress is not None:
            progress(done, total)
    return [outcome for outcome in found if outcome is not None]


def _stamp(file: Path) -> list[int]:
    """Size and time of change; of a file that cannot be asked, one that no file has."""
    try:
        found = file.stat()
    except OSError:
        return [-1, -1]
    return [found.st_size, found.st_mtime_ns]


def _publish(
    work: Path,
    target: Path,
    listing: Listing,
    aligned: Sequence[int],
    journal: ImportJournal,
    skipped: Sequence[Outcome],
    plan: Plan,
) -> None:
    """Write the set in the work folder, and give it its name when it is whole."""
    kept, labels = np.unique([listing.labels[row] for row in aligned], return_inverse=True)
    identities = [listing.identities[label] for label in kept.tolist()]
    names = [listing.names[row] for row in aligned]
    warn_of_similar_names(identities)
    made = work / "faces"
    shutil.rmtree(made, ignore_errors=True)  # whole, perhaps, but of a list that may have changed since
    write_faces(made, labels.astype(np.int64), identities, names, (journal.pixels(name) for name in names))
    write_atomically(made / SKIPPED, skipped_csv(skipped))
    facts = {"settings": _shown(plan), "aligned": len(aligned), "skipped": count_reasons(skipped)}
    write_json(made / PLAN, facts)
    move_folder(made, target)


def _made_with(target: Path, plan: Plan) -> bool:
    """Whether ``target`` is what this very import made before it was killed."""
    if not (target / PLAN).is_file():
        return False
    content = read_json(target / PLAN)
    return isinstance(content, dict) and content.get("settings") == _shown(plan)


def _shown(plan: Plan) -> Plan:
    """Without the place of the photographs, which is nobody's business where the faces go."""
    return {name: value for name, value in plan.items() if name != "photographs"}


def _check_still_free(target: Path, work: Path, *, begun: bool) -> None:
    """Another process may have filled the place just before it was locked."""
    try:
        check_destination(target)
    except FedfrError:
        if not begun:
            remove_workspace(work)
        raise


def _nothing(source: Path, reasons: Mapping[str, int], listed: Path) -> str:
    words = ", ".join(f"{number} {reason}" for reason, number in reasons.items())
    return f"no photograph in {source} gives a face ({words}); {listed} has the reason for each"
