"""Replies in the order of client ids for any order of arrival; waiting replies are on disk, not in memory."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedfr.federation.messages import LONGEST_HEADER, Failure, Update, decode_reply
from fedfr.federation.reply_order import in_client_order

CLIENTS = tuple(f"client-{number}" for number in range(6))


def reply(client: str) -> Update | Failure:
    if client == "client-4":
        return Failure(client, "no power")
    weights = {"w": torch.full((3,), float(client[-1])), "half": torch.ones(2).bfloat16(), "steps": torch.tensor(7)}
    return Update(2, client, weights, torch.zeros(1, 2), 5, {"loss/total": float("nan")})


def unexpected(client: str, reason: str) -> None:
    raise AssertionError(client, reason)


@given(order=st.permutations(CLIENTS))
def test_any_order_of_arrival(order: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("rounds")
    found = list(in_client_order(map(reply, order), CLIENTS, folder, unexpected))
    assert [each.client for each in found] == list(CLIENTS)
    for client, each in zip(CLIENTS, found, strict=True):
        expected = reply(client)
        if isinstance(expected, Failure):
            assert each == expected
            continue
        assert isinstance(each, Update)
        assert (each.round, each.count, str(each.metrics)) == (2, 5, "{'loss/total': nan}")
        for name, value in expected.weights.items():
            assert each.weights[name].dtype == value.dtype
            assert torch.equal(each.weights[name], value)
    assert list(folder.iterdir()) == []


def test_waiting_updates_are_not_in_memory(tmp_path: Path) -> None:
    """The first client replies last; until then the other updates are on disk."""
    alive: list[weakref.ref[torch.Tensor]] = []

    def arriving() -> Iterator[Update | Failure]:
        for client in (*CLIENTS[1:], CLIENTS[0]):
            if client == CLIENTS[0]:
                gc.collect()
                assert [seen() for seen in alive] == [None] * len(alive)
                assert len(list((tmp_path / ".waiting.tmp").iterdir())) == len(alive) == 4
            made = reply(client)
            if isinstance(made, Update):
                alive.append(weakref.ref(made.weights["w"]))
            yield made
            del made

    assert len(list(in_client_order(arriving(), CLIENTS, tmp_path, unexpected))) == len(CLIENTS)


@pytest.mark.parametrize("stranger", ["client-1", "client-9"])
@pytest.mark.parametrize("place", [1, 3, 6])
def test_duplicate_and_unrequested_replies(stranger: str, place: int, tmp_path: Path) -> None:
    """The first reply of each client counts; duplicates and unrequested replies are refused."""
    order = ["client-1", *CLIENTS[2:], "client-0"]
    order.insert(place, stranger)
    refused: list[tuple[str, str]] = []
    found = list(in_client_order(map(reply, order), CLIENTS, tmp_path, lambda *what: refused.append(what)))
    assert [each.client for each in found] == list(CLIENTS)
    reason = f"a reply from '{stranger}' refused: it was not asked or has answered already"
    assert refused == [(stranger, reason)]
    assert list(tmp_path.iterdir()) == []


def test_clients_that_do_not_reply_have_failed(tmp_path: Path) -> None:
    found = list(in_client_order(map(reply, ["client-5", "client-0", "client-2"]), CLIENTS, tmp_path, unexpected))
    assert [each.client for each in found] == list(CLIENTS)
    silent = [each for each in found if isinstance(each, Failure)]
    assert silent == [Failure(client, "no reply came") for client in ("client-1", "client-3", "client-4")]
    assert list(tmp_path.iterdir()) == []


def test_a_header_that_becomes_too_long_when_encoded_is_refused(tmp_path: Path) -> None:
    """A header of the largest allowed length, with numbers that are longer when encoded again."""
    metrics = ",".join(f'"loss/{number}":1e15' for number in range(100))
    scalars = f'{{"kind":"Update","round":2,"client":"client-1","count":1,"metrics":{{{metrics}}}}}'

    def header(count: int) -> bytes:
        empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
        entries = {f"weights/{number:06d}": empty for number in range(count)}
        return json.dumps({"__metadata__": {"fedfr": scalars}, **entries}, separators=(",", ":")).encode()

    most = (LONGEST_HEADER - len(header(0))) // (len(header(2)) - len(header(1)))
    early = decode_reply(LONGEST_HEADER.to_bytes(8, "little") + header(most).ljust(LONGEST_HEADER))
    first, second = in_client_order(iter([early, reply("client-0")]), CLIENTS[:2], tmp_path, unexpected)
    assert isinstance(first, Update)
    assert isinstance(second, Failure)
    assert second.client == "client-1"
    assert "more than" in second.reason
