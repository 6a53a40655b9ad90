"""Auditing faces: what the pictures of a set show about mistakes made on the way to it."""

from __future__ import annotations

from fedfr.faces.audit.findings import KINDS, SEVERITIES, Case, Finding, Kind, finding, ordered
from fedfr.faces.audit.images import audit_images
from fedfr.faces.audit.places import Places

__all__ = ["KINDS", "SEVERITIES", "Case", "Finding", "Kind", "Places", "audit_images", "finding", "ordered"]


def __dir__() -> list[str]:
    return sorted(__all__)
