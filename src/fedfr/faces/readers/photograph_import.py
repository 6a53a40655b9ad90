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
from fedfr.faces.readers.listing import ImageListing, check_apart, find_source, list_images
from fedfr.faces.storage import check_destination, write_faces

__all__ = ["SKIPPED", "PhotographImport", "import_photographs"]

SKIPPED = "skipped.csv"


@dataclass(frozen=True, repr=False)
class PhotographImport(Brief):
    """Result of an import of photographs: the face set and the skipped files.

    ``photographs`` is the number of image files; ``skipped`` has an :class:`Outcome` with the reason for each file
    without a face, including files that are not images; ``lost_identities`` are the identities without any face.

    >>> import numpy as np
    >>> from fedfr.faces import FaceSet, PhotographImport
    >>> from fedfr.faces.alignment.photographs import Outcome
    >>> faces = FaceSet(np.zeros((1, 112, 112, 3), np.uint8), [0], ["a"])
    >>> skipped = (Outcome("a/2.jpg", "no-face"), Outcome("b/1.jpg", "no-face"), Outcome("b/notes.txt", "other-file"))
    >>> PhotographImport(faces, 3, skipped, lost_identities=("b",)).counts()
    {'no-face': 2, 'other-file': 1}
    """

    faces: FaceSet
    photographs: int
    skipped: tuple[Outcome, ...]
    lost_identities: tuple[str, ...]

    def counts(self) -> dict[str, int]:
        """Return the number of skipped files by reason."""
        return count_reasons(self.skipped)


def import_photographs(
    path: str | os.PathLike[str],
    dest: str | os.PathLike[str],
    aligner: Aligner,
    limits: Limits | None = None,
    progress: Progress | None = None,
    *,
    contact_sheet: Path | None = None,
    threads: int | None = None,
) -> PhotographImport:
    """Detect and align the face of every ``path``/<identity>/<image> and write the face set ``dest``.

    Images are those of :func:`~fedfr.faces.readers.identity_folder.import_folder`, of any size. ``aligner`` finds the
    landmarks, ``limits`` are the requirements that a face must meet. ``dest`` also gets ``skipped.csv`` and
    ``photographs.json`` (settings, counts); ``contact_sheet`` is an HTML page of the faces to write. Up to ``threads``
    images (default: one per core) are in memory at a time; the result does not depend on the number.

    An interrupted import continues when it is called again: its progress is kept in a hidden folder beside ``dest``,
    and photographs that changed are processed again. Unreadable images are skipped. Otherwise raises
    :class:`FedfrError` as :func:`import_folder` does; if another process imports into ``dest``; if the import was
    started with other settings; and if no photograph has a usable face (``dest``.skipped.csv lists the reasons).

    >>> import tempfile
    >>> from pathlib import Path
    >>> import cv2
    >>> import numpy as np
    >>> from fedfr.faces import import_photographs
    >>> from fedfr.faces.alignment.photographs import AlignerFiles, Limits, make_aligner
    >>> image = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    >>> points = "170 120 230 120 200 155 175 190 225 190".replace(" ", chr(9))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "photos", "a").mkdir(parents=True)
    ...     _ = cv2.imwrite(f"{folder}/photos/a/1.png", image)
    ...     landmarks = Path(folder, "landmarks.tsv")
    ...     _ = landmarks.write_text(f"a/1.png{chr(9)}{points}")
    ...     aligner = make_aligner("landmarks", AlignerFiles(landmarks=landmarks))  # or "yunet", with a detector
    ...     made = import_photographs(f"{folder}/photos", f"{folder}/set", aligner, Limits(size=80))
    ...     made.faces.images([0]).shape, made.counts()
    ((1, 112, 112, 3), {})
    """
    limits = limits or Limits()
    source, target = find_source(path), Path(dest).resolve()
    check_apart(source, target)
    if contact_sheet is not None:
        check_contact_sheet_path(contact_sheet)
    resumed = (workspace_of(target) / PLAN).is_file()
    if not resumed:
        remove_abandoned(target)
        check_destination(target)
    listing = list_images(source)
    plan = {
        "photographs": str(source),
        **aligner.settings,
        **{f"least_{name}": value for name, value in dataclasses.asdict(limits).items() if name != "several"},
        "several": limits.several,
        "opencv": cv2.__version__,
    }
    with workspace(target, plan) as work:
        complete = _is_complete(target, plan)
        if not complete:
            _check_still_free(target, work, resumed=resumed)
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
                raise FedfrError(_no_faces_message(source, count_reasons(skipped), beside))
            if not complete:
                _write_face_set(work, target, listing, aligned, journal, skipped, plan)
        faces = FaceSet.load(target)
        if contact_sheet is not None:
            write_html_contact_sheet(contact_sheet, source, faces, skipped)
        remove_workspace(work)
    lost = sorted({*listing.identities, *listing.empty} - {*faces.identities})
    return PhotographImport(faces, len(listing.files), skipped, tuple(lost))


def _examine_all(
    listing: ImageListing,
    aligner: Aligner,
    limits: Limits,
    journal: ImportJournal,
    progress: Progress | None,
    threads: int,
) -> list[Outcome]:
    """Return the outcome of every photograph, in order; new ones are appended to the journal as they complete."""
    stamps = [_size_and_time(file) for file in listing.files]
    found = [journal.known(name, stamp) for name, stamp in zip(listing.names, stamps, strict=True)]
    # An unreadable file may have become readable without a change of size or time: permissions, a remounted disk.
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


def _size_and_time(file: Path) -> list[int]:
    """Return size and modification time; -1 for both if the file is inaccessible."""
    try:
        found = file.stat()
    except OSError:
        return [-1, -1]
    return [found.st_size, found.st_mtime_ns]


def _write_face_set(
    work: Path,
    target: Path,
    listing: ImageListing,
    aligned: Sequence[int],
    journal: ImportJournal,
    skipped: Sequence[Outcome],
    plan: Plan,
) -> None:
    """Write the set in the work folder and move it to its destination once it is complete."""
    kept, labels = np.unique([listing.labels[row] for row in aligned], return_inverse=True)
    identities = [listing.identities[label] for label in kept.tolist()]
    names = [listing.names[row] for row in aligned]
    warn_of_similar_names(identities)
    made = work / "faces"
    shutil.rmtree(made, ignore_errors=True)  # it may be complete, but the photographs may have changed since
    write_faces(made, labels.astype(np.int64), identities, names, (journal.pixels(name) for name in names))
    write_atomically(made / SKIPPED, skipped_csv(skipped))
    summary = {"settings": _shareable(plan), "aligned": len(aligned), "skipped": count_reasons(skipped)}
    write_json(made / PLAN, summary)
    move_folder(made, target)


def _is_complete(target: Path, plan: Plan) -> bool:
    """Whether this import wrote ``target`` before it was interrupted."""
    if not (target / PLAN).is_file():
        return False
    content = read_json(target / PLAN)
    return isinstance(content, dict) and content.get("settings") == _shareable(plan)


def _shareable(plan: Plan) -> Plan:
    """Return the plan without the path of the photographs, which must not be passed on with the faces."""
    return {name: value for name, value in plan.items() if name != "photographs"}


def _check_still_free(target: Path, work: Path, *, resumed: bool) -> None:
    """Check the destination again: another process may have filled it before it was locked."""
    try:
        check_destination(target)
    except FedfrError:
        if not resumed:
            remove_workspace(work)
        raise


def _no_faces_message(source: Path, reasons: Mapping[str, int], listed: Path) -> str:
    counts = ", ".join(f"{number} {reason}" for reason, number in reasons.items())
    return f"no photograph in {source} has a usable face ({counts}); {listed} lists the reason for each"
