"""Search for people who are in two of several face sets, by the features of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from fedfr.audit.face_audit import features_of, load_generic
from fedfr.audit.label_checks import IdentityTemplates
from fedfr.core.errors import FedfrError
from fedfr.faces import FaceSet
from fedfr.reporting.progress import Progress, Silent

__all__ = ["people_finder"]

Pairs = Iterator[tuple[int, int]]


def people_finder(model: str | Path, progress: Progress | None = None) -> Callable[[FaceSet], Pairs]:
    """Return a search for pairs of identities, by label, that are one person by the features of ``model``.

    The file is opened at once. Raises :class:`FedfrError` as :func:`~fedfr.audit.face_audit.load_generic` does; the
    search raises it for a model that cannot distinguish people.
    """
    backbone, compute = load_generic(Path(model))

    def find(faces: FaceSet) -> Pairs:
        people = IdentityTemplates(features_of(faces, backbone, compute, progress or Silent()), faces.labels)
        if not people.is_discriminative:
            raise FedfrError(
                f"{model} cannot distinguish the people of these face sets (the threshold would be a cosine of "
                f"{people.threshold:.2f}); give a better model, or leave out the comparison"
            )
        for pair in people.similar_identities():
            yield pair.first, pair.second

    return find
