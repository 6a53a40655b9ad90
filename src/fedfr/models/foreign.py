"""Weights published elsewhere: the backbone in a checkpoint, wherever it stands and whatever stands beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fedfr.core.errors import FedfrError
from fedfr.models.backbone_registry import BACKBONES
from fedfr.models.checkpoint import has_contract, load_model
from fedfr.models.entries import entry_shapes, is_optional, recognize_backbone
from fedfr.models.foreign_files import read_tensors

__all__ = ["FoundBackbone", "backbone_of", "find_backbone", "load_backbone", "load_foreign", "state_of"]

# Where training scripts put the weights inside a larger checkpoint, and what wrappers put before each name.
_CONTAINERS = ("net_state_dict", "state_dict", "model_state_dict", "backbone", "model")
_PREFIXES = ("module.", "_orig_mod.", "backbone.")
# What wrappers put inside names: torch.compile, activation checkpointing, fully sharded training.
_INSIDE = re.compile(r"\b(_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)\.")
# Running averages of the weights, by the names that training scripts give them.
_AVERAGED = re.compile(r"(^|[._])(ema|swa|averaged?|avg|shadow)(?=$|[._])|emamodel|averagedmodel", re.IGNORECASE)
_DEEPEST = 6

Place = tuple[str, ...]


@dataclass(frozen=True)
class FoundBackbone:
    """A backbone inside a checkpoint: its name, its weights under the names this project gives them.

    ``entry`` is where it stands, empty for a plain state dict; ``left`` are the entries that are no part of it and
    ``others`` the places of further backbones that were not taken.
    """

    name: str
    state: dict[str, Tensor]
    entry: str
    left: tuple[str, ...]
    others: tuple[str, ...]

    def describe(self) -> str:
        """In words: where it stood, what was left; empty where there is nothing to say."""
        said = [f"backbone found at {self.entry!r}"] if self.entry else []
        if self.left:
            more = f" and {len(self.left) - 3} more" if len(self.left) > 3 else ""
            said.append(f"left out: {', '.join(self.left[:3])}{more}")
        if self.others:
            said.append(f"also there: {', '.join(map(repr, self.others))}, chosen with --entry")
        return "; ".join(said)


def load_foreign(path: Path) -> dict[str, Tensor]:
    """Read a ``.pth``/``.pt``/``.ckpt`` or ``.safetensors`` file of weights, without running any code it may hold.

    Of a file that holds a backbone, wherever it stands, the backbone's entries as :func:`load_backbone` takes them; of
    any other its entries, taken out of ``net_state_dict``, ``state_dict`` and the like, without prefixes of wrappers.
    Raises :class:`FedfrError` when the file is missing, truncated or holds more than weights.
    """
    content = read_tensors(path)
    found = _candidates(content, None)
    return _finite(_chosen(path, found, None).state, path) if found else state_of(content, path)


def load_backbone(path: Path, insisted: str | None = None, entry: str | None = None) -> FoundBackbone:
    """The backbone in a file of weights; ``insisted``: it has to be this one; ``entry``: it stands there.

    Raises :class:`FedfrError` when the file cannot be read, holds none or several, or quantized weights.
    """
    return find_backbone(read_tensors(path), path, insisted, entry)


def find_backbone(content: object, path: Path, insisted: str | None = None, entry: str | None = None) -> FoundBackbone:
    """:func:`load_backbone` for who has what :func:`read_tensors` read from ``path`` at hand already."""
    if insisted is not None:
        BACKBONES.entry(insisted)
    found = _candidates(content, insisted)
    if not found:
        _refuse_quantized(content, path)
        try:
            recognize_backbone(_largest(content, path), insisted)
        except FedfrError as error:
            raise FedfrError(f"{path}: {error}") from error
        raise FedfrError(f"{path}: weights are no floats; give weights in float32, float16 or bfloat16")
    chosen = _chosen(path, found, entry)
    _finite(chosen.state, path)
    return chosen


def backbone_of(path: Path) -> str:
    """The name of the backbone whose weights a file holds: this project's safetensors, or a state dict of others.

    Raises :class:`FedfrError` when it is not there, cannot be read or fits none.
    """
    return load_model(path)[1].backbone if has_contract(path) else load_backbone(path).name


def state_of(content: object, path: Path) -> dict[str, Tensor]:
    """All entries of what :func:`read_tensors` read from ``path``, out of their container, without wrappers' prefixes.

    Raises :class:`FedfrError` when there is no table of tensors, or NaN or infinity in it.
    """
    while isinstance(content, Mapping):
        inner = next((content[key] for key in _CONTAINERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise _no_table(path)
    return _finite(_without_prefixes({str(name): tensor for name, tensor in content.items()}), path)


def _no_table(path: Path) -> FedfrError:
    return FedfrError(
        f"weights {path} hold no table of tensors; allowed are a plain state dict or one inside "
        f"{', '.join(_CONTAINERS)} and the like; save the backbone's state_dict"
    )


def _without_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    while True:
        prefix = next((each for each in _PREFIXES if all(name.startswith(each) for name in state)), None)
        if prefix is None:
            return state
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}


def _finite(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    for name, tensor in state.items():
        # Some eight-bit floats cannot be asked.
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor.float()).all()):
            raise FedfrError(f"weights {path} hold NaN or infinity in {name}; fetch them again or use others")
    return state


def _tables(content: object, place: Place = ()) -> Iterator[tuple[Place, dict[str, Tensor]]]:
    """Every table of tensors in a checkpoint and where it stands; an optimizer's are none of a network."""
    if isinstance(content, list | tuple) and len(place) < _DEEPEST:
        content = {str(number): value for number, value in enumerate(content) if isinstance(value, Mapping)}
    if not isinstance(content, Mapping) or len(place) > _DEEPEST:
        return
    table = {_INSIDE.sub("", str(name)): value for name, value in content.items() if isinstance(value, Tensor)}
    if table:
        yield place, table
    for name, value in content.items():
        if not str(name).startswith("optim") and not isinstance(value, Tensor):
            yield from _tables(value, (*place, str(name)))


def _candidates(content: object, insisted: str | None) -> list[FoundBackbone]:
    """Every backbone in a checkpoint, ``insisted`` alone if one is; the same weights twice are one."""
    found: list[FoundBackbone] = []
    for place, table in _tables(content):
        for prefix in _starts(table, insisted):
            state = {name.removeprefix(prefix): tensor for name, tensor in table.items() if name.startswith(prefix)}
            name = _fitting(state, insisted)
            if name is None:
                continue
            wanted = entry_shapes(name)
            here = FoundBackbone(
                name,
                {each: tensor for each, tensor in state.items() if each in wanted},
                ".".join([*place, prefix.rstrip(".")]).strip("."),
                tuple(each for each in table if not each.startswith(prefix) or each.removeprefix(prefix) not in wanted),
                (),
            )
            if not any(_equal(here.state, other.state) for other in found):
                found.append(here)
    return found


def _starts(table: Mapping[str, Tensor], insisted: str | None = None) -> list[str]:
    """What may stand before a backbone's names in a table, the shortest first."""
    names = [*BACKBONES.builtin, *([] if insisted is None else [insisted])]
    firsts = {next(iter(entry_shapes(name))) for name in names}
    found = {
        entry.removesuffix(first)
        for entry in table
        for first in firsts
        if entry == first or entry.endswith(f".{first}")
    }
    return sorted(found, key=lambda prefix: (len(prefix), prefix))


def _fitting(state: Mapping[str, Tensor], insisted: str | None) -> str | None:
    """The backbone all of whose entries are there as floats, if whatever else is there belongs to other parts.

    A deeper network has all entries of a shallower one: a rest within the backbone's own parts makes it another.
    """
    for name in BACKBONES.builtin if insisted is None else (insisted,):
        wanted = entry_shapes(name)
        parts = {entry.split(".")[0] for entry in wanted}
        whole = all(
            (entry in state and tuple(state[entry].shape) == shape and _is_plain(state[entry], entry))
            or (entry not in state and is_optional(entry))
            for entry, shape in wanted.items()
        )
        if whole and not any(entry.split(".")[0] in parts for entry in state if entry not in wanted):
            return name
    return None


def _is_plain(tensor: Tensor, entry: str) -> bool:
    return tensor.is_floating_point() or is_optional(entry)


def _equal(mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> bool:
    return mine.keys() == theirs.keys() and all(
        mine[name].dtype == theirs[name].dtype and torch.equal(mine[name], theirs[name]) for name in mine
    )


def _chosen(path: Path, found: list[FoundBackbone], entry: str | None) -> FoundBackbone:
    """The one at ``entry``; without one the only that is no running average. Raises :class:`FedfrError` for several."""
    places = ", ".join(repr(each.entry or ".") for each in found)
    if entry is not None:
        wanted = entry.strip(".")
        fitting = [each for each in found if each.entry == wanted] or [
            each for each in found if f".{wanted}." in f".{each.entry}."
        ]
        if len(fitting) != 1:
            raise FedfrError(
                f"{path}: --entry is {entry!r}, where {len(fitting) or 'no'} backbones stand; there are: {places}"
            )
    else:
        fitting = [each for each in found if not _AVERAGED.search(each.entry)] or found
        if len(fitting) > 1:
            raise FedfrError(
                f"{path} holds {len(fitting)} backbones with different weights ({places}); name one with --entry"
            )
    chosen = fitting[0]
    others = tuple(each.entry or "." for each in found if each is not chosen)
    return FoundBackbone(chosen.name, chosen.state, chosen.entry, chosen.left, others)


def _refuse_quantized(content: object, path: Path) -> None:
    """Raise where what fits no backbone are integers with a scale: their names and types tell."""
    for _, table in _tables(content):
        for name, tensor in table.items():
            eight_bits = tensor.dtype in (torch.int8, torch.uint8) and tensor.ndim > 1
            if tensor.is_quantized or eight_bits or re.search(r"(zero_point|absmax|_packed_params.*)$", name):
                raise FedfrError(
                    f"weights {path} are quantized ({name} is {str(tensor.dtype).removeprefix('torch.')}); allowed are "
                    "float32, float16 and bfloat16; give those from before quantization, or evaluate an ONNX graph"
                )


def _largest(content: object, path: Path) -> dict[str, Tensor]:
    """The table with most entries: which differences from a backbone are worth telling."""
    tables = [table for _, table in _tables(content)]
    if not tables:
        raise _no_table(path)
    table = max(tables, key=len)
    start = next((each for each in _starts(table) if 2 * sum(name.startswith(each) for name in table) > len(table)), "")
    return _without_prefixes({name.removeprefix(start): tensor for name, tensor in table.items()})
