"""Distribution of the public faces: offered by the coordinator's proxy, downloaded and verified by sites."""

from __future__ import annotations

import glob
import shutil
from collections.abc import Callable
from pathlib import Path

import httpx

from fedfr.core.errors import FedfrError, WriteError
from fedfr.core.files import make_folder, move_folder
from fedfr.deployment.address import Address
from fedfr.deployment.certificates import trust_only
from fedfr.deployment.routes import Route, distrust
from fedfr.faces import FaceSet
from fedfr.faces.storage import DIGESTS, open_pixels, read_digests

__all__ = ["fetch", "offer"]

FILES = ("faces.json", "columns.dat", "digests.npy", "pixels.npy")
PIECE = 1 << 20
Progress = Callable[[int, int], None]


def offer(faces: FaceSet, proxy: Path) -> Path:
    """Publish public faces in the proxy's folder under their fingerprint."""
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
    """Download the public faces with this fingerprint to ``dest``, unless they are there already.

    A fetch that was interrupted goes on where it stopped. Every image is hashed before the set gets its name. Raises
    :class:`FedfrError` when the server does not have them or is not who it should be, when what came is something else,
    and when another set is in ``dest``.
    """
    if dest.exists():
        there = FaceSet.load(dest)
        if there.fingerprint() != fingerprint:
            raise FedfrError(f"{dest} holds other faces than agreed on; remove them, then fetch again")
        return there
    route, trusted = Route.to(Address.parse(server)), trust_only(authority)
    part = _part(dest, fingerprint)
    with route.client(trusted, 60) as client:
        for name in FILES:
            try:
                _fetch(client, f"/public/{fingerprint}/{name}", part / name, progress)
            except httpx.HTTPError as error:
                if why := distrust(error):
                    raise FedfrError(f"{server} has the wrong certificate ({why}); nothing was downloaded") from error
                if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
                    raise FedfrError(
                        f"cannot fetch {name} from {server}: {route.failure(error)}; fetch again to resume"
                    ) from error
                raise FedfrError(f"{server} closed the connection early ({error!r}); fetch again to resume") from error
            except OSError as error:
                raise WriteError(
                    f"cannot fetch {name} from {server}: {error.strerror or error}; fetch again to resume"
                ) from error
    found = _verified(part, fingerprint)
    if found is None:
        shutil.rmtree(part)
        raise FedfrError(f"the set from {server} differs from the agreement and was removed; tell the coordinator")
    move_folder(part, dest)
    return FaceSet.load(dest)


def _part(dest: Path, fingerprint: str) -> Path:
    """Return the folder of a partial download; remove partial downloads of other sets."""
    part = dest.with_name(f".{dest.name}.{fingerprint[:16]}.part")
    for old in dest.parent.glob(f".{glob.escape(dest.name)}.*.part"):
        if old != part:
            shutil.rmtree(old, ignore_errors=True)
    try:
        make_folder(part)
    except OSError as error:
        raise WriteError(f"cannot write {part}: {error.strerror}; choose a folder that can be written") from error
    return part


def _fetch(client: httpx.Client, path: str, dest: Path, progress: Progress | None) -> None:
    begun = dest.stat().st_size if dest.exists() else 0
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={begun}-"} if begun else {})}
    with client.stream("GET", path, headers=headers) as answer:
        if answer.status_code == 416:  # nothing comes after what is there
            return
        if answer.status_code not in (200, 206):
            raise FedfrError(
                f"{client.base_url.netloc.decode()} does not have {path} ({answer.status_code}); ask the coordinator to"
                " submit the run again"
            )
        mode, done = ("ab", begun) if answer.status_code == 206 else ("wb", 0)
        length = answer.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise httpx.RemoteProtocolError("it does not announce the size")
        total = done + int(length)
        with dest.open(mode, buffering=PIECE) as file:
            for piece in answer.iter_raw():
                done += file.write(piece)
                if progress is not None:
                    progress(done, total)


def _verified(folder: Path, fingerprint: str) -> FaceSet | None:
    """Open the set in ``folder`` if its images and metadata have the fingerprint."""
    try:
        faces = FaceSet.load(folder)
        # Not what is kept beside the pixels, and not all of them in memory at once.
        again = FaceSet(open_pixels(folder / "pixels.npy"), faces.labels, faces.identities, list(faces.names))
    except (FedfrError, RecursionError):
        return None
    said = read_digests(folder / DIGESTS, faces.labels, faces.identities, fingerprint) == again.digests()
    return faces if said and faces.fingerprint() == again.fingerprint() == fingerprint else None
