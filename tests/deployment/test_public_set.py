"""Download of the public faces: complete, resumed, and errors of server, certificate and disk."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

import pytest
from tests.support.https import Server
from tests.support.public_faces import FACES, FINGERPRINT
from tests.support.tiny_experiment import tiny_faces

from fedfr.core.errors import FedfrError, WriteError
from fedfr.deployment.certificates import make_authority
from fedfr.deployment.public_set import FILES, fetch, publish
from fedfr.faces import FaceSet


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_the_set_is_downloaded_once(public_server: Server, tls: Path, published: Path, dest: Path) -> None:
    progress: list[tuple[int, int]] = []
    faces = fetch(
        public_server.address, tls / "ca.crt", FINGERPRINT, dest, lambda done, total: progress.append((done, total))
    )
    assert faces.fingerprint() == FINGERPRINT
    assert digests(dest) == digests(published)
    assert [path.name for path in dest.parent.iterdir()] == ["public"]
    assert [name for name, _ in public_server.asked] == [*FILES]
    assert {*FILES} == {path.name for path in published.iterdir()}
    sizes = [(path.stat().st_size,) * 2 for path in map(dest.joinpath, FILES)]
    assert [(done, total) for done, total in progress if done == total] == sizes
    assert all(done <= total for done, total in progress)
    public_server.asked.clear()
    assert fetch(public_server.address, tls / "ca.crt", FINGERPRINT, dest).fingerprint() == FINGERPRINT
    assert public_server.asked == []


def test_an_existing_set_needs_no_server(tls: Path, dest: Path) -> None:
    FACES.save(dest)
    assert len(fetch("localhost:1", tls / "none.crt", FINGERPRINT, dest)) == len(FACES)


@pytest.mark.parametrize(("name", "after"), [("pixels.npy", 100_000), ("pixels.npy", 0), ("faces.json", 7)])
def test_an_interrupted_download_is_resumed(
    public_server: Server, tls: Path, published: Path, dest: Path, name: str, after: int
) -> None:
    public_server.cut = {name: after}
    with pytest.raises(FedfrError, match=r"closed the connection early .*; fetch again to resume"):
        fetch(public_server.address, tls / "ca.crt", FINGERPRINT, dest)
    assert not dest.exists()
    public_server.asked.clear()
    fetch(public_server.address, tls / "ca.crt", FINGERPRINT, dest)
    assert digests(dest) == digests(published)
    assert dict(public_server.asked)[name] == (f"bytes={after}-" if after else "")
    assert [path.name for path in dest.parent.iterdir()] == ["public"]


def test_a_download_survives_repeated_interruptions(
    public_server: Server, tls: Path, published: Path, dest: Path
) -> None:
    for _ in range(3):
        public_server.cut = {"pixels.npy": 200_000}
        with pytest.raises(FedfrError, match="fetch again to resume"):
            fetch(public_server.address, tls / "ca.crt", FINGERPRINT, dest)
    fetch(public_server.address, tls / "ca.crt", FINGERPRINT, dest)
    assert digests(dest) == digests(published)


def test_without_ranges_the_download_starts_again(
    public_server: Server, tls: Path, published: Path, dest: Path
) -> None:
    public_server.ranges, public_server.cut = False, {"pixels.npy": 100_000}
    for _ in range(2):
        with pytest.raises(FedfrError, match="fetch again to resume"):
            fetch(public_server.address, tls / "ca.crt", FINGERPRINT, dest)
        public_server.cut = {"pixels.npy": 1}
    public_server.cut = {}
    fetch(public_server.address, tls / "ca.crt", FINGERPRINT, dest)
    assert digests(dest) == digests(published)


def test_a_partial_download_of_another_set_is_not_resumed(
    public_server: Server, tls: Path, dest: Path, tmp_path: Path
) -> None:
    """The agreement changed between two attempts."""
    public_server.cut = {"pixels.npy": 100_000}
    with pytest.raises(FedfrError, match="fetch again to resume"):
        fetch(public_server.address, tls / "ca.crt", FINGERPRINT, dest)
    other = tiny_faces(5, 4, seed=1)
    publish(other, tmp_path / "proxy")
    assert fetch(public_server.address, tls / "ca.crt", other.fingerprint(), dest).fingerprint() == other.fingerprint()
    assert [path.name for path in dest.parent.iterdir()] == ["public"]


def test_a_server_that_does_not_have_the_set(public_server: Server, tls: Path, dest: Path) -> None:
    expected = (
        rf"{public_server.address} does not have /public/0+/faces.json \(HTTP 404\); ask the coordinator to submit"
    )
    with pytest.raises(FedfrError, match=expected):
        fetch(public_server.address, tls / "ca.crt", "0" * 64, dest)
    assert not dest.exists()


def test_a_server_of_another_authority_receives_no_request(
    public_server: Server, tls: Path, dest: Path, tmp_path: Path
) -> None:
    make_authority(tmp_path / "other", "hospitals")
    with pytest.raises(FedfrError, match=r"has the wrong certificate \(.*\); nothing was downloaded"):
        fetch(public_server.address, tmp_path / "other" / "ca.crt", FINGERPRINT, dest)
    assert public_server.asked == []
    assert not dest.exists()


def test_no_process_listens(public_server: Server, tls: Path, dest: Path) -> None:
    with pytest.raises(FedfrError, match=r"cannot fetch faces.json from localhost:1: Connection refused; fetch again"):
        fetch("localhost:1", tls / "ca.crt", FINGERPRINT, dest)


@pytest.mark.parametrize("address", ["localhost", "localhost:many", "localhost:99999", ""])
def test_an_invalid_server_address(tls: Path, dest: Path, address: str) -> None:
    with pytest.raises(FedfrError, match="give host and port"):
        fetch(address, tls / "ca.crt", FINGERPRINT, dest)
    assert not dest.parent.exists()


def test_a_missing_or_invalid_authority(public_server: Server, tls: Path, dest: Path) -> None:
    with pytest.raises(FedfrError, match=r"cannot read the certificate .*none.crt: No such file"):
        fetch(public_server.address, tls / "none.crt", FINGERPRINT, dest)
    (tls / "text.crt").write_text("no certificate", "ascii")
    with pytest.raises(FedfrError, match=r"text.crt is not a PEM certificate"):
        fetch(public_server.address, tls / "text.crt", FINGERPRINT, dest)
    assert not dest.parent.exists()


def test_a_response_without_content_length(public_server: Server, tls: Path, dest: Path) -> None:
    public_server.silent = True
    with pytest.raises(FedfrError, match=r"closed the connection early .*no Content-Length"):
        fetch(public_server.address, tls / "ca.crt", FINGERPRINT, dest)


def test_other_faces_are_not_replaced(public_server: Server, tls: Path, dest: Path) -> None:
    tiny_faces(5, 4, seed=1).save(dest)
    before = digests(dest)
    with pytest.raises(
        FedfrError, match=r"public holds other faces than the agreement names; remove them, then fetch again"
    ):
        fetch(public_server.address, tls / "ca.crt", FINGERPRINT, dest)
    assert digests(dest) == before
    assert public_server.asked == []


def test_a_folder_that_cannot_be_written(
    public_server: Server, tls: Path, tmp_path: Path, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(WriteError, match=r"cannot write .*: Not a directory"):
        fetch(public_server.address, tls / "ca.crt", FINGERPRINT, tmp_path / "file" / "public")

    def full(done: int, total: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(WriteError, match=r"cannot fetch .*: No space left on device; fetch again to resume"):
        fetch(public_server.address, tls / "ca.crt", FINGERPRINT, dest, full)
    assert fetch(public_server.address, tls / "ca.crt", FINGERPRINT, dest).fingerprint() == FINGERPRINT


def test_a_published_set_is_not_written_again(tmp_path: Path) -> None:
    place = publish(FACES, tmp_path / "proxy")
    before = {path: path.stat().st_mtime_ns for path in place.iterdir()}
    assert publish(FaceSet.load(place), tmp_path / "proxy") == place
    assert {path: path.stat().st_mtime_ns for path in place.iterdir()} == before
