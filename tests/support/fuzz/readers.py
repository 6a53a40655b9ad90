"""All targets that read files, by name."""

from __future__ import annotations

from tests.support.fuzz import face_readers, run_readers, table_readers

__all__ = ["TARGETS"]

TARGETS = {**face_readers.TARGETS, **table_readers.TARGETS, **run_readers.TARGETS}
