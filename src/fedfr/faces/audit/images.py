"""Everything that the pictures alone show, without a model."""

from __future__ import annotations

from fedfr.faces.audit.counts import check_counts
from fedfr.faces.audit.duplicates import check_duplicates
from fedfr.faces.audit.findings import Case, Finding, finding, ordered
from fedfr.faces.audit.measures import Counter, measure
from fedfr.faces.audit.names import check_names
from fedfr.faces.audit.pictures import check_pictures
from fedfr.faces.audit.places import Places
from fedfr.faces.audit.preparation import check_preparation
from fedfr.faces.faceset import FaceSet
from fedfr.faces.splits import Split
from fedfr.faces.storage import fingerprint

__all__ = ["audit_images"]


def audit_images(
    faces: FaceSet, split: Split | None = None, progress: Counter = lambda done, total: None
) -> tuple[Finding, ...]:
    """Audit pictures in one pass over their pixels; the findings do not depend on the order of the images.

    Raises :class:`~fedfr.errors.FedfrError` when the split was made for other faces.
    """
    places = Places.of(faces, split)
    if not len(faces):
        return ()
    owners, groups = places.groups
    measures = measure(faces, groups, len(owners), progress)
    altered = fingerprint(faces.labels, faces.identities, measures.digests) != faces.fingerprint()
    return ordered(
        [
            *finding("altered-pixels", [Case()] if altered else []),
            *check_duplicates(faces, measures, places),
            *check_pictures(measures, faces.names),
            *check_preparation(measures, owners, groups, faces.names),
            *check_names(faces, places),
            *check_counts(faces, split),
        ]
    )
