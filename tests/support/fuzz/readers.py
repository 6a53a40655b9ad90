"""All targets that read files, by name."""

from __future__ import annotations

from tests.support.fuzz import (
    deployment_readers,
    erasure_readers,
    face_readers,
    gallery_readers,
    ledger_readers,
    model_readers,
    privacy_readers,
    run_readers,
    service_readers,
    table_readers,
)

__all__ = ["TARGETS"]

TARGETS = {
    **face_readers.TARGETS,
    **table_readers.TARGETS,
    **run_readers.TARGETS,
    **model_readers.TARGETS,
    **deployment_readers.TARGETS,
    **erasure_readers.TARGETS,
    **gallery_readers.TARGETS,
    **ledger_readers.TARGETS,
    **service_readers.TARGETS,
    **privacy_readers.TARGETS,
}
