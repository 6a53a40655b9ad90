"""All audit checks that need no model."""

from __future__ import annotations

from fedfr.audit.duplicates import check_duplicates
from fedfr.audit.findings import Case, Finding, make_findings, sort_findings
from fedfr.audit.identity_counts import check_counts
from fedfr.audit.measures import ProgressCallback, measure_images
from fedfr.audit.preparation import check_preparation
from fedfr.audit.similar_names import check_names
from fedfr.audit.split_membership import SplitMembership
from fedfr.audit.unusable_images import check_unusable_images
from fedfr.faces.faceset import FaceSet
from fedfr.faces.splits.split import Split
from fedfr.faces.storage import fingerprint

__all__ = ["audit_images"]


def audit_images(
    faces: FaceSet, split: Split | None = None, progress: ProgressCallback = lambda done, total: None
) -> tuple[Finding, ...]:
    """Run all image checks in one pass over the pixels; the findings do not depend on the order of the images.

    Without images there are no findings. Raises :class:`~fedfr.core.errors.FedfrError` when the split was made for
    other faces.
    """
    membership = SplitMembership.of(faces, split)
    if not len(faces):
        return ()
    owners, groups = membership.groups
    measures = measure_images(faces, groups, len(owners), progress)
    altered = fingerprint(faces.labels, faces.identities, measures.digests) != faces.fingerprint()
    return sort_findings(
        [
            *make_findings("altered-pixels", [Case()] if altered else []),
            *check_duplicates(faces, measures, membership),
            *check_unusable_images(measures, faces.names),
            *check_preparation(measures, owners, groups, faces.names),
            *check_names(faces, membership),
            *check_counts(faces, split),
        ]
    )
