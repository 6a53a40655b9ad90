"""Targets that read what secure sums store."""

from __future__ import annotations

from pathlib import Path

from tests.support.fuzz.targets import Target
from tests.support.secure_sums import Sums

from fedfr.privacy.secure_sum.site_record import SiteRecord
from fedfr.privacy.secure_sum.stage_messages import Stage

__all__ = ["TARGETS"]


def _make(folder: Path) -> None:
    sums = Sums(folder / "sites", 3, 3)
    sums.until(Stage.CONSENT, sums.plan())
    (folder / "record").mkdir()
    (folder / "sites" / "adam" / "run.json").rename(folder / "record" / "run.json")


TARGETS = {
    "record of secure sums": Target(
        ("privacy.secure_sum.site_record",),
        _make,
        lambda folder: SiteRecord(folder / "record", "run").read(),
        "run.json",
    ),
}
