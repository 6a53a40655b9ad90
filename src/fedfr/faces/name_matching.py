"""Matching of names that look the same: a normalized form, and the groups of names that share it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence

__all__ = ["format_name_groups", "groups_of_similar_names", "matching_names", "normalized_name", "quoted_name"]

# Invisible characters: Unicode's Default_Ignorable_Code_Point beyond the category Cf of the standard library.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)
# Dashes, apostrophes, and small letters of other alphabets that look like Latin ones.
_LOOKALIKES = str.maketrans(
    dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-")
    | dict.fromkeys("\u2018\u2019\u201b\u02bc\u02b9\u00b4\u2032", "'")
    | dict(zip("\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0455\u0458\u03bf", "aeopcyxisjo", strict=True))
)
MAX_LISTED = 3


def normalized_name(name: str) -> str:
    """Return the normalized form that names which look the same have in common.

    The name is composed (Unicode NFKC: full-width forms, ligatures and no-break spaces too) and case-folded; invisible
    characters are removed; dashes, apostrophes and letters of other alphabets that look like Latin ones are unified;
    white space is reduced to single blanks. An underscore counts as a blank, because folders are called ``Ann_A`` where
    tables have ``Ann A``. A name of which nothing would remain is returned unchanged.
    """
    if name.isascii() and name.isprintable():
        # Fast path: hundreds of thousands of names are compared at a time.
        plain = name.casefold()
    else:
        plain = _visible(name).translate(_LOOKALIKES)
        plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", plain).casefold())
        plain = _visible(plain).translate(_LOOKALIKES)
    return " ".join(plain.replace("_", " ").split()) or name


def _visible(name: str) -> str:
    return "".join(
        character
        for character in _INVISIBLE.sub("", name)
        if unicodedata.category(character) not in ("Cf", "Cc") or character.isspace()
    )


def groups_of_similar_names(
    names: Iterable[str], part: Callable[[str], str] = lambda name: name
) -> list[tuple[str, ...]]:
    """Return groups of two or more distinct names that look the same, in the order of the names."""
    groups: dict[str, dict[str, None]] = {}
    for name in names:
        groups.setdefault(normalized_name(part(name)), {})[name] = None
    return [tuple(group) for group in groups.values() if len(group) > 1]


def matching_names(names: Iterable[str], others: Iterable[str]) -> list[tuple[str, str]]:
    """Return pairs of a name in ``names`` and one in ``others`` that are equal or look the same; equal ones first."""
    by_form: dict[str, str] = {}
    whole: set[str] = set()
    for name in others:
        by_form.setdefault(normalized_name(name), name)
        whole.add(name)
    found = [
        (name, name if name in whole else by_form[plain])
        for name in names
        if (plain := normalized_name(name)) in by_form
    ]
    return sorted(found, key=lambda pair: (pair[0] != pair[1], pair))


def quoted_name(name: str) -> str:
    """Return a name in quotation marks, followed by an ASCII form if it holds characters beyond ASCII."""
    plain = ascii(name)
    return repr(name) if plain == repr(name) else f"{name!r} ({plain})"


def format_name_groups(groups: Sequence[Sequence[str]]) -> str:
    """Format the first three groups and the number of further ones."""
    shown = [" = ".join(map(quoted_name, group)) for group in groups[:MAX_LISTED]]
    more = [f"and {len(groups) - MAX_LISTED} more"] if len(groups) > MAX_LISTED else []
    return "; ".join([*shown, *more])
