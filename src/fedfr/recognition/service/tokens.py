"""Access tokens of a gallery's service; only their hashes are stored."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import re
import secrets
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from fedfr.core.errors import FedfrError, WriteError
from fedfr.core.files import read_json
from fedfr.core.locks import take_lock
from fedfr.core.secret_files import write_private
from fedfr.recognition.gallery.store import KEY_FILE

__all__ = ["SCOPES", "Scope", "Token", "Tokens"]

Scope: TypeAlias = Literal["door", "admin"]
SCOPES: tuple[Scope, ...] = ("door", "admin")

FILE = "tokens.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Token:
    """Stored token: its name, scope, the hexadecimal SHA-256 of its text, and the day on which it was made.

    A token has 256 random bits, so a plain hash of it cannot be reversed by guessing.
    """

    name: str
    scope: Scope
    sha256: str
    created: str


class Tokens:
    """Tokens of one gallery, in ``tokens.json`` of its folder.

    A running service notices changes with its next request.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._seen: tuple[int, int, int] | None = None
        self._tokens: tuple[Token, ...] = ()
        self._lock = threading.Lock()

    def add(self, name: str, scope: Scope) -> str:
        """Store a new token and return its text, which is not stored."""
        if not _NAME.fullmatch(name):
            raise FedfrError(f"name of a token {name!r}: use up to 64 letters, digits, dots, dashes and underscores")
        if scope not in SCOPES:
            raise FedfrError(f"scope of a token {scope!r}: use {' or '.join(SCOPES)}")
        text = f"fedfr_{scope}_{secrets.token_urlsafe(32)}"
        with self._changing():
            known = self.all()
            if any(token.name == name for token in known):
                raise FedfrError(f"there is a token named {name} already; revoke it first, or use another name")
            made = Token(name, scope, _hash(text), time.strftime("%Y-%m-%d", time.gmtime()))
            self._write((*known, made))
        return text

    def revoke(self, name: str) -> None:
        """Remove a token; a running service refuses it from its next request on."""
        with self._changing():
            known = self.all()
            left = tuple(token for token in known if token.name != name)
            if len(left) == len(known):
                names = ", ".join(token.name for token in known) or "none"
                raise FedfrError(f"there is no token named {name!r}; there are: {names}")
            self._write(left)

    def all(self) -> tuple[Token, ...]:
        """Return every token; the file is read again if it has changed.

        Raises :class:`FedfrError` if the file is damaged or other users can read it.
        """
        with self._lock:
            try:
                status = self.path.stat()
            except FileNotFoundError:
                self._seen, self._tokens = None, ()
                return ()
            seen = (status.st_ino, status.st_mtime_ns, status.st_size)
            if seen != self._seen:
                if stat.S_IMODE(status.st_mode) & 0o077:
                    raise FedfrError(f"other users can read or change {self.path}; run chmod 600 on it")
                if status.st_uid not in self._owners():
                    raise FedfrError(
                        f"{self.path} belongs to another user than the key of the gallery; remove it and add the tokens"
                    )
                self._tokens = _read(read_json(self.path), self.path)
                self._seen = seen
            return self._tokens

    def find(self, text: str) -> Token | None:
        """Return the token with this text; the comparison takes the same time for every text."""
        given, found = _hash(text), None
        for token in self.all():
            if hmac.compare_digest(token.sha256, given):
                found = token
        return found

    def _owners(self) -> set[int]:
        """Return the users whose tokens count: who can write in the folder could otherwise add one."""
        with contextlib.suppress(OSError):
            return {os.geteuid(), (self.path.parent / KEY_FILE).stat().st_uid}
        return {os.geteuid()}

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        folder = self.path.parent
        if not folder.is_dir():
            raise FedfrError(f"{folder} is no gallery; create one with `fedfr gallery init`")
        try:
            descriptor = os.open(folder / ".tokens.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise WriteError(f"cannot write in {folder}: {error.strerror}; make the folder writable") from error
        try:
            take_lock(descriptor, folder, f"another command is changing the tokens of {folder}")
            yield
        finally:
            os.close(descriptor)

    def _write(self, tokens: tuple[Token, ...]) -> None:
        text = json.dumps({"tokens": [asdict(token) for token in tokens]}, indent=2)
        write_private(self.path, f"{text}\n".encode())


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _read(content: Any, path: Path) -> tuple[Token, ...]:
    rows = content.get("tokens") if isinstance(content, dict) else None
    tokens = []
    for row in rows if isinstance(rows, list) else [None]:
        if not isinstance(row, dict) or row.keys() != Token.__annotations__.keys():
            raise FedfrError(f"{path} is damaged; remove it and add the tokens again")
        if not all(isinstance(value, str) for value in row.values()):
            raise FedfrError(f"{path} is damaged; remove it and add the tokens again")
        if row["scope"] not in SCOPES or not _HASH.fullmatch(row["sha256"]):
            raise FedfrError(f"{path} is damaged; remove it and add the tokens again")
        tokens.append(Token(**row))
    return tuple(tokens)
