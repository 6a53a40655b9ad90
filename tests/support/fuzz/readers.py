"""All targets that read files, by name."""

from __future__ import annotations

from tests.support.fuzz import deployment_readers, face_readers, model_readers, run_readers, table_readers

__all__ = ["TARGETS"]

TARGETS = {
    **face_readers.TARGETS,
    **table_readers.TARGETS,
    **run_readers.TARGETS,
    **model_readers.TARGETS,
    **deployment_readers.TARGETS,
}
