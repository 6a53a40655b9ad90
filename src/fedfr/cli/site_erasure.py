"""``fedfr site forget`` and ``fedfr site receipt``: erasure of a person from a site."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedfr.cli.deployment_options import needs_flower
from fedfr.cli.gallery_options import PassphraseFile, passphrase_for
from fedfr.cli.interruption import Interrupted
from fedfr.cli.output import AsJson, print_json, print_lines
from fedfr.core.errors import FedfrError

if TYPE_CHECKING:
    from fedfr.deployment.erasure.journal import Erasure

__all__ = ["forget", "receipt"]


def forget(
    folder: Annotated[Path, typer.Argument(help="The site's folder.")],
    name: Annotated[
        str | None, typer.Argument(help="The person, as in the face set; omit it to finish an interrupted erasure.")
    ] = None,
    remedy: Annotated[
        str | None,
        typer.Option(
            "--remedy",
            help="For the site's own models: retrain removes them, note keeps them without the person's rows; by "
            "default as agreed.",
        ),
    ] = None,
    alike: Annotated[
        bool,
        typer.Option(
            "--alike", help="Everybody whose name looks the same, or all of whose images are the same, is this person."
        ),
    ] = False,
    exact: Annotated[bool, typer.Option("--exact", help="Only the name that is spelled exactly like this.")] = False,
    faces: Annotated[
        list[Path] | None,
        typer.Option("--faces", help="A further copy of the faces outside the site's folder; may be repeated."),
    ] = None,
    galleries: Annotated[
        list[Path] | None,
        typer.Option("--gallery", help="A gallery that site.yaml does not name; may be repeated."),
    ] = None,
    passphrase_file: PassphraseFile = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be erased, and erase nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase a person who withdraws: images, private states, galleries, caches; print and keep a signed receipt.

    The site must be stopped. Everything is erased or nothing: after an interruption, the same command or the next start
    of the site finishes it.
    """
    needs_flower()
    from fedfr.deployment.erasure.execution import finish_erasure, forget_person, planned
    from fedfr.deployment.erasure.journal import REMEDIES
    from fedfr.deployment.erasure.search import Request
    from fedfr.recognition.gallery.encryption import SiteKey
    from fedfr.recognition.gallery.store import KEY_FILE

    def passphrase(gallery: Path) -> str | None:
        key = gallery / KEY_FILE
        return passphrase_for(gallery, passphrase_file) if key.exists() and SiteKey.has_passphrase(key) else None

    site_file, again = folder / "site.yaml", f"fedfr site forget {folder}"
    if not site_file.exists() and (folder / "config.yaml").exists():
        raise FedfrError(
            f"{folder} is a run on one machine, which holds all its faces and clients: nobody can withdraw from it "
            "alone; write a face set without the person (fedfr faces exclude), delete the run, and train again"
        )
    if alike and exact:
        raise FedfrError("--alike and --exact choose different people; give one of them")
    chosen = next((each for each in REMEDIES if each == remedy), None)
    if remedy is not None and chosen is None:
        raise FedfrError(f"--remedy = {remedy!r}; give one of {', '.join(REMEDIES)}")
    try:
        if name is None:
            found = finish_erasure(site_file, passphrase)
            if found is None:
                raise FedfrError(f"{folder} has no interrupted erasure; name the person to forget")
        else:
            if not name.strip():
                raise FedfrError("the name is empty; give the name of the person as in the face set")
            spelling = "alike" if alike else "exact" if exact else ""
            request = Request(name, spelling, chosen, tuple(faces or ()), tuple(galleries or ()))
            if dry_run:
                _show(planned(site_file, request, passphrase), as_json=as_json)
                return
            found = forget_person(site_file, request, passphrase)
    except KeyboardInterrupt as error:
        raise Interrupted(f"interrupted; if the erasure has begun, `{again}` finishes it") from error
    if as_json:
        print_json(found.content)
        return
    print_lines(found.text())
    person = found.content["person"]
    print_lines(f"{folder / 'receipts' / person}.json and .txt: the receipt, without the name")
    if name is not None:
        print_lines(f"{name} is {person} in it; note that for the person, it is stored nowhere")


def receipt(
    path: Annotated[Path, typer.Argument(metavar="RECEIPT", help="The .json of a receipt.")],
    key: Annotated[
        Path | None, typer.Option("--key", help="The site.key.pub of the site, to check who signed the receipt.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the receipt of an erasure, and check its signature."""
    needs_flower()
    from fedfr.core.files import read_file
    from fedfr.deployment.erasure.receipt import Receipt

    loaded = Receipt.load(path)
    line = None
    if key is not None:
        try:
            line = read_file(key, 1 << 16).decode("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise FedfrError(f"cannot read the key {key} ({error}); give a site.key.pub") from error
    checked = loaded.check(line)
    if as_json:
        print_json({**loaded.content, "checked": checked})
        return
    print_lines(loaded.text())
    print_lines(f"\n{checked}")


def _show(erasure: Erasure, *, as_json: bool) -> None:
    """Print what would be erased."""
    content = {
        "names": list(erasure.names),
        "face_sets": {each.folder: len(each.rows()) for each in erasure.sets},
        "lists": erasure.lists,
        "private_states": {each.folder: each.states for each in erasure.stores},
        "galleries": {each.folder: each.photos for each in erasure.galleries if each.person},
        "remedy": erasure.remedy,
    }
    if as_json:
        print_json(content)
        return
    print_lines(f"would erase {', '.join(erasure.names)}; nothing is erased yet")
    for each in erasure.sets:
        others = [name for name in each.vanished if name not in each.identities]
        also = f", and with them {', '.join(others)}, all of whose images are the same" if others else ""
        print_lines(f"{each.folder}: {len(each.rows())} of {each.total} images{also}")
    for place, count in erasure.lists.items():
        print_lines(f"{place}: {count} entries")
    for store in erasure.stores:
        rows = "all rows, because they have no names," if store.unnamed else "the person's rows"
        what = "everything" if erasure.remedy == "retrain" else rows
        print_lines(f"{store.folder}: {what} in {store.states} private states")
    for gallery in erasure.galleries:
        if gallery.person:
            print_lines(f"{gallery.folder}: {gallery.photos} photos, {gallery.crops} crops")
    print_lines(f"remedy: {erasure.remedy}")
