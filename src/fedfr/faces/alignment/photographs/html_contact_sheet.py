"""HTML contact sheet of aligned faces and skipped photographs."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.core.files import write_atomically
from fedfr.faces.alignment.photographs.outcome import Outcome
from fedfr.faces.alignment.photographs.photograph_reading import read_photograph
from fedfr.faces.alignment.photographs.reasons import REASONS, RejectedPhotograph
from fedfr.faces.encoded_images import encode_image
from fedfr.faces.faceset import FaceSet

__all__ = ["check_contact_sheet_path", "write_html_contact_sheet"]

MAX_FACES = 24
STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.4 system-ui, sans-serif; margin: 16px; }
h2 { font-size: 1.1rem; margin: 24px 0 8px; overflow-wrap: anywhere; }
div { display: flex; flex-wrap: wrap; gap: 8px; }
figure { margin: 0; width: 128px; font-size: 0.75rem; overflow-wrap: anywhere; }
img { display: block; max-width: 128px; max-height: 128px; }
"""


def check_contact_sheet_path(path: Path) -> None:
    """Raise :class:`FedfrError` if ``path`` exists or does not end in .html."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise FedfrError(f"{path} does not end in .html; the contact sheet is an HTML page")
    if path.exists():
        raise FedfrError(f"{path} exists already; choose another name or remove it")


def write_html_contact_sheet(path: Path, source: Path, faces: FaceSet, skipped: Sequence[Outcome]) -> None:
    """Write an HTML page of the skipped files with a thumbnail each, and up to 24 faces of every identity.

    Images are embedded, so the page needs no network. One image is in memory at a time.
    Raises :class:`WriteError` if ``path`` cannot be written.
    """

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8") as file:
            file.writelines(f"{part}\n" for part in _parts(source, faces, skipped))

    write_atomically(path, write)


def _parts(source: Path, faces: FaceSet, skipped: Sequence[Outcome]) -> Iterator[str]:
    yield (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
        f"<title>Aligned faces</title><style>{STYLE}</style></head><body>"
    )
    yield f"<h1>{len(faces)} faces of {faces.num_identities} identities, {len(skipped)} files skipped</h1>"
    yield "<p>This page shows real people: keep it where their photographs may be.</p>"
    for reason, meaning in REASONS.items():
        outcomes = [outcome for outcome in skipped if outcome.reason == reason]
        if outcomes:
            yield f"<h2>Skipped, {reason}: {meaning} ({len(outcomes)})</h2><div>"
            for outcome in outcomes:
                yield _figure(outcome.name, _thumbnail(source / outcome.name), _numbers(outcome))
            yield "</div>"
    for label, identity in enumerate(faces.identities):
        rows = faces.indices_of(label)
        more = f", the first {MAX_FACES} of them" if len(rows) > MAX_FACES else ""
        yield f"<h2>{html.escape(identity)} ({len(rows)}{more})</h2><div>"
        for row in rows[:MAX_FACES].tolist():
            yield _figure(faces.names[row], faces.images([row])[0])
        yield "</div>"
    yield "</body></html>"


def _figure(name: str, image: NDArray[np.uint8] | None, note: str = "") -> str:
    tag = ""
    if image is not None:
        jpeg = encode_image(image, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, 85])
        tag = f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}">'
    return f"<figure>{tag}<figcaption>{html.escape(f'{name} {note}'.strip())}</figcaption></figure>"


def _numbers(outcome: Outcome) -> str:
    values = {
        "faces": outcome.faces,
        "score": outcome.score,
        "size": outcome.size,
        "sharpness": outcome.sharpness,
        "": outcome.detail or None,
    }
    return ", ".join(f"{name} {value}".strip() for name, value in values.items() if value is not None)


def _thumbnail(path: Path) -> NDArray[np.uint8] | None:
    try:
        image = read_photograph(path)
    except RejectedPhotograph:
        return None
    scale = min(1.0, 128 / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
