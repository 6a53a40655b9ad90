"""Private state of a client: the data that it keeps between rounds and never sends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from fedfr.core.short_repr import Brief

__all__ = ["PARTS", "PROJECTION", "PUBLIC_PROTOTYPES", "PrivateState", "tensors_under"]

_BRANCHES = ("branches.weight", "branches.bias")
_PERSONAL = ("prototypes", "teacher/prototypes")
PROJECTION = "projection/"
PUBLIC_PROTOTYPES = "public/prototypes"
PARTS = {
    "backbone": "backbone/",
    "dfc": "dfc/",
    "personal": "personal/",
    "residual": "rest/",
    "previous_residual": "owed/",
}
"""Prefix of the tensors of each field in a file."""


@dataclass(frozen=True, repr=False)
class PrivateState(Brief):
    """Private state of a client after taking part in ``round``.

    ``backbone``: local backbone after local training, before averaging (the next round's previous model, and the
    backbone of the personalized model). ``prototypes``: Φ_i, K_i × D. ``dfc``: entries of the DFC module, or empty.
    ``personal``: a separately trained personal model (``backbone/…``, ``prototypes``), further tensors of the method
    (``teacher/…``), the projection head (``projection/…``), the client's own public prototypes (``public/prototypes``)
    of methods that share none, or empty. ``residual``: compression error of this round's update, or empty;
    ``previous_residual``: its value before this round, used when the server did not accept this round's update.
    ``identities``: the identity of each row, hashed by :class:`~fedfr.federation.identity_key.IdentityKey`; None where
    unknown, as in states of earlier versions. States read from a store are read-only.
    """

    round: int
    backbone: Mapping[str, torch.Tensor]
    prototypes: torch.Tensor
    dfc: Mapping[str, torch.Tensor] = field(default_factory=dict)
    personal: Mapping[str, torch.Tensor] = field(default_factory=dict)
    residual: Mapping[str, torch.Tensor] = field(default_factory=dict)
    identities: tuple[str, ...] | None = None
    previous_residual: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return all tensors by their names in a file."""
        parts = {prefix: getattr(self, part) for part, prefix in PARTS.items()}
        named = {f"{prefix}{name}": value for prefix, values in parts.items() for name, value in values.items()}
        return {**named, "prototypes": self.prototypes}

    def residual_after(self, accepted: int) -> Mapping[str, torch.Tensor]:
        """Return the compression error to add to the next update; ``accepted``: round of the last accepted update.

        If this round's update was refused or lost, the error from before it applies. If the server accepted a round
        unknown to this state, for example after an old state was restored, there is none.
        """
        if accepted == self.round:
            return self.residual
        return self.previous_residual if accepted < self.round else {}

    @property
    def personal_backbone(self) -> dict[str, torch.Tensor]:
        """Separately trained backbone, or empty."""
        return tensors_under("backbone/", self.personal)

    def for_identities(self, identities: Sequence[str], initial: Callable[[], torch.Tensor]) -> PrivateState:
        """Return the state with one row for each of ``identities``, in their order.

        Known identities keep their rows. New ones start as in a first participation, with zero bias and their row of
        ``initial()``, the initial prototypes (K, D) of all ``identities``, which is called only if there are new ones.
        """
        order = tuple(identities)
        if order == self.identities:
            return self
        known = {identity: row for row, identity in enumerate(self.identities or ())}
        new = [row for row, identity in enumerate(order) if identity not in known]
        new_prototypes = initial()[new] if new else self.prototypes[:0]
        kept = [row for row, identity in enumerate(order) if identity in known]
        old_rows = [known[order[row]] for row in kept]

        def rearrange(rows: torch.Tensor) -> torch.Tensor:
            arranged = rows.new_zeros(len(order), *rows.shape[1:])
            arranged[kept] = rows[old_rows]
            if rows.dim() == 2:
                arranged[new] = new_prototypes.to(rows)
            return arranged

        return replace(self._with_rows(rearrange), identities=order)

    def without(self, departed: Iterable[str]) -> PrivateState:
        """Return the state without the rows of ``departed``; without any rows if their identities are unknown."""
        departed = set(departed)
        known = self.identities or ()
        kept = [row for row, identity in enumerate(known) if identity not in departed]
        return replace(self._with_rows(lambda rows: rows[kept].clone()), identities=tuple(known[row] for row in kept))

    def _with_rows(self, change: Callable[[torch.Tensor], torch.Tensor]) -> PrivateState:
        """Return the state with ``change`` applied to every tensor that has one row per identity."""
        dfc = {name: change(value) if name in _BRANCHES else value for name, value in self.dfc.items()}
        personal = {name: change(value) if name in _PERSONAL else value for name, value in self.personal.items()}
        return replace(self, prototypes=change(self.prototypes), dfc=dfc, personal=personal)

    def is_consistent(self) -> bool:
        """Return whether all tensors with rows have one row per identity."""
        counted = [self.prototypes, *(self.dfc[name] for name in _BRANCHES if name in self.dfc)]
        counted += [self.personal[name] for name in _PERSONAL if name in self.personal]
        count = len(counted[0]) if self.identities is None else len(set(self.identities))
        named = self.identities is None or len(self.identities) == count
        return named and self.prototypes.dim() == 2 and all(value.shape[:1] == (count,) for value in counted)


def tensors_under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
