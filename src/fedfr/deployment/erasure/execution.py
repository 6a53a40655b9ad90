"""Execution of an erasure: every step can be repeated, so an interrupted erasure is finished from its journal."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fedfr.core.errors import FedfrError, InUseError, WriteError
from fedfr.core.files import make_folder, write_atomically
from fedfr.core.locks import is_locked, locked
from fedfr.core.secret_files import write_private
from fedfr.deployment.erasure.journal import Erasure, refuse_unfinished
from fedfr.deployment.erasure.planning import plan_erasure
from fedfr.deployment.erasure.receipt import Receipt
from fedfr.deployment.erasure.remains import remaining
from fedfr.deployment.erasure.search import Passphrases, Request, stores_of
from fedfr.deployment.logs import LOG
from fedfr.deployment.process_output import DEBUG_LOG
from fedfr.deployment.site_config import SiteConfig
from fedfr.deployment.site_folder import KEY
from fedfr.deployment.site_sums import SUMS
from fedfr.engines.flower.sum_member import remove_round
from fedfr.faces.erasing import erase_from_set, erase_from_split, is_staged, remove_staged, stage
from fedfr.faces.set_links import linked_sets
from fedfr.federation.private_store import PrivateStore
from fedfr.recognition.gallery.gallery import Gallery
from fedfr.recognition.recognizer import Recognizer

__all__ = ["finish_erasure", "forget_person", "planned"]

RECEIPTS = "receipts"
_WORK = re.compile(r"\..+\.(import|whole)|\..*\.tmp|\.model-.+")
_PROCESS = re.compile(r"\.(\d+)\.tmp")


def planned(site_file: Path, request: Request, passphrases: Passphrases) -> Erasure:
    """Return what would be erased; nothing is."""
    config = SiteConfig.load(site_file)
    refuse_unfinished(Path(config.private))
    return plan_erasure(config, site_file.parent.resolve(), request, passphrases)


def forget_person(site_file: Path, request: Request, passphrases: Passphrases) -> Receipt:
    """Erase a person from a site, and return the receipt, which is in the folder ``receipts`` of the site, too.

    Raises :class:`FedfrError`, before anything is erased, if the site runs or trains, and as
    :func:`~fedfr.deployment.erasure.planning.plan_erasure` does. After an interruption, or on a full disk, the next
    call, :func:`finish_erasure` or the next start of the site finishes what was begun.
    """
    config, folder = SiteConfig.load(site_file), site_file.parent.resolve()
    private = Path(config.private)
    if not private.exists():
        make_folder(private, 0o700)
    with _exclusive(config, folder):
        begun = Erasure.unfinished(private)
        if begun is not None:
            receipt = _finish(begun, config, folder, passphrases)
            if request.matches(begun.name):
                return receipt
        erasure = plan_erasure(config, folder, request, passphrases)
        try:
            for place in erasure.folders:
                remove_staged(Path(place))
            for each in erasure.sets:
                if not linked_sets(Path(each.folder)):
                    stage(each, erasure.mentions)
        except OSError as error:
            raise WriteError(f"cannot write {error.filename}: {error.strerror}; nothing was erased") from error
        erasure.save(private)
        return _finish(erasure, config, folder, passphrases)


def finish_erasure(site_file: Path, passphrases: Passphrases = lambda gallery: None) -> Receipt | None:
    """Finish an interrupted erasure and return its receipt, None if there is none; raises as :func:`forget_person`."""
    config, folder = SiteConfig.load(site_file), site_file.parent.resolve()
    faces, private = Path(config.faces.path), Path(config.private)
    if Erasure.unfinished(private) is None and not is_staged(faces):
        return None
    with _exclusive(config, folder):
        begun = Erasure.unfinished(private)
        if begun is None:
            # Of an erasure that was interrupted before it began.
            remove_staged(faces)
            return None
        return _finish(begun, config, folder, passphrases)


@contextmanager
def _exclusive(config: SiteConfig, folder: Path) -> Iterator[None]:
    """Keep the site from running and training; raises :class:`InUseError` if it does.

    New files are readable by their owner only, until they have the mode of the file that they replace.
    """
    with ExitStack() as stack:
        stack.callback(os.umask, os.umask(0o077))
        for place in (folder, *(store.folder for store in stores_of(config))):
            try:
                stack.enter_context(locked(place))
            except InUseError as error:
                raise InUseError(
                    f"the site in {folder} is running ({place} is in use); stop it, repeat the command, then start it"
                ) from error
        yield


def _finish(erasure: Erasure, config: SiteConfig, folder: Path, passphrases: Passphrases) -> Receipt:
    """Execute all steps, write the receipt, and remove the journal."""
    try:
        for each in erasure.sets:
            erase_from_set(each, erasure.mentions)
            for split in erasure.splits:
                erase_from_split(Path(split), each)
        for place in (*erasure.lists, *erasure.splits):
            _shorten_list(Path(place), erasure)
        for store in erasure.stores:
            retrain = erasure.remedy == "retrain"
            PrivateStore(Path(store.folder), config.client).forget(erasure.names, models=retrain)
            # The update of a round in progress was trained with the person.
            remove_round(Path(store.folder) / SUMS)
        _remove_work(erasure, config, folder)
        for path in sorted([*folder.glob(f"{LOG}*"), *folder.glob(f"{DEBUG_LOG}*")]):
            _rename_in_log(path, erasure)
        cleared = [_erase_from_gallery(each.folder, each.person, passphrases) for each in erasure.galleries]
        receipt = _receipt(erasure, config, folder, cleared=all(cleared))
        Erasure.close(Path(config.private))
    except (FedfrError, OSError) as error:
        what = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else error
        begun = "the erasure has begun; correct this, then finish it with"
        raise FedfrError(f"{what}; {begun} `fedfr site forget {shlex.quote(str(folder))}`") from error
    return receipt


def _shorten_list(path: Path, erasure: Erasure) -> None:
    """Remove the entries about the person from a list; a list in an erased set has none any more."""
    found = erasure.mentions.without_entries(path) if path.exists() else None
    if found is not None and found[1]:
        mode = path.stat().st_mode
        write_atomically(path, found[0])
        path.chmod(mode)


def _rename_in_log(path: Path, erasure: Erasure) -> None:
    content, count = erasure.mentions.replaced_bytes(path.read_bytes(), erasure.pseudonym)
    if count:
        write_private(path, content)


def _remove_work(erasure: Erasure, config: SiteConfig, folder: Path) -> None:
    """Remove what killed imports and rebuilds left: in the site's folder, beside its sets, and among its states."""
    found = [
        Path(place, name) for place, folders, files in os.walk(folder, topdown=False) for name in (*folders, *files)
    ]
    for parent in {Path(config.private), *(Path(place).parent for place in erasure.folders)}:
        found += sorted(parent.iterdir())
    for path in found:
        process = _PROCESS.search(path.name)
        in_use = is_locked(path) or (process is not None and Path("/proc", process[1]).exists())
        if _WORK.fullmatch(path.name) and not in_use:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _erase_from_gallery(place: str, person_id: str, passphrases: Passphrases) -> bool:
    """Remove the person from a gallery, if still enrolled; return whether no sealed traces remain there."""
    folder = Path(place)
    if not person_id or not folder.exists():
        return True
    with Recognizer(Gallery.open(folder, passphrases(folder))) as recognizer:
        for person in recognizer.persons():
            if person.id == person_id:
                recognizer.remove(person.name)
        return recognizer.gallery.cleared


def _receipt(erasure: Erasure, config: SiteConfig, folder: Path, *, cleared: bool) -> Receipt:
    """Write and return the receipt; that of an earlier execution, which the journal has survived, is kept."""
    path = folder / RECEIPTS / f"{erasure.pseudonym}.json"
    if not path.exists():
        remains = remaining(erasure, config, folder, cleared=cleared)
        Receipt.of(erasure, config.client, folder, remains).save(path, folder / KEY)
    receipt = Receipt.load(path)
    write_atomically(path.with_suffix(".txt"), f"{receipt.text()}\n".encode())
    return receipt
