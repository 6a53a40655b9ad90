"""Generic protocols: a model among identities nobody trained on."""

from __future__ import annotations

import numpy as np

from fedfr.evaluation.figures import Figure
from fedfr.evaluation.identification import gallery_templates, open_set_identification
from fedfr.evaluation.protocols.faces import ProtocolInput
from fedfr.evaluation.verification import personalized_verification

__all__ = ["identification", "verification"]


def verification(given: ProtocolInput) -> list[Figure]:
    """All pairs of images."""
    everyone = np.ones(len(given.labels), np.bool_)
    return personalized_verification(given.features, given.labels, everyone, given.fars, binned=given.binned)


def identification(given: ProtocolInput) -> list[Figure]:
    """Every other identity with two images or more is enrolled, by the first half of its images, rounded down.

    Their remaining images are the mated probes, all images of everybody else the non-mated ones. The choice depends on
    the order of labels and images alone.
    """
    enrolled = np.zeros(len(given.labels), np.bool_)
    several = [label for label in np.unique(given.labels) if (given.labels == label).sum() > 1]
    for label in several[::2]:
        images = np.flatnonzero(given.labels == label)
        enrolled[images[: len(images) // 2]] = True
    if not enrolled.any():
        return []
    templates, identities = gallery_templates(given.features[enrolled], given.labels[enrolled])
    return open_set_identification(
        templates, identities, given.features[~enrolled], given.labels[~enrolled], given.fpirs
    )
