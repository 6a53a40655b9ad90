"""Files of tensors from elsewhere: read without running any code they may hold."""

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

# So many times a file's bytes, and so many more, may its tensors take: some share their values, some are packed.
_AT_MOST, _SLACK, _DEEPEST = 8, 1 << 26, 50


def read_tensors(path: Path) -> object:
    """What a file of tensors holds, without running any code; raises :class:`FedfrError` when it cannot be read."""
    if not path.is_file():
        raise FedfrError(f"weights {path} do not exist; check the path")
    try:
        return load_file(path) if path.suffix == ".safetensors" else _unpickle_weights(path)
    except MemoryError as error:
        raise FedfrError(f"weights {path} ask for more memory than there is; fetch them again") from error
    except Exception as error:  # a damaged pickle is a damaged program: it can fail in any way
        raise FedfrError(
            f"weights {path} cannot be read ({_reason(error)}); allowed is a whole file with nothing but tensors "
            f"in it; {_advice(error)}"
        ) from error


def _unpickle_weights(path: Path) -> object:
    size = path.stat().st_size
    most = _AT_MOST * size + _SLACK
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(each.file_size for each in archive.infolist())
        if unpacked > most:
            raise ValueError(f"its {size} bytes would take {unpacked} in memory")
    with warnings.catch_warnings():
        # PyTorch's remarks on pickle protocols help nobody who only has the file.
        warnings.simplefilter("ignore")
        # The old format is read from memory: what it says of a length would be given to it, were it a file.
        source: Any = path if zipfile.is_zipfile(path) else io.BytesIO(path.read_bytes())
        content = torch.load(source, map_location="cpu", weights_only=True)
    claimed = 0
    for tensor in _tensors(content, 0):
        there = (
            tensor.untyped_storage().nbytes() if tensor.layout == torch.strided and not tensor.is_quantized else most
        )
        own = tensor.numel() * tensor.element_size()
        claimed += own
        # A view may repeat what it sees: a few bytes are as many gigabytes as it says.
        if own > there or claimed > most:
            raise ValueError(f"its {size} bytes stand for tensors of {claimed} or more")
    return content


def _tensors(content: object, depth: int) -> Iterator[torch.Tensor]:
    """All tensors in what a file holds, however deep its tables are."""
    if isinstance(content, torch.Tensor):
        yield content
    elif depth > _DEEPEST:
        raise ValueError("its tables are nested too deeply")
    elif isinstance(content, Mapping | list | tuple | set):
        for each in content.values() if isinstance(content, Mapping) else content:
            yield from _tensors(each, depth + 1)


def _forbidden(error: Exception) -> str:
    """The class or function that a pickle asks for and that is none of a tensor's; empty where it asks for none."""
    found = re.search(r"GLOBAL ([\w.]+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
    return found[1] if found else ""


def _reason(error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError):
        # PyTorch's own text advises to switch the protection off.
        asked = _forbidden(error)
        if asked:
            return f"it holds {asked}; code is not run, and such objects are no tensors"
        return "it is damaged, or holds Python objects that are no tensors"
    if "TorchScript" in str(error):
        return "it is a TorchScript archive, a program and no table of weights"
    return re.split(r"\n|\. ", str(error).strip())[0] or type(error).__name__


def _advice(error: Exception) -> str:
    """What to do: the code that can read a module or a program is with whoever saved it."""
    if _forbidden(error) or "TorchScript" in str(error):
        return (
            "where it was written, load it with the code that it belongs to and save the weights alone: "
            "torch.save(model.state_dict(), NEW)"
        )
    return "fetch it again or save its state_dict alone"
