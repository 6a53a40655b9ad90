"""Detection of identities with too few images."""

from __future__ import annotations

import numpy as np

from fedfr.audit.findings import Case, Finding, make_findings
from fedfr.faces.faceset import FaceSet
from fedfr.faces.splits.split import Split
from fedfr.faces.splits.split_parts import labels_of

__all__ = ["check_counts"]


def check_counts(faces: FaceSet, split: Split | None) -> list[Finding]:
    """Return findings ``single-image`` or, with a split, ``few-images``; ``value`` is the number of images."""
    if split is None:
        alone = np.flatnonzero(faces.counts() == 1).tolist()
        return make_findings("single-image", [Case((), (faces.identities[label],), (), 1.0) for label in alone])
    cases = []
    for client, images in split.clients.items():
        for part, least in ((f"{client} train", 2), (f"{client} test", 1 if images.test else 0)):
            used = images.train if part.endswith("train") else images.test
            counts = np.bincount(faces.labels[np.asarray(used, np.int64)], minlength=faces.num_identities)
            people = labels_of(faces, images.all()).tolist()
            cases += [
                Case((), (faces.identities[label],), (part,), float(counts[label]))
                for label in people
                if counts[label] < least
            ]
    return make_findings("few-images", cases, largest_first=False)
