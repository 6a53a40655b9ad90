"""Distribution of open face sets: published by the coordinator's proxy, downloaded and verified by sites."""

from __future__ import annotations

import glob
import shutil
from collections.abc import Callable
from pathlib import Path

import httpx

from fedfr.core.errors import FedfrError, WriteError
from fedfr.core.files import make_folder, move_folder
from fedfr.deployment.address import Address
from fedfr.deployment.certificates import tls_context
from fedfr.deployment.routes import Route, certificate_error
from fedfr.faces import FaceSet
from fedfr.faces.storage import DIGESTS, open_pixels, read_digests

__all__ = ["fetch", "publish"]

FILES = ("faces.json", "columns.dat", "digests.npy", "pixels.npy")
CHUNK = 1 << 20
Progress = Callable[[int, int], None]


def publish(faces: FaceSet, proxy: Path) -> Path:
    """Save open faces in the proxy's folder under their fingerprint, unless they exist; return the folder."""
    folder = proxy / "public" / faces.fingerprint()
    if not folder.exists():
        faces.save(folder)
        # nginx may run as another user.
        for readable in (folder, folder.parent):
            readable.chmod(0o755)
        for file in folder.iterdir():
            file.chmod(0o644)
    return folder


def fetch(server: str, authority: Path, fingerprint: str, dest: Path, progress: Progress | None = None) -> FaceSet:
    """Download the published faces with this fingerprint to ``dest``, unless they exist.

    ``server``: host and port. ``authority``: certificate that verifies the server. ``progress`` receives the bytes done
    and the total of each file. An interrupted download is resumed. Every image is verified before the set is moved to
    ``dest``. Raises :class:`FedfrError` if the server does not answer, has a wrong certificate or not this set, if the
    downloaded set has another fingerprint, and if ``dest`` holds another set.
    """
    if dest.exists():
        existing = FaceSet.load(dest)
        if existing.fingerprint() != fingerprint:
            raise FedfrError(f"{dest} holds other faces than the agreement names; remove them, then fetch again")
        return existing
    route, trusted = Route.to(Address.parse(server)), tls_context(authority)
    part = _partial_folder(dest, fingerprint)
    with route.client(trusted, 60) as client:
        for name in FILES:
            try:
                _download(client, f"/public/{fingerprint}/{name}", part / name, progress)
            except httpx.HTTPError as error:
                if why := certificate_error(error):
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


def _partial_folder(dest: Path, fingerprint: str) -> Path:
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


def _download(client: httpx.Client, path: str, dest: Path, progress: Progress | None) -> None:
    offset = dest.stat().st_size if dest.exists() else 0
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={offset}-"} if offset else {})}
    with client.stream("GET", path, headers=headers) as response:
        if response.status_code == 416:  # range not satisfiable: the file is complete
            return
        if response.status_code not in (200, 206):
            raise FedfrError(
                f"{client.base_url.netloc.decode()} does not have {path} (HTTP {response.status_code}); "
                "ask the coordinator to submit the run again"
            )
        mode, done = ("ab", offset) if response.status_code == 206 else ("wb", 0)
        length = response.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise httpx.RemoteProtocolError("no Content-Length")
        total = done + int(length)
        with dest.open(mode, buffering=CHUNK) as file:
            for chunk in response.iter_raw():
                done += file.write(chunk)
                if progress is not None:
                    progress(done, total)


def _verified(folder: Path, fingerprint: str) -> FaceSet | None:
    """Return the set in ``folder``, or None if its images or metadata do not have the fingerprint."""
    try:
        faces = FaceSet.load(folder)
        # Compute the digests from the pixels, in small parts, instead of trusting the stored ones.
        recomputed = FaceSet(open_pixels(folder / "pixels.npy"), faces.labels, faces.identities, list(faces.names))
    except (FedfrError, RecursionError):
        return None
    digests_match = read_digests(folder / DIGESTS, faces.labels, faces.identities, fingerprint) == recomputed.digests()
    return faces if digests_match and faces.fingerprint() == recomputed.fingerprint() == fingerprint else None
