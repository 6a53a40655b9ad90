"""Everything that crosses the wire between server and client, and the bytes it becomes.

These two dataclasses *are* the list: what has no field here cannot be sent. Images, features of private images, private
prototypes, DFC modules, the previous local backbone, labels and names have none (method, section 1).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from fedfr.errors import FedfrError
from fedfr.federation.packing import pack, unpack

__all__ = ["Broadcast", "Failure", "Update", "decode_broadcast", "decode_update", "encode"]

PROTOTYPES = "prototypes"
_WEIGHTS = "weights/"


@dataclass(frozen=True)
class Broadcast:
    """Server to client: the generic backbone and the public prototypes of a round (1, 2, …)."""

    round: int
    weights: Mapping[str, torch.Tensor]
    prototypes: torch.Tensor


@dataclass(frozen=True)
class Update:
    """Client to server: the trained backbone, the trained public prototypes, the count n_i and scalar metrics.

    ``weights`` holds only what the method shares; ``prototypes`` is None when the method leaves them alone.
    """

    round: int
    client: str
    weights: Mapping[str, torch.Tensor]
    prototypes: torch.Tensor | None
    count: int
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """Seen by the server in place of an update: the client did not deliver, and why."""

    client: str
    reason: str


def encode(message: Broadcast | Update) -> bytes:
    """The message as safetensors bytes: arrays with dtype and shape, the scalars in the header."""
    tensors = {f"{_WEIGHTS}{name}": value for name, value in message.weights.items()}
    if message.prototypes is not None:
        tensors[PROTOTYPES] = message.prototypes
    scalars: dict[str, Any] = {"kind": type(message).__name__, "round": message.round}
    if isinstance(message, Update):
        scalars |= {"client": message.client, "count": message.count, "metrics": dict(message.metrics)}
    return pack(tensors, {"fedfr": json.dumps(scalars)})


def decode_broadcast(data: bytes) -> Broadcast:
    """Inverse of :func:`encode`; raises :class:`FedfrError` when the bytes are not a whole broadcast.

    The tensors are copies: the same bytes may go to many clients, and each may write to what it received.
    """
    with _whole(data, "broadcast"):
        scalars, weights, prototypes = _decode(data, "Broadcast")
        if prototypes is None:
            raise FedfrError("broadcast without public prototypes; the server must send them")
        own = {name: value.clone() for name, value in weights.items()}
        return Broadcast(int(scalars["round"]), own, prototypes.clone())


def decode_update(data: bytes) -> Update:
    """Inverse of :func:`encode`; raises :class:`FedfrError` when the bytes are not a whole update.

    The tensors are views of ``data``, to be read and never written to: the server adds them to the average.
    """
    with _whole(data, "update"):
        scalars, weights, prototypes = _decode(data, "Update")
        metrics = {str(name): float(value) for name, value in dict(scalars["metrics"]).items()}
        return Update(
            int(scalars["round"]), str(scalars["client"]), weights, prototypes, int(scalars["count"]), metrics
        )


@contextmanager
def _whole(data: bytes, kind: str) -> Iterator[None]:
    """Whatever stands in bytes from elsewhere, the worst it may cause is a :class:`FedfrError`."""
    try:
        yield
    except (ValueError, LookupError, TypeError, ArithmeticError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise FedfrError(f"a message of {len(data)} bytes is not a whole {kind} ({reason})") from error


def _decode(data: bytes, kind: str) -> tuple[dict[str, Any], dict[str, torch.Tensor], torch.Tensor | None]:
    texts, tensors = unpack(data)
    scalars = json.loads(texts["fedfr"])
    if not isinstance(scalars, dict) or scalars.get("kind") != kind:
        found = scalars.get("kind") if isinstance(scalars, dict) else scalars
        raise FedfrError(f"expected a message of kind {kind!r}, received {found!r}")
    prototypes = tensors.pop(PROTOTYPES, None)
    weights = {name.removeprefix(_WEIGHTS): value for name, value in tensors.items()}
    return scalars, weights, prototypes
