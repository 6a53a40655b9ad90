"""Messages: exact encoding and decoding; incomplete or invalid bytes are refused."""

from __future__ import annotations

import dataclasses
import random
from typing import get_args

import pytest
import safetensors.torch
import torch

from fedfr.config.schema import Report
from fedfr.core.errors import FedfrError
from fedfr.federation.messages import (
    Broadcast,
    Failure,
    Hello,
    Update,
    decode_broadcast,
    decode_hello,
    decode_reply,
    decode_update,
    encode,
    reported,
)

WEIGHTS = {
    "conv.weight": torch.randn(4, 3, 3, 3).contiguous(memory_format=torch.channels_last),
    "half": torch.randn(7).bfloat16(),
    "bn.num_batches_tracked": torch.tensor(11),
}
UPDATE = Update(4, "client-03", WEIGHTS, torch.randn(5, 8), 61, {"loss/total": 1.25, "seconds": 0.5})


def equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype and torch.equal(left[name], right[name]) for name in left
    )


def test_the_complete_list_of_fields() -> None:
    """Adding a field to a message is a decision about privacy.

    ``identities`` is empty unless a method declares ``reveals_identities`` (a test goes through all methods).
    """
    fields = {
        kind.__name__: [field.name for field in dataclasses.fields(kind)]
        for kind in (Broadcast, Update, Failure, Hello)
    }
    assert fields == {
        "Broadcast": ["round", "weights", "prototypes", "identities", "accepted"],
        "Update": ["round", "client", "weights", "prototypes", "count", "metrics", "identities", "scales"],
        "Failure": ["client", "reason"],
        "Hello": ["client", "agreement", "public", "version"],
    }
    with pytest.raises(dataclasses.FrozenInstanceError):
        UPDATE.count = 3  # type: ignore[misc]


@pytest.mark.parametrize("prototypes", [None, torch.randn(5, 8)])
def test_an_update_is_decoded_exactly(prototypes: torch.Tensor | None) -> None:
    sent = dataclasses.replace(UPDATE, prototypes=prototypes)
    received = decode_update(encode(sent))
    assert equal(dict(received.weights), dict(sent.weights))
    if prototypes is None:
        assert received.prototypes is None
    else:
        assert received.prototypes is not None
        assert torch.equal(received.prototypes, prototypes)
    assert (received.round, received.client, received.count, received.metrics) == (4, "client-03", 61, sent.metrics)


def test_reported_metrics_are_those_of_the_level() -> None:
    names = (
        "loss/total",
        "images/private",
        "images/hard_negatives",
        "epochs",
        "steps",
        "seconds",
        "cpu_seconds",
        "feature_seconds",
        "feature_seconds_alone",
        "peak_rss_bytes",
    )
    update = dataclasses.replace(UPDATE, metrics=dict.fromkeys(names, 1.0))
    kept = {report: set(reported(update, report).metrics) for report in get_args(Report)}
    assert kept == {"none": set(), "losses": {"loss/total"}, "all": set(names)}
    assert reported(update, "none").count == update.count


def test_a_broadcast_is_decoded_exactly() -> None:
    received = decode_broadcast(encode(Broadcast(9, WEIGHTS, torch.ones(2, 8))))
    assert received.identities is None
    assert received.round == 9
    assert equal(dict(received.weights), WEIGHTS)
    assert torch.equal(received.prototypes, torch.ones(2, 8))


def test_two_clients_may_write_to_the_same_broadcast() -> None:
    data = encode(Broadcast(1, {"w": torch.ones(3)}, torch.ones(2, 8)))
    first = decode_broadcast(data)
    first.weights["w"].zero_()
    first.prototypes.zero_()
    second = decode_broadcast(data)
    assert torch.equal(second.weights["w"], torch.ones(3))
    assert torch.equal(second.prototypes, torch.ones(2, 8))


def test_a_reply_is_an_update_or_a_failure() -> None:
    update = decode_reply(encode(UPDATE))
    assert isinstance(update, Update)
    assert equal(dict(update.weights), WEIGHTS)
    failure = Failure("client-03", "the loss became nan in epoch 2; lower the learning rate (now 0.1)")
    assert decode_reply(encode(failure)) == failure
    with pytest.raises(FedfrError, match="expected a message of kind 'Update' or 'Failure', received 'Broadcast'"):
        decode_reply(encode(Broadcast(9, WEIGHTS, torch.ones(2, 8))))


def test_a_hello_or_a_failure_is_decoded() -> None:
    hello = Hello("client-03", "a1", "", "0.1.0")
    assert decode_hello(encode(hello)) == hello
    assert decode_hello(encode(Failure("client-03", "no faces"))) == Failure("client-03", "no faces")
    with pytest.raises(FedfrError, match="expected a message of kind 'Hello' or 'Failure', received 'Update'"):
        decode_hello(encode(UPDATE))
    with pytest.raises(FedfrError, match="not a complete hello"):
        decode_hello(encode(hello)[:-3])


def test_a_failures_reason_is_one_line_of_bounded_length() -> None:
    reply = decode_reply(encode(Failure("client-03", "no power\n\x1b[2Jrefused: client-01" + 1000 * "!")))
    assert isinstance(reply, Failure)
    assert len(reply.reason) == 300
    assert reply.reason.isprintable()


def test_a_truncated_failure_is_refused_at_every_length() -> None:
    data = encode(Failure("client-03", "no power"))
    for length in range(len(data)):
        with pytest.raises(FedfrError, match=f"a message of {length} bytes is not a complete reply"):
            decode_reply(data[:length])


def test_a_truncated_message_is_refused_at_every_length() -> None:
    data = encode(UPDATE)
    for length in [*range(40), *range(40, len(data), 37), len(data) - 1]:
        with pytest.raises(FedfrError, match=f"a message of {length} bytes is not a complete update"):
            decode_update(data[:length])


def test_a_damaged_header_is_an_error_or_harmless_never_a_crash() -> None:
    data, generator = encode(UPDATE), random.Random(5)
    header = 8 + int.from_bytes(data[:8], "little")
    reasons = []
    for _ in range(300):
        damaged = bytearray(data)
        damaged[generator.randrange(header)] = generator.randrange(256)
        try:
            decode_update(bytes(damaged))
        except FedfrError as error:
            reasons.append(str(error))
    assert len(reasons) > 100
    assert not [reason for reason in reasons if "\n" in reason]


@pytest.mark.parametrize(
    "scalars", ['{"kind": "Update"}', "[]", "3", '{"kind": "Update", "round": "x"}', "{", "[" * 100_000]
)
def test_wrong_scalars_are_refused(scalars: str) -> None:
    with pytest.raises(FedfrError, match=r"(?i)update"):
        decode_update(safetensors.torch.save({"weights/a": torch.ones(1)}, {"fedfr": scalars}))


def test_kinds_are_not_confused() -> None:
    with pytest.raises(FedfrError, match="expected a message of kind 'Broadcast', received 'Update'"):
        decode_broadcast(encode(UPDATE))
    with pytest.raises(FedfrError, match="not a complete update"):
        decode_update(b"")
