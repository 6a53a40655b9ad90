"""Replies put in the order of client ids, so that sums are made in one order; early ones wait on disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from fedfr.core.errors import FedfrError
from fedfr.core.files import write_atomically
from fedfr.federation.messages import Failure, Update, decode_update, encode

__all__ = ["in_client_order"]

ROOM = ".waiting.tmp"


def in_client_order(
    replies: Iterable[Update | Failure], clients: Sequence[str], folder: Path, refuse: Callable[[str, str], None]
) -> Iterator[Update | Failure]:
    """One reply per client, by client id, however they arrive. One that is early waits below ``folder``, not in memory.

    If the first client is the slowest, all others wait: a thousand models would not fit the server's memory. A reply
    that nobody waits for – its client was not asked, or has answered – is told to ``refuse`` (client, reason) and
    ignored; a client without a reply gets a :class:`Failure`. So one participant cannot stop the round of the others.
    Raises :class:`fedfr.core.errors.FedfrError` on a full disk.
    """
    place = {client: number for number, client in enumerate(clients)}
    waiting: dict[int, Failure | Path] = {}
    answered: set[str] = set()
    following = 0
    room = folder / ROOM
    try:
        for reply in replies:
            if reply.client not in place or reply.client in answered:
                refuse(reply.client, f"a reply from {reply.client!r} refused: it was not asked or has answered already")
                del reply
                continue
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
                yield _fetch(clients[following], waiting.pop(following))
                following += 1
        for number in range(following, len(clients)):
            early = waiting.pop(number, None)
            yield Failure(clients[number], "no reply came") if early is None else _fetch(clients[number], early)
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _park(update: Update, path: Path) -> Path:
    write_atomically(path, encode(update))
    return path


def _fetch(client: str, waiting: Failure | Path) -> Update | Failure:
    if isinstance(waiting, Failure):
        return waiting
    try:
        return decode_update(waiting.read_bytes())
    except FedfrError as error:
        # Written again, the header of an update may be longer than that which came, and longer than a header may be.
        return Failure(client, str(error))
    finally:
        waiting.unlink()
