"""Weights published elsewhere: read safely, recognised by their entries, loaded strictly."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from fedfr.errors import FedfrError
from fedfr.models.checkpoint import load_model
from fedfr.models.registry import BACKBONES

__all__ = [
    "differences_in_one_line",
    "load_entries",
    "load_foreign",
    "load_weights",
    "read_tensors",
    "recognise_backbone",
    "state_of",
]

# Where training scripts put the weights inside a larger checkpoint, and what wrappers put before each name.
_CONTAINERS = ("net_state_dict", "state_dict", "model_state_dict", "backbone", "model")
_PREFIXES = ("module.", "_orig_mod.", "backbone.")

# A damaged pickle is a damaged program: interpreting it can fail in any of these ways.
_UNREADABLE = (
    SafetensorError,
    pickle.UnpicklingError,
    EOFError,
    OSError,
    RuntimeError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)

Shape = tuple[int, ...]


def load_foreign(path: Path) -> dict[str, Tensor]:
    """Read a ``.pth``/``.pt``/``.ckpt`` or ``.safetensors`` file of weights, without running any code it may hold.

    Weights inside ``net_state_dict``, ``state_dict`` and the like are taken out, and prefixes left by wrappers
    (``module.``) removed. Raises :class:`FedfrError` when the file is missing, truncated or holds more than weights.
    """
    return state_of(read_tensors(path), path)


def state_of(content: object, path: Path) -> dict[str, Tensor]:
    """:func:`load_foreign` for who has what :func:`read_tensors` read from ``path`` at hand already."""
    state = _unwrap(content, path)
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise FedfrError(f"weights {path} hold NaN or infinity in {name}; fetch them again or use others")
    return state


def read_tensors(path: Path) -> object:
    """What a file of tensors holds, without running any code; raises :class:`FedfrError` when it cannot be read."""
    if not path.is_file():
        raise FedfrError(f"weights {path} do not exist; check the path")
    try:
        return load_file(path) if path.suffix == ".safetensors" else _unpickle_weights(path)
    except _UNREADABLE as error:
        raise FedfrError(
            f"weights {path} cannot be read ({_reason(error)}); allowed is a whole file with nothing but tensors "
            "in it; fetch it again or save its state_dict alone"
        ) from error


def _unpickle_weights(path: Path) -> object:
    with warnings.catch_warnings():
        # PyTorch's remarks on pickle protocols help nobody who only has the file.
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)


def _reason(error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError):
        # PyTorch's own text advises to switch the protection off.
        return "it is damaged, or holds Python objects that are no tensors"
    return re.split(r"\n|\. ", str(error).strip())[0] or type(error).__name__


def _unwrap(content: object, path: Path) -> dict[str, Tensor]:
    while isinstance(content, Mapping):
        inner = next((content[key] for key in _CONTAINERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise FedfrError(
            f"weights {path} hold no table of tensors; allowed are a plain state dict or one inside "
            f"{', '.join(_CONTAINERS)}; save the backbone's state_dict"
        )
    state = {str(name): tensor for name, tensor in content.items()}
    stripped = True
    while stripped:
        stripped = False
        for prefix in _PREFIXES:
            if all(name.startswith(prefix) for name in state):
                state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
                stripped = True
    return state


@cache
def _shapes(name: str) -> dict[str, Shape]:
    # On the meta device: 65 M parameters are described without being allocated.
    with torch.device("meta"):
        module = BACKBONES[name].factory()
    return {entry: tuple(tensor.shape) for entry, tensor in module.state_dict().items()}


def _optional(entry: str) -> bool:
    # Old PyTorch had no batch counter; nothing that is computed depends on it.
    return entry.endswith("num_batches_tracked")


def _differences(given: Mapping[str, Shape], expected: Mapping[str, Shape]) -> list[str]:
    missing = [f"{name} is missing" for name in expected if name not in given and not _optional(name)]
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


def recognise_backbone(state: Mapping[str, Tensor], insisted: str | None = None) -> str:
    """The name of the backbone that has exactly these entries and shapes; ``insisted``: it has to be this one.

    Raises :class:`FedfrError` naming the nearest backbone, or the one insisted on, and the entries that differ from it.
    """
    given = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if insisted is not None:
        differences = _differences(given, _shapes(insisted))
        if differences:
            raise FedfrError(f"weights do not fit {insisted}: {_shorten(differences)}; name another backbone or none")
        return insisted
    found = {name: _differences(given, _shapes(name)) for name in BACKBONES.names}
    nearest = min(found, key=lambda name: len(found[name]))
    if found[nearest]:
        raise FedfrError(
            f"weights fit no known backbone; nearest is {nearest!r}, but {_shorten(found[nearest])}; "
            f"known: {', '.join(BACKBONES.names)}"
        )
    return nearest


def backbone_of(path: Path) -> str:
    """The name of the backbone whose weights a file holds: this project's safetensors, or a state dict of others.

    Raises :class:`FedfrError` when it is not there, cannot be read or fits none.
    """
    if path.suffix == ".safetensors":
        return load_model(path)[1].backbone
    return recognise_backbone(load_foreign(path))


def load_weights(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy ``state`` into ``module``; every entry must be there with its shape, and no other.

    Only BatchNorm's batch counters may be absent; they are then zero. Raises :class:`FedfrError` in one line.
    """
    load_entries(module.state_dict(), state, type(module).__name__)


def check_entries(entries: Mapping[str, Tensor], state: Mapping[str, Tensor], what: str) -> None:
    """Raises :class:`fedfr.errors.FedfrError` when a state does not fit a module's entries."""
    differences = differences_in_one_line(state, entries)
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
