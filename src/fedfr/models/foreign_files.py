"""Reading of PyTorch and safetensors files from other projects without running code in them."""

from __future__ import annotations

import io
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from fedfr.core.errors import FedfrError

__all__ = ["read_tensors"]

# Memory limit of a file's tensors: this multiple of its size plus this many bytes (tensors may share or pack values).
_AT_MOST, _SLACK, _DEEPEST = 8, 1 << 26, 50


def read_tensors(path: Path) -> object:
    """Read the content of a file of tensors without running code; raise :class:`FedfrError` if it cannot be read."""
    if not path.is_file():
        raise FedfrError(f"weights {path} do not exist; check the path")
    try:
        return load_file(path) if path.suffix == ".safetensors" else _unpickle_weights(path)
    except MemoryError as error:
        raise FedfrError(f"weights {path} need more memory than is available; fetch them again") from error
    except Exception as error:  # a pickle is a program: a damaged one can raise any exception
        raise FedfrError(
            f"weights {path} cannot be read ({_reason(error)}); allowed is a complete file that contains only "
            f"tensors; {_advice(error)}"
        ) from error


def _unpickle_weights(path: Path) -> object:
    size = path.stat().st_size
    most = _AT_MOST * size + _SLACK
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(each.file_size for each in archive.infolist())
        if unpacked > most:
            raise ValueError(f"its {size} bytes would need {unpacked} in memory")
    with warnings.catch_warnings():
        # PyTorch's warnings about pickle protocols do not concern the reader of a file.
        warnings.simplefilter("ignore")
        # The old format is read from memory: from a file, PyTorch would allocate any length stated in it.
        source: Any = path if zipfile.is_zipfile(path) else io.BytesIO(path.read_bytes())
        content = torch.load(source, map_location="cpu", weights_only=True)
    claimed = 0
    for tensor in _tensors(content, 0):
        there = (
            tensor.untyped_storage().nbytes() if tensor.layout == torch.strided and not tensor.is_quantized else most
        )
        own = tensor.numel() * tensor.element_size()
        claimed += own
        # A view may repeat its storage, so that a few bytes represent gigabytes.
        if own > there or claimed > most:
            raise ValueError(f"its {size} bytes describe tensors of {claimed} bytes or more")
    return content


def _tensors(content: object, depth: int) -> Iterator[torch.Tensor]:
    """Yield all tensors in the nested tables of a file."""
    if isinstance(content, torch.Tensor):
        yield content
    elif depth > _DEEPEST:
        raise ValueError("its tables are nested too deeply")
    elif isinstance(content, Mapping | list | tuple | set):
        for each in content.values() if isinstance(content, Mapping) else content:
            yield from _tensors(each, depth + 1)


def _forbidden(error: Exception) -> str:
    """Return the disallowed class or function that a pickle refers to; empty if there is none."""
    match = re.search(r"GLOBAL ([\w.]+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
    return match[1] if match else ""


def _reason(error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError):
        # PyTorch's own message advises to disable the protection.
        asked = _forbidden(error)
        if asked:
            return f"it contains {asked}; code is not run, and such objects are not tensors"
        return "it is damaged, or contains Python objects other than tensors"
    if "TorchScript" in str(error):
        return "it is a TorchScript archive, which is a program, not a table of weights"
    return re.split(r"\n|\. ", str(error).strip())[0] or type(error).__name__


def _advice(error: Exception) -> str:
    """Return what the user can do about a file that cannot be read."""
    if _forbidden(error) or "TorchScript" in str(error):
        return "load it with the code that wrote it and save only the weights: torch.save(model.state_dict(), NEW)"
    return "fetch it again or save its state_dict alone"
