"""Contract in the metadata of an ONNX file, and hash of its graph."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from fedfr.core.errors import FedfrError
from fedfr.models.checkpoint import CONTRACT_KEY, Contract
from fedfr.models.onnx_graph import message_fields

__all__ = ["graph_digest", "onnx_contract", "with_contract"]

# Field numbers of ModelProto and StringStringEntryProto in onnx.proto; the first are of producer, version and comments.
_DESCRIPTIONS = frozenset({2, 3, 4, 5, 6})
_METADATA, _KEY, _VALUE = 14, 1, 2


def onnx_contract(content: bytes) -> Contract | None:
    """Return the contract in the content of an ONNX file, None if it has none.

    Raises :class:`FedfrError` if it is damaged or there are several.
    """
    try:
        found = [text for key, text in _metadata(content) if key == CONTRACT_KEY.encode()]
        if not found:
            return None
        if len(found) > 1:
            raise FedfrError(f"it has {len(found)} contracts; export the model again")
        return Contract.from_json(found[0].decode())
    except (IndexError, ValueError) as error:
        raise FedfrError("its metadata are damaged; export the model again") from error


def with_contract(content: bytes, contract: Contract) -> bytes:
    """Return the content of an ONNX file with ``contract`` as its only one.

    >>> from fedfr.models import Contract, Preprocessing
    >>> from fedfr.models.onnx_contract import onnx_contract, with_contract
    >>> contract = Contract("slimface", 512, Preprocessing(), "sha256:01")
    >>> onnx_contract(with_contract(b"", contract)) == contract
    True
    """
    others = b"".join(
        _field(number, value)
        for number, value in _model(content)
        if number != _METADATA or _entry(value)[0] != CONTRACT_KEY.encode()
    )
    entry = _field(_KEY, CONTRACT_KEY.encode()) + _field(_VALUE, contract.to_json().encode())
    return others + _field(_METADATA, entry)


def graph_digest(content: bytes) -> str:
    """Return the SHA-256 of what an ONNX file computes, without its producer, comments and metadata."""
    digest = hashlib.sha256()
    for number, value in _model(content):
        if number != _METADATA and number not in _DESCRIPTIONS:
            digest.update(_field(number, value))
    return digest.hexdigest()


def _metadata(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    for number, value in _model(content):
        if number == _METADATA:
            yield _entry(value)


def _entry(value: memoryview | bytes | int) -> tuple[bytes, bytes]:
    """Return key and text of an entry of the metadata."""
    if isinstance(value, int):
        return b"", b""
    parts = {number: part for number, part in message_fields(memoryview(value)) if isinstance(part, memoryview)}
    return bytes(parts.get(_KEY, b"")), bytes(parts.get(_VALUE, b""))


def _model(content: bytes) -> Iterator[tuple[int, memoryview | int]]:
    return message_fields(memoryview(content))


def _field(number: int, value: memoryview | bytes | int) -> bytes:
    """Encode a field of a protocol buffer: an integer, or bytes with their length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    digits = bytearray()
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])
