"""Conversion between fedfr's messages and Flower's records.

A message is sent as the bytes of :func:`fedfr.federation.messages.encode` in one array, so that every tensor keeps its
dtype, shape and bits, and a model of several hundred tensors needs a few objects instead of two per tensor. A small
record beside it holds kind, format, and the agreement's fingerprint. Incoming records are checked before use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from fedfr.core.errors import FedfrError
from fedfr.federation.messages import (
    IDENTITIES,
    LONGEST_HEADER,
    Broadcast,
    Failure,
    Hello,
    Update,
    decode_broadcast,
    decode_hello,
    decode_reply,
    decode_revealed,
    encode,
    size_of,
)
from fedfr.federation.packing import pack
from fedfr.privacy.secure_sum.stage_messages import Pieces, Stage

__all__ = [
    "MOST_OF_STAGE",
    "SMALL",
    "broadcast_records",
    "busy_records",
    "hello_request_records",
    "is_busy",
    "largest_reply",
    "read_broadcast",
    "read_hello",
    "read_hello_request",
    "read_reply",
    "read_stage",
    "read_stage_reply",
    "reply_records",
    "stage_records",
    "stage_reply_records",
]

T = TypeVar("T")
FORMAT = 1
HEADER, BODY = "fedfr", "message"
DTYPE, PACKED = "uint8", "fedfr.safetensors"
SMALL = 1 << 16
STAGE, BUSY = "stage", "busy"
MOST_OF_STAGE = 1 << 20
"""Bytes of a message of a stage, without the vector: boxes and signatures of 200 sites take less than 100 kB."""
_NEVER: Mapping[str, int] = {}
ROUND = re.compile(r"[0-9]{1,9}")


def hello_request_records(agreement: str) -> RecordDict:
    """Return the server's request for a node's client id, with the agreement's fingerprint."""
    return _records({"kind": "hello", "agreement": agreement}, {})


def read_hello_request(content: RecordDict) -> str:
    """Return the fingerprint of the run's agreement; raises :class:`FedfrError` if this is not a hello request."""
    _body("the server", content, {"kind": "hello", "agreement": None}, (), None)
    return str(content[HEADER]["agreement"])


def broadcast_records(
    broadcast: Broadcast, agreement: str, identities: Mapping[str, torch.Tensor], accepted: Mapping[str, int] = _NEVER
) -> dict[str | None, RecordDict]:
    """Return the records to send by client id; those under None are for all other clients.

    All of them hold the same array, so that Flower transfers it only once.
    """
    shared = _array(encode(replace(broadcast, identities=None)))
    header = {"kind": "broadcast", "agreement": agreement}
    found: dict[str | None, RecordDict] = {None: _records({**header, "accepted": "0"}, {BODY: shared})}
    for client in identities.keys() | accepted.keys():
        own = identities.get(client)
        arrays = {BODY: shared} | ({} if own is None else {IDENTITIES: _array(pack({IDENTITIES: own}, {}))})
        found[client] = _records({**header, "accepted": str(accepted.get(client, 0))}, arrays)
    return found


def read_broadcast(content: RecordDict, agreement: str) -> Broadcast:
    """Decode a broadcast; raises :class:`FedfrError` if it is invalid or of another agreement."""
    header = {"kind": "broadcast", "agreement": agreement, "accepted": None}
    arrays = _body("the server", content, header, (BODY, IDENTITIES), None)
    accepted = str(content[HEADER]["accepted"])
    if not ROUND.fullmatch(accepted):
        text = f"message of the server refused: accepted is {_short(accepted)}, expected the number of a round"
        raise FedfrError(text, shareable=text)
    broadcast = replace(decode_broadcast(arrays[BODY]), accepted=int(accepted))
    if IDENTITIES not in arrays:
        return broadcast
    return replace(broadcast, identities=decode_revealed(arrays[IDENTITIES]))


def reply_records(reply: Update | Failure | Hello) -> RecordDict:
    """Return a site's reply as records."""
    return _records({"kind": "reply"}, {BODY: _array(encode(reply))})


def stage_records(agreement: str, stage: Stage, request: bytes) -> RecordDict:
    """Return the server's request for a stage of a secure sum."""
    return _records({"kind": STAGE, "agreement": agreement, "stage": stage}, {BODY: _array(request)})


def read_stage(content: RecordDict, agreement: str) -> tuple[Stage, bytes]:
    """Return stage and content of such a request; raises :class:`FedfrError` if it is invalid."""
    body = _body("the server", content, {"kind": STAGE, "agreement": agreement, "stage": None}, (BODY,), MOST_OF_STAGE)
    try:
        return Stage(str(content[HEADER]["stage"])), body[BODY]
    except ValueError as error:
        text = f"message of the server refused: stage is {_short(content[HEADER]['stage'])}, expected one of {[*Stage]}"
        raise FedfrError(text, shareable=text) from error


def stage_reply_records(pieces: Pieces) -> RecordDict:
    """Return a site's answer to a stage as records."""
    return _records({"kind": STAGE}, {BODY: _array(b"".join(pieces))})


def busy_records() -> RecordDict:
    """Return the reply of a site that is still working on an earlier request."""
    return _records({"kind": BUSY}, {})


def is_busy(content: RecordDict) -> bool:
    """Return whether a reply is :func:`busy_records`."""
    header = content.get(HEADER)
    return isinstance(header, ConfigRecord) and header.get("kind") == BUSY


def read_stage_reply(content: RecordDict, client: str, max_bytes: int) -> bytes | Failure:
    """Return a site's answer to a stage, not yet checked, or its failure; raises as :func:`read_reply` does."""
    header = content.get(HEADER)
    if isinstance(header, ConfigRecord) and header.get("kind") == "reply":
        reply = read_reply(content, client, SMALL)
        if isinstance(reply, Failure):
            return reply
        raise FedfrError(f"reply of {client} refused: it is an update, expected an answer to a stage")
    return _body(client, content, {"kind": STAGE}, (BODY,), max_bytes)[BODY]


def read_hello(content: RecordDict, sender: str) -> Hello | Failure:
    """Decode a node's hello; ``sender`` names the node in the :class:`FedfrError` for an invalid one."""
    return _decoded(sender, decode_hello, _body(sender, content, {"kind": "reply"}, (BODY,), SMALL))


def read_reply(content: RecordDict, client: str, max_bytes: int) -> Update | Failure:
    """Decode a client's reply to a broadcast, of at most ``max_bytes`` bytes.

    Raises :class:`FedfrError` naming the client and the field for an invalid record, name, type, shape or size, for
    another client's reply, and for unknown metrics. The server later checks names, shapes and dtypes of the weights.
    """
    reply = _decoded(client, decode_reply, _body(client, content, {"kind": "reply"}, (BODY,), max_bytes))
    if reply.client != client:
        raise FedfrError(f"reply of {client} refused: client is {_short(reply.client)}")
    return reply


def largest_reply(broadcast: Broadcast, identities: int) -> int:
    """Return the largest size in bytes of a valid reply: model, header, and ``identities`` private prototypes."""
    prototypes = broadcast.prototypes
    return size_of(broadcast) + LONGEST_HEADER + identities * prototypes.shape[1] * prototypes.element_size()


def _decoded(sender: str, decode: Callable[[bytes], T], arrays: Mapping[str, bytes]) -> T:
    try:
        return decode(arrays[BODY])
    except FedfrError as error:
        raise FedfrError(f"message of {sender} refused: {error}") from error


def _array(data: bytes) -> Array:
    return Array(dtype=DTYPE, shape=(len(data),), stype=PACKED, data=data)


def _records(header: Mapping[str, str], arrays: Mapping[str, Array]) -> RecordDict:
    # Set one by one: the constructor would copy the arrays and hash each copy again.
    body = ArrayRecord()
    for name, array in arrays.items():
        body[name] = array
    return RecordDict({HEADER: ConfigRecord({"format": FORMAT, **header}), BODY: body})


def _body(
    sender: str, content: RecordDict, header: Mapping[str, str | None], names: tuple[str, ...], max_bytes: int | None
) -> dict[str, bytes]:
    """Return the bytes of each array after checking everything around them.

    ``header``: fields of the small record, None for any value. ``names``: names of the arrays; the first is required.
    """

    def refuse(field: str, found: object, wanted: object) -> FedfrError:
        text = f"message of {sender} refused: {field} is {_short(found)}, expected {wanted}"
        return FedfrError(text, shareable=text)

    if content.keys() != {HEADER, BODY}:
        raise refuse("its list of records", sorted(content.keys()), [HEADER, BODY])
    given, body = content[HEADER], content[BODY]
    if not isinstance(given, ConfigRecord) or not isinstance(body, ArrayRecord):
        raise refuse("the kind of its records", [type(given).__name__, type(body).__name__], "a config and arrays")
    wanted = {"format": FORMAT, **header}
    if given.keys() != wanted.keys():
        raise refuse(f"{HEADER}'s list of fields", sorted(given.keys()), sorted(wanted))
    for field, expected in wanted.items():
        if given[field] != expected and expected is not None:
            raise refuse(field, given[field], expected)
    if not body.keys() <= set(names) or not body.keys() >= set(names[:1]):
        raise refuse(f"{BODY}'s list of arrays", sorted(body.keys()), sorted(names))
    for name, array in body.items():
        size = len(array.data)
        announced = {"dtype": array.dtype, "stype": array.stype, "shape": tuple(array.shape)}
        for field, value in {"dtype": DTYPE, "stype": PACKED, "shape": (size,)}.items():
            if announced[field] != value:
                raise refuse(f"{field} of {name}", announced[field], value)
        if max_bytes is not None and size > max_bytes:
            raise refuse(f"size of {name}", size, f"at most {max_bytes} bytes")
    return {name: array.data for name, array in body.items()}


def _short(found: object) -> str:
    text = repr(found)
    return text if len(text) <= 100 else f"{text[:100]} …"
