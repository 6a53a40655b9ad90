"""All clients on this machine: one after another in this process, or in a pool of worker processes."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import lru_cache
from multiprocessing.connection import wait
from typing import Any, Self

import torch

from fedfr.core.errors import FedfrError, WriteError
from fedfr.core.threads import let_threads_sleep
from fedfr.federation.client import Client
from fedfr.federation.engine import failure_of
from fedfr.federation.messages import Broadcast, Failure, Update, decode_broadcast, decode_reply, encode
from fedfr.federation.private_store import PrivateState

__all__ = ["LocalEngine", "worker_number"]

ClientFactory = Callable[[str], Client]
Tap = Callable[[str, str, bytes], None]

_NONE: Mapping[str, torch.Tensor] = {}
_NEVER: Mapping[str, int] = {}
# Seconds of training below which an answer waits for the next client.
_SMALL = 1.0
# What ends the run and is no client's failure. The disk is the run's own: going on without this client would end in a
# mean over fewer of them. The others ask this process to end, as its handlers of signals do.
_ENDS = (WriteError, KeyboardInterrupt, SystemExit)


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
            # Workers load PyTorch before anything of ours runs in them.
            let_threads_sleep(os.environ)
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(
                self._workers,
                mp_context=context,
                initializer=_start_worker,
                initargs=(self._make_client, self._threads, context.Value("i", 0)),
            )
        return self

    def __exit__(self, *exception: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def exchange(
        self,
        broadcast: Broadcast,
        clients: Sequence[str],
        identities: Mapping[str, torch.Tensor] = _NONE,
        accepted: Mapping[str, int] = _NEVER,
    ) -> Iterator[Update | Failure]:
        """Yield one update or failure per client, in the order asked; raises :class:`WriteError` for a full disk."""

        # Most clients were last heard in the same round.
        @lru_cache(maxsize=1)
        def shared(taken: int) -> bytes:
            return encode(replace(broadcast, accepted=taken))

        def message(client: str) -> bytes:
            own, taken = identities.get(client), accepted.get(client, 0)
            return shared(taken) if own is None else encode(replace(broadcast, identities=own, accepted=taken))

        for client, answer in self._answers(message, clients):
            if self._tap is not None:
                self._tap("down", client, message(client))
                self._tap("up", client, answer)
            yield _read(answer, client)
            del answer

    def _answers(self, message: Callable[[str], bytes], clients: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        if self._pool is None:
            yield from self._in_process(message, clients)
            return
        waiting: deque[tuple[str, Future[bytes]]] = deque()
        remaining = deque(clients)
        try:
            while remaining or waiting:
                while remaining and len(waiting) < self._workers:
                    client = remaining.popleft()
                    waiting.append((client, self._pool.submit(_serve_in_worker, client, message(client))))
                client, future = waiting.popleft()
                yield client, future.result()
        except BrokenProcessPool as error:
            raise FedfrError(
                "a worker process died, most likely for want of memory; use fewer workers (--workers) and resume"
            ) from error

    def _in_process(self, message: Callable[[str], bytes], clients: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """One client after another; while the disk takes a small client's state, the next one trains already.

        Waiting for the disk costs a client with few faces more than its training, one with many nothing to speak of.
        """
        torch.set_num_threads(self._threads)
        serve = _Serving(self._make_client)
        waiting: deque[tuple[str, Future[bytes]]] = deque()
        with ThreadPoolExecutor(1, "private-states") as keeper:
            for client in clients:
                started = time.monotonic()
                trained = serve.train(client, message(client))
                waiting.append((client, keeper.submit(serve.deliver, trained)))
                # At most one answer is held back, and none from which somebody has waited long for news.
                kept_back = int(time.monotonic() - started < _SMALL)
                while len(waiting) > kept_back:
                    name, future = waiting.popleft()
                    yield name, future.result()
            for name, future in waiting:
                yield name, future.result()


def _read(answer: bytes, client: str) -> Update | Failure:
    """What the client answered; an answer that is not whole, or is another's, is its failure."""
    try:
        reply = decode_reply(answer)
    except FedfrError as error:
        return Failure(client, str(error))
    return reply if reply.client == client else Failure(client, f"it answered as {reply.client!r}")


Trained = tuple[Client, Update, PrivateState]


class _Serving:
    """Clients of one process: they share the decoded broadcast, which each of them only reads."""

    def __init__(self, make_client: ClientFactory) -> None:
        self._make_client = make_client
        self._received: tuple[bytes, Broadcast] | None = None

    def train(self, client: str, down: bytes) -> Trained | Failure:
        """One client's part of the round up to what must be saved, or why it has none."""
        try:
            if self._received is None or self._received[0] != down:
                self._received = None
                self._received = down, decode_broadcast(down)
            made = self._make_client(client)
            return made, *made.train(self._received[1])
        except _ENDS:
            raise
        except BaseException as error:  # noqa: BLE001 - no fault of one client's is the others'
            return failure_of(client, error)

    def deliver(self, trained: Trained | Failure) -> bytes:
        """The private state goes to the disk, then there is an update."""
        if isinstance(trained, Failure):
            return encode(trained)
        made, update, state = trained
        try:
            made.store.save(state)
            return encode(update)
        except _ENDS:
            raise
        except BaseException as error:  # noqa: BLE001
            return encode(failure_of(made.id, error))


_in_worker: list[_Serving] = []
_number = 0


def worker_number() -> int:
    """Which of the engine's workers this process is, 0, 1, …; 0 in the process that has no workers."""
    return _number


def _start_worker(make_client: ClientFactory, threads: int, started: Any) -> None:
    global _number  # noqa: PLW0603 - a fact about this process, told once
    with started.get_lock():
        _number = started.value
        started.value += 1
    torch.set_num_threads(threads)
    _in_worker[:] = [_Serving(make_client)]
    parent: Any = multiprocessing.parent_process()

    def end_with_parent() -> None:
        wait([parent.sentinel])
        os._exit(1)

    # A killed run must leave no worker behind: a pool's worker alone would wait for work for ever.
    threading.Thread(target=end_with_parent, daemon=True).start()


def _serve_in_worker(client: str, down: bytes) -> bytes:
    serve = _in_worker[0]
    try:
        return serve.deliver(serve.train(client, down))
    except SystemExit as error:
        # Nobody asks a worker to end in this way: a library has, and the run would end without a word.
        return encode(failure_of(client, error))
