"""Watch over a site's galleries: after a finished run they are rebuilt, or the command that does it is logged."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fedfr.core.errors import FedfrError
from fedfr.deployment.site_config import SiteConfig
from fedfr.recognition.gallery.encryption import SiteKey
from fedfr.recognition.gallery.store import KEY_FILE

if TYPE_CHECKING:
    from fedfr.deployment.site_gallery import GalleryState

# Modules that need PyTorch are imported only when the site has a gallery: this process lives as long as the site runs.

__all__ = ["GalleryWatch"]

_log = logging.getLogger("fedfr.deployment")
_INTERVAL, _GRACE = 5.0, 30.0


class GalleryWatch:
    """Notices, for the site of ``path``, that a run has finished and galleries have an older model.

    The files are read at every look, so changes of ``site.yaml`` need no restart. Each finished run is announced once
    per start of the site. A rebuild runs in a process of its own, at low priority; the gallery keeps its old model
    until the new one is complete, and an interrupted rebuild is continued by the next one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handled: dict[str, tuple[str, int, str]] = {}
        self._stopped = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Watch in a thread until the block ends; a rebuild in progress is then interrupted."""
        thread = threading.Thread(target=self._run, name="galleries", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join(_GRACE)

    def look(self) -> None:
        """Announce or rebuild the galleries that are due."""
        try:
            config = SiteConfig.load(self._path)
            if not config.galleries:
                return
            from fedfr.deployment.site import Site
            from fedfr.deployment.site_gallery import gallery_states, newest_round

            site = Site(config)
            finished = newest_round(site)
            if finished < site.method.rounds(site.agreement.rounds):
                return
            due = site.agreement.fingerprint, finished, site.config.rebuild
            if all(self._handled.get(each) == due for each in site.config.galleries):
                return
            states = gallery_states(site)
        except (FedfrError, OSError):
            # The process of the site says what is wrong with its files.
            return
        for state in states:
            if self._handled.get(str(state.gallery)) != due:
                self._handled[str(state.gallery)] = due
                self._handle(state, automatic=site.config.rebuild == "automatic")

    def _handle(self, state: GalleryState, *, automatic: bool) -> None:
        from fedfr.deployment.site_gallery import rebuild_arguments, rebuild_command

        folder = self._path.parent
        if state.current:
            return
        if state.problem:
            _log.warning("gallery %s: %s", state.gallery, state.problem)
            return
        command = rebuild_command(state.gallery, folder)
        asks = SiteKey.has_passphrase(state.gallery / KEY_FILE)
        if asks or not automatic:
            due = " and needs its passphrase" if asks else ""
            _log.warning("gallery %s has the model of an earlier round%s; rebuild it: %s", state.gallery, due, command)
            return
        _log.info("gallery %s is rebuilt for the model of round %d", state.gallery, state.round)
        code = self._rebuild(rebuild_arguments(state.gallery, folder))
        if code == 0:
            _log.info("gallery %s has the model of round %d", state.gallery, state.round)
        elif not self._stopped.is_set():
            _log.error(
                "gallery %s keeps its old model: the rebuild ended with code %d; call %s", state.gallery, code, command
            )

    def _rebuild(self, arguments: list[str]) -> int:
        program = "import os; os.nice(10); from fedfr.cli.main import main; main()"
        process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        while True:
            try:
                _, errors = process.communicate(timeout=0.2)
            except subprocess.TimeoutExpired:
                if self._stopped.is_set():
                    process.terminate()
                continue
            for line in errors.splitlines():
                # Other lines show the progress.
                if line.startswith("fedfr: "):
                    _log.warning("rebuild: %s", line.removeprefix("fedfr: "))
            return process.returncode

    def _run(self) -> None:
        while not self._stopped.is_set():
            self.look()
            self._stopped.wait(_INTERVAL)
