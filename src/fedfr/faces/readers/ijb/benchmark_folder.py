"""Folder of an IJB benchmark: required files, contents, and comparison with the published counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fedfr.core.errors import FedfrError
from fedfr.faces.readers.ijb.kinds import ORIGIN, IjbKind, find_kind
from fedfr.faces.readers.ijb.media import IjbImages, read_ijb_images
from fedfr.faces.readers.ijb.searches import Searches, read_searches
from fedfr.faces.readers.ijb.template_pairs import TemplatePairs, read_template_pairs

__all__ = ["IjbFolder", "find_ijb"]

IMAGES = "loose_crop"


@dataclass(frozen=True)
class IjbFolder:
    """IJB-B or IJB-C in InsightFace's layout; each list is read and checked on first access."""

    path: Path
    kind: IjbKind

    @cached_property
    def images(self) -> IjbImages:
        """All images; raises :class:`FedfrError` as :func:`read_ijb_images` does."""
        return read_ijb_images(self.path / IMAGES, self.path / self.kind.images, self.path / self.kind.points)

    @cached_property
    def pairs(self) -> TemplatePairs:
        """Comparisons of the 1:1 protocol; raises :class:`FedfrError` as :func:`read_template_pairs` does."""
        return read_template_pairs(self.path / self.kind.pairs[0], self.images.template_ids)

    @cached_property
    def searches(self) -> Searches:
        """Galleries and probes of the 1:N protocol; raises :class:`FedfrError` as :func:`read_searches` does."""
        first, second, probes = (self.path / name for name in self.kind.searches)
        galleries = list(zip(self.kind.galleries, (first, second), strict=True))
        return read_searches(galleries, probes, self.images.template_ids)

    def require(self, *lists: str) -> None:
        """Raise :class:`FedfrError` naming the missing files that ``lists`` (``pairs``, ``searches``) need."""
        names = [IMAGES, self.kind.images, self.kind.points]
        names += [name for each in lists for name in getattr(self.kind, each)]
        missing = [name for name in dict.fromkeys(names) if not (self.path / name).exists()]
        if missing:
            raise FedfrError(
                f"{self.path} lacks {', '.join(missing)} of {self.kind.title}; add them, or choose a --protocol "
                f"that does not need them. {ORIGIN}"
            )

    def counts(self) -> Mapping[str, int]:
        """Return the counts of the lists that were read."""
        found: dict[str, int] = {}
        if "images" in self.__dict__:
            found |= {"images": len(self.images), "templates": len(self.images.template_ids)}
        if "pairs" in self.__dict__:
            genuine = int(self.pairs.same.sum())
            found |= {"genuine pairs": genuine, "impostor pairs": len(self.pairs) - genuine}
        if "searches" in self.__dict__:
            enrolled = sum(map(len, self.searches.galleries))
            found |= {"enrolled subjects": enrolled, "probes": len(self.searches.probes)}
        return found

    def differences(self) -> list[str]:
        """Describe each count that differs from the published set."""
        return [
            f"{count:,} {name} ({self.kind.counts[name]:,} published)"
            for name, count in self.counts().items()
            if count != self.kind.counts[name]
        ]


def find_ijb(path: Path) -> IjbFolder | None:
    """Return the benchmark in ``path``, or None; raises :class:`FedfrError` as :func:`find_kind` does."""
    kind = find_kind(path)
    return None if kind is None else IjbFolder(path, kind)
