"""Random bytes from one client: it is refused by name, and the round continues with the others."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from tests.support.fuzz.bounds import bounded, refusal
from tests.support.fuzz.messages import START, Round, damaged, header_of, joined, messages
from tests.support.fuzz.mutator import Mutator

from fedfr.engines.flower.wire import read_broadcast, read_hello, read_hello_request, read_reply
from fedfr.federation.messages import decode_broadcast, decode_hello, decode_reply, decode_update, encode


def with_header(header: bytes, body: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + body


def changed(**entries: object) -> bytes:
    """An honest client's update, but for entries of its header and their bytes."""
    header, body = header_of(encode(Round.update("client-00000")))
    return joined(json.dumps({**json.loads(header), **entries}).encode(), body)


def scalars(**fields: object) -> bytes:
    header, body = header_of(encode(Round.update("client-00000")))
    texts = json.loads(header)
    own = json.loads(texts["__metadata__"]["fedfr"]) | fields
    texts["__metadata__"]["fedfr"] = json.dumps(own)
    return joined(json.dumps(texts).encode(), body)


def revealing(*shape: int) -> bytes:
    return encode(replace(Round.update("client-00000"), identities=torch.empty(shape)))


EMPTY = {"dtype": "F32", "data_offsets": [0, 0]}
BAD = {
    "null": (with_header(b"null"), "its header is NoneType"),
    "no tensor at all": (with_header(b"{}"), "__metadata__ is not an object of texts"),
    "a header of 20 MB": (with_header(b"[" + b"{}," * 7_000_000 + b"{}]"), "size of message|its header takes 2"),
    "a header as long as a reply may be": (with_header(b"[" + b"{}," * 349_600 + b"{}]"), "its header"),
    "nested": (with_header(b"[" * 500_000), "nested too deeply"),
    "identities of 2**40 rows and no column": (revealing(1 << 40, 0), r"has shape \(1099511627776, 0\), expected"),
    "identities of no row": (revealing(0, 4), "it has no private prototypes"),
    "identities of one side": (revealing(4), r"has shape \(4,\), expected"),
    "identities that are one number": (revealing(), r"has shape \(\), expected"),
    "a name that is half a character": (changed(**{"weights/\ud800": {**EMPTY, "shape": [0]}}), "surrogates"),
    "no field of a message": (changed(x={**EMPTY, "shape": [0]}), "'x' is not a field"),
    "a name twice": (with_header(b'{"__metadata__": {}, "a": 1, "a": 1}'), "the same name twice"),
    "a round of many digits": (scalars(round=10**4000), "not a 64-bit integer"),
    "a round that is true": (scalars(round=True), "not a 64-bit integer"),
    "another round": (scalars(round=2), "round is 2"),
    "a count of half an image": (scalars(count=0.5), "not a 64-bit integer"),
    "a client who is nobody": (scalars(client=None), "a text is NoneType"),
    "a client who is another": (scalars(client="honest"), "client is 'honest'"),
    "a metric of infinity": (scalars(metrics={"seconds": float("inf")}), "metric seconds is inf"),
    "a metric that is too large to be added": (scalars(metrics={"seconds": 1e308}), "metric seconds is 1e\\+308"),
    "a metric that is a text": (scalars(metrics={"seconds": "1"}), "metric seconds is str"),
    "a metric in the server's name": (scalars(metrics={"client": 1.0}), "which is not a known metric"),
    "thousands of metrics": (scalars(metrics={f"loss/{n}": 1 for n in range(5000)}), "reports 5000 metrics"),
    "a failure in colours": (
        with_header(json.dumps({"__metadata__": {"fedfr": json.dumps(
            {"kind": "Failure", "client": "client-00000", "reason": "\x1b[2J\n\ud800" + "x" * 9999})}}).encode()),
        "failed in round 1:  ",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("data", "reason"), BAD.values(), ids=BAD)
def test_one_invalid_reply_affects_only_its_client(data: bytes, reason: str, tmp_path: Path) -> None:
    federation = Round(tmp_path, [data])
    with bounded(256):
        made = federation.run()
    assert federation.accepted == {"honest"}
    told = federation.refused["client-00000"]
    assert "client-00000" in told
    assert re.search(reason, told), told
    assert told.isprintable()
    assert len(told) < 700
    honest = Round.update("honest")
    assert torch.equal(made.weights["w"], honest.weights["w"])


@pytest.mark.parametrize("updates", ["full", "int8"])
def test_rounds_of_damaged_answers(updates: str, tmp_path: Path) -> None:
    rounds(tmp_path, 7, 250, updates)


def rounds(folder: Path, seed: int, count: int, updates: str, *, direct: bool = False) -> int:
    """A round of ``count`` damaged answers; how many of them were refused."""
    mutator, whole = Mutator(seed), messages(updates)
    answers = []
    for number in range(count):
        name = f"client-{number:05d}".encode()
        base = mutator.random.choice(whole).replace(b"client-00000", name)
        answers.append(damaged(mutator, base, whole))
    federation = Round(folder, answers, updates, direct=direct)
    with bounded(512):
        made = federation.run()
    assert "honest" in federation.accepted
    for client, told in federation.refused.items():
        assert client in told
        assert told.isprintable(), told
        assert len(told) < 1000, told
    assert all(bool(torch.isfinite(value).all()) for value in [*made.weights.values(), *made.server_state.values()])
    assert made.weights.keys() == START.weights.keys()
    return len(federation.refused)


def test_every_kind_of_message_at_every_reader() -> None:
    """Beyond rounds: a client that is sent a bad broadcast, a server that is answered badly who a site is."""
    mutator, whole = Mutator(11), messages("full")
    decoders: list[Callable[[bytes], object]] = [decode_broadcast, decode_update, decode_reply, decode_hello]
    refused = 0
    with bounded(512):
        for _ in range(1500):
            data = damaged(mutator, mutator.random.choice(whole), whole)
            for decode in decoders:
                refused += refusal(partial(decode, data)) is not None
    assert refused > 3000


def strange_records(random: Random) -> RecordDict:
    """Records of every kind under right names and wrong ones."""
    data = encode(Round.update("north"))
    names = ["fedfr", "message", "identities", "x" * 10_000, "", "\x1b[31m"]
    fields = [*names, "format", "kind", "agreement"]
    values: list[Any] = [1, True, 1.0, "reply", "broadcast", b"reply", [1], ["a"], "x" * 10_000, "\x1b[31m\n", 1 << 62]

    def record() -> Any:
        kind = random.randrange(4)
        if kind == 0:
            return ConfigRecord({random.choice(fields): random.choice(values) for _ in range(3)})
        if kind == 1:
            return ConfigRecord({"format": random.choice(values[:3]), "kind": random.choice(values)})
        if kind == 2:
            return MetricRecord({"format": 1})
        shape = random.choice([(len(data),), (), (1 << 62, 1 << 62), (-1,), (len(data), 1)])
        dtype, stype = random.choice(["uint8", "float32", "x" * 9999]), random.choice(["fedfr.safetensors", "\n"])
        return ArrayRecord({random.choice(names): Array(dtype, shape, stype, random.choice([data, b"", data[:-1]]))})

    content = RecordDict()
    for name in random.sample(names, random.randrange(4)):
        content[name] = record()
    return content


def test_records_that_are_no_message_of_ours() -> None:
    random = Random(5)
    readers: list[Callable[[RecordDict], object]] = [
        lambda content: read_reply(content, "north", 1 << 20),
        lambda content: read_hello(content, "node 3"),
        read_hello_request,
        lambda content: read_broadcast(content, "a"),
    ]
    for _ in range(1000):
        content = strange_records(random)
        for read in readers:
            refusal(partial(read, content))
