"""The private heads of FedFR's released code: ``bce_module.pth`` is a DFC module, ``fc.pth`` prototypes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from fedfr.core.errors import FedfrError
from fedfr.models.entries import differences_in_one_line
from fedfr.models.foreign import load_foreign
from fedfr.models.foreign_files import read_tensors
from fedfr.models.heads import DFC, TransformKind

__all__ = ["foreign_dfc_entries", "load_foreign_dfc", "load_foreign_prototypes"]

# Prefixes of entries, ours → theirs. Inside a branch both count the layers, LeakyReLU included: 0 and 2 are linear.
_TRANSFORMS: dict[TransformKind, dict[str, str]] = {
    "linear": {"transform.": "converter.0."},
    "bottleneck": {f"transform.narrow.{number}.": f"converter.br{number + 1}." for number in range(4)}
    | {"transform.widen.": "converter.concat_fc."},
}
_BRANCHES = {"branches.": ""}
_PROTOTYPES = "fc"


def load_foreign_dfc(path: Path) -> DFC:
    """The DFC module in a ``bce_module.pth``, read without running any code it may hold.

    Entries: ``weight`` (K, D) and ``bias`` (K,) of the branches; ``converter.0.*`` for a linear transform, or
    ``converter.br1.*`` … ``converter.br4.*`` and ``converter.concat_fc.*`` for a bottleneck: which it is, K and D are
    recognized from them. Raises :class:`FedfrError` when the file cannot be read or its entries are not these.
    """
    state = load_foreign(path)
    weight = state.get("weight")
    transform: TransformKind = "bottleneck" if any(re.match(r"converter\.br\d", name) for name in state) else "linear"
    if weight is None or weight.ndim != 2 or not weight.numel():
        found = "is missing" if weight is None else f"is {tuple(weight.shape)}, not (identities, length of a feature)"
        raise FedfrError(
            f"weights {path} are no DFC module: weight {found}; give a bce_module.pth of FedFR's released code"
        )
    # On the meta device: nothing is drawn from the global generator for values that are replaced anyway.
    with torch.device("meta"):
        module = DFC(weight.shape[0], weight.shape[1], transform)
    own = module.state_dict()
    names = {_theirs(name, transform): name for name in own}
    differences = differences_in_one_line(state, {theirs: own[name] for theirs, name in names.items()})
    if differences:
        raise FedfrError(
            f"weights {path} are no DFC module with {transform} transform: {differences}; "
            "give a bce_module.pth of FedFR's released code"
        )
    module.load_state_dict({names[theirs]: tensor.float() for theirs, tensor in state.items()}, assign=True)
    return module.requires_grad_()


def foreign_dfc_entries(module: DFC | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of ``module`` under the names of a ``bce_module.pth``; inverse of :func:`load_foreign_dfc`."""
    state = module.state_dict() if isinstance(module, DFC) else module
    transform: TransformKind = "linear" if "transform.weight" in state else "bottleneck"
    return {_theirs(name, transform): tensor for name, tensor in state.items()}


def load_foreign_prototypes(path: Path) -> Tensor:
    """Prototypes (K, D) in a ``fc.pth``: a matrix alone, or as the one entry ``fc`` of a state dict.

    Raises :class:`FedfrError` when the file cannot be read or holds anything else.
    """
    content = read_tensors(path)
    found = content
    if isinstance(content, Mapping):
        found = content[_PROTOTYPES] if list(content) == [_PROTOTYPES] else f"entries {sorted(map(str, content))[:3]}"
    if not isinstance(found, Tensor) or found.ndim != 2 or not found.is_floating_point() or not found.numel():
        what = f"{found.dtype} {tuple(found.shape)}" if isinstance(found, Tensor) else found
        what = what if isinstance(what, str) else type(what).__name__
        raise FedfrError(
            f"weights {path} are no prototypes: they hold {what}; allowed is one matrix of floats "
            f"(identities, length of a feature), alone or as the entry {_PROTOTYPES!r}; give a fc.pth"
        )
    if not bool(torch.isfinite(found).all()):
        raise FedfrError(f"weights {path} hold NaN or infinity; fetch them again or use others")
    return found.float()


def _theirs(name: str, transform: TransformKind) -> str:
    for ours, theirs in (_TRANSFORMS[transform] | _BRANCHES).items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    raise KeyError(name)
