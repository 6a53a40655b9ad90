"""Audit of a face set: duplicates, crops, colour order, counts, names and, given a model, labels.

The function is :func:`fedfr.audit.face_audit.audit`. As :func:`fedfr.audit` has the same name as this package, the
package is callable and calls that function.
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
    """A package that can be called: importing a submodule rebinds ``fedfr.audit`` from the function to this package."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        from fedfr.audit.face_audit import audit

        return audit(*arguments, **options)


sys.modules[__name__].__class__ = _CallablePackage
