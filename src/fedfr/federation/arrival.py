"""Replies put in the order of client ids, so that sums are made in one order; early ones wait on disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from fedfr.errors import FedfrError
from fedfr.federation.messages import Failure, Update, decode_update, encode
from fedfr.files import write_atomically

__all__ = ["in_order"]

ROOM = ".waiting.tmp"


def in_order(replies: Iterable[Update | Failure], clients: Sequence[str], folder: Path) -> Iterator[Update | Failure]:
    """Replies by client id, however they arrive. One that is early waits below ``folder``, not in memory.

    If the first client is the slowest, all others wait: a thousand models would not fit the server's memory.
    Raises :class:`FedfrError` when a client answers twice, was never asked or never answers, and on a full disk.
    """
    place = {client: number for number, client in enumerate(clients)}
    waiting: dict[int, Failure | Path] = {}
    answered: set[str] = set()
    following = 0
    room = folder / ROOM
    try:
        for reply in replies:
            if reply.client not in place or reply.client in answered:
                raise FedfrError(f"a reply came from {reply.client!r}, which was not asked or has answered already")
            answered.add(reply.client)
            number = place[reply.client]
            if number != following:
                waiting[number] = reply if isinstance(reply, Failure) else _park(reply, room / f"{number}.safetensors")
                del reply
                continue
            yield reply
            del reply
            following += 1
            while following in waiting:
                yield _fetch(waiting.pop(following))
                following += 1
    finally:
        shutil.rmtree(room, ignore_errors=True)
    if following < len(clients):
        raise FedfrError(f"the engine ended without a reply from {clients[following]!r}")


def _park(update: Update, path: Path) -> Path:
    write_atomically(path, encode(update))
    return path


def _fetch(waiting: Failure | Path) -> Update | Failure:
    if isinstance(waiting, Failure):
        return waiting
    update = decode_update(waiting.read_bytes())
    waiting.unlink()
    return update
