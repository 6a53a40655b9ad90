"""Named things a user can choose: backbones, methods, protocols, presets."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from fedfr.core.errors import FedfrError
from fedfr.core.lazy import resolve

__all__ = ["Entry", "Registry"]

T = TypeVar("T")


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One registered thing: its name, what makes it, one line about it, and the paper it comes from.

    ``value`` is the thing itself, or the text ``module:attribute`` where it lies: a list of names must not wait for
    what they stand for. The module belongs to the package of the registry (see :mod:`fedfr.core.lazy`).
    """

    name: str
    value: T | str
    description: str
    paper: str = ""


class Registry(Generic[T]):
    """A closed list of named entries; an unknown name is an error that suggests the nearest known one."""

    def __init__(self, kind: str, entries: tuple[Entry[T], ...]) -> None:
        self.kind = kind
        self._entries = {entry.name: entry for entry in entries}
        if len(self._entries) != len(entries):
            raise ValueError(f"two {kind} entries share a name")

    def __iter__(self) -> Iterator[Entry[T]]:
        return iter(self._entries.values())

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    @property
    def names(self) -> tuple[str, ...]:
        """Every known name, in the order of registration."""
        return tuple(self._entries)

    def entry(self, name: str) -> Entry[T]:
        """The entry called ``name``; raises :class:`FedfrError` naming the nearest one and all that are allowed."""
        if name in self._entries:
            return self._entries[name]
        near = difflib.get_close_matches(name, self._entries, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise FedfrError(f"unknown {self.kind} {name!r}; {hint}known: {', '.join(self._entries)}")

    def __getitem__(self, name: str) -> T:
        value = self.entry(name).value
        found: T = resolve(value) if isinstance(value, str) else value
        return found
