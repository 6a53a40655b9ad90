"""Engine for clients on this machine, run one after another in this process or in a pool of worker processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
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
from fedfr.federation.private_state import PrivateState

__all__ = ["LocalEngine", "worker_number"]

ClientFactory = Callable[[str], Client]
Tap = Callable[[str, str, bytes], None]

_NONE: Mapping[str, torch.Tensor] = {}
_NEVER: Mapping[str, int] = {}
# A reply after less training than this, in seconds, is held back while the next client trains.
_SMALL = 1.0
# Errors that end the run instead of counting as a client's failure. A full disk affects the whole run: continuing
# without the client would average fewer of them. The others are requests to stop this process.
_RUN_ENDING_ERRORS = (WriteError, KeyboardInterrupt, SystemExit)


class LocalEngine:
    """Runs ``make_client(id).update(broadcast)`` for every sampled client.

    Messages are passed as bytes, as between machines; ``tap`` receives each with its direction ("down", "up") and the
    client's id, failures included. With one worker everything runs in this process. With more, ``make_client`` is
    pickled to worker processes; each holds one client at a time, and at most ``workers`` clients are in progress or
    waiting to be read. Every client trains with ``threads`` torch threads: that number changes the last bits of a
    result, the number of workers never does.
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
            # Set before workers start: they load PyTorch before any code of fedfr.
            let_threads_sleep(os.environ)
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(
                self._workers,
                mp_context=context,
                initializer=_start_worker,
                initargs=(self._make_client, self._threads, context.Value("i", 0)),
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if self._pool is not None:
            if kind is not None and not issubclass(kind, Exception):
                # A request to stop must not wait until the clients in progress have finished training.
                _end_workers()
            try:
                self._pool.shutdown(wait=True, cancel_futures=True)
            except RuntimeError:
                # Interrupted while the pool started: it waits for a thread that never ran, its workers for work.
                _end_workers()
            self._pool = None

    def exchange(
        self,
        broadcast: Broadcast,
        clients: Sequence[str],
        identities: Mapping[str, torch.Tensor] = _NONE,
        accepted: Mapping[str, int] = _NEVER,
    ) -> Iterator[Update | Failure]:
        """Yield one update or failure per client, in the order given; raises :class:`WriteError` on a full disk."""

        # Cached: most clients have the same last accepted round.
        @lru_cache(maxsize=1)
        def shared(last_accepted: int) -> bytes:
            return encode(replace(broadcast, accepted=last_accepted))

        def message(client: str) -> bytes:
            own, last = identities.get(client), accepted.get(client, 0)
            return shared(last) if own is None else encode(replace(broadcast, identities=own, accepted=last))

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
                    with _no_interruption_of_new_processes():
                        waiting.append((client, self._pool.submit(_serve_in_worker, client, message(client))))
                client, future = waiting.popleft()
                yield client, future.result()
        except BrokenProcessPool as error:
            raise FedfrError(
                "a worker process died, most likely because memory ran out; use fewer workers (--workers) and resume"
            ) from error

    def _in_process(self, message: Callable[[str], bytes], clients: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Run one client after another; a small client's state is written while the next client trains.

        For a client with few faces writing takes longer than training; for one with many it is negligible.
        """
        torch.set_num_threads(self._threads)
        serve = _ClientRunner(self._make_client)
        waiting: deque[tuple[str, Future[bytes]]] = deque()
        with ThreadPoolExecutor(1, "private-states") as writer:
            for client in clients:
                started = time.monotonic()
                trained = serve.train(client, message(client))
                waiting.append((client, writer.submit(serve.deliver, trained)))
                # At most one reply is held back, and none after long training, so that progress is shown.
                kept_back = int(time.monotonic() - started < _SMALL)
                while len(waiting) > kept_back:
                    name, future = waiting.popleft()
                    yield name, future.result()
            for name, future in waiting:
                yield name, future.result()


@contextmanager
def _no_interruption_of_new_processes() -> Iterator[None]:
    """Start processes that no Ctrl-C reaches: the terminal sends it to all, and this process ends its workers itself.

    A new process inherits the mask, so that not even Python's own start-up in it is interrupted.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_workers() -> None:
    for worker in multiprocessing.active_children():
        worker.terminate()


def _read(answer: bytes, client: str) -> Update | Failure:
    """Decode the client's reply; a damaged reply, or another client's, counts as its failure."""
    try:
        reply = decode_reply(answer)
    except FedfrError as error:
        return Failure(client, str(error))
    return reply if reply.client == client else Failure(client, f"it replied as {reply.client!r}")


Trained = tuple[Client, Update, PrivateState]


class _ClientRunner:
    """Runs the clients of one process, which share the decoded broadcast read-only."""

    def __init__(self, make_client: ClientFactory) -> None:
        self._make_client = make_client
        self._received: tuple[bytes, Broadcast] | None = None

    def train(self, client: str, down: bytes) -> Trained | Failure:
        """Train one client; return its update and private state, both unsaved, or its failure."""
        try:
            if self._received is None or self._received[0] != down:
                self._received = None
                self._received = down, decode_broadcast(down)
            participant = self._make_client(client)
            return participant, *participant.train(self._received[1])
        except _RUN_ENDING_ERRORS:
            raise
        except BaseException as error:  # noqa: BLE001 - one client's error must not stop the others
            return failure_of(client, error)

    def deliver(self, trained: Trained | Failure) -> bytes:
        """Save the private state, then return the encoded update."""
        if isinstance(trained, Failure):
            return encode(trained)
        participant, update, state = trained
        try:
            participant.store.save(state)
            return encode(update)
        except _RUN_ENDING_ERRORS:
            raise
        except BaseException as error:  # noqa: BLE001 - one client's error must not stop the others
            return encode(failure_of(participant.id, error))


_in_worker: list[_ClientRunner] = []
_worker_numbers: list[int] = []


def worker_number() -> int:
    """Return the number of this worker process, from 0; 0 in a process without workers."""
    return _worker_numbers[0] if _worker_numbers else 0


def _start_worker(make_client: ClientFactory, threads: int, started: Any) -> None:
    with started.get_lock():
        _worker_numbers[:] = [started.value]
        started.value += 1
    torch.set_num_threads(threads)
    _in_worker[:] = [_ClientRunner(make_client)]
    parent: Any = multiprocessing.parent_process()

    def end_with_parent() -> None:
        wait([parent.sentinel])
        os._exit(1)

    # A killed run must leave no worker behind: an orphaned worker of a pool would wait for ever.
    threading.Thread(target=end_with_parent, daemon=True).start()


def _serve_in_worker(client: str, down: bytes) -> bytes:
    serve = _in_worker[0]
    try:
        return serve.deliver(serve.train(client, down))
    except SystemExit as error:
        # Raised by a library: without this, the run would end silently.
        return encode(failure_of(client, error))
