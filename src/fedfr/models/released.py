"""Model folders of FedFR's released code: ``backbone.pth``, ``bce_module.pth``, ``fc.pth``."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from fedfr.core.errors import FedfrError
from fedfr.models.foreign import load_foreign
from fedfr.models.foreign_heads import foreign_dfc_entries, load_foreign_dfc, load_foreign_prototypes
from fedfr.models.model_parts import ModelParts

__all__ = ["pickled", "read_released", "released_files"]

BACKBONE, BRANCHES, PROTOTYPES = "backbone.pth", "bce_module.pth", "fc.pth"


def read_released(folder: Path) -> ModelParts:
    """Read ``backbone.pth`` in ``folder`` and, if present, ``bce_module.pth`` and ``fc.pth``.

    Raises :class:`FedfrError` if the backbone is missing, a file cannot be read, or the files do not match.
    """
    if not (folder / BACKBONE).is_file():
        raise FedfrError(
            f"{folder} contains no {BACKBONE}; give a file of weights, or a folder written by FedFR's released code: "
            f"{BACKBONE}, and for a client {BRANCHES} and {PROTOTYPES}"
        )
    backbone = load_foreign(folder / BACKBONE)
    dfc = load_foreign_dfc(folder / BRANCHES).state_dict() if (folder / BRANCHES).exists() else {}
    prototypes = load_foreign_prototypes(folder / PROTOTYPES) if (folder / PROTOTYPES).exists() else None
    branches = dfc.get("branches.weight")
    if branches is not None and prototypes is not None and branches.shape != prototypes.shape:
        raise FedfrError(
            f"{folder} contains prototypes of shape {tuple(prototypes.shape)} in {PROTOTYPES} and branches of shape "
            f"{tuple(branches.shape)} in {BRANCHES}; give both of one client, with only its private prototypes"
        )
    return ModelParts(backbone, prototypes, dfc)


def released_files(parts: ModelParts) -> dict[str, bytes]:
    """Return names and contents of the files that :func:`read_released` reads.

    Prototypes are written as a matrix, which is what the released ``train.py`` reads from ``fc.pth``.
    """
    if parts.transform and "branches.weight" not in parts.dfc:
        raise FedfrError(
            f"{BRANCHES} needs the client's branches, which the file of a personalized model does not contain; export "
            "its run (`fedfr models export RUN … --layout released`), or use the layout state-dict"
        )
    contents: dict[str, Mapping[str, Tensor] | Tensor | None] = {
        BACKBONE: parts.backbone,
        BRANCHES: foreign_dfc_entries(parts.dfc) if parts.dfc else None,
        PROTOTYPES: parts.prototypes,
    }
    return {name: pickled(content) for name, content in contents.items() if content is not None}


def pickled(content: Mapping[str, Tensor] | Tensor) -> bytes:
    """Return the bytes that ``torch.save`` writes for ``content``, copied to the CPU; loads with ``weights_only=True``.

    Entries are sorted by name, so that the same model always gives the same bytes.
    """

    def own(tensor: Tensor) -> Tensor:
        # A view would be saved with its whole storage.
        return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)

    buffer = io.BytesIO()
    plain = own(content) if isinstance(content, Tensor) else {name: own(content[name]) for name in sorted(content)}
    # Into memory first: torch.save reports a full disk differently from the operating system.
    torch.save(plain, buffer)
    return buffer.getvalue()
