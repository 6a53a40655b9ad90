"""The benchmarks IJB-B and IJB-C with their published counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fedfr.core.errors import FedfrError

__all__ = ["IJB_KINDS", "ORIGIN", "IjbKind", "find_kind"]

ORIGIN = (
    "IJB-B and IJB-C came from NIST, which ended their distribution on 14 March 2023: use a copy that you hold a "
    "licence for, in InsightFace's layout (loose_crop/ and meta/)"
)
"""Where the images were to be had (https://nist.gov/itl/iad/ig/face-challenges)."""


@dataclass(frozen=True)
class IjbKind:
    """One benchmark: how its files are called, and the published ``counts``."""

    prefix: str
    title: str
    galleries: tuple[str, str]
    counts: Mapping[str, int]

    @property
    def images(self) -> str:
        """``name template medium`` of every image."""
        return f"meta/{self.prefix}_face_tid_mid.txt"

    @property
    def points(self) -> str:
        """``name``, five points and the detector's score of every image."""
        return f"meta/{self.prefix}_name_5pts_score.txt"

    @property
    def pairs(self) -> tuple[str]:
        """``template template 0/1`` of every comparison."""
        return (f"meta/{self.prefix}_template_pair_label.txt",)

    @property
    def searches(self) -> tuple[str, str, str]:
        """Template and subject: the two galleries, and the probes of stills and frames mixed."""
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
    """Which benchmark the files in ``folder/meta`` belong to; None where there are none of any.

    Raises :class:`FedfrError` where there are files of both.
    """
    found = [kind for kind in IJB_KINDS if any((folder / "meta").glob(f"{kind.prefix}_*"))]
    if len(found) > 1:
        titles = " and ".join(kind.title for kind in found)
        raise FedfrError(f"{folder / 'meta'} holds files of {titles}; give each a folder of its own")
    return found[0] if found else None
