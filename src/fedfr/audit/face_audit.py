"""Audit of a face set: checks of the images and, given a model, of the labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedfr.audit import Case, Finding, SplitMembership, audit_images, make_findings, sort_findings
from fedfr.audit.label_checks import IdentityTemplates, MislabelledImage, SimilarIdentities
from fedfr.core.short_repr import Brief
from fedfr.faces import FaceSet, Split
from fedfr.models import open_model
from fedfr.reporting.progress import Progress, Silent
from fedfr.training.bf16_screening import has_fast_bf16
from fedfr.training.feature_blocks import passing_blocks
from fedfr.training.features import Compute, mirror_summed_features
from fedfr.training.training_set import TrainingSet

__all__ = ["Audit", "Comparison", "audit", "features_of", "load_generic"]


@dataclass(frozen=True)
class Comparison:
    """How identities were compared: pairs of templates with a cosine above ``threshold`` count as one person.

    ``people`` is the number of identities with two or more images; for ``found`` of them the templates of two halves of
    their images score above the threshold, which estimates the sensitivity of the check.
    """

    threshold: float
    found: int
    people: int

    def describe(self) -> str:
        """Describe the comparison in one sentence."""
        return (
            f"identities were compared at a cosine of {self.threshold:.3f}; of {self.people} identities with two or "
            f"more images {self.found} would be detected if they were in the set twice"
        )


@dataclass(frozen=True, repr=False)
class Audit(Brief):
    """Result of an audit: size of the face set and findings; ``comparison`` is None without a model."""

    images: int
    identities: int
    findings: tuple[Finding, ...]
    comparison: Comparison | None = None

    @property
    def is_clean(self) -> bool:
        """Whether there are neither errors nor warnings; notes are allowed."""
        return all(found.severity == "note" for found in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "images": self.images,
            "identities": self.identities,
            "comparison": None if self.comparison is None else asdict(self.comparison),
            "findings": [found.to_dict() for found in self.findings],
        }


def audit(
    faces: FaceSet | str | Path,
    *,
    split: Split | str | Path | None = None,
    model: str | Path | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Audit a face set, its split and, with the features of a model, its labels.

    Nothing is modified, and the findings do not depend on the order of the images. ``model`` is a fedfr checkpoint, a
    state dict of another project or an ONNX graph. Raises :class:`FedfrError` for unreadable input and for a split that
    was made for other faces.

    >>> import numpy as np
    >>> from fedfr import FaceSet, audit
    >>> pixels = np.random.default_rng(0).integers(0, 256, (4, 112, 112, 3), np.uint8)
    >>> pixels[3] = pixels[0]
    >>> found = audit(FaceSet(pixels, [0, 0, 1, 1], ["a", "b"]))
    >>> "image-of-two-people" in [finding.kind for finding in found.findings]
    True
    """
    shown = progress or Silent()
    loaded = faces if isinstance(faces, FaceSet) else FaceSet.load(faces)
    divided = split if split is None or isinstance(split, Split) else Split.load(split)
    membership = SplitMembership.of(loaded, divided)
    # The model is loaded first, so that a wrong file is reported before the images are read.
    known = None if model is None else load_generic(Path(model))
    findings = list(
        audit_images(loaded, divided, lambda done, total: shown.update("checking images", done, total, unit="images"))
    )
    comparison = None
    if known is not None and len(loaded):
        people = IdentityTemplates(features_of(loaded, *known, shown), loaded.labels)
        findings += _people_findings(loaded, people, membership)
        if people.is_discriminative:
            comparison = Comparison(round(people.threshold, 4), *people.split_half_matches())
    return Audit(len(loaded), loaded.num_identities, sort_findings(findings), comparison)


def load_generic(path: Path) -> tuple[nn.Module, Compute]:
    """Load the backbone of any file that :func:`~fedfr.models.open_model` opens, on the CPU, with its compute settings.

    bfloat16 is used where the processor multiplies it faster. Raises :class:`FedfrError` as :func:`open_model` does.
    """
    opened = open_model(path)
    device = torch.device("cpu")
    compute = Compute(opened.preprocessing, device, has_fast_bf16(device))
    return compute.place(opened.network), compute


def features_of(faces: FaceSet, backbone: nn.Module, compute: Compute, shown: Progress) -> NDArray[np.float32]:
    """Return the sum of the features of each image and its mirror image, (N, D)."""

    def make(first: int, stop: int) -> NDArray[np.float32]:
        features = mirror_summed_features(backbone, TrainingSet([(faces, np.arange(first, stop), 0)]), compute)
        shown.update("features", stop, len(faces), unit="images")
        return np.asarray(features.numpy(), np.float32)

    return np.concatenate([*passing_blocks(len(faces), make)])


def _people_findings(faces: FaceSet, people: IdentityTemplates, membership: SplitMembership) -> Iterator[Finding]:
    if not people.is_discriminative:
        detail = f"the threshold would be a cosine of {people.threshold:.2f}"
        yield from make_findings("model-too-weak", [Case(value=round(people.threshold, 4), detail=detail)])
        return
    cases: dict[str, list[Case]] = {"same-person": [], "same-person-in-two-parts": []}
    for pair in people.similar_identities():
        case, in_two_parts = _similar_identities_case(faces, people, membership, pair)
        cases["same-person-in-two-parts" if in_two_parts else "same-person"].append(case)
    cases["mislabelled"] = [
        _mislabelled_case(faces, membership, mislabelled) for mislabelled in people.mislabelled_images()
    ]
    for kind, found in cases.items():
        yield from make_findings(kind, found)


def _similar_identities_case(
    faces: FaceSet, people: IdentityTemplates, membership: SplitMembership, similar: SimilarIdentities
) -> tuple[Case, bool]:
    """Return the case with the two most similar images, and whether the two identities have different owners."""
    pair = (similar.first, similar.second)
    names = sorted(
        (faces.identities[label], faces.names[image])
        for label, image in zip(pair, people.most_similar_images(*pair), strict=True)
    )
    first_owners, second_owners = (membership.owners_of(faces.indices_of(label).tolist()) for label in pair)
    owners = tuple(sorted({*first_owners, *second_owners}))
    identities, images = (tuple(each) for each in zip(*names, strict=True))
    return Case(images, identities, owners, round(similar.score, 3)), len(owners) > 1


def _mislabelled_case(faces: FaceSet, membership: SplitMembership, mislabelled: MislabelledImage) -> Case:
    own, nearest = faces.identities[int(faces.labels[mislabelled.image])], faces.identities[mislabelled.nearest]
    return Case(
        (faces.names[mislabelled.image],),
        (own, nearest),
        membership.parts_of([mislabelled.image]),
        round(mislabelled.score, 3),
        f"similar to {nearest}; {mislabelled.own:.2f} with the other images of {own}",
    )
