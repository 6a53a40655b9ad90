"""Processing of photographs in threads; OpenCV releases the GIL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

import cv2

__all__ = ["map_in_threads"]

T = TypeVar("T")
R = TypeVar("R")


def map_in_threads(work: Callable[[T], R], tasks: Iterable[T], threads: int) -> Iterator[R]:
    """Yield results as they are completed, with at most two tasks per thread in progress.

    The first exception is raised, and tasks that have not started are cancelled.
    """
    waiting: set[Future[R]] = set()
    with _opencv_threads(1), ThreadPoolExecutor(threads) as pool:
        try:
            for task in tasks:
                waiting.add(pool.submit(work, task))
                if len(waiting) >= 2 * threads:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _opencv_threads(number: int) -> Iterator[None]:
    """Set OpenCV's number of threads within the block; its own threads would compete with those of the pool."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(number)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
