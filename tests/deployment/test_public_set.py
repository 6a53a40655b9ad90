"""The public faces from the coordinator to a site: whole, gone on with, and refused when they are others."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.https import Server, authority_in, serving
from tests.support.tiny_experiment import tiny_faces

from fedfr.core.errors import FedfrError, WriteError
from fedfr.deployment.certificates import make_authority
from fedfr.deployment.public_set import FILES, fetch, publish
from fedfr.faces import FaceSet

FACES = tiny_faces(5, 4)
FINGERPRINT = FACES.fingerprint()
NOT_AGREED = "differs from the agreement and was removed; tell the coordinator"


@pytest.fixture
def tls(tmp_path: Path) -> Path:
    return authority_in(tmp_path / "tls").parent


@pytest.fixture
def server(tmp_path: Path, tls: Path) -> Iterator[Server]:
    publish(FACES, tmp_path / "proxy")
    with serving(tmp_path / "proxy", tls) as made:
        yield made


@pytest.fixture
def offered(tmp_path: Path) -> Path:
    return tmp_path / "proxy" / "public" / FINGERPRINT


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    return tmp_path / "a site" / "public"


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_the_whole_set_arrives_and_is_fetched_once(server: Server, tls: Path, offered: Path, dest: Path) -> None:
    seen: list[tuple[int, int]] = []
    faces = fetch(server.address, tls / "ca.crt", FINGERPRINT, dest, lambda done, total: seen.append((done, total)))
    assert faces.fingerprint() == FINGERPRINT
    assert digests(dest) == digests(offered)
    assert [path.name for path in dest.parent.iterdir()] == ["public"]
    assert [name for name, _ in server.asked] == [*FILES]
    assert {*FILES} == {path.name for path in offered.iterdir()}
    sizes = [(path.stat().st_size,) * 2 for path in map(dest.joinpath, FILES)]
    assert [(done, total) for done, total in seen if done == total] == sizes
    assert all(done <= total for done, total in seen)
    server.asked.clear()
    assert fetch(server.address, tls / "ca.crt", FINGERPRINT, dest).fingerprint() == FINGERPRINT
    assert server.asked == []


def test_what_is_there_needs_no_server(tls: Path, dest: Path) -> None:
    FACES.save(dest)
    assert len(fetch("localhost:1", tls / "none.crt", FINGERPRINT, dest)) == len(FACES)


@pytest.mark.parametrize(("name", "after"), [("pixels.npy", 100_000), ("pixels.npy", 0), ("faces.json", 7)])
def test_an_interrupted_fetch_goes_on_where_it_stopped(
    server: Server, tls: Path, offered: Path, dest: Path, name: str, after: int
) -> None:
    server.cut = {name: after}
    with pytest.raises(FedfrError, match=r"closed the connection early .*; fetch again to resume"):
        fetch(server.address, tls / "ca.crt", FINGERPRINT, dest)
    assert not dest.exists()
    server.asked.clear()
    fetch(server.address, tls / "ca.crt", FINGERPRINT, dest)
    assert digests(dest) == digests(offered)
    assert dict(server.asked)[name] == (f"bytes={after}-" if after else "")
    assert [path.name for path in dest.parent.iterdir()] == ["public"]


def test_interrupted_again_and_again_it_arrives(server: Server, tls: Path, offered: Path, dest: Path) -> None:
    for _ in range(3):
        server.cut = {"pixels.npy": 200_000}
        with pytest.raises(FedfrError, match="fetch again to resume"):
            fetch(server.address, tls / "ca.crt", FINGERPRINT, dest)
    fetch(server.address, tls / "ca.crt", FINGERPRINT, dest)
    assert digests(dest) == digests(offered)


def test_a_server_without_ranges_sends_it_from_the_beginning(
    server: Server, tls: Path, offered: Path, dest: Path
) -> None:
    server.ranges, server.cut = False, {"pixels.npy": 100_000}
    for _ in range(2):
        with pytest.raises(FedfrError, match="fetch again to resume"):
            fetch(server.address, tls / "ca.crt", FINGERPRINT, dest)
        server.cut = {"pixels.npy": 1}
    server.cut = {}
    fetch(server.address, tls / "ca.crt", FINGERPRINT, dest)
    assert digests(dest) == digests(offered)


def test_what_came_of_another_set_is_not_gone_on_with(server: Server, tls: Path, dest: Path, tmp_path: Path) -> None:
    """Between two attempts the coordinator gave out a new agreement."""
    server.cut = {"pixels.npy": 100_000}
    with pytest.raises(FedfrError, match="fetch again to resume"):
        fetch(server.address, tls / "ca.crt", FINGERPRINT, dest)
    other = tiny_faces(5, 4, seed=1)
    publish(other, tmp_path / "proxy")
    assert fetch(server.address, tls / "ca.crt", other.fingerprint(), dest).fingerprint() == other.fingerprint()
    assert [path.name for path in dest.parent.iterdir()] == ["public"]


def _one_pixel(offered: Path) -> None:
    pixels = np.load(offered / "pixels.npy")
    pixels[7, 50, 60, 1] ^= 1
    np.save(offered / "pixels.npy", pixels)


def _other_digests(offered: Path) -> None:
    kept = np.load(offered / "digests.npy")
    kept[3, 0] ^= 1
    np.save(offered / "digests.npy", kept)


def _no_digests(offered: Path) -> None:
    (offered / "digests.npy").write_bytes(b"")


def _described(offered: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((offered / "faces.json").read_text("utf-8"))
    change(content)
    (offered / "faces.json").write_text(json.dumps(content), "utf-8")


def _other_name(offered: Path) -> None:
    # The identities stand before the images' names.
    columns = (offered / "columns.dat").read_bytes()
    assert columns.count(b"person-00") > 1
    (offered / "columns.dat").write_bytes(columns.replace(b"person-00", b"somebody!", 1))


def _other_label(offered: Path) -> None:
    columns = (offered / "columns.dat").read_bytes()
    (offered / "columns.dat").write_bytes(b"\x01" + columns[1:])


def _name_that_is_none(offered: Path) -> None:
    columns = bytearray((offered / "columns.dat").read_bytes())
    columns[columns.rindex(b"person-00")] = 0xFF
    (offered / "columns.dat").write_bytes(columns)


def _other_fingerprint(offered: Path) -> None:
    _described(offered, lambda content: content.update(fingerprint="0" * 64))


def _images_of_this_machine(offered: Path) -> None:
    _described(offered, lambda content: content.update(pixels="recordio"))


def _another_set(offered: Path) -> None:
    other = tiny_faces(5, 4, seed=1)
    for file in [*offered.iterdir()]:
        file.unlink()
    other.save(offered)


def _cut_short(offered: Path) -> None:
    content = (offered / "pixels.npy").read_bytes()
    (offered / "pixels.npy").write_bytes(content[:-1])


def _deep(offered: Path) -> None:
    (offered / "faces.json").write_text("[" * 100_000, "ascii")


def _object(offered: Path) -> None:
    np.save(offered / "pixels.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)


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
def test_whatever_is_altered_is_refused_and_removed(
    server: Server, tls: Path, offered: Path, dest: Path, alter: Callable[[Path], None]
) -> None:
    kept = {path.name: path.read_bytes() for path in offered.iterdir()}
    alter(offered)
    with pytest.raises(FedfrError, match=NOT_AGREED):
        fetch(server.address, tls / "ca.crt", FINGERPRINT, dest)
    assert [*dest.parent.iterdir()] == []
    for name, content in kept.items():
        (offered / name).write_bytes(content)
    assert fetch(server.address, tls / "ca.crt", FINGERPRINT, dest).fingerprint() == FINGERPRINT


def test_a_part_that_was_altered_here_is_refused_too(server: Server, tls: Path, dest: Path) -> None:
    server.cut = {"pixels.npy": 100_000}
    with pytest.raises(FedfrError, match="fetch again to resume"):
        fetch(server.address, tls / "ca.crt", FINGERPRINT, dest)
    (part,) = dest.parent.iterdir()
    with (part / "pixels.npy").open("r+b") as file:
        file.seek(50_000)
        file.write(b"\x00\xff\x00")
    with pytest.raises(FedfrError, match=NOT_AGREED):
        fetch(server.address, tls / "ca.crt", FINGERPRINT, dest)
    assert fetch(server.address, tls / "ca.crt", FINGERPRINT, dest).fingerprint() == FINGERPRINT


def test_a_server_that_does_not_have_the_set(server: Server, tls: Path, dest: Path) -> None:
    said = rf"{server.address} does not have /public/0+/faces.json \(HTTP 404\); ask the coordinator to submit the run"
    with pytest.raises(FedfrError, match=said):
        fetch(server.address, tls / "ca.crt", "0" * 64, dest)
    assert not dest.exists()


def test_a_server_of_another_authority_is_given_nothing(server: Server, tls: Path, dest: Path, tmp_path: Path) -> None:
    make_authority(tmp_path / "other", "hospitals")
    with pytest.raises(FedfrError, match=r"has the wrong certificate \(.*\); nothing was downloaded"):
        fetch(server.address, tmp_path / "other" / "ca.crt", FINGERPRINT, dest)
    assert server.asked == []
    assert not dest.exists()


def test_nobody_listens(server: Server, tls: Path, dest: Path) -> None:
    with pytest.raises(FedfrError, match=r"cannot fetch faces.json from localhost:1: Connection refused; fetch again"):
        fetch("localhost:1", tls / "ca.crt", FINGERPRINT, dest)


@pytest.mark.parametrize("address", ["localhost", "localhost:many", "localhost:99999", ""])
def test_a_server_that_is_none(tls: Path, dest: Path, address: str) -> None:
    with pytest.raises(FedfrError, match="give host and port"):
        fetch(address, tls / "ca.crt", FINGERPRINT, dest)
    assert not dest.parent.exists()


def test_an_authority_that_is_missing_or_none(server: Server, tls: Path, dest: Path) -> None:
    with pytest.raises(FedfrError, match=r"cannot read the certificate .*none.crt: No such file"):
        fetch(server.address, tls / "none.crt", FINGERPRINT, dest)
    (tls / "text.crt").write_text("no certificate", "ascii")
    with pytest.raises(FedfrError, match=r"text.crt is not a PEM certificate"):
        fetch(server.address, tls / "text.crt", FINGERPRINT, dest)
    assert not dest.parent.exists()


def test_a_server_that_does_not_say_how_much_comes(server: Server, tls: Path, dest: Path) -> None:
    server.silent = True
    with pytest.raises(FedfrError, match=r"closed the connection early .*no Content-Length"):
        fetch(server.address, tls / "ca.crt", FINGERPRINT, dest)


def test_other_faces_are_not_replaced(server: Server, tls: Path, dest: Path) -> None:
    tiny_faces(5, 4, seed=1).save(dest)
    before = digests(dest)
    with pytest.raises(
        FedfrError, match=r"public holds other faces than the agreement names; remove them, then fetch again"
    ):
        fetch(server.address, tls / "ca.crt", FINGERPRINT, dest)
    assert digests(dest) == before
    assert server.asked == []


def test_a_place_that_cannot_be_written(
    server: Server, tls: Path, tmp_path: Path, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(WriteError, match=r"cannot write .*: Not a directory"):
        fetch(server.address, tls / "ca.crt", FINGERPRINT, tmp_path / "file" / "public")

    def full(done: int, total: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(WriteError, match=r"cannot fetch .*: No space left on device; fetch again to resume"):
        fetch(server.address, tls / "ca.crt", FINGERPRINT, dest, full)
    assert fetch(server.address, tls / "ca.crt", FINGERPRINT, dest).fingerprint() == FINGERPRINT


def test_what_is_offered_is_offered_once(tmp_path: Path) -> None:
    place = publish(FACES, tmp_path / "proxy")
    before = {path: path.stat().st_mtime_ns for path in place.iterdir()}
    assert publish(FaceSet.load(place), tmp_path / "proxy") == place
    assert {path: path.stat().st_mtime_ns for path in place.iterdir()} == before
