"""Replies in the order of client ids, so that sums have one order; early replies wait on disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from fedfr.core.errors import FedfrError
from fedfr.core.files import write_atomically
from fedfr.federation.messages import Failure, Update, decode_update, encode

__all__ = ["in_client_order"]

WAITING = ".waiting.tmp"


def in_client_order(
    replies: Iterable[Update | Failure], clients: Sequence[str], folder: Path, refuse: Callable[[str, str], None]
) -> Iterator[Update | Failure]:
    """Yield one reply per client in the order of ``clients``; early replies wait below ``folder``, not in memory.

    If the first client is the slowest, all others wait, and a thousand models would not fit in the server's memory. An
    unexpected reply – its client was not asked, or has answered already – is passed to ``refuse`` (client, reason) and
    ignored; a client without a reply gets a :class:`Failure`. So one client cannot stop the round of the others. Raises
    :class:`fedfr.core.errors.FedfrError` on a full disk.
    """
    place = {client: number for number, client in enumerate(clients)}
    waiting: dict[int, Failure | Path] = {}
    answered: set[str] = set()
    following = 0
    waiting_folder = folder / WAITING
    try:
        for reply in replies:
            if reply.client not in place or reply.client in answered:
                refuse(reply.client, f"a reply from {reply.client!r} refused: it was not asked or has answered already")
                del reply
                continue
            answered.add(reply.client)
            number = place[reply.client]
            if number != following:
                waiting[number] = (
                    reply
                    if isinstance(reply, Failure)
                    else _store_early(reply, waiting_folder / f"{number}.safetensors")
                )
                del reply
                continue
            yield reply
            del reply
            following += 1
            while following in waiting:
                yield _load_early(clients[following], waiting.pop(following))
                following += 1
        for number in range(following, len(clients)):
            early = waiting.pop(number, None)
            yield Failure(clients[number], "no reply came") if early is None else _load_early(clients[number], early)
    finally:
        shutil.rmtree(waiting_folder, ignore_errors=True)


def _store_early(update: Update, path: Path) -> Path:
    write_atomically(path, encode(update))
    return path


def _load_early(client: str, waiting: Failure | Path) -> Update | Failure:
    if isinstance(waiting, Failure):
        return waiting
    try:
        return decode_update(waiting.read_bytes())
    except FedfrError as error:
        # Encoded again, the header may become longer than the one received, and exceed the limit.
        return Failure(client, str(error))
    finally:
        waiting.unlink()
