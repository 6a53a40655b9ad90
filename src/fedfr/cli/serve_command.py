"""``fedfr serve``: HTTP service and web page of a gallery."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedfr.cli.gallery_options import GalleryFolder, PassphraseFile, passphrase_for
from fedfr.cli.output import print_lines
from fedfr.cli.site_galleries import open_site
from fedfr.core.errors import FedfrError

if TYPE_CHECKING:
    from fedfr.recognition.enrolment.enrolment import Progress
    from fedfr.recognition.rebuild import Rebuild
    from fedfr.recognition.recognizer import Recognizer
    from fedfr.recognition.service.rebuilding import RebuildWork

__all__ = ["serve", "site_rebuild"]


def serve(
    folder: GalleryFolder,
    port: Annotated[int, typer.Option("--port", metavar="PORT", help="Port; 0 takes a free one.")] = 8080,
    host: Annotated[
        str,
        typer.Option(
            "--host",
            metavar="ADDRESS",
            help="Address to listen on; other than this machine's own, it needs tokens and TLS.",
        ),
    ] = "127.0.0.1",
    names: Annotated[
        list[str] | None,
        typer.Option("--name", metavar="NAME", help="Further host name of the service; may be repeated."),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option("--tls-cert", metavar="FILE", help="Certificate (PEM) with its chain.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--tls-key", metavar="FILE", help="Key (PEM) of the certificate, unencrypted.")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option("--threads", metavar="N", min=1, help="Threads of the network; by default one per core."),
    ] = None,
    site: Annotated[
        Path | None,
        typer.Option("--site", metavar="FOLDER", help="A federation's site, for whose newest model one may rebuild."),
    ] = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Serve a gallery's web page and HTTP API until stopped."""
    missing = [name for name in ("fastapi", "uvicorn", "python_multipart") if find_spec(name) is None]
    if missing:
        raise FedfrError("the service needs FastAPI; pip install 'fedfr[door]'")
    if not 0 <= port <= 65535:
        raise FedfrError(f"--port is {port}; allowed are 1 to 65535, and 0 for a free one")
    if (certificate is None) != (key is None):
        raise FedfrError("--tls-cert and --tls-key belong together; give both or none")
    from fedfr.recognition.gallery.gallery_settings import read_gallery_settings
    from fedfr.recognition.service.server import Tls
    from fedfr.recognition.service.server import serve as serve_gallery

    read_gallery_settings(folder)
    tls = None if certificate is None or key is None else Tls(certificate, key)
    if site is not None:
        open_site(site, None, None, None)
    passphrase = passphrase_for(folder, passphrase_file)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # a damaged form is answered, not logged

    def open_gallery() -> Recognizer:
        return _open(folder, passphrase, threads)

    serve_gallery(
        folder,
        open_gallery,
        host=host,
        port=port,
        tls=tls,
        names=names or (),
        rebuild=None if site is None else site_rebuild(site),
        started=lambda url: print_lines(f"{folder} is served at {url}; stop it with Ctrl-C"),
    )
    print_lines("stopped")


def site_rebuild(site: Path) -> RebuildWork:
    """Return the function that rebuilds a gallery for the newest model of the site in a folder."""

    def rebuild(recognizer: Recognizer, report: Progress) -> Rebuild:
        return open_site(site, None, None, None).rebuild(recognizer, None, {"progress": report})

    return rebuild


def _open(folder: Path, passphrase: str | None, threads: int | None) -> Recognizer:
    """Open the gallery, and use its network once, so that the first request is not slower."""
    import cv2
    import numpy as np
    import torch

    from fedfr.recognition.recognizer import Recognizer

    if threads is not None:
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
    recognizer = Recognizer.open(folder, passphrase)
    if recognizer.status().detects:
        recognizer.detect(np.full((480, 640, 3), 127, np.uint8))
    return recognizer
