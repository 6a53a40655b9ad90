"""Helpers of tests that import photographs."""

from __future__ import annotations

from pathlib import Path

from fedfr.faces.alignment.photographs import Aligner, AlignerFiles, make_aligner

COUNTS = {"Zoë Müller": 5, "anna": 4, "顔 一": 3}


def by_landmarks(path: Path) -> Aligner:
    aligner = make_aligner("landmarks", AlignerFiles(landmarks=path))
    assert aligner is not None
    return aligner


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
