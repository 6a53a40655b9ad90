"""Detection of identities whose names look the same but differ in spelling, Unicode composition or case."""

from __future__ import annotations

from fedfr.audit.findings import Case, Finding, make_findings
from fedfr.audit.split_membership import SplitMembership
from fedfr.faces.face_sets import original_name
from fedfr.faces.faceset import FaceSet
from fedfr.faces.name_matching import groups_of_similar_names, quoted_name

__all__ = ["check_names"]


def check_names(faces: FaceSet, membership: SplitMembership) -> list[Finding]:
    """Return findings ``alike-names`` and ``alike-names-in-two-parts``, one case per group of similar names."""
    label = {name: number for number, name in enumerate(faces.identities)}
    by_kind: dict[str, list[Case]] = {"alike-names": [], "alike-names-in-two-parts": []}
    for names in groups_of_similar_names(faces.identities, original_name if faces.sets else lambda name: name):
        images = [faces.by_identity().images(label[name]).tolist() for name in names]
        owners = membership.owners_of(index for each in images for index in each)
        kind = "alike-names-in-two-parts" if len(owners) > 1 else "alike-names"
        by_kind[kind].append(Case((), names, owners, float(len(names)), " = ".join(map(quoted_name, names))))
    return [found for kind, cases in by_kind.items() for found in make_findings(kind, cases)]
