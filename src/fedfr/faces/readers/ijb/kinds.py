"""The benchmarks IJB-B and IJB-C with their published counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fedfr.core.errors import FedfrError

__all__ = ["IJB_KINDS", "ORIGIN", "IjbKind", "find_kind"]

ORIGIN = (
    "IJB-B and IJB-C were distributed by NIST until 14 March 2023: use a licensed copy in InsightFace's layout "
    "(loose_crop/ and meta/)"
)
"""Source of the images (https://nist.gov/itl/iad/ig/face-challenges)."""


@dataclass(frozen=True)
class IjbKind:
    """File names and published ``counts`` of a benchmark."""

    prefix: str
    title: str
    galleries: tuple[str, str]
    counts: Mapping[str, int]

    @property
    def images(self) -> str:
        """File of ``name template medium`` for every image."""
        return f"meta/{self.prefix}_face_tid_mid.txt"

    @property
    def points(self) -> str:
        """File of ``name``, five points and the detector's score for every image."""
        return f"meta/{self.prefix}_name_5pts_score.txt"

    @property
    def pairs(self) -> tuple[str]:
        """File of ``template template 0/1`` for every comparison."""
        return (f"meta/{self.prefix}_template_pair_label.txt",)

    @property
    def searches(self) -> tuple[str, str, str]:
        """Files of template and subject: the two galleries, and the probes of mixed stills and frames."""
        first, second = (f"meta/{self.prefix}_1N_gallery_{name}.csv" for name in self.galleries)
        return first, second, f"meta/{self.prefix}_1N_probe_mixed.csv"


# Whitelam et al., CVPR Workshops 2017; Maze et al., ICB 2018. Images are InsightFace's crops of stills and frames.
IJB_KINDS = (
    IjbKind(
        "ijbb",
        "IJB-B",
        ("S1", "S2"),
        {
            "images": 227_630,
            "templates": 12_115,
            "genuine pairs": 10_270,
            "impostor pairs": 8_000_000,
            "enrolled subjects": 1_845,
            "probes": 10_270,
        },
    ),
    IjbKind(
        "ijbc",
        "IJB-C",
        ("G1", "G2"),
        {
            "images": 469_375,
            "templates": 23_124,
            "genuine pairs": 19_557,
            "impostor pairs": 15_638_932,
            "enrolled subjects": 3_531,
            "probes": 19_593,
        },
    ),
)


def find_kind(folder: Path) -> IjbKind | None:
    """Return the benchmark to which the files in ``folder/meta`` belong, or None.

    Raises :class:`FedfrError` if there are files of both.
    """
    found = [kind for kind in IJB_KINDS if any((folder / "meta").glob(f"{kind.prefix}_*"))]
    if len(found) > 1:
        titles = " and ".join(kind.title for kind in found)
        raise FedfrError(f"{folder / 'meta'} holds files of {titles}; put them in separate folders")
    return found[0] if found else None
