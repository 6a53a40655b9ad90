"""Registries of named objects that a user can choose: backbones, methods, protocols, importers, layouts."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from fedfr.core.errors import FedfrError
from fedfr.core.lazy import resolve
from fedfr.core.named_objects import home_of, import_object, is_dotted, is_loaded, why_local

__all__ = ["OWN", "Entry", "Extensions", "Registry"]

T = TypeVar("T")

OWN = "fedfr"
"""The origin of built-in entries."""

_NAME = re.compile(r"\w[\w.-]*")


@dataclass(frozen=True)
class Entry(Generic[T]):
    """Entry of a registry: name, object, one-line description, paper, and origin.

    ``value`` is the object, or a text ``module:attribute`` that is imported on first use, so that listing names is
    fast. The module of a built-in entry belongs to the package of the registry (see :mod:`fedfr.core.lazy`).
    ``origin`` is ``fedfr``, or the package or module that provides the object.
    """

    name: str
    value: T | str
    description: str
    paper: str = ""
    origin: str = OWN


@dataclass(frozen=True)
class Extensions(Generic[T]):
    """Rules for objects of other packages in a registry.

    ``group``: the entry point group. ``wanted`` describes the required kind of object. ``accept`` returns the object as
    the registry stores it, or None if it is of another kind.
    """

    group: str
    wanted: str
    accept: Callable[[Any], T | None]


class Registry(Generic[T]):
    """List of named entries; the error for an unknown name suggests the nearest known one.

    With ``extensions`` it is open: names of the form ``package.module:attribute`` are imported, entry points of
    installed packages are listed, and :meth:`register` adds entries in this process.
    """

    def __init__(self, kind: str, entries: tuple[Entry[T], ...], extensions: Extensions[T] | None = None) -> None:
        self.kind = kind
        self._extensions = extensions
        self._entries = {entry.name: entry for entry in entries}
        self._registered: dict[str, Entry[T]] = {}
        # By registered name: the dotted name of the object, or the module that registered one without a name.
        self._homes: dict[str, str] = {}
        # By the name in stored configurations: objects of this process, and those imported before.
        self._objects: dict[str, T] = {}
        if len(self._entries) != len(entries):
            raise ValueError(f"two {kind} entries share a name")

    def __iter__(self) -> Iterator[Entry[T]]:
        return iter([*self._entries.values(), *self._others().values()])

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self._others()

    @property
    def is_open(self) -> bool:
        """Whether other packages can extend the registry."""
        return self._extensions is not None

    @property
    def builtin(self) -> tuple[str, ...]:
        """Names of fedfr's own entries, in the order of registration."""
        return tuple(self._entries)

    @property
    def names(self) -> tuple[str, ...]:
        """All listed names: the built-in ones first, then those of other packages."""
        return tuple(entry.name for entry in self)

    def entry(self, name: str) -> Entry[T]:
        """Return the entry called ``name``; a dotted name is imported.

        Raises :class:`FedfrError` that names the nearest and all known entries.
        """
        if name in self._entries:
            return self._entries[name]
        if self._extensions is not None and is_dotted(name):
            value = self._imported(name)
            return Entry(name, value, _first_line(value), origin=name.partition(":")[0])
        others = self._others()
        if name in others:
            return others[name]
        known = [*self._entries, *others]
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise FedfrError(f"unknown {self.kind} {name!r}; {hint}known: {', '.join(known)}")

    def __getitem__(self, name: str) -> T:
        entry = self.entry(name)
        if not isinstance(entry.value, str):
            return entry.value
        if entry.origin == OWN:
            own: T = resolve(entry.value)
            return own
        if not is_dotted(entry.value):
            raise FedfrError(f"{self.kind} {name!r} is provided by two packages, as {entry.value}; use one of these")
        return self._imported(entry.value)

    def named_in_file(self, name: str) -> T:
        """Return the entry named in a model file; the file alone does not cause the import of code of other packages.

        Raises :class:`FedfrError` for a dotted name whose module has not been imported before.
        """
        if is_dotted(name) and name not in self._objects and not is_loaded(name):
            provided = [entry for entry in self._others().values() if entry.value == name]
            if not provided:
                raise FedfrError(
                    f"its {self.kind} {name!r} is code of another package, which a model file alone does not import; "
                    f"if you trust that package, give --backbone {name}"
                )
        return self[name]

    def register(self, name: str, value: object, description: str = "", paper: str = "", module: str = "") -> None:
        """Add an entry in this process; ``module`` is where an object without a name of its own is defined.

        Raises :class:`FedfrError` for a name that is taken or invalid, and for an object of another kind.
        """
        accepted = self._accepted(name, value)
        if not _NAME.fullmatch(name):
            raise FedfrError(f"{self.kind} name {name!r}; use letters, digits, '-', '_' and '.' only")
        if name in self._entries:
            raise FedfrError(f"{self.kind} {name!r} is one of fedfr's own; choose another name")
        home, before = home_of(value, module), self._registered.get(name)
        # If a module is imported again or a notebook's cell is run again, the new object replaces the old one.
        if before is not None and before.value != accepted and self._homes[name] != (home or module):
            raise FedfrError(f"{self.kind} {name!r} is registered already for another object; choose another name")
        self._homes[name] = home or module
        origin = self._homes[name].partition(":")[0] or "this process"
        self._registered[name] = Entry(name, accepted, description or _first_line(value), paper, origin)
        self._objects[home or name] = accepted

    def name_of(self, value: object) -> str:
        """Return the name of an object in configurations.

        Raises :class:`FedfrError` for an object of another kind, and for one that has no name.
        """
        home = home_of(value)
        for entry in self._entries.values():
            if entry.value is value or (home and entry.value == home):
                return entry.name
        accepted = self._accepted(home or repr(value), value)
        for registered in self._registered.values():
            if registered.value == accepted:
                return self.stored_name(registered.name)
        if not home:
            raise FedfrError(f"{self.kind} {value!r} has no name of its own; register it under one")
        self._objects[home] = accepted
        return home

    def stored_name(self, name: str) -> str:
        """Return the name under which other processes can find this entry; the given name if there is none."""
        if name in self._entries:
            return name
        entry = self._others().get(name)
        if entry is None:
            return name
        if isinstance(entry.value, str):
            return entry.value if is_dotted(entry.value) else name
        # Objects other than classes and functions are bound to their names after registration.
        home = self._homes[name] if is_dotted(self._homes[name]) else home_of(entry.value, self._homes[name])
        if not home:
            return name
        self._objects[home] = entry.value
        return home

    def check_portable(self, name: str) -> None:
        """Raise :class:`FedfrError` for a name that only this process can resolve."""
        if name in self._entries:
            return
        stored = self.stored_name(name)
        if not is_dotted(stored):
            why = "was registered in this process alone, without a module that provides it"
        elif not (why := why_local(stored)) and stored in self._objects:
            found = self._accepted(stored, import_object(self.kind, stored))
            if found != self._objects[stored]:
                why = "is not the object that its module has under that name"
        if why:
            raise FedfrError(
                f"{self.kind} {name!r} {why}; move it to the top level of a module that can be imported, or use one "
                "process (runtime.workers=1)"
            )

    def _imported(self, name: str) -> T:
        if name not in self._objects:
            self._objects[name] = self._accepted(name, import_object(self.kind, name))
        return self._objects[name]

    def _accepted(self, name: str, value: object) -> T:
        if self._extensions is None:
            raise FedfrError(f"{self.kind}: only fedfr's own are allowed; known: {', '.join(self._entries)}")
        accepted = self._extensions.accept(value)
        if accepted is None:
            description = f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
            raise FedfrError(f"{self.kind} {name!r} is {description}; give {self._extensions.wanted}")
        return accepted

    def _others(self) -> dict[str, Entry[T]]:
        return {**self._provided, **self._registered}

    @cached_property
    def _provided(self) -> dict[str, Entry[T]]:
        """Entry points of installed packages, none of them imported."""
        found: dict[str, Entry[T]] = {}
        for point in entry_points(group=self._extensions.group) if self._extensions is not None else ():
            if point.name in self._entries or not _NAME.fullmatch(point.name):
                continue
            value, origin = point.value.replace(" ", ""), _distribution(point)
            before = found.get(point.name)
            if before is not None and before.value != value:
                # It is unknown which package is meant; both remain available by their dotted names.
                value, origin = f"{before.value} or {value}", f"{before.origin} or {origin}"
            found[point.name] = Entry(point.name, value, value, origin=origin)
        return found


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else point.module


def _first_line(value: object) -> str:
    text = (inspect.getdoc(value) if callable(value) else None) or ""
    return text.partition("\n")[0]
