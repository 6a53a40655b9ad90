"""Head files of FedFR's released code: DFC modules (``bce_module.pth``) and prototypes (``fc.pth``)."""

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

# Prefixes of entries, fedfr's → the released code's. Layers of every branch have the same numbers; 0 and 2 are linear.
_TRANSFORMS: dict[TransformKind, dict[str, str]] = {
    "linear": {"transform.": "converter.0."},
    "bottleneck": {f"transform.narrow.{number}.": f"converter.br{number + 1}." for number in range(4)}
    | {"transform.widen.": "converter.concat_fc."},
}
_BRANCHES = {"branches.": ""}
_PROTOTYPES = "fc"


def load_foreign_dfc(path: Path) -> DFC:
    """Read the DFC module in a ``bce_module.pth`` of FedFR's released code, without running code in the file.

    Entries: ``weight`` (K, D) and ``bias`` (K,) of the branches; ``converter.0.*`` for a linear transform, or
    ``converter.br1.*`` … ``converter.br4.*`` and ``converter.concat_fc.*`` for a bottleneck. K, D and the kind of
    transform are recognized from them. Raises :class:`FedfrError` if the file cannot be read or has other entries.

    >>> import tempfile, torch
    >>> from pathlib import Path
    >>> from fedfr.models import DFC, foreign_dfc_entries, load_foreign_dfc
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save(foreign_dfc_entries(DFC(3, 8)), Path(folder, "bce_module.pth"))
    ...     load_foreign_dfc(Path(folder, "bce_module.pth")).branches
    Linear(in_features=8, out_features=3, bias=True)
    """
    state = load_foreign(path)
    weight = state.get("weight")
    transform: TransformKind = "bottleneck" if any(re.match(r"converter\.br\d", name) for name in state) else "linear"
    if weight is None or weight.ndim != 2 or not weight.numel():
        fault = "is missing" if weight is None else f"is {tuple(weight.shape)}, not (identities, length of a feature)"
        raise FedfrError(
            f"weights {path} are not a DFC module: weight {fault}; give a bce_module.pth of FedFR's released code"
        )
    # On the meta device, no random numbers are drawn for values that are replaced anyway.
    with torch.device("meta"):
        module = DFC(weight.shape[0], weight.shape[1], transform)
    own = module.state_dict()
    names = {_released_name(name, transform): name for name in own}
    differences = differences_in_one_line(state, {released: own[name] for released, name in names.items()})
    if differences:
        raise FedfrError(
            f"weights {path} are not a DFC module with {transform} transform: {differences}; "
            "give a bce_module.pth of FedFR's released code"
        )
    module.load_state_dict({names[released]: tensor.float() for released, tensor in state.items()}, assign=True)
    return module.requires_grad_()


def foreign_dfc_entries(module: DFC | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of a DFC module under the entry names of a ``bce_module.pth``.

    Inverse of :func:`load_foreign_dfc`.

    >>> from fedfr.models import DFC, foreign_dfc_entries
    >>> {name: tuple(tensor.shape) for name, tensor in foreign_dfc_entries(DFC(3, 8)).items()}
    {'converter.0.weight': (8, 8), 'converter.0.bias': (8,), 'weight': (3, 8), 'bias': (3,)}
    """
    state = module.state_dict() if isinstance(module, DFC) else module
    transform: TransformKind = "linear" if "transform.weight" in state else "bottleneck"
    return {_released_name(name, transform): tensor for name, tensor in state.items()}


def load_foreign_prototypes(path: Path) -> Tensor:
    """Read the prototypes (K, D), float32, in a ``fc.pth``: a matrix, or a state dict with the single entry ``fc``.

    Raises :class:`FedfrError` if the file cannot be read or contains anything else.

    >>> import tempfile, torch
    >>> from pathlib import Path
    >>> from fedfr.models import load_foreign_prototypes
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save(torch.eye(2), Path(folder, "fc.pth"))
    ...     load_foreign_prototypes(Path(folder, "fc.pth"))
    tensor([[1., 0.],
            [0., 1.]])
    """
    content = read_tensors(path)
    matrix = content
    if isinstance(content, Mapping):
        matrix = content[_PROTOTYPES] if list(content) == [_PROTOTYPES] else f"entries {sorted(map(str, content))[:3]}"
    if not isinstance(matrix, Tensor) or matrix.ndim != 2 or not matrix.is_floating_point() or not matrix.numel():
        what = f"{matrix.dtype} {tuple(matrix.shape)}" if isinstance(matrix, Tensor) else matrix
        what = what if isinstance(what, str) else type(what).__name__
        raise FedfrError(
            f"weights {path} are not prototypes: they contain {what}; allowed is one matrix of floats "
            f"(identities, length of a feature), alone or as the entry {_PROTOTYPES!r}; give an fc.pth"
        )
    if not bool(torch.isfinite(matrix).all()):
        raise FedfrError(f"weights {path} hold NaN or infinity; fetch them again or use others")
    return matrix.float()


def _released_name(name: str, transform: TransformKind) -> str:
    for prefix, released in (_TRANSFORMS[transform] | _BRANCHES).items():
        if name.startswith(prefix):
            return released + name.removeprefix(prefix)
    raise KeyError(name)
