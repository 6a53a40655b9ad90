"""Settings of the faces of a run: their source, several face sets, and the split."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from fedfr.core.settings import Settings

__all__ = ["COMMON_SPLIT_SETTINGS", "FaceSource", "FacesConfig", "SplitConfig"]


class FaceSource(Settings):
    """One of several face sets: name of its importer, path, name of the set, and identities to exclude.

    ``exclude``: a text file with an identity's name in the first column of each line. If this set has none of them, the
    first column with one of its identities is used, so that a list of people in two sets serves for both.
    """

    source: str = "folder"
    path: str | None = None
    name: str | None = None
    exclude: str | None = None


def _from_path(given: Any) -> Any:
    return {"path": given} if isinstance(given, str) else given


def _several(given: Any) -> Any:
    """Return a list of private sets from one set or a list; a path alone stands for a set."""
    if given is None:
        return ()
    return [_from_path(each) for each in (given if isinstance(given, list | tuple) else [given])]


class FacesConfig(Settings):
    """Source of the faces: name of an importer and, where it reads files, their path; or several face sets.

    ``public``, ``private`` (one or several) and ``generic`` replace ``source`` and ``path``. ``overlap`` determines the
    handling of people who are in two sets; ``compare_with`` names a model by whose features such people are found.
    """

    source: str = "folder"
    path: str | None = None
    public: Annotated[FaceSource | None, BeforeValidator(_from_path)] = None
    private: Annotated[tuple[FaceSource, ...], BeforeValidator(_several)] = ()
    generic: Annotated[FaceSource | None, BeforeValidator(_from_path)] = None
    overlap: Literal["refuse", "drop", "distinct"] = "refuse"
    compare_with: str | None = None

    @model_validator(mode="after")
    def _one_set_or_several(self) -> FacesConfig:
        if self.sets and self.path is not None:
            raise ValueError("give either faces.path, or faces.public, faces.private and faces.generic")
        if not self.sets and self.compare_with is not None:
            raise ValueError(
                "faces.compare_with compares several face sets; give faces.public, faces.private or faces.generic"
            )
        names = [name.casefold() for name, _, _ in self.sets]
        if len(set(names)) < len(names):
            raise ValueError(f"two face sets have the same name ({', '.join(names)}); give each a different name")
        return self

    @property
    def sets(self) -> tuple[tuple[str, str, FaceSource], ...]:
        """Name, role and source of each of several face sets; empty for the single-set form.

        A set without a name has the name of its role; several private ones are ``private-1``, ``private-2`` and so on.
        """
        several = len(self.private) > 1
        named = [
            *([("public", "public", self.public)] if self.public else []),
            *(
                (f"private-{number}" if several else "private", "private", own)
                for number, own in enumerate(self.private, 1)
            ),
            *([("generic", "generic", self.generic)] if self.generic else []),
        ]
        return tuple((own.name or name, role, own) for name, role, own in named)


COMMON_SPLIT_SETTINGS = ("duplicates", "exclude", "stranger_identities")
"""Settings that every split recipe has."""


class SplitConfig(Settings):
    """Split of the images: a recipe with its settings, or a saved manifest."""

    recipe: str = "general"
    manifest: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
