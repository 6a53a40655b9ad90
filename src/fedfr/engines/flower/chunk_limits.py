"""Limits on the time, number and size of the chunks of a Flower reply.

A reply is sent in chunks. After the first one, Flower's Grid waits up to two hours for the others, accepts any amount,
and reads no other reply meanwhile: one site could delay a round far past its deadline, or fill the server's memory.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from flwr.supercore.inflatable.inflatable_utils import ObjectPullError
from flwr.superlink.grid import http_grid

__all__ = ["limit_chunks"]

# Bytes of a reply besides its arrays: names, types, a few small records.
OVERHEAD = 1 << 20
# The array of a model comes in chunks of some megabytes; the records around it are small chunks.
MAX_CHUNKS = 100_000


@contextmanager
def limit_chunks(seconds: float, max_bytes: int) -> Iterator[None]:
    """Limit Flower's Grid to ``seconds`` for a reply's chunks and to about ``max_bytes`` bytes of them.

    Beyond either limit Flower reports the message as unavailable. Not thread-safe.
    """
    flower: Any = http_grid
    pull = flower.pull_objects

    def bounded(object_ids: Sequence[str], pull_object_fn: Callable[[str], bytes]) -> Any:
        if len(object_ids) > MAX_CHUNKS:
            raise ObjectPullError(object_ids[0], "the reply has too many chunks")
        remaining, lock = max_bytes + OVERHEAD, threading.Lock()

        def pull_chunk(object_id: str) -> bytes:
            nonlocal remaining
            content = pull_object_fn(object_id)
            with lock:
                remaining -= len(content)
                if remaining < 0:
                    raise ObjectPullError(object_id, "the reply is too large")
            return content

        return pull(object_ids, pull_chunk, max_time=seconds, max_tries_per_object=None)

    flower.pull_objects = bounded
    try:
        yield
    finally:
        flower.pull_objects = pull
