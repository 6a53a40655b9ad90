"""Downloaded public faces that differ from the agreement are refused and removed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.https import Server
from tests.support.public_faces import FINGERPRINT
from tests.support.tiny_experiment import tiny_faces

from fedfr.core.errors import FedfrError
from fedfr.deployment.public_set import fetch

NOT_AGREED = "differs from the agreement and was removed; tell the coordinator"


def _one_pixel(published: Path) -> None:
    pixels = np.load(published / "pixels.npy")
    pixels[7, 50, 60, 1] ^= 1
    np.save(published / "pixels.npy", pixels)


def _other_digests(published: Path) -> None:
    kept = np.load(published / "digests.npy")
    kept[3, 0] ^= 1
    np.save(published / "digests.npy", kept)


def _no_digests(published: Path) -> None:
    (published / "digests.npy").write_bytes(b"")


def _described(published: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((published / "faces.json").read_text("utf-8"))
    change(content)
    (published / "faces.json").write_text(json.dumps(content), "utf-8")


def _other_name(published: Path) -> None:
    # The identities stand before the images' names.
    columns = (published / "columns.dat").read_bytes()
    assert columns.count(b"person-00") > 1
    (published / "columns.dat").write_bytes(columns.replace(b"person-00", b"somebody!", 1))


def _other_label(published: Path) -> None:
    columns = (published / "columns.dat").read_bytes()
    (published / "columns.dat").write_bytes(b"\x01" + columns[1:])


def _name_that_is_none(published: Path) -> None:
    columns = bytearray((published / "columns.dat").read_bytes())
    columns[columns.rindex(b"person-00")] = 0xFF
    (published / "columns.dat").write_bytes(columns)


def _other_fingerprint(published: Path) -> None:
    _described(published, lambda content: content.update(fingerprint="0" * 64))


def _images_of_this_machine(published: Path) -> None:
    _described(published, lambda content: content.update(pixels="recordio"))


def _another_set(published: Path) -> None:
    other = tiny_faces(5, 4, seed=1)
    for file in [*published.iterdir()]:
        file.unlink()
    other.save(published)


def _cut_short(published: Path) -> None:
    content = (published / "pixels.npy").read_bytes()
    (published / "pixels.npy").write_bytes(content[:-1])


def _deep(published: Path) -> None:
    (published / "faces.json").write_text("[" * 100_000, "ascii")


def _object(published: Path) -> None:
    np.save(published / "pixels.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    "alter",
    [
        _one_pixel,
        _other_digests,
        _no_digests,
        _other_name,
        _other_label,
        _name_that_is_none,
        _other_fingerprint,
        _images_of_this_machine,
        _another_set,
        _cut_short,
        _deep,
        _object,
    ],
)
def test_an_altered_set_is_refused_and_removed(
    public_server: Server, tls: Path, published: Path, dest: Path, alter: Callable[[Path], None]
) -> None:
    kept = {path.name: path.read_bytes() for path in published.iterdir()}
    alter(published)
    with pytest.raises(FedfrError, match=NOT_AGREED):
        fetch(public_server.address, tls / "ca.crt", FINGERPRINT, dest)
    assert [*dest.parent.iterdir()] == []
    for name, content in kept.items():
        (published / name).write_bytes(content)
    assert fetch(public_server.address, tls / "ca.crt", FINGERPRINT, dest).fingerprint() == FINGERPRINT


def test_an_altered_partial_download_is_refused(public_server: Server, tls: Path, dest: Path) -> None:
    public_server.cut = {"pixels.npy": 100_000}
    with pytest.raises(FedfrError, match="fetch again to resume"):
        fetch(public_server.address, tls / "ca.crt", FINGERPRINT, dest)
    (part,) = dest.parent.iterdir()
    with (part / "pixels.npy").open("r+b") as file:
        file.seek(50_000)
        file.write(b"\x00\xff\x00")
    with pytest.raises(FedfrError, match=NOT_AGREED):
        fetch(public_server.address, tls / "ca.crt", FINGERPRINT, dest)
    assert fetch(public_server.address, tls / "ca.crt", FINGERPRINT, dest).fingerprint() == FINGERPRINT
