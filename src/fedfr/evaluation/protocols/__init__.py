"""Evaluation protocols by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fedfr.evaluation.figures import Figure
from fedfr.evaluation.protocols import generic, personalized
from fedfr.evaluation.protocols.faces import ProtocolInput
from fedfr.registry import Entry, Registry

__all__ = ["PROTOCOLS", "Protocol", "ProtocolInput"]

_FEDFR = "Liu et al., AAAI 2022, arXiv 2112.12496"
_ISO = "ISO/IEC 19795-1:2021"


@dataclass(frozen=True)
class Protocol:
    """How figures are computed, and whether they concern one client's people or identities nobody trained on."""

    run: Callable[[ProtocolInput], list[Figure]]
    personal: bool


PROTOCOLS: Registry[Protocol] = Registry(
    "protocol",
    (
        Entry(
            "personalized-1:1",
            Protocol(personalized.verification, personal=True),
            "TAR@FAR over a client's own test images against everyone's",
            _FEDFR,
        ),
        Entry(
            "personalized-1:N",
            Protocol(personalized.identification, personal=True),
            "TPIR@FPIR and rank-1, a client's people enrolled, everyone searching",
            f"{_FEDFR}; {_ISO}",
        ),
        Entry(
            "generic-1:1",
            Protocol(generic.verification, personal=False),
            "TAR@FAR over all pairs of images of identities nobody trained on",
        ),
        Entry(
            "generic-1:N",
            Protocol(generic.identification, personal=False),
            "TPIR@FPIR and rank-1 among identities nobody trained on, half of them enrolled",
            _ISO,
        ),
    ),
)
