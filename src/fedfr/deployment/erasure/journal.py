"""Journal of an erasure: everything that is needed to finish it after an interruption."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from json import dumps
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from fedfr.core.errors import FedfrError
from fedfr.core.files import read_json
from fedfr.core.secret_files import write_private
from fedfr.faces.erasing import SetErasure
from fedfr.faces.name_mentions import Mentions

__all__ = ["JOURNAL", "REMEDIES", "Erasure", "GalleryErasure", "Remedy", "StoreErasure", "refuse_unfinished"]

JOURNAL = "erasure.json"
FORMAT = "fedfr-erasure"
VERSION = 1

Remedy = Literal["retrain", "note"]
REMEDIES: tuple[Remedy, ...] = ("retrain", "note")


@dataclass(frozen=True)
class StoreErasure:
    """What a folder of private states has of the person: states, identities, first and last round (0: unknown).

    ``agreement``: beginning of its fingerprint, ``run``: its run, empty for an earlier agreement. ``unnamed``: whether
    a state does not name its rows, which are then all erased.
    """

    folder: str
    agreement: str
    run: str
    states: int
    identities: int
    first: int
    last: int
    unnamed: bool


@dataclass(frozen=True)
class GalleryErasure:
    """What a gallery has of the person: id, empty if not enrolled, photos and crops; and how often it was exported."""

    folder: str
    person: str
    photos: int
    crops: int
    exports: int


@dataclass(frozen=True)
class Erasure:
    """A person's erasure: under which ``names``, from what, and with which remedy; ``pseudonym`` names it in receipts.

    ``exact``: whether names that look the same are of other people. ``lists``: files with lists that have entries about
    the person, and their numbers of entries. ``folders``: all face sets that were searched. ``splits``: manifests of
    splits. ``published``: descriptions of downloaded sets that have the person, which only the coordinator can change.
    """

    pseudonym: str
    requested: str
    name: str
    names: tuple[str, ...]
    exact: bool
    sets: tuple[SetErasure, ...]
    folders: tuple[str, ...]
    lists: dict[str, int]
    splits: tuple[str, ...]
    stores: tuple[StoreErasure, ...]
    galleries: tuple[GalleryErasure, ...]
    published: tuple[str, ...]
    remedy: Remedy

    @property
    def mentions(self) -> Mentions:
        """Search for the person's names in texts."""
        return Mentions(self.names, alike=not self.exact)

    @property
    def trained(self) -> bool:
        """Whether models of this site were trained with the person's images, as far as is known."""
        return any(store.identities or store.unnamed for store in self.stores)

    def save(self, private: Path) -> None:
        """Write the journal into the folder of private states: from now on the erasure is finished, not undone."""
        content = {"format": FORMAT, "version": VERSION, **asdict(self)}
        write_private(private / JOURNAL, dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass"))

    @classmethod
    def unfinished(cls, private: Path) -> Erasure | None:
        """Return the erasure that was begun and not finished; raises :class:`FedfrError` if its journal is damaged."""
        path = private / JOURNAL
        if not path.exists():
            return None
        content = read_json(path)
        if not isinstance(content, dict) or content.pop("format", "") != FORMAT or content.pop("version", 0) != VERSION:
            raise FedfrError(f"{path} is no journal of an erasure of this version; use the version that wrote it")
        try:
            return TypeAdapter(cls).validate_python(content)
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            raise FedfrError(
                f"{path} is damaged: {where} is missing or invalid; remove it and forget the person again"
            ) from error

    @staticmethod
    def close(private: Path) -> None:
        """Remove the journal of a finished erasure."""
        (private / JOURNAL).unlink()


def refuse_unfinished(private: Path) -> None:
    """Raise :class:`FedfrError` if an erasure was interrupted: models must not be trained or exported meanwhile."""
    if (private / JOURNAL).exists():
        raise FedfrError(
            f"the erasure of a person was interrupted ({private / JOURNAL}); finish it with `fedfr site forget SITE`, "
            "or start the site with `fedfr site run`, which finishes it first"
        )
