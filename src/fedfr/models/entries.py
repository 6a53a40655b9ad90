"""The entries of a state dict: held against those of every backbone, and loaded strictly."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor, nn

from fedfr.core.errors import FedfrError
from fedfr.models.backbone_registry import BACKBONES

__all__ = [
    "check_entries",
    "differences_in_one_line",
    "entry_shapes",
    "is_optional",
    "load_entries",
    "load_weights",
    "recognize_backbone",
]

Shape = tuple[int, ...]


@cache
def entry_shapes(name: str) -> dict[str, Shape]:
    """The entries of the backbone ``name`` and their shapes, in order."""
    # On the meta device: 65 M parameters are described without being allocated.
    with torch.device("meta"):
        module = BACKBONES[name].factory()
    return {entry: tuple(tensor.shape) for entry, tensor in module.state_dict().items()}


def is_optional(entry: str) -> bool:
    """Whether a file of weights may lack this entry."""
    # Old PyTorch had no batch counter; nothing that is computed depends on it.
    return entry.endswith("num_batches_tracked")


def _differences(given: Mapping[str, Shape], expected: Mapping[str, Shape]) -> list[str]:
    missing = [f"{name} is missing" for name in expected if name not in given and not is_optional(name)]
    unknown = [f"{name} is unknown" for name in given if name not in expected]
    shapes = [
        f"{name} is {given[name]}, not {shape}" for name, shape in expected.items() if given.get(name, shape) != shape
    ]
    return missing + unknown + shapes


def _shorten(differences: list[str]) -> str:
    more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
    return "; ".join(differences[:3]) + more


def differences_in_one_line(given: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """The first entries that are missing, unknown or of another shape, and how many more; empty when all agree."""
    shapes = ({name: tuple(tensor.shape) for name, tensor in state.items()} for state in (given, expected))
    return _shorten(_differences(*shapes))


def recognize_backbone(state: Mapping[str, Tensor], insisted: str | None = None) -> str:
    """The name of the backbone that has exactly these entries and shapes; ``insisted``: it has to be this one.

    Raises :class:`FedfrError` naming the nearest backbone, or the one insisted on, and the entries that differ from it.
    """
    given = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if insisted is not None:
        differences = _differences(given, entry_shapes(insisted))
        if differences:
            raise FedfrError(f"weights do not fit {insisted}: {_shorten(differences)}; name another backbone or none")
        return insisted
    found = {name: _differences(given, entry_shapes(name)) for name in BACKBONES.builtin}
    nearest = min(found, key=lambda name: len(found[name]))
    if found[nearest]:
        raise FedfrError(
            f"weights fit no known backbone; nearest is {nearest!r}, but {_shorten(found[nearest])}; "
            f"known: {', '.join(BACKBONES.builtin)}"
        )
    return nearest


def load_weights(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy ``state`` into ``module``; every entry must be there with its shape, and no other.

    Only BatchNorm's batch counters may be absent; they are then zero. Raises :class:`FedfrError` in one line.
    """
    load_entries(module.state_dict(), state, type(module).__name__)


def check_entries(entries: Mapping[str, Tensor], state: Mapping[str, Tensor], what: str) -> None:
    """Raises :class:`fedfr.core.errors.FedfrError` when a state does not fit a module's entries."""
    differences = differences_in_one_line(state, entries) or _shorten(
        [
            f"{name} is {state[name].dtype}, not floats"
            for name, tensor in entries.items()
            if name in state and tensor.is_floating_point() and not state[name].is_floating_point()
        ]
    )
    if differences:
        raise FedfrError(f"weights do not fit {what}: {differences}; choose the backbone they were made for")


def load_entries(entries: Mapping[str, Tensor], state: Mapping[str, Tensor], what: str) -> None:
    """:func:`load_weights` for who has the module's ``state_dict()`` at hand already, and names it in an error."""
    check_entries(entries, state, what)
    # Straight into the tensors: torch's load_state_dict walks the modules, three times as long for many small layers.
    with torch.no_grad():
        for name, tensor in entries.items():
            if name in state:
                tensor.copy_(state[name])
            else:
                tensor.zero_()
