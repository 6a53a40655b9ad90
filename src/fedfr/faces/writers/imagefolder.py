"""Export of faces as PNG files with ``metadata.jsonl``, the format ``imagefolder`` of ``datasets``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from fedfr.faces.faceset import FaceSet
from fedfr.faces.writers.released_split import ENCODINGS

__all__ = ["write_imagefolder"]


def write_imagefolder(faces: FaceSet, folder: Path, progress: Callable[[int, int], None]) -> int:
    """Write ``train/<label>/<index>.png`` and ``train/metadata.jsonl`` with ``file_name``, ``identity`` and ``name``.

    Folders have numbers, because ``datasets`` would take an identity called ``Test`` for a part. The metadata are JSON,
    because ``datasets`` reads an identity ``0000012`` in CSV as the number 12. Returns the number of files.
    """
    part = folder / "train"
    part.mkdir()
    with (part / "metadata.jsonl").open("w", encoding="utf-8") as metadata:
        for index, content in enumerate(ENCODINGS["png"](faces, range(len(faces)), 0)):
            label = int(faces.labels[index])
            path = part / f"{label:07d}" / f"{index:08d}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
            line = {
                "file_name": path.relative_to(part).as_posix(),
                "identity": faces.identities[label],
                "name": faces.names[index],
            }
            metadata.write(json.dumps(line, ensure_ascii=False) + "\n")
            progress(index + 1, len(faces))
    return len(faces) + 1
