"""Messages of the stages, their encoding as bytes, and what a signature covers.

The bytes are those of :mod:`fedfr.federation.packing`. Received bytes are checked for kind, types, widths, order and
length before anything else is done with them. Signatures cover :meth:`StageMessage.signed_bytes`, the canonical
encoding of the values, and not the bytes of the message, whose header has more than one spelling.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from fedfr.core.client_ids import is_client_id
from fedfr.core.errors import FedfrError
from fedfr.core.files import parse_json
from fedfr.core.short_repr import Brief
from fedfr.federation.packing import packed, unpack
from fedfr.privacy.secure_sum.agreement import HASH_BYTES, KEY_BYTES, MOST_SITES
from fedfr.privacy.secure_sum.boxes import BOX_BYTES
from fedfr.privacy.secure_sum.canonical import Label, canonical
from fedfr.privacy.secure_sum.fixed_point import Vector
from fedfr.privacy.secure_sum.keys import SIGNATURE_BYTES, Identity, is_signed
from fedfr.privacy.secure_sum.shares import SHARE_BYTES

__all__ = ["LONGEST_HEADER", "Pieces", "Stage", "StageMessage", "decode_message", "encode_message"]

LONGEST_HEADER = 1 << 17
"""Bytes. The ids of 200 sites take up to 40 kB, the description of the tensors 1 kB."""

Pieces = list[bytes | memoryview]
"""A message in pieces to be sent one after the other, so that the vector is not copied."""

_VECTOR = "vector"
_MOST_ROUNDS = 1 << 40


class Stage(StrEnum):
    """Stages of a round, in their order."""

    BEGIN = "begin"
    SHARE = "share"
    MASK = "mask"
    CONSENT = "consent"
    UNMASK = "unmask"


@dataclass(frozen=True)
class _Form:
    """Fields of a message: single values and columns with one value for each of ``members``, with their widths."""

    values: Mapping[str, int] = field(default_factory=dict)
    columns: Mapping[str, int] = field(default_factory=dict)
    members: bool = True
    vector: bool = False


_REQUESTS = {
    Stage.BEGIN: _Form(members=False),
    # U1 with what each signed.
    Stage.SHARE: _Form(columns={"box_key": KEY_BYTES, "mask_key": KEY_BYTES, "signature": SIGNATURE_BYTES}),
    # The other sites of U2 with their boxes to the recipient.
    Stage.MASK: _Form(columns={"box": BOX_BYTES}),
    # U3.
    Stage.CONSENT: _Form(),
    # Sites that signed U3.
    Stage.UNMASK: _Form(columns={"signature": SIGNATURE_BYTES}),
}
_REPLIES = {
    Stage.BEGIN: _Form(values={"box_key": KEY_BYTES, "mask_key": KEY_BYTES}, members=False),
    # The other sites of U1 with the boxes to them.
    Stage.SHARE: _Form(values={"commitment": HASH_BYTES}, columns={"box": BOX_BYTES}),
    Stage.MASK: _Form(members=False, vector=True),
    Stage.CONSENT: _Form(members=False),
    # U2 with one share of each: of its seed if it is in U3, of its mask key otherwise.
    Stage.UNMASK: _Form(columns={"share": SHARE_BYTES}),
}
_LABELS = {stage: Label[stage.name] for stage in Stage}


@dataclass(frozen=True, repr=False)
class StageMessage(Brief):
    """Request of the coordinator (``sender`` and ``signature`` empty) or signed reply of a site.

    ``context``: the hash that the message is bound to: a request is bound to that of the stage before, a reply to that
    of its own stage. ``members``: site ids in ascending order, to which the columns belong.
    """

    stage: Stage
    round: int
    context: bytes
    sender: str = ""
    members: tuple[str, ...] = ()
    values: Mapping[str, bytes] = field(default_factory=dict)
    columns: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)
    vector: Vector | None = None
    signature: bytes = b""

    @property
    def is_reply(self) -> bool:
        """Whether a site sent it."""
        return bool(self.sender)

    def by_member(self, column: str) -> dict[str, bytes]:
        """Return a column by site id."""
        return dict(zip(self.members, self.columns[column], strict=True))

    def signed_bytes(self) -> bytes:
        """Return the canonical encoding of a reply, under the label of its stage."""
        form = _REPLIES[self.stage]
        vector = b""
        if self.vector is not None:
            hashed = hashlib.sha256(canonical(Label.MASKED_VECTOR, len(self.vector)))
            hashed.update(self.vector.view(np.uint8).data)
            vector = hashed.digest()
        return canonical(
            _LABELS[self.stage],
            self.context,
            self.sender,
            self.members,
            [self.values[name] for name in form.values],
            [list(self.columns[name]) for name in form.columns],
            vector,
        )

    def signed(self, identity: Identity) -> StageMessage:
        """Return this reply with its signature."""
        return replace(self, signature=identity.sign(self.signed_bytes()))

    def is_signed_by(self, public: bytes) -> bool:
        """Return whether the signature is that of the holder of the identity key ``public``."""
        return is_signed(self.signed_bytes(), self.signature, public)


def encode_message(message: StageMessage) -> Pieces:
    """Return the bytes of a message in pieces; the vector is not copied."""
    scalars = {
        "kind": _kind(message.stage, reply=message.is_reply),
        "round": message.round,
        "context": message.context.hex(),
        "sender": message.sender,
        "members": list(message.members),
        "values": {name: value.hex() for name, value in message.values.items()},
        "signature": message.signature.hex(),
    }
    tensors = {
        name: torch.frombuffer(bytearray(b"".join(rows)), dtype=torch.uint8).view(len(rows), -1)
        for name, rows in message.columns.items()
        if rows
    }
    if message.vector is not None:
        tensors[_VECTOR] = torch.from_numpy(message.vector.view(np.int32))
    return packed(tensors, {"fedfr": json.dumps(scalars, ensure_ascii=False)})


def decode_message(data: bytes, stage: Stage, *, reply: bool, length: int = 0) -> StageMessage:
    """Decode a message of the given kind, whose vector, if it has one, has ``length`` values.

    The vector is a view of ``data`` that must not be changed. Raises :class:`FedfrError` when the bytes are anything
    else than one whole message of this kind.
    """
    kind = _kind(stage, reply=reply)
    try:
        texts, tensors = unpack(data, LONGEST_HEADER)
        return _message(parse_json(texts["fedfr"], names_once=True), tensors, stage, reply, length)
    except (ValueError, LookupError, TypeError, RuntimeError) as error:
        text = f"a message of {len(data)} bytes is not a whole {kind} of a secure sum ({str(error)[:200]})"
        raise FedfrError(text, shareable=text) from error


def _kind(stage: Stage, *, reply: bool) -> str:
    return f"{stage} {'reply' if reply else 'request'}"


def _message(found: Any, tensors: dict[str, torch.Tensor], stage: Stage, reply: bool, length: int) -> StageMessage:
    form = (_REPLIES if reply else _REQUESTS)[stage]
    names = {"kind", "round", "context", "sender", "members", "values", "signature"}
    if not isinstance(found, dict) or found.keys() != names:
        raise ValueError("its fields are not those of a message")
    if found["kind"] != _kind(stage, reply=reply):
        raise ValueError("it is of another kind")
    if type(found["round"]) is not int or not 1 <= found["round"] <= _MOST_ROUNDS:
        raise ValueError("its round is not a number of a round")
    sender, members, values = found["sender"], found["members"], found["values"]
    if not (is_client_id(sender) if reply else sender == ""):
        raise ValueError("its sender is not a site" if reply else "it has a sender")
    _check_members(members, form)
    if not isinstance(values, dict) or values.keys() != form.values.keys():
        raise ValueError("its values are not those of its kind")
    rows = len(members)
    wanted = {name for name in form.columns if rows} | ({_VECTOR} if form.vector else set())
    if tensors.keys() != wanted:
        raise ValueError("its columns are not those of its kind")
    return StageMessage(
        stage,
        found["round"],
        _hex(found["context"], HASH_BYTES),
        sender,
        tuple(members),
        {name: _hex(values[name], width) for name, width in form.values.items()},
        {name: _rows(tensors[name], rows, width) if rows else () for name, width in form.columns.items()},
        _vector(tensors[_VECTOR], length) if form.vector else None,
        _hex(found["signature"], SIGNATURE_BYTES if reply else 0),
    )


def _check_members(members: Any, form: _Form) -> None:
    if not isinstance(members, list) or len(members) > (MOST_SITES if form.members else 0):
        raise ValueError("its list of sites is too long")
    if not all(is_client_id(member) for member in members):
        raise ValueError("its list of sites holds what is not a site id")
    if any(first >= second for first, second in pairwise(members)):
        raise ValueError("its list of sites is not in ascending order without repetition")


def _hex(found: Any, width: int) -> bytes:
    """Return the bytes of a text in lower-case hexadecimal, its only accepted spelling."""
    if not isinstance(found, str) or len(found) != 2 * width or (value := bytes.fromhex(found)).hex() != found:
        raise ValueError(f"a value is not {width} bytes in hexadecimal")
    return value


def _rows(tensor: torch.Tensor, rows: int, width: int) -> tuple[bytes, ...]:
    if tensor.dtype != torch.uint8 or tuple(tensor.shape) != (rows, width):
        raise ValueError(f"a column is not of {rows} × {width} bytes")
    return tuple(row.tobytes() for row in tensor.numpy())


def _vector(tensor: torch.Tensor, length: int) -> Vector:
    if tensor.dtype != torch.int32 or tuple(tensor.shape) != (length,):
        raise ValueError(f"its vector does not have {length} values of 32 bits")
    return tensor.numpy().view(np.uint32)
