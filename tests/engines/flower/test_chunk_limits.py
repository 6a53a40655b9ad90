"""Limits on time and size of a reply's chunks, with Flower's own download."""

from __future__ import annotations

import time
from typing import Any

import pytest
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError, ObjectUnavailableError
from flwr.superlink.grid import http_grid

from fedfr.engines.flower.chunk_limits import MAX_CHUNKS, OVERHEAD, limit_chunks

GRID: Any = http_grid


def pull(names: list[str], **pieces: bytes) -> Any:
    """With the call that Flower's Grid makes."""

    def piece(name: str) -> bytes:
        if name not in pieces:
            raise ObjectUnavailableError(name)
        return pieces[name]

    return GRID.pull_objects(object_ids=names, pull_object_fn=piece)


def test_complete_replies_are_read_and_flower_is_restored() -> None:
    before = GRID.pull_objects
    with limit_chunks(0.0, 10):
        assert pull(["a", "b"], a=b"1", b=b"22") == {"a": b"1", "b": b"22"}
    assert GRID.pull_objects is before
    with pytest.raises(ZeroDivisionError), limit_chunks(0.0, 10):
        raise ZeroDivisionError
    assert GRID.pull_objects is before


def test_missing_chunks_are_awaited_up_to_the_limit() -> None:
    begun = time.monotonic()
    with limit_chunks(0.0, 10), pytest.raises(ObjectPullError, match="timeout"):
        pull(["a", "b"], a=b"1")
    assert time.monotonic() - begun < 1
    with limit_chunks(1.5, 10), pytest.raises(ObjectPullError, match="timeout"):
        pull(["a", "b"], a=b"1")
    assert 1.5 <= time.monotonic() - begun < 10


def test_replies_above_the_size_limit_are_aborted() -> None:
    with limit_chunks(0.0, 10):
        assert len(pull(["a", "b"], a=bytes(10), b=bytes(OVERHEAD))) == 2
        with pytest.raises(ObjectPullError, match="too large"):
            pull(["a", "b"], a=bytes(11), b=bytes(OVERHEAD))
        with pytest.raises(ObjectPullError, match="too many chunks"):
            pull(["a"] * (MAX_CHUNKS + 1), a=b"")
