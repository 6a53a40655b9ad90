"""Audit of a face set: duplicates, crops, colour order, counts, names and, with a model, labels.

:func:`fedfr.audit` is the function of :mod:`fedfr.audit.face_audit`; this package is callable under the same name.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from fedfr.audit.findings import FINDING_KINDS, SEVERITIES, Case, Finding, FindingKind, make_findings, sort_findings
from fedfr.audit.image_checks import audit_images
from fedfr.audit.split_membership import SplitMembership

__all__ = [
    "FINDING_KINDS",
    "SEVERITIES",
    "Case",
    "Finding",
    "FindingKind",
    "SplitMembership",
    "audit_images",
    "make_findings",
    "sort_findings",
]


def __dir__() -> list[str]:
    return sorted(__all__)


class _CallablePackage(ModuleType):
    """Importing a submodule binds the name ``fedfr.audit`` to this package, where the public function had been."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        from fedfr.audit.face_audit import audit

        return audit(*arguments, **options)


sys.modules[__name__].__class__ = _CallablePackage
