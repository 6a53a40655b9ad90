"""Entries of state dicts: comparison with the entries of every backbone, and strict loading."""

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
    """Return the entries of the backbone ``name`` and their shapes, in order."""
    # On the meta device, no memory is allocated for up to 65 million parameters.
    with torch.device("meta"):
        module = BACKBONES[name].factory()
    return {entry: tuple(tensor.shape) for entry, tensor in module.state_dict().items()}


def is_optional(entry: str) -> bool:
    """Return whether a file of weights may lack this entry."""
    # Old versions of PyTorch had no batch counter; no result depends on it.
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
    """Describe the first three entries that are missing, unknown or of another shape; empty if all agree."""
    shapes = ({name: tuple(tensor.shape) for name, tensor in state.items()} for state in (given, expected))
    return _shorten(_differences(*shapes))


def recognize_backbone(state: Mapping[str, Tensor], expected: str | None = None) -> str:
    """Return the name of the backbone that has exactly these entries and shapes.

    With ``expected``, only that backbone is accepted. Raises :class:`FedfrError` that names the nearest backbone, or
    the required one, and the entries that differ.

    >>> from fedfr.models import build_backbone, recognize_backbone
    >>> recognize_backbone(build_backbone("mobilefacenet", seed=0).state_dict())
    'mobilefacenet'
    """
    given = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if expected is not None:
        differences = _differences(given, entry_shapes(expected))
        if differences:
            raise FedfrError(f"weights do not fit {expected}: {_shorten(differences)}; name another backbone, or none")
        return expected
    by_backbone = {name: _differences(given, entry_shapes(name)) for name in BACKBONES.builtin}
    nearest = min(by_backbone, key=lambda name: len(by_backbone[name]))
    if by_backbone[nearest]:
        raise FedfrError(
            f"weights fit no known backbone; nearest is {nearest!r}, but {_shorten(by_backbone[nearest])}; "
            f"known: {', '.join(BACKBONES.builtin)}"
        )
    return nearest


def load_weights(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy ``state`` into ``module``; entries and shapes must be exactly those of the module.

    Only BatchNorm's batch counters may be missing; they are then set to zero. Raises :class:`FedfrError` that names
    the entries that differ; the module is then unchanged.

    >>> import torch
    >>> from fedfr.models import load_weights
    >>> layer = torch.nn.Linear(2, 1)
    >>> load_weights(layer, {"weight": torch.tensor([[1.0, 2.0]]), "bias": torch.zeros(1)})
    >>> layer.weight.data
    tensor([[1., 2.]])
    """
    load_entries(module.state_dict(), state, type(module).__name__)


def check_entries(entries: Mapping[str, Tensor], state: Mapping[str, Tensor], what: str) -> None:
    """Raise :class:`FedfrError` if ``state`` does not match ``entries``, the state dict of a module.

    ``what`` names the module in the message.

    >>> import torch
    >>> from fedfr.models import check_entries
    >>> layer = torch.nn.Linear(2, 1)
    >>> check_entries(layer.state_dict(), {"weight": torch.zeros(1, 2)}, "Linear")
    Traceback (most recent call last):
    fedfr.core.errors.FedfrError: weights do not fit Linear: bias is missing; choose the backbone they were made for
    """
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
    """Copy ``state`` into ``entries``, the state dict of a module, as :func:`load_weights` does.

    ``what`` names the module in the error message.

    >>> import torch
    >>> from fedfr.models import load_entries
    >>> layer = torch.nn.Linear(2, 1)
    >>> load_entries(layer.state_dict(), {"weight": torch.tensor([[1.0, 2.0]]), "bias": torch.zeros(1)}, "Linear")
    >>> layer.weight.data
    tensor([[1., 2.]])
    """
    check_entries(entries, state, what)
    # Directly into the tensors: load_state_dict traverses the modules, which takes three times as long.
    with torch.no_grad():
        for name, tensor in entries.items():
            if name in state:
                tensor.copy_(state[name])
            else:
                tensor.zero_()
