"""All clients on this machine: one after another in this process, or in a pool of worker processes."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import Any, Self

import torch

from fedfr.errors import FedfrError
from fedfr.federation.client import Client
from fedfr.federation.messages import Broadcast, Failure, Update, decode_broadcast, decode_reply, encode

__all__ = ["LocalEngine"]

ClientFactory = Callable[[str], Client]
Tap = Callable[[str, str, bytes], None]

# The client's side: what it says here stays on its machine.
_log = logging.getLogger("fedfr.client")


class LocalEngine:
    """Runs ``make_client(id).update(broadcast)`` for every client asked.

    Messages pass as bytes, as they would between machines; ``tap`` sees each with its direction ("down", "up") and the
    client's id, failures included. With one worker everything happens in this process. With more, ``make_client`` is
    pickled to worker processes; each holds one client at a time, and no more than ``workers`` clients are under way or
    waiting to be read. Every client trains with ``threads`` torch threads however many workers there are: that number
    changes the last bits of a result, the number of workers never does.
    """

    def __init__(
        self,
        make_client: ClientFactory,
        *,
        workers: int = 1,
        threads: int = 1,
        tap: Tap | None = None,
    ) -> None:
        self._make_client = make_client
        self._workers = workers
        self._threads = threads
        self._tap = tap
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        if self._workers > 1:
            self._pool = ProcessPoolExecutor(
                self._workers,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_start_worker,
                initargs=(self._make_client, self._threads),
            )
        return self

    def __exit__(self, *exception: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def exchange(self, broadcast: Broadcast, clients: Sequence[str]) -> Iterator[Update | Failure]:
        """Yield one update or failure per client, in the order asked."""
        down = encode(broadcast)
        for client, answer in self._answers(down, clients):
            if self._tap is not None:
                self._tap("down", client, down)
                self._tap("up", client, answer)
            yield decode_reply(answer)
            del answer

    def _answers(self, down: bytes, clients: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        if self._pool is None:
            torch.set_num_threads(self._threads)
            for client in clients:
                yield client, _serve(self._make_client, client, down)
            return
        waiting: deque[tuple[str, Future[bytes]]] = deque()
        remaining = deque(clients)
        try:
            while remaining or waiting:
                while remaining and len(waiting) < self._workers:
                    client = remaining.popleft()
                    waiting.append((client, self._pool.submit(_serve_in_worker, client, down)))
                client, future = waiting.popleft()
                yield client, future.result()
        except BrokenProcessPool as error:
            raise FedfrError(
                "a worker process died, most likely for want of memory; use fewer workers (--workers) and resume"
            ) from error


def _serve(make_client: ClientFactory, client: str, down: bytes) -> bytes:
    try:
        return encode(make_client(client).update(decode_broadcast(down)))
    except FedfrError as error:
        _log.error("%s: %s", client, error)
        return encode(Failure(client, error.shareable))


_worker_factory: list[ClientFactory] = []


def _start_worker(make_client: ClientFactory, threads: int) -> None:
    torch.set_num_threads(threads)
    _worker_factory[:] = [make_client]
    parent: Any = multiprocessing.parent_process()

    def end_with_parent() -> None:
        wait([parent.sentinel])
        os._exit(1)

    # A killed run must leave no worker behind: a pool's worker alone would wait for work for ever.
    threading.Thread(target=end_with_parent, daemon=True).start()


def _serve_in_worker(client: str, down: bytes) -> bytes:
    return _serve(_worker_factory[0], client, down)
