"""How long Flower waits for the pieces of an answer, and how many it takes.

An answer travels in pieces. Once the first has come, Flower's Grid waits up to two hours for the others, takes whatever
comes, and looks at nobody else's answer meanwhile: one site could hold up a round far past its deadline, or fill the
server's memory.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from flwr.supercore.inflatable.inflatable_utils import ObjectPullError
from flwr.superlink.grid import http_grid

__all__ = ["within"]

# What stands around an answer's arrays: names, kinds, a few small records.
AROUND = 1 << 20
# A model's array comes in pieces of some megabytes; small ones are the records around it.
MOST_PIECES = 100_000


@contextmanager
def within(seconds: float, most: int) -> Iterator[None]:
    """Let Flower's Grid wait no longer than ``seconds`` for an answer's pieces, and take no more than ``most`` bytes.

    Beyond either, Flower says that the message is unavailable. Not for use by two threads at a time.
    """
    flower: Any = http_grid
    pull = flower.pull_objects

    def bounded(object_ids: Sequence[str], pull_object_fn: Callable[[str], bytes]) -> Any:
        if len(object_ids) > MOST_PIECES:
            raise ObjectPullError(object_ids[0], "the answer has too many pieces")
        left, lock = most + AROUND, threading.Lock()

        def piece(object_id: str) -> bytes:
            nonlocal left
            content = pull_object_fn(object_id)
            with lock:
                left -= len(content)
                if left < 0:
                    raise ObjectPullError(object_id, "the answer is too large")
            return content

        return pull(object_ids, piece, max_time=seconds, max_tries_per_object=None)

    flower.pull_objects = bounded
    try:
        yield
    finally:
        flower.pull_objects = pull
