"""The public faces on their way to the sites: offered by the coordinator's proxy, fetched once, verified, kept."""

from __future__ import annotations

import glob
import http.client
import shutil
import ssl
from collections.abc import Callable
from pathlib import Path

from fedfr.deployment.certificates import trust_only
from fedfr.deployment.processes import Address
from fedfr.errors import FedfrError, WriteError
from fedfr.faces import FaceSet
from fedfr.faces.storage import DIGESTS, open_pixels, read_digests
from fedfr.files import move_folder

__all__ = ["fetch", "offer"]

FILES = ("faces.json", "columns.dat", "digests.npy", "pixels.npy")
PIECE = 1 << 20
Progress = Callable[[int, int], None]


def offer(faces: FaceSet, proxy: Path) -> Path:
    """Put public faces where the proxy in this folder gives them away, by their fingerprint."""
    place = proxy / "public" / faces.fingerprint()
    if not place.exists():
        faces.save(place)
        # nginx reads them as a user of its own.
        for folder in (place, place.parent):
            folder.chmod(0o755)
        for file in place.iterdir():
            file.chmod(0o644)
    return place


def fetch(server: str, authority: Path, fingerprint: str, dest: Path, progress: Progress | None = None) -> FaceSet:
    """Get the public faces with this fingerprint from the coordinator into ``dest``, unless they are there.

    A fetch that was interrupted goes on where it stopped. Every picture is hashed before the set gets its name. Raises
    :class:`FedfrError` when the server does not have them or is not who it should be, when what came is something else,
    and when another set is in ``dest``.
    """
    if dest.exists():
        there = FaceSet.load(dest)
        if there.fingerprint() != fingerprint:
            raise FedfrError(f"{dest} holds other faces than agreed on; remove them, then fetch again")
        return there
    address, context = Address.parse(server), trust_only(authority)
    part = _part(dest, fingerprint)
    for name in FILES:
        try:
            _fetch(address, context, f"/public/{fingerprint}/{name}", part / name, progress)
        except ssl.SSLCertVerificationError as error:
            raise FedfrError(
                f"{server} is not who it should be ({error.verify_message}); nothing was fetched"
            ) from error
        except http.client.HTTPException as error:
            raise FedfrError(f"{server} ended in between ({error!r}); fetch again, it goes on") from error
        except OSError as error:
            # A full disk has a number of its own; everything else is the network's.
            kind = WriteError if error.filename is not None or error.errno == 28 else FedfrError
            raise kind(
                f"cannot fetch {name} from {server}: {error.strerror or error}; fetch again, it goes on"
            ) from error
    found = _verified(part, fingerprint)
    if found is None:
        shutil.rmtree(part)
        raise FedfrError(f"what {server} gave is not the set agreed on, and was removed; tell the coordinator")
    move_folder(part, dest)
    return FaceSet.load(dest)


def _part(dest: Path, fingerprint: str) -> Path:
    """Where what came so far is kept; what came of another set is removed."""
    part = dest.with_name(f".{dest.name}.{fingerprint[:16]}.part")
    for old in dest.parent.glob(f".{glob.escape(dest.name)}.*.part"):
        if old != part:
            shutil.rmtree(old, ignore_errors=True)
    try:
        part.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"cannot write {part}: {error.strerror}; choose a folder that can be written") from error
    return part


def _fetch(address: Address, context: ssl.SSLContext, path: str, dest: Path, progress: Progress | None) -> None:
    begun = dest.stat().st_size if dest.exists() else 0
    connection = http.client.HTTPSConnection(address.name, address.port, context=context, timeout=60)
    try:
        connection.request("GET", path, headers={"Range": f"bytes={begun}-"} if begun else {})
        answer = connection.getresponse()
        if answer.status == 416:  # nothing comes after what is there
            return
        if answer.status not in (200, 206):
            raise FedfrError(
                f"{address} does not have {path} ({answer.status}); ask the coordinator to submit the run again"
            )
        mode, done = ("ab", begun) if answer.status == 206 else ("wb", 0)
        length = answer.headers["Content-Length"] or ""
        if not length.isdecimal():
            raise http.client.HTTPException("it does not say how much comes")
        total = done + int(length)
        with dest.open(mode) as file:
            while piece := answer.read(PIECE):
                done += file.write(piece)
                if progress is not None:
                    progress(done, total)
    finally:
        connection.close()
    if done != total:
        raise http.client.IncompleteRead(b"", total - done)


def _verified(folder: Path, fingerprint: str) -> FaceSet | None:
    """The set in ``folder`` if its pictures, and what is said of them, are those of the fingerprint."""
    try:
        faces = FaceSet.load(folder)
        # Not what is kept beside the pixels, and not all of them in memory at once.
        again = FaceSet(open_pixels(folder / "pixels.npy"), faces.labels, faces.identities, list(faces.names))
    except (FedfrError, RecursionError):
        return None
    said = read_digests(folder / DIGESTS, faces.labels, faces.identities, fingerprint) == again.digests()
    return faces if said and faces.fingerprint() == again.fingerprint() == fingerprint else None
