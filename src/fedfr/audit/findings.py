"""Kinds of audit findings, with their severity and advice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from fedfr.core.registry import Entry, Registry
from fedfr.core.short_repr import Brief

__all__ = ["FINDING_KINDS", "SEVERITIES", "Case", "Finding", "FindingKind", "make_findings", "sort_findings"]

SEVERITIES = ("error", "warning", "note")
"""Severities: certain and harmful; probably a fault, or certain and less harmful; for information."""


@dataclass(frozen=True)
class FindingKind:
    """Properties of a kind of finding: ``severity`` is one of :data:`SEVERITIES`; ``advice`` says what to do."""

    severity: str
    advice: str


@dataclass(frozen=True, repr=False)
class Case(Brief):
    """One occurrence of a finding: names of the images and identities concerned, and the split parts they are in.

    ``value`` is the measured number that decided; its meaning depends on the kind. ``detail`` is an explanatory text.
    """

    images: tuple[str, ...] = ()
    identities: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    value: float | None = None
    detail: str = field(default="", repr=False)  # may name people


@dataclass(frozen=True, repr=False)
class Finding(Brief):
    """All cases of one kind, most severe first; ``kind`` is a name in :data:`FINDING_KINDS`."""

    kind: str
    cases: tuple[Case, ...]

    @property
    def severity(self) -> str:
        """One of :data:`SEVERITIES`."""
        return FINDING_KINDS[self.kind].severity

    @property
    def description(self) -> str:
        """Description of the kind of finding."""
        return FINDING_KINDS.entry(self.kind).description

    @property
    def advice(self) -> str:
        """What to do about it."""
        return FINDING_KINDS[self.kind].advice

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "description": self.description,
            "advice": self.advice,
            "count": len(self.cases),
            "cases": [asdict(case) for case in self.cases],
        }


def make_findings(kind: str, cases: Iterable[Case], *, largest_first: bool = True) -> list[Finding]:
    """Return a list with the finding of this kind, empty without cases.

    Cases are sorted by value, largest first unless ``largest_first`` is False, then by names; so the result does not
    depend on the order of the images.
    """
    sign = -1 if largest_first else 1
    ordered = sorted(cases, key=lambda case: (sign * (case.value or 0), case.images, case.identities, case.parts))
    return [Finding(FINDING_KINDS.entry(kind).name, tuple(ordered))] if ordered else []


def sort_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sort findings by severity (errors, warnings, notes), then in the order of :data:`FINDING_KINDS`."""
    return tuple(
        sorted(findings, key=lambda each: (SEVERITIES.index(each.severity), FINDING_KINDS.names.index(each.kind)))
    )


FINDING_KINDS: Registry[FindingKind] = Registry(
    "kind of finding",
    (
        Entry(
            "altered-pixels",
            FindingKind("error", "import the images again"),
            "the pixels differ from those that were imported",
        ),
        Entry(
            "image-in-two-parts",
            FindingKind("error", "keep it in one part; exact copies are left out by the split setting duplicates=drop"),
            "the same or nearly the same image in two parts of the split",
        ),
        Entry(
            "image-of-two-people",
            FindingKind(
                "error", "at least one label is wrong: check the image and remove it from all but one identity"
            ),
            "the same or nearly the same image under two identities",
        ),
        Entry(
            "alike-names-in-two-parts",
            FindingKind(
                "error",
                "use one name for one person and clearly different names for different people; import and split again",
            ),
            "identities whose names look the same, in two parts of the split",
        ),
        Entry(
            "alike-names",
            FindingKind("warning", "check them; if it is one person, merge the identities"),
            "identities whose names look the same",
        ),
        Entry(
            "exact-duplicates",
            FindingKind("warning", "remove all but one, or split with duplicates=drop"),
            "identical images under one identity",
        ),
        Entry(
            "near-duplicates",
            FindingKind("warning", "keep one of each group, so that none is both trained and tested on"),
            "nearly identical images (re-encoded, brightened, mirrored, taken a moment later) under one identity",
        ),
        Entry(
            "blank",
            FindingKind("warning", "remove them, or find the fault that produced them"),
            "images of a single colour, black or white",
        ),
        Entry(
            "blurred",
            FindingKind("warning", "remove them, or use larger originals"),
            "images out of focus or enlarged",
        ),
        Entry(
            "colour-order",
            FindingKind("warning", "read them as BGR, or swap red and blue, and import again"),
            "faces bluer than red: the colours are probably in BGR order",
        ),
        Entry(
            "crop",
            FindingKind("warning", "align the faces to the ArcFace template, 112x112, and import again"),
            "faces not positioned as in the ArcFace template: another crop, or resized without alignment",
        ),
        Entry(
            "same-person-in-two-parts",
            FindingKind("warning", "check them; if it is one person, merge the identities and split again"),
            "two identities that look like one person, in two parts of the split",
        ),
        Entry(
            "same-person",
            FindingKind("warning", "check them; if it is one person, merge the identities"),
            "two identities that look like one person",
        ),
        Entry(
            "mislabelled",
            FindingKind("warning", "check them; move each image to the person it shows, or remove it"),
            "images unlike the others of their identity and similar to another identity",
        ),
        Entry(
            "few-images",
            FindingKind("warning", "add images, or split with a higher min_images"),
            "identities of a client with a single training image, or without test images",
        ),
        Entry(
            "single-image",
            FindingKind("note", "they can serve as distractors, but not for training and testing"),
            "identities with one image",
        ),
        Entry("grey", FindingKind("note", "make sure that this is intended"), "grey images in a colour set"),
        Entry(
            "grey-set",
            FindingKind("note", "make sure that this is intended; the colour order cannot be checked"),
            "all images are grey",
        ),
        Entry(
            "model-too-weak",
            FindingKind("note", "use a model trained for face recognition"),
            "the model cannot distinguish these identities, so they were not compared",
        ),
    ),
)
