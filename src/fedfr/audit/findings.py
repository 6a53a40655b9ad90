"""What an audit can find, how grave it is, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from fedfr.core.registry import Entry, Registry
from fedfr.core.short_repr import Brief

__all__ = ["FINDING_KINDS", "SEVERITIES", "Case", "Finding", "FindingKind", "make_findings", "sort_findings"]

SEVERITIES = ("error", "warning", "note")
"""Certain and harmful; probably a fault, or certain and less harmful; good to know."""


@dataclass(frozen=True)
class FindingKind:
    """``severity`` is one of :data:`SEVERITIES`; ``advice`` says what to do."""

    severity: str
    advice: str


@dataclass(frozen=True, repr=False)
class Case(Brief):
    """One occurrence: names of the images and identities concerned, and the parts of the split they are in.

    ``value`` is the measured number that decided; what it measures depends on the kind. ``detail`` is for reading.
    """

    images: tuple[str, ...] = ()
    identities: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    value: float | None = None
    detail: str = field(default="", repr=False)  # it names people


@dataclass(frozen=True, repr=False)
class Finding(Brief):
    """All cases of one kind, the gravest first; ``kind`` is a name in :data:`FINDING_KINDS`."""

    kind: str
    cases: tuple[Case, ...]

    @property
    def severity(self) -> str:
        """How grave it is."""
        return FINDING_KINDS[self.kind].severity

    @property
    def description(self) -> str:
        """What was found, in words."""
        return FINDING_KINDS.entry(self.kind).description

    @property
    def advice(self) -> str:
        """What to do about it."""
        return FINDING_KINDS[self.kind].advice

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "description": self.description,
            "advice": self.advice,
            "count": len(self.cases),
            "cases": [asdict(case) for case in self.cases],
        }


def make_findings(kind: str, cases: Iterable[Case], *, largest_first: bool = True) -> list[Finding]:
    """The finding of this kind, or nothing when there is no case; the order does not depend on that of the images."""
    sign = -1 if largest_first else 1
    found = sorted(cases, key=lambda case: (sign * (case.value or 0), case.images, case.identities, case.parts))
    return [Finding(FINDING_KINDS.entry(kind).name, tuple(found))] if found else []


def sort_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors, warnings, notes; each in the order of :data:`FINDING_KINDS`."""
    return tuple(
        sorted(findings, key=lambda each: (SEVERITIES.index(each.severity), FINDING_KINDS.names.index(each.kind)))
    )


FINDING_KINDS: Registry[FindingKind] = Registry(
    "kind of finding",
    (
        Entry(
            "altered-pixels",
            FindingKind("error", "import the images again"),
            "the pixels are not those the set was imported with",
        ),
        Entry(
            "image-in-two-parts",
            FindingKind("error", "keep it in one part; exact copies are left out by the split setting duplicates=drop"),
            "one image, exactly or nearly, in two parts of the split",
        ),
        Entry(
            "image-of-two-people",
            FindingKind("error", "at least one label is wrong: look, and remove the image from all but one identity"),
            "one image, exactly or nearly, under two identities",
        ),
        Entry(
            "alike-names-in-two-parts",
            FindingKind(
                "error", "give one person one name, people who differ names that do, and import and split again"
            ),
            "identities whose names look the same, in two parts of the split",
        ),
        Entry(
            "alike-names",
            FindingKind("warning", "look; if it is one person, merge the identities"),
            "identities whose names look the same",
        ),
        Entry(
            "exact-duplicates",
            FindingKind("warning", "remove all but one, or split with duplicates=drop"),
            "the very same image more than once under one identity",
        ),
        Entry(
            "near-duplicates",
            FindingKind("warning", "keep one of each group, so that none is trained and tested on"),
            "nearly the same image (encoded anew, brighter, mirrored, a moment later) under one identity",
        ),
        Entry(
            "blank",
            FindingKind("warning", "remove them, or find out why they came out so"),
            "images that are one colour, black or white",
        ),
        Entry(
            "blurred",
            FindingKind("warning", "remove them, or take larger originals"),
            "images out of focus or enlarged",
        ),
        Entry(
            "colour-order",
            FindingKind("warning", "read them as BGR, or swap red and blue, and import again"),
            "faces bluer than red: colours in the order BGR",
        ),
        Entry(
            "crop",
            FindingKind("warning", "align the faces to the ArcFace template, 112x112, and import again"),
            "faces not where the ArcFace template has them: another crop, or only resized",
        ),
        Entry(
            "same-person-in-two-parts",
            FindingKind("warning", "look; if it is one person, merge the identities and split again"),
            "two identities that look like one person, in two parts of the split",
        ),
        Entry(
            "same-person",
            FindingKind("warning", "look; if it is one person, merge the identities"),
            "two identities that look like one person",
        ),
        Entry(
            "mislabelled",
            FindingKind("warning", "look; move the image to whom it shows, or remove it"),
            "images far from their identity's others and near another identity",
        ),
        Entry(
            "few-images",
            FindingKind("warning", "give them more images, or split with a higher min_images"),
            "identities of a client with one image to train on, or none to test",
        ),
        Entry(
            "single-image",
            FindingKind("note", "they can be distractors; they cannot be trained and tested on"),
            "identities with one image",
        ),
        Entry("grey", FindingKind("note", "make sure that it is meant"), "grey images in a set with colours"),
        Entry(
            "grey-set",
            FindingKind("note", "make sure that it is meant; the order of colours cannot be told"),
            "all grey",
        ),
        Entry(
            "model-too-weak",
            FindingKind("note", "give a model that knows faces"),
            "the model cannot tell these people apart; identities were not compared",
        ),
    ),
)
