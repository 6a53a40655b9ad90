"""Fuzz targets: definition, damage, and shared files; no real faces."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.fuzz.bounds import refusal
from tests.support.fuzz.mutator import Mutator

__all__ = ["Target", "damage"]


@dataclass(frozen=True)
class Target:
    """``covers``: modules of ``fedfr`` in which this reads. ``make`` writes whole files into a folder, ``read`` reads
    them. ``only``: which of the files are damaged. ``cost``: inputs that cost as much as one of the others.
    ``mebibytes``: so much memory on top of what the process has.
    """

    covers: tuple[str, ...]
    make: Callable[[Path], None]
    read: Callable[[Path], object]
    only: str = "*"
    cost: int = 1
    mebibytes: int = 512


def damage(target: Target, place: Path, seed: int, count: int) -> int:
    """Read ``count`` times with one damaged file; return how often it was refused.

    ``place`` is an empty folder; what is written beside the files in it is a failure, too.
    """
    whole, work = place / "whole", place / "work"
    whole.mkdir()
    target.make(whole)
    files = sorted(path for path in whole.rglob(target.only) if path.is_file() and not path.is_symlink())
    assert files
    contents = [path.read_bytes() for path in files]
    assert refusal(lambda: target.read(whole)) is None
    mutator, refused = Mutator(seed), 0
    outside = sorted(place.parent.iterdir())
    for _ in range(max(4, count // target.cost)):
        shutil.copytree(whole, work, symlinks=True)
        which = mutator.random.randrange(len(files))
        content = mutator.either(contents[which], contents)
        (work / files[which].relative_to(whole)).write_bytes(content)
        try:
            refused += refusal(lambda: target.read(work)) is not None
        except BaseException:
            kept = place.parent / "failed"
            kept.write_bytes(content)
            sys.stderr.write(f"{files[which].relative_to(whole)} damaged: {content[:300]!r} (whole in {kept})\n")
            raise
        shutil.rmtree(work)
        assert sorted(place.parent.iterdir()) == outside
        assert sorted(place.iterdir()) == [whole]
    return refused
