"""Summary of a face set, as commands print it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fedfr.cli.output import print_json, print_lines

__all__ = ["face_summary", "print_info"]


def print_info(faces: Path, *, as_json: bool = False) -> None:
    """Print the numbers of images and identities of a face set, its fingerprint, and the sets that it joins."""
    from fedfr.faces.joined_pixels import SetPart

    facts = face_summary(faces)
    if as_json:
        print_json(facts)
        return
    each = facts["images_per_identity"]
    per = f"{each['least']} to {each['most']} images each"
    print_lines(f"{faces}: {facts['images']} images of {facts['identities']} identities, {per}")
    print_lines(f"fingerprint {facts['fingerprint']}")
    for part in facts["sets"]:
        print_lines(f"face set {SetPart.from_dict(part).describe()}")


def face_summary(faces: Path) -> dict[str, Any]:
    """Return numbers of images and identities of a face set, its fingerprint and its sets, as JSON values."""
    from fedfr.faces import load_faces

    loaded = load_faces(faces)
    counts = loaded.counts()
    return {
        "folder": str(faces),
        "images": len(loaded),
        "identities": loaded.num_identities,
        "images_per_identity": {
            "least": int(counts.min()),
            "median": float(sorted(counts.tolist())[len(counts) // 2]),
            "most": int(counts.max()),
        },
        "fingerprint": loaded.fingerprint(),
        "sets": [part.to_dict() for part in loaded.sets],
    }
