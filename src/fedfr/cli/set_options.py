"""Options for several face sets, and opening them as a combined set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedfr.core.errors import FedfrError

if TYPE_CHECKING:
    from fedfr.faces import FaceSet
    from fedfr.faces.face_sets import FindPeople, NamedSet

__all__ = ["ExcludeIdentities", "FaceSetOptions", "Generic", "Overlap", "Private", "Public"]

PANEL = "Several face sets"

Public = Annotated[
    str | None,
    typer.Option(
        "--public",
        metavar="SET",
        help="The public face set, in place of FACES; NAME=SET names it.",
        rich_help_panel=PANEL,
    ),
]
Private = Annotated[
    list[str] | None,
    typer.Option(
        "--private", metavar="SET", help="A private face set, or NAME=SET; repeatable.", rich_help_panel=PANEL
    ),
]
Generic = Annotated[
    str | None,
    typer.Option(
        "--generic", metavar="SET", help="A face set that no client trains on, or NAME=SET.", rich_help_panel=PANEL
    ),
]
Overlap = Annotated[
    str | None,
    typer.Option("--overlap", help="A person in two sets: refuse, drop or distinct.", rich_help_panel=PANEL),
]
ExcludeIdentities = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude-identities",
        metavar="FILE",
        help="Identities to leave out of a set: NAME=FILE.",
        rich_help_panel=PANEL,
    ),
]


@dataclass(frozen=True)
class FaceSetOptions:
    """The face sets given by options; without any, faces are those of the argument FACES."""

    public: str | None = None
    private: Sequence[str] = ()
    generic: str | None = None
    overlap: str | None = None
    exclude: Sequence[str] = field(default=())

    def __bool__(self) -> bool:
        return bool(self.public or self.private or self.generic)

    def open(self, faces: Path | None, overlap: str, same_people: FindPeople | None = None) -> FaceSet:
        """Open the faces of the argument, or the sets combined; ``overlap`` is the default of the option.

        Raises :class:`FedfrError` for both or neither of them, and as :func:`fedfr.faces.face_sets.combine` does.
        """
        from fedfr.faces import load_faces
        from fedfr.faces.face_sets import combine

        if not self:
            if self.overlap or self.exclude:
                raise FedfrError(
                    "--overlap and --exclude-identities are for several face sets; give --public and --private"
                )
            if faces is None:
                raise FedfrError("no faces are given; give FACES, or face sets by --public, --private and --generic")
            return load_faces(faces)
        if faces is not None:
            raise FedfrError(f"{faces} and --public, --private or --generic are given; give one face set or several")
        return combine(self._named(), overlap=self.overlap or overlap, same_people=same_people)

    def _named(self) -> list[NamedSet]:
        from fedfr.config.schema import FacesConfig, validate
        from fedfr.faces import load_faces
        from fedfr.faces.face_sets import NamedSet
        from fedfr.faces.identity_lists import read_identities

        given = {
            "public": self.public and _source(self.public, "--public"),
            "private": [_source(text, "--private") for text in self.private],
            "generic": self.generic and _source(self.generic, "--generic"),
        }
        left = dict(_divided(text, "--exclude-identities") for text in self.exclude)
        sets = []
        for name, role, own in validate(FacesConfig, given, "--public, --private, --generic").sets:
            listed = left.pop(name, None)
            try:
                faces = load_faces(own.path or "")
                excluded = () if listed is None else read_identities(listed, faces.identities)
            except FedfrError as error:
                raise type(error)(f"face set {name!r} (--{role}): {error}") from error
            sets.append(NamedSet(name, role, faces, dict.fromkeys(excluded, Path(listed or "").name)))
        if left:
            known = ", ".join(each.name for each in sets)
            raise FedfrError(f"--exclude-identities names the face set {next(iter(left))!r}; there are {known}")
        return sets


def _source(text: str, option: str) -> dict[str, str]:
    """Return the settings of a face set given as NAME=PATH or as a path, which may contain ``=``."""
    if "=" not in text or Path(text).exists():
        return {"path": text}
    name, place = _divided(text, option)
    return {"name": name, "path": place}


def _divided(text: str, option: str) -> tuple[str, str]:
    name, equals, place = text.partition("=")
    if not (name and equals and place):
        raise FedfrError(f"{option} {text!r} is not of the form NAME=PATH; give a face set's name and a path")
    return name, place
