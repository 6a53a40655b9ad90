"""Messages between server and clients, and their encoding as bytes.

These four dataclasses are complete: data without a field here cannot be sent. Images, features of private images,
private prototypes, DFC modules, the previous local backbone, labels and names have no field (method, section 1). The
only free text is a failure's reason: an error's ``shareable`` part, which holds no path, name or label.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from fedfr.config.schema import Report
from fedfr.core.client_ids import check_client_id, check_participant
from fedfr.core.errors import FedfrError
from fedfr.core.files import parse_json
from fedfr.core.short_repr import Brief
from fedfr.federation.packing import pack, unpack

__all__ = [
    "LONGEST_HEADER",
    "Broadcast",
    "Failure",
    "Hello",
    "Update",
    "decode_broadcast",
    "decode_hello",
    "decode_reply",
    "decode_revealed",
    "decode_update",
    "encode",
    "reported",
    "size_of",
    "tensors_by_name",
]

PROTOTYPES = "prototypes"
IDENTITIES = "identities"
_WEIGHTS = "weights/"
_SCALES = "scales/"
LONGEST_HEADER = 1 << 20
"""Bytes. Names, shapes and metrics of the largest backbone take 60 kB."""
# Names of the metrics that clients may report; they go into the run's events beside the server's own fields.
_METRIC = re.compile(
    r"(loss|images)/[a-z0-9_-]{1,40}|epochs|steps|(cpu_|feature_)?seconds|feature_seconds_alone|peak_rss_bytes"
)
_MOST_METRICS = 100
_REPORTED: Mapping[Report, tuple[str, ...]] = {"none": (), "losses": ("loss/",), "all": ("",)}
"""Prefixes of the names of the metrics that are reported."""
# Longest text from a client, in characters, that goes into the server's log.
_LONGEST_REASON = 300
_HELLO = ("client", "agreement", "public", "version")


@dataclass(frozen=True, repr=False)
class Broadcast(Brief):
    """Server to client: generic backbone and public prototypes of a round (1, 2, …).

    ``identities``: the client's private prototypes as the server changed them, where a method reveals them; else None.
    ``accepted``: the last round whose update of this client the server accepted, where the client needs it; else 0.
    """

    round: int
    weights: Mapping[str, torch.Tensor]
    prototypes: torch.Tensor
    identities: torch.Tensor | None = None
    accepted: int = 0


@dataclass(frozen=True, repr=False)
class Update(Brief):
    """Client to server: trained backbone, trained public prototypes, image count n_i and scalar metrics.

    ``weights`` holds only the entries that the method shares; ``prototypes`` is None when the method does not train
    them. ``identities`` are the client's private prototypes, None except under a method that declares
    ``reveals_identities``. For compressed updates, ``scales`` holds the scales of the changes by name
    (:mod:`fedfr.federation.update_format`).
    """

    round: int
    client: str
    weights: Mapping[str, torch.Tensor]
    prototypes: torch.Tensor | None
    count: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    identities: torch.Tensor | None = None
    scales: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """Client to server in place of an update: the shareable reason why there is none."""

    client: str
    reason: str


@dataclass(frozen=True)
class Hello:
    """Site to server before the rounds: client id, and fingerprints of the agreement and of the public faces.

    ``public`` is empty where the site has no public faces; ``version`` is the site's version of fedfr.
    """

    client: str
    agreement: str
    public: str
    version: str


def encode(message: Broadcast | Update | Failure | Hello) -> bytes:
    """Encode a message as safetensors bytes: arrays with dtype and shape, scalars in the header."""
    if isinstance(message, Failure | Hello):
        texts = {"kind": type(message).__name__, **asdict(message)}
        return pack({}, {"fedfr": json.dumps(texts)})
    tensors = {f"{_WEIGHTS}{name}": value for name, value in message.weights.items()}
    if message.prototypes is not None:
        tensors[PROTOTYPES] = message.prototypes
    if message.identities is not None:
        tensors[IDENTITIES] = message.identities
    scalars: dict[str, Any] = {"kind": type(message).__name__, "round": message.round}
    if isinstance(message, Update):
        tensors |= {f"{_SCALES}{name}": value for name, value in message.scales.items()}
        scalars |= {"client": message.client, "count": message.count, "metrics": dict(message.metrics)}
    else:
        scalars |= {"accepted": message.accepted}
    return pack(tensors, {"fedfr": json.dumps(scalars)})


def reported(update: Update, report: Report) -> Update:
    """Return the update with the metrics that ``report`` names, and no others."""
    kept = {name: value for name, value in update.metrics.items() if name.startswith(_REPORTED[report])}
    return replace(update, metrics=kept)


def tensors_by_name(message: Broadcast | Update) -> dict[str, torch.Tensor]:
    """Return the message's weights by name, with its public prototypes, if any, under ``prototypes``."""
    prototypes = {} if message.prototypes is None else {PROTOTYPES: message.prototypes}
    return {**message.weights, **prototypes}


def size_of(message: Broadcast | Update) -> int:
    """Return the size of the message's tensors in bytes, without the header of a few kilobytes."""
    tensors = [*message.weights.values(), message.prototypes, message.identities]
    if isinstance(message, Update):
        tensors += message.scales.values()
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor is not None)


def decode_broadcast(data: bytes) -> Broadcast:
    """Decode a broadcast; raises :class:`FedfrError` when the bytes are not a complete one.

    The tensors are copies: the same bytes may go to many clients, and each may write to its tensors.
    """
    with _decoding(data, "broadcast"):
        scalars, tensors = _decode(data, "Broadcast")
        if PROTOTYPES not in tensors:
            raise FedfrError("the broadcast has no public prototypes; the server must send them")
        own = {name: value.clone() for name, value in tensors.items()}
        prototypes, identities = own.pop(PROTOTYPES), own.pop(IDENTITIES, None)
        number = _number(scalars["round"])
        if number < 1:
            raise FedfrError(f"the broadcast is of round {number}; rounds start at 1")
        return Broadcast(number, _weights(own), prototypes, identities, _number(scalars["accepted"]))


def decode_revealed(data: bytes) -> torch.Tensor:
    """Decode the private prototypes sent beside a broadcast; raises :class:`FedfrError` when they are incomplete."""
    with _decoding(data, "set of private prototypes"):
        return unpack(data, LONGEST_HEADER)[1][IDENTITIES].clone()


def decode_update(data: bytes) -> Update:
    """Decode an update; raises :class:`FedfrError` when the bytes are not a complete one.

    The tensors are read-only views of ``data``.
    """
    with _decoding(data, "update"):
        return _update(*_decode(data, "Update"))


def decode_reply(data: bytes) -> Update | Failure:
    """Decode a client's reply; raises :class:`FedfrError` when the bytes are neither an update nor a failure."""
    with _decoding(data, "reply"):
        scalars, tensors = _decode(data, "Update", "Failure")
        if scalars["kind"] == "Failure":
            return Failure(_text(scalars["client"]), _text(scalars["reason"]))
        return _update(scalars, tensors)


def decode_hello(data: bytes) -> Hello | Failure:
    """Decode a site's introduction; raises :class:`FedfrError` when the bytes are neither a hello nor a failure."""
    with _decoding(data, "hello"):
        scalars, _ = _decode(data, "Hello", "Failure")
        if scalars["kind"] == "Failure":
            return Failure(_text(scalars["client"]), _text(scalars["reason"]))
        hello = Hello(*(_text(scalars[name]) for name in _HELLO))
        check_client_id(hello.client)
        return hello


def _line(text: str) -> str:
    """Return the start of a received text as one printable line."""
    return "".join(sign if sign.isprintable() else " " for sign in text[:_LONGEST_REASON])


@contextmanager
def _decoding(data: bytes, kind: str) -> Iterator[None]:
    """Turn every error in the decoding of received bytes into a :class:`FedfrError`."""
    try:
        yield
    except FedfrError:
        raise
    except Exception as error:
        reason = _line(" ".join(str(error)[:_LONGEST_REASON].split()))
        text = f"a message of {len(data)} bytes is not a complete {kind} ({reason})"
        raise FedfrError(text, shareable=text) from error


def _update(scalars: Mapping[str, Any], tensors: dict[str, torch.Tensor]) -> Update:
    prototypes, identities = tensors.pop(PROTOTYPES, None), tensors.pop(IDENTITIES, None)
    scales = {name: tensors.pop(name) for name in [*tensors] if name.startswith(_SCALES)}
    return Update(
        _number(scalars["round"]),
        check_participant(_text(scalars["client"])),
        _weights(tensors),
        prototypes,
        _number(scalars["count"]),
        _metrics(scalars["metrics"]),
        identities,
        {name.removeprefix(_SCALES): value for name, value in scales.items()},
    )


def _number(value: Any) -> int:
    """Return a 64-bit integer; larger ones cannot be stored."""
    if type(value) is not int or abs(value) >= 1 << 63:
        raise ValueError("a number is not a 64-bit integer")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"a text is {type(value).__name__}")  # noqa: TRY004 - bytes, not arguments
    return _line(value)


def _metrics(found: Any) -> dict[str, float]:
    """Return the metrics, checked for number and names; the server checks that they are finite."""
    if not isinstance(found, dict):
        raise ValueError(f"metrics are {type(found).__name__}")  # noqa: TRY004 - bytes, not arguments
    if len(found) > _MOST_METRICS:
        raise FedfrError(f"it reports {len(found)} metrics; at most {_MOST_METRICS} are allowed")
    for name, value in found.items():
        if not _METRIC.fullmatch(name):
            raise FedfrError(f"metrics hold {name[:60]!r}, which is not a known metric")
        if type(value) not in (int, float):
            raise ValueError(f"metric {name} is {type(value).__name__}")
    return {name: float(value) for name, value in found.items()}


def _weights(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    unknown = next((name for name in tensors if not name.startswith(_WEIGHTS)), None)
    if unknown is not None:
        raise ValueError(f"{unknown[:60]!r} is not a field of a message")
    return {name.removeprefix(_WEIGHTS): value for name, value in tensors.items()}


def _decode(data: bytes, *kinds: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    texts, tensors = unpack(data, LONGEST_HEADER)
    scalars = parse_json(texts["fedfr"], names_once=True)
    if not isinstance(scalars, dict) or scalars.get("kind") not in kinds:
        received_kind = scalars.get("kind") if isinstance(scalars, dict) else type(scalars).__name__
        received = received_kind if isinstance(received_kind, str) else type(received_kind).__name__
        raise FedfrError(f"expected a message of kind {' or '.join(map(repr, kinds))}, received {_line(received)!r}")
    return scalars, tensors
