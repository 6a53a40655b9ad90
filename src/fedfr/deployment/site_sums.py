"""A site's part in the secure sums of its agreement."""

from __future__ import annotations

from pathlib import Path

from fedfr.deployment.site import Site
from fedfr.deployment.sum_keys import load_sum_key
from fedfr.engines.flower.sum_member import SumMember
from fedfr.experiments.secure_sums import sum_terms
from fedfr.models import build_backbone
from fedfr.privacy.secure_sum import Identity

__all__ = ["SUMS", "member_of"]

SUMS = "secure-sums"
"""Folder of the vector and the records of secure sums, below that of the private states of an agreement."""


def member_of(site: Site, folder: Path) -> SumMember | None:
    """Return the part of a site, whose key is in ``folder``; None if its agreement has no secure sums.

    Raises :class:`FedfrError` if the key is not the one in the agreement.
    """
    sums = site.agreement.sums
    if sums is None:
        return None
    identity = Identity(load_sum_key(folder).private_bytes_raw())
    backbone = build_backbone(site.agreement.backbone, 0)
    plan = site.agreement.person_plan()
    terms = sum_terms(sums, site.method, site.agreement.config.federation, backbone, plan)
    return SumMember(site.config.client, identity, terms, site.private / SUMS, site.client)
