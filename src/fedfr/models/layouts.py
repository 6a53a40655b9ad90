"""Export layouts of models: the folder of FedFR's released code, a plain state dict, or ONNX."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.core.files import make_folder, write_atomically, write_folder_atomically
from fedfr.core.registry import Entry, Registry
from fedfr.core.short_repr import Brief
from fedfr.models.checkpoint import Contract
from fedfr.models.model_parts import ModelParts
from fedfr.models.onnx_export import export_onnx, quantize_onnx
from fedfr.models.opened_model import network_of
from fedfr.models.released import pickled, released_files

__all__ = ["CLIENTS", "LAYOUTS", "Layout", "ModelSource"]

CLIENTS = "clients"

_SUFFIXES = (".pth", ".pt", ".ckpt")


@dataclass(frozen=True, repr=False)
class ModelSource(Brief):
    """Source of an export: a model and its ``role``; for a run its generic model, None if the method has none.

    ``what`` names the source in messages. ``contract`` describes the model; ONNX files have one, too. ``calibration``
    are face crops (N, 112, 112, 3) for the layout ``onnx-int8``. ``clients``: functions that read the private parts of
    each client, in the run's order, and return None for a client that never took part. They are called one at a time,
    because each client's parts are 200 MB in the paper's setting.

    >>> from fedfr.models import ModelParts, ModelSource, build_backbone
    >>> source = ModelSource("my-run", ModelParts(build_backbone("mobilefacenet", seed=0).state_dict()))
    >>> source.role
    'generic'
    """

    what: str
    model: ModelParts | None
    role: str = "generic"
    contract: Contract | None = None
    calibration: NDArray[np.uint8] | None = None
    clients: Mapping[str, Callable[[], ModelParts | None]] = field(default_factory=dict)


Layout: TypeAlias = "Callable[[ModelSource, Path], list[Path]]"
"""Function that writes a source to a new path atomically and returns the files written."""


def released(source: ModelSource, destination: Path) -> list[Path]:
    """Write a folder with ``backbone.pth`` and ``fc.pth``, and a folder ``clients/client_<n>/`` for each client.

    Those of clients contain the same files and ``bce_module.pth``.
    The folder can be the ``--pretrained_root`` of the released ``train.py`` and the ``--ckpt_path`` of
    ``local_all.py``. These number clients from 0, in the run's order; ``clients/names.json`` maps the numbers to client
    ids. The private prototypes of a client are in its ``fc.pth``, a file that the released code does not write.
    """
    made: list[Path] = []

    def put(folder: Path, parts: ModelParts) -> None:
        make_folder(folder)
        for name, content in released_files(parts).items():
            (folder / name).write_bytes(content)
            made.append(folder / name)

    def fill(folder: Path) -> None:
        names: dict[str, str] = {}
        if source.model is not None:
            put(folder, source.model)
        for number, (client, read) in enumerate(source.clients.items()):
            parts = read()
            if parts is not None:
                names[f"client_{number}"] = client
                put(folder / CLIENTS / f"client_{number}", parts)
        if names:
            made.append(folder / CLIENTS / "names.json")
            made[-1].write_text(json.dumps(names, indent=2) + "\n", encoding="utf-8")
        if not made:
            raise FedfrError(f"{source.what} has no model to export yet; continue it with `fedfr resume {source.what}`")
        made[:] = [destination / path.relative_to(folder) for path in made]

    if destination.exists() and not destination.is_dir():
        raise FedfrError(f"{destination} is a file; name a new folder for the layout `released`")
    write_folder_atomically(destination, fill)
    return made


def state_dict(source: ModelSource, destination: Path) -> list[Path]:
    """Write one file with the model's entries as a PyTorch ``state_dict()``, without prototypes.

    The entries of a personalized model begin with ``backbone.`` and ``dfc.``.
    """
    model = _single(source, destination, "a state dict", _SUFFIXES)
    write_atomically(destination, pickled(model.network(source.role)))
    return [destination]


def onnx(source: ModelSource, destination: Path) -> list[Path]:
    """Write the network as one ONNX file with its contract, without prototypes and branches."""
    content, _ = _graph(source, destination)
    write_atomically(destination, content)
    return [destination]


def onnx_int8(source: ModelSource, destination: Path) -> list[Path]:
    """Write the network as ONNX with 8-bit integers, in an embedding space of its own."""
    crops = source.calibration
    if crops is None:
        raise FedfrError("the layout onnx-int8 needs faces to calibrate with: --calibration FACES")
    content, contract = _graph(source, destination)
    write_atomically(destination, quantize_onnx(content, contract, crops))
    return [destination]


def _graph(source: ModelSource, destination: Path) -> tuple[bytes, Contract]:
    model, contract = _single(source, destination, "an ONNX file", (".onnx",)), source.contract
    if contract is None:
        raise FedfrError(f"{source.what} has no contract, which an ONNX file needs; import the weights first")
    return export_onnx(network_of(model, contract), contract), contract


def _single(source: ModelSource, destination: Path, what: str, suffixes: tuple[str, ...]) -> ModelParts:
    """Return the model to be written as one new file, whose name ends with one of ``suffixes``."""
    if destination.suffix not in suffixes:
        raise FedfrError(f"{destination} is not a name for {what}; give one that ends with {' or '.join(suffixes)}")
    if destination.exists():
        raise FedfrError(f"{destination} exists already; choose another name or remove it")
    if source.model is None:
        raise FedfrError(
            f"{source.what} has no generic model under this method; export a client's personal.safetensors instead"
        )
    return source.model


LAYOUTS: Registry[Layout] = Registry(
    "layout",
    (
        Entry("released", released, "a folder as FedFR's released code reads it", "FedFR, arXiv 2112.12496"),
        Entry("state-dict", state_dict, "one PyTorch file with a state dict"),
        Entry("onnx", onnx, "one ONNX file with a contract"),
        Entry("onnx-int8", onnx_int8, "one ONNX file of 8-bit integers, calibrated with faces"),
    ),
)
