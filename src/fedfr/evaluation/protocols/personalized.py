"""Personalised protocols: one client's people against everyone else's test images (method, section 5)."""

from __future__ import annotations

from fedfr.evaluation.figures import Figure
from fedfr.evaluation.identification import gallery_templates, open_set_identification
from fedfr.evaluation.protocols.faces import ProtocolInput
from fedfr.evaluation.verification import personalized_verification

__all__ = ["identification", "verification"]


def verification(given: ProtocolInput) -> list[Figure]:
    """All pairs of test images of which at least one is the client's own."""
    return personalized_verification(given.features, given.labels, given.own, given.fars, binned=given.binned)


def identification(given: ProtocolInput) -> list[Figure]:
    """Gallery: the client's training images; probes: all test images, mated where they are the client's people."""
    templates, identities = gallery_templates(given.gallery_features, given.gallery_labels)
    return open_set_identification(templates, identities, given.features, given.labels, given.fpirs)
