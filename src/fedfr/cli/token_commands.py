"""``fedfr gallery token``: access tokens of a gallery's service."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedfr.cli.gallery_options import GalleryFolder
from fedfr.cli.output import AsJson, print_json, print_lines

if TYPE_CHECKING:
    from fedfr.recognition.service.tokens import Tokens

__all__ = ["app"]

app = typer.Typer(help="Manage the access tokens of a gallery's service.", no_args_is_help=True)

TokenName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the token, such as that of the device.")]


class TokenScope(StrEnum):
    """What a token allows."""

    DOOR = "door"
    ADMIN = "admin"


@app.command()
def add(
    folder: GalleryFolder,
    name: TokenName,
    scope: Annotated[
        TokenScope, typer.Option("--scope", help="door: detect, verify, identify and watch. admin: everything.")
    ] = TokenScope.DOOR,
    as_json: AsJson = False,
) -> None:
    """Create a token and print it once; only its hash is stored."""
    text = _tokens(folder).add(name, scope.value)
    if as_json:
        print_json({"name": name, "scope": scope.value, "token": text})
        return
    print(text)
    print_lines(f"token {name} with the scope {scope.value}: keep it, it cannot be shown again")


@app.command("list")
def list_(folder: GalleryFolder, as_json: AsJson = False) -> None:
    """List the tokens, without their text."""
    from fedfr.reporting.text_tables import screen_width, text_table

    tokens = _tokens(folder).all()
    if as_json:
        print_json([{"name": each.name, "scope": each.scope, "created": each.created} for each in tokens])
    elif tokens:
        rows = [[each.name, each.scope, each.created] for each in tokens]
        print(text_table(["token", "scope", "created"], rows, screen_width()))
    else:
        print_lines(f"{folder} has no token; its service is for this machine only")


@app.command()
def revoke(folder: GalleryFolder, name: TokenName, as_json: AsJson = False) -> None:
    """Revoke a token; a running service refuses it from the next request on."""
    tokens = _tokens(folder)
    tokens.revoke(name)
    if as_json:
        print_json({"revoked": name})
        return
    print_lines(f"token {name} is revoked")
    if not tokens.all():
        print_lines("no token is left: the service, once started again, is for this machine only")


def _tokens(folder: Path) -> Tokens:
    """Return the tokens of a gallery; raises :class:`FedfrError` if there is none in the folder."""
    from fedfr.recognition.gallery.gallery_settings import read_gallery_settings
    from fedfr.recognition.service.tokens import Tokens

    read_gallery_settings(folder)
    return Tokens(folder)
