"""Messages as Flower's records: encoded and decoded bit for bit; invalid records are refused."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from hypothesis import given, settings
from hypothesis import strategies as st

from fedfr.core.errors import FedfrError
from fedfr.engines.flower.wire import (
    broadcast_records,
    busy_records,
    hello_request_records,
    is_busy,
    largest_reply,
    read_broadcast,
    read_hello,
    read_hello_request,
    read_reply,
    read_stage,
    read_stage_reply,
    reply_records,
    stage_records,
    stage_reply_records,
)
from fedfr.federation.messages import Broadcast, Failure, Hello, Update, encode
from fedfr.privacy.secure_sum.stage_messages import Stage

AGREEMENT = "a" * 64
TYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.int32, torch.uint8, torch.bool]
UPDATE = Update(3, "north", {"w": torch.ones(2, 3)}, torch.ones(2, 4), 7, {"loss/total": 0.5, "epochs": 2.0})
MOST = 1 << 21


def travelled(content: RecordDict) -> RecordDict:
    """The records after Flower has split and reassembled them."""
    objects = {name: found.deflate() for name, found in get_all_nested_objects(content).items()}
    arrived = inflate_object_from_contents(content.object_id, objects)
    assert isinstance(arrived, RecordDict)
    return arrived


def same(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    """Equality of dtype, shape and every bit, including NaN."""
    if one is None or other is None:
        return one is other
    raw = [tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (one, other)]
    return one.dtype == other.dtype and one.shape == other.shape and torch.equal(*raw)


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    dtype, shape = draw(st.sampled_from(TYPES)), draw(st.lists(st.integers(0, 4), max_size=4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1 << 30)))
    if dtype == torch.bool:
        return torch.rand(shape, generator=generator) < 0.5
    bits = torch.randint(0, 256, (*shape, dtype.itemsize), generator=generator, dtype=torch.uint8)
    return bits.view(dtype).reshape(shape)


weights = st.dictionaries(st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=20), tensors())


@settings(deadline=None, max_examples=50)
@given(weights=weights, prototypes=tensors(), count=st.integers(1, 1 << 40), value=st.floats(allow_nan=False))
def test_updates_are_decoded_bit_for_bit(
    weights: dict[str, torch.Tensor], prototypes: torch.Tensor, count: int, value: float
) -> None:
    sent = Update(5, "north", weights, prototypes, count, {"loss/margin_softmax": value})
    got = read_reply(travelled(reply_records(sent)), "north", MOST)
    assert isinstance(got, Update)
    assert (got.round, got.client, got.count, got.metrics) == (sent.round, sent.client, sent.count, sent.metrics)
    assert got.weights.keys() == weights.keys()
    assert all(same(got.weights[name], weights[name]) for name in weights)
    assert same(got.prototypes, prototypes)


@settings(deadline=None, max_examples=25)
@given(weights=weights, prototypes=tensors(), own=tensors())
def test_broadcasts_are_decoded_bit_for_bit(
    weights: dict[str, torch.Tensor], prototypes: torch.Tensor, own: torch.Tensor
) -> None:
    records = broadcast_records(Broadcast(5, weights, prototypes), AGREEMENT, {"north": own}, {"north": 4, "south": 3})
    for client, revealed, accepted in (("north", own, 4), ("south", None, 3), (None, None, 0)):
        got = read_broadcast(travelled(records[client]), AGREEMENT)
        assert (got.round, got.accepted) == (5, accepted)
        assert all(same(got.weights[name], weights[name]) for name in weights)
        assert same(got.prototypes, prototypes)
        assert same(got.identities, revealed)


def test_the_shared_broadcast_is_one_object() -> None:
    records = broadcast_records(
        Broadcast(1, {"w": torch.ones(9)}, torch.ones(2, 4)), AGREEMENT, {"north": torch.ones(1, 4)}
    )
    bodies = [record["message"] for record in records.values()]
    assert all(isinstance(body, ArrayRecord) for body in bodies)
    assert len({id(body["message"]) for body in bodies if isinstance(body, ArrayRecord)}) == 1


def test_the_records_hold_nothing_but_the_message() -> None:
    """Another test searches the bytes of the message for private data."""
    content = reply_records(UPDATE)
    head, body = content["fedfr"], content["message"]
    assert content.keys() == {"fedfr", "message"}
    assert isinstance(head, ConfigRecord)
    assert isinstance(body, ArrayRecord)
    assert dict(head) == {"format": 1, "kind": "reply"}
    assert {name: array.data for name, array in body.items()} == {"message": encode(UPDATE)}


def test_hello_and_its_request_are_decoded() -> None:
    hello = Hello("north", AGREEMENT, "", "0.1.0")
    assert read_hello(travelled(reply_records(hello)), "node 4") == hello
    assert read_hello(reply_records(Failure("north", "no faces")), "node 4") == Failure("north", "no faces")
    read_hello_request(travelled(hello_request_records(AGREEMENT)))
    with pytest.raises(FedfrError, match="message of the server refused: fedfr's list of fields"):
        read_hello_request(reply_records(hello))


def records(body: ArrayRecord | None = None, **head: str | int) -> RecordDict:
    array = Array(dtype="uint8", shape=(len(encode(UPDATE)),), stype="fedfr.safetensors", data=encode(UPDATE))
    return RecordDict(
        {
            "fedfr": ConfigRecord({"format": 1, "kind": "reply", **head}),
            "message": ArrayRecord({"message": array}) if body is None else body,
        }
    )


def arrays(**changed: object) -> ArrayRecord:
    data = encode(UPDATE)
    fields = {"dtype": "uint8", "shape": (len(data),), "stype": "fedfr.safetensors", "data": data, **changed}
    return ArrayRecord({"message": Array(**fields)})  # type: ignore[call-overload]


def with_another(name: str) -> RecordDict:
    content = records()
    content[name] = MetricRecord({"x": 1})
    return content


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (RecordDict(), "its list of records is \\[\\]"),
        (with_another("more"), "its list of records is \\['fedfr', 'message', 'more'\\]"),
        (RecordDict({"fedfr": MetricRecord({}), "message": arrays()}), "the kind of its records is \\['MetricRecord'"),
        (records(format=2), "format is 2, expected 1"),
        (records(kind="broadcast"), "kind is 'broadcast', expected reply"),
        (records(why="so"), "fedfr's list of fields is \\['format', 'kind', 'why'\\]"),
        (records(ArrayRecord()), "message's list of arrays is \\[\\]"),
        (records(ArrayRecord({"other": Array("uint8", (1,), "x", b"a")})), "message's list of arrays is \\['other'\\]"),
        (records(arrays(dtype="float32")), "dtype of message is 'float32', expected uint8"),
        (records(arrays(stype="numpy.ndarray")), "stype of message is 'numpy.ndarray'"),
        (records(arrays(shape=(10**12,))), "shape of message is \\(1000000000000,\\)"),
        (records(arrays(data=encode(UPDATE)[:-1])), "shape of message"),
        (records(arrays(data=b"", shape=(0,))), "a message of 0 bytes is not a complete reply"),
        (records(arrays(data=b"x" * 99, shape=(99,))), "a message of 99 bytes is not a complete reply"),
    ],
)
def test_invalid_replies_are_refused_with_client_and_field(content: RecordDict, reason: str) -> None:
    with pytest.raises(FedfrError, match=f"message of north refused: {reason}"):
        read_reply(content, "north", MOST)


def test_a_reply_above_the_size_limit_is_refused() -> None:
    broadcast = Broadcast(1, {"w": torch.ones(1000)}, torch.ones(10, 4))
    most = largest_reply(broadcast, identities=5)
    assert most == 4 * (1000 + 40 + 20) + (1 << 20)
    large = reply_records(replace(UPDATE, weights={"w": torch.ones(most // 4)}))
    with pytest.raises(
        FedfrError, match=rf"message of north refused: size of message is \d+, expected at most {most} b"
    ):
        read_reply(large, "north", most)
    assert isinstance(read_reply(reply_records(UPDATE), "north", most), Update)


@pytest.mark.parametrize("name", ["client", "event", "loss/Total", "images/", "loss/a b", "x", "loss of a person"])
def test_unknown_metrics_are_refused(name: str) -> None:
    """Otherwise it would appear in the run's events."""
    with pytest.raises(FedfrError, match="message of north refused: metrics hold"):
        read_reply(reply_records(replace(UPDATE, metrics={name: 1.0})), "north", MOST)


def test_too_many_metrics_are_refused() -> None:
    many = {f"loss/{number}": 1.0 for number in range(101)}
    with pytest.raises(FedfrError, match="message of north refused: it reports 101 metrics; at most 100 are allowed"):
        read_reply(reply_records(replace(UPDATE, metrics=many)), "north", MOST)


@pytest.mark.parametrize("update", [replace(UPDATE, round=1 << 63), replace(UPDATE, count=-(10**4000))])
def test_numbers_that_json_cannot_hold_are_refused(update: Update) -> None:
    with pytest.raises(FedfrError, match=r"message of north refused: .* is not a complete reply") as told:
        read_reply(reply_records(update), "north", MOST)
    assert len(str(told.value)) < 500


def test_long_names_are_shortened_in_errors() -> None:
    with pytest.raises(FedfrError, match="message of north refused: client 'xxx") as told:
        read_reply(reply_records(replace(UPDATE, client="x" * 10**6)), "north", MOST)
    assert len(str(told.value)) < 300


def test_a_reply_with_another_clients_name_is_refused() -> None:
    with pytest.raises(FedfrError, match="reply of south refused: client is 'north'"):
        read_reply(reply_records(UPDATE), "south", MOST)


def test_a_broadcast_of_another_agreement_is_refused_with_a_shareable_reason() -> None:
    content = broadcast_records(Broadcast(1, {"w": torch.ones(3)}, torch.ones(2, 4)), "b" * 64, {})[None]
    with pytest.raises(FedfrError, match="agreement is 'bbbb") as refused:
        read_broadcast(content, AGREEMENT)
    assert refused.value.shareable == str(refused.value)


def test_damaged_private_prototypes_are_refused() -> None:
    broadcast = Broadcast(1, {"w": torch.ones(3)}, torch.ones(2, 4))
    content = broadcast_records(broadcast, AGREEMENT, {"north": torch.ones(1, 4)})["north"]
    body = content["message"]
    assert isinstance(body, ArrayRecord)
    body["identities"] = Array("uint8", (4,), "fedfr.safetensors", b"none")
    with pytest.raises(FedfrError, match="is not a complete set of private prototypes"):
        read_broadcast(content, AGREEMENT)


def test_messages_of_stages_are_read_back_and_checked() -> None:
    request = travelled(stage_records(AGREEMENT, Stage.MASK, b"boxes"))
    assert read_stage(request, AGREEMENT) == (Stage.MASK, b"boxes")
    answer = travelled(stage_reply_records([b"masked ", memoryview(b"vector")]))
    assert read_stage_reply(answer, "north", 13) == b"masked vector"
    assert read_stage_reply(reply_records(Failure("north", "no")), "north", 13) == Failure("north", "no")
    assert [is_busy(each) for each in (travelled(busy_records()), answer, request, RecordDict())] == [
        True,
        *[False] * 3,
    ]
    request.config_records["fedfr"]["stage"] = "guess"
    for read, reason in (
        (lambda: read_stage(request, AGREEMENT), "stage is 'guess', expected one of"),
        (lambda: read_stage(travelled(stage_records("b" * 64, Stage.MASK, b"")), AGREEMENT), "agreement is 'bbb"),
        (lambda: read_stage(answer, AGREEMENT), "list of fields"),
        (lambda: read_stage_reply(answer, "north", 12), "size of message is 13, expected at most 12 bytes"),
        (
            lambda: read_stage_reply(reply_records(UPDATE), "north", 13),
            "it is an update, expected an answer",
        ),
        (lambda: read_stage_reply(reply_records(Failure("south", "no")), "north", 13), "client is 'south'"),
        (lambda: read_stage_reply(busy_records(), "north", 13), "kind is 'busy', expected stage"),
    ):
        with pytest.raises(FedfrError, match=reason):
            read()


@pytest.mark.parametrize("read", [lambda it: read_reply(it, "north", MOST), lambda it: read_broadcast(it, AGREEMENT)])
def test_damaged_bytes_are_an_error_or_harmless(read: Callable[[RecordDict], object]) -> None:
    generator, data = random.Random(3), encode(UPDATE)
    reasons = []
    for _ in range(200):
        damaged = bytearray(data)
        for _ in range(generator.randrange(1, 4)):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        try:
            read(records(arrays(data=bytes(damaged))))
        except FedfrError as error:
            reasons.append(str(error))
    assert not [reason for reason in reasons if "\n" in reason]
