"""Everything that crosses the wire between server and client, and the bytes it becomes.

These four dataclasses *are* the list: what has no field here cannot be sent. Images, features of private images,
private prototypes, DFC modules, the previous local backbone, labels and names have none (method, section 1). The one
free text is a failure's reason: an error's ``shareable`` part, which holds no path, name or label.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

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
    "named",
    "size_of",
]

PROTOTYPES = "prototypes"
IDENTITIES = "identities"
_WEIGHTS = "weights/"
_SCALES = "scales/"
LONGEST_HEADER = 1 << 20
"""Bytes. Names, shapes and metrics of the largest backbone take 60 kB."""
# What clients report. It stands in the run's events beside the server's own words, so no other name may.
_METRIC = re.compile(r"(loss|images)/[a-z0-9_-]{1,40}|epochs|seconds|peak_rss_bytes")
_MOST_METRICS = 100
# Of a stranger's text the server's log takes one line of this many characters.
_LONGEST_REASON = 300
_HELLO = ("client", "agreement", "public", "version")


@dataclass(frozen=True, repr=False)
class Broadcast(Brief):
    """Server to client: the generic backbone and the public prototypes of a round (1, 2, …).

    ``identities``: a client's own prototypes as the server changed them, where a method reveals them; else None.
    ``accepted``: the last round whose update of this very client the server took, where the client must know; else 0.
    """

    round: int
    weights: Mapping[str, torch.Tensor]
    prototypes: torch.Tensor
    identities: torch.Tensor | None = None
    accepted: int = 0


@dataclass(frozen=True, repr=False)
class Update(Brief):
    """Client to server: the trained backbone, the trained public prototypes, the count n_i and scalar metrics.

    ``weights`` holds only what the method shares; ``prototypes`` is None when the method leaves them alone.
    ``identities`` are the client's private prototypes, None except under a method that declares
    ``reveals_identities``. Where tensors travel as changes in few bits, ``scales`` are those of the changes, by name
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
    """Client to server in place of an update: it did not deliver, and of the reason what may be told."""

    client: str
    reason: str


@dataclass(frozen=True)
class Hello:
    """Site to server before the rounds: which client it is, what it has agreed to, and which public faces it has.

    ``agreement`` and ``public`` are fingerprints, ``public`` is empty where the site has no public faces; ``version``
    is that of its fedfr.
    """

    client: str
    agreement: str
    public: str
    version: str


def encode(message: Broadcast | Update | Failure | Hello) -> bytes:
    """The message as safetensors bytes: arrays with dtype and shape, the scalars in the header."""
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


def named(message: Broadcast | Update) -> dict[str, torch.Tensor]:
    """The message's weights by name, and its public prototypes under ``prototypes`` where it has them."""
    prototypes = {} if message.prototypes is None else {PROTOTYPES: message.prototypes}
    return {**message.weights, **prototypes}


def size_of(message: Broadcast | Update) -> int:
    """Bytes of the message's tensors: all that travels but the header, whose few kilobytes are names and numbers."""
    tensors = [*message.weights.values(), message.prototypes, message.identities]
    if isinstance(message, Update):
        tensors += message.scales.values()
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor is not None)


def decode_broadcast(data: bytes) -> Broadcast:
    """Inverse of :func:`encode`; raises :class:`FedfrError` when the bytes are not a whole broadcast.

    The tensors are copies: the same bytes may go to many clients, and each may write to what it received.
    """
    with _whole(data, "broadcast"):
        scalars, tensors = _decode(data, "Broadcast")
        if PROTOTYPES not in tensors:
            raise FedfrError("broadcast without public prototypes; the server must send them")
        own = {name: value.clone() for name, value in tensors.items()}
        prototypes, identities = own.pop(PROTOTYPES), own.pop(IDENTITIES, None)
        number = _number(scalars["round"])
        if number < 1:
            raise FedfrError(f"broadcast of round {number}; rounds begin with 1")
        return Broadcast(number, _weights(own), prototypes, identities, _number(scalars["accepted"]))


def decode_revealed(data: bytes) -> torch.Tensor:
    """A client's own prototypes that travel beside a broadcast; raises :class:`FedfrError` when they are not whole."""
    with _whole(data, "set of private prototypes"):
        return unpack(data, LONGEST_HEADER)[1][IDENTITIES].clone()


def decode_update(data: bytes) -> Update:
    """Inverse of :func:`encode`; raises :class:`FedfrError` when the bytes are not a whole update.

    The tensors are views of ``data``, to be read and never written to: the server adds them to the average.
    """
    with _whole(data, "update"):
        return _update(*_decode(data, "Update"))


def decode_reply(data: bytes) -> Update | Failure:
    """A client's answer; raises :class:`FedfrError` when the bytes are neither a whole update nor a whole failure."""
    with _whole(data, "reply"):
        scalars, tensors = _decode(data, "Update", "Failure")
        if scalars["kind"] == "Failure":
            return Failure(_text(scalars["client"]), _text(scalars["reason"]))
        return _update(scalars, tensors)


def decode_hello(data: bytes) -> Hello | Failure:
    """A site's answer to who it is; raises :class:`FedfrError` when the bytes are neither a hello nor a failure."""
    with _whole(data, "hello"):
        scalars, _ = _decode(data, "Hello", "Failure")
        if scalars["kind"] == "Failure":
            return Failure(_text(scalars["client"]), _text(scalars["reason"]))
        hello = Hello(*(_text(scalars[name]) for name in _HELLO))
        check_client_id(hello.client)
        return hello


def _line(text: str) -> str:
    """One printable line of a stranger's text."""
    return "".join(sign if sign.isprintable() else " " for sign in text[:_LONGEST_REASON])


@contextmanager
def _whole(data: bytes, kind: str) -> Iterator[None]:
    """Whatever stands in bytes from elsewhere, the worst it may cause is a :class:`FedfrError`."""
    try:
        yield
    except FedfrError:
        raise
    except Exception as error:
        reason = _line(" ".join(str(error)[:_LONGEST_REASON].split()))
        text = f"a message of {len(data)} bytes is not a whole {kind} ({reason})"
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
    """An integer of 64 bits: a larger one could be written down nowhere."""
    if type(value) is not int or abs(value) >= 1 << 63:
        raise ValueError("a number is not an integer of 64 bits")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"a text is {type(value).__name__}")  # noqa: TRY004 - bytes, not arguments
    return _line(value)


def _metrics(found: Any) -> dict[str, float]:
    """Of a few numbers under the names that clients report; whether they are finite is for the server to say."""
    if not isinstance(found, dict):
        raise ValueError(f"metrics are {type(found).__name__}")  # noqa: TRY004 - bytes, not arguments
    if len(found) > _MOST_METRICS:
        raise FedfrError(f"it reports {len(found)} metrics, more than any client does")
    for name, value in found.items():
        if not _METRIC.fullmatch(name):
            raise FedfrError(f"metrics hold {name[:60]!r}, which no client reports")
        if type(value) not in (int, float):
            raise ValueError(f"metric {name} is {type(value).__name__}")
    return {name: float(value) for name, value in found.items()}


def _weights(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    strange = next((name for name in tensors if not name.startswith(_WEIGHTS)), None)
    if strange is not None:
        raise ValueError(f"{strange[:60]!r} is no field of a message")
    return {name.removeprefix(_WEIGHTS): value for name, value in tensors.items()}


def _decode(data: bytes, *kinds: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    texts, tensors = unpack(data, LONGEST_HEADER)
    scalars = parse_json(texts["fedfr"], names_once=True)
    if not isinstance(scalars, dict) or scalars.get("kind") not in kinds:
        found = scalars.get("kind") if isinstance(scalars, dict) else type(scalars).__name__
        told = found if isinstance(found, str) else type(found).__name__
        raise FedfrError(f"expected a message of kind {' or '.join(map(repr, kinds))}, received {_line(told)!r}")
    return scalars, tensors
