"""Targets that read what erasures write: receipts, which come from sites, journals, records of exports and rounds."""

from __future__ import annotations

from pathlib import Path

from tests.support.fuzz.targets import Target

from fedfr.deployment.erasure.journal import Erasure, GalleryErasure, StoreErasure
from fedfr.deployment.erasure.receipt import Receipt
from fedfr.deployment.site_exports import exported_models, record_export
from fedfr.federation.participation import Participation

__all__ = ["TARGETS"]

_ERASURE = Erasure(
    pseudonym="person-1a2b",
    requested="2026-01-02T03:04:05Z",
    name="Ada",
    names=("Ada",),
    exact=False,
    sets=(),
    folders=("faces",),
    lists={"list.txt": 1},
    splits=("split.json",),
    stores=(StoreErasure("private", "0123456789abcdef", "run", 2, 1, 1, 3, False),),
    galleries=(GalleryErasure("door", "0123", 3, 2, 1),),
    published=(),
    remedy="note",
)
_KEY = "0123456789abcdef"


def _make_receipt(folder: Path) -> None:
    remains = [{"what": "averages", "where": "the coordinator", "advice": "begin a new run"}]
    Receipt.of(_ERASURE, "site-1", folder, remains).save(folder / "receipt.json", folder / "site.key")


def _read_receipt(folder: Path) -> None:
    receipt = Receipt.load(folder / "receipt.json")
    receipt.text()
    receipt.check()


def _make_records(folder: Path) -> None:
    _ERASURE.save(folder)
    record_export(folder, folder / "model.safetensors", _KEY, 3)
    Participation(folder).add([_KEY], 2, before=())


def _read_records(folder: Path) -> None:
    Erasure.unfinished(folder)
    exported_models(folder)
    assert Participation(folder).first_round([_KEY]) in {0, 2}


TARGETS = {
    "receipt of an erasure": Target(("deployment.erasure.receipt",), _make_receipt, _read_receipt),
    "records of erasures": Target(
        ("deployment.erasure.journal", "deployment.site_exports", "federation.participation"),
        _make_records,
        _read_records,
    ),
}
