"""Import of weights published by other projects: find the backbone inside a checkpoint."""

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

# Keys under which training scripts store the weights in a larger checkpoint, and prefixes that wrappers add.
_CONTAINERS = ("net_state_dict", "state_dict", "model_state_dict", "backbone", "model")
_PREFIXES = ("module.", "_orig_mod.", "backbone.")
# Parts of names added by wrappers: torch.compile, activation checkpointing, fully sharded training.
_INSIDE = re.compile(r"\b(_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)\.")
# Names that training scripts give to running averages of the weights.
_AVERAGED = re.compile(r"(^|[._])(ema|swa|averaged?|avg|shadow)(?=$|[._])|emamodel|averagedmodel", re.IGNORECASE)
_DEEPEST = 6

Place = tuple[str, ...]


@dataclass(frozen=True)
class FoundBackbone:
    """A backbone found in a checkpoint: its name, and its weights under fedfr's entry names.

    ``entry`` is its location in the checkpoint, empty for a plain state dict. ``unused`` lists the entries that do not
    belong to it, ``alternatives`` the locations of further backbones that were not chosen.

    >>> from fedfr.models import FoundBackbone
    >>> FoundBackbone("slimface", state={}, entry="state_dict", unused=("head.weight",), alternatives=()).describe()
    "backbone found at 'state_dict'; left out: head.weight"
    """

    name: str
    state: dict[str, Tensor]
    entry: str
    unused: tuple[str, ...]
    alternatives: tuple[str, ...]

    def describe(self) -> str:
        """Describe the location and the entries left out; empty for a plain state dict without other entries."""
        notes = [f"backbone found at {self.entry!r}"] if self.entry else []
        if self.unused:
            more = f" and {len(self.unused) - 3} more" if len(self.unused) > 3 else ""
            notes.append(f"left out: {', '.join(self.unused[:3])}{more}")
        if self.alternatives:
            notes.append(f"also there: {', '.join(map(repr, self.alternatives))}; select one with --entry")
        return "; ".join(notes)


def load_foreign(path: Path) -> dict[str, Tensor]:
    """Read a ``.pth``, ``.pt``, ``.ckpt`` or ``.safetensors`` file of weights without running code in it.

    If the file contains a backbone, returns the backbone's entries as :func:`load_backbone` finds them; otherwise all
    entries, taken out of ``net_state_dict``, ``state_dict`` and similar keys, without prefixes of wrappers.
    Raises :class:`FedfrError` if the file is missing, truncated or contains anything but weights.

    >>> import tempfile, torch
    >>> from pathlib import Path
    >>> from fedfr.models import load_foreign
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save({"state_dict": {"module.weight": torch.ones(2)}}, Path(folder, "weights.pth"))
    ...     load_foreign(Path(folder, "weights.pth"))
    {'weight': tensor([1., 1.])}
    """
    content = read_tensors(path)
    found = _candidates(content, None)
    return _finite(_chosen(path, found, None).state, path) if found else state_of(content, path)


def load_backbone(path: Path, expected: str | None = None, entry: str | None = None) -> FoundBackbone:
    """Find the backbone in a file of weights.

    With ``expected``, only this backbone is accepted; ``entry`` selects its location in the checkpoint.
    Raises :class:`FedfrError` if the file cannot be read, contains no backbone, several, or quantized weights.

    >>> import tempfile, torch
    >>> from pathlib import Path
    >>> from fedfr.models import build_backbone, load_backbone
    >>> weights = build_backbone("mobilefacenet", seed=0).state_dict()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save({"state_dict": weights}, Path(folder, "weights.pth"))
    ...     found = load_backbone(Path(folder, "weights.pth"))
    >>> found.name, found.entry
    ('mobilefacenet', 'state_dict')
    """
    return find_backbone(read_tensors(path), path, expected, entry)


def find_backbone(content: object, path: Path, expected: str | None = None, entry: str | None = None) -> FoundBackbone:
    """Find the backbone in ``content``, which :func:`read_tensors` read from ``path``, as :func:`load_backbone`."""
    if expected is not None:
        BACKBONES.entry(expected)
    found = _candidates(content, expected)
    if not found:
        _refuse_quantized(content, path)
        try:
            recognize_backbone(_largest(content, path), expected)
        except FedfrError as error:
            raise FedfrError(f"{path}: {error}") from error
        raise FedfrError(f"{path}: weights are not floats; give weights in float32, float16 or bfloat16")
    chosen = _chosen(path, found, entry)
    _finite(chosen.state, path)
    return chosen


def backbone_of(path: Path) -> str:
    """Return the name of the backbone in a file: a model of fedfr or weights of another project.

    Raises :class:`FedfrError` if the file is missing, cannot be read or matches no backbone.

    >>> import tempfile, torch
    >>> from pathlib import Path
    >>> from fedfr.models import backbone_of, build_backbone
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save(build_backbone("mobilefacenet", seed=0).state_dict(), Path(folder, "weights.pth"))
    ...     backbone_of(Path(folder, "weights.pth"))
    'mobilefacenet'
    """
    return load_model(path)[1].backbone if has_contract(path) else load_backbone(path).name


def state_of(content: object, path: Path) -> dict[str, Tensor]:
    """Return all entries of ``content``, which :func:`read_tensors` read from ``path``, without wrappers' prefixes.

    Raises :class:`FedfrError` if there is no table of tensors, or if it contains NaN or infinity.
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
        f"weights {path} contain no table of tensors; allowed are a plain state dict or one in "
        f"{', '.join(_CONTAINERS)} or similar; save the backbone's state_dict"
    )


def _without_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    while True:
        prefix = next((each for each in _PREFIXES if all(name.startswith(each) for name in state)), None)
        if prefix is None:
            return state
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}


def _finite(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    for name, tensor in state.items():
        # isfinite is not implemented for some eight-bit floats.
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor.float()).all()):
            raise FedfrError(f"weights {path} hold NaN or infinity in {name}; fetch them again or use others")
    return state


def _tables(content: object, place: Place = ()) -> Iterator[tuple[Place, dict[str, Tensor]]]:
    """Yield every table of tensors in a checkpoint with its location; those of optimizers are skipped."""
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


def _candidates(content: object, expected: str | None) -> list[FoundBackbone]:
    """Return every backbone in a checkpoint, or every ``expected`` one; equal weights are returned once."""
    found: list[FoundBackbone] = []
    for place, table in _tables(content):
        for prefix in _starts(table, expected):
            state = {name.removeprefix(prefix): tensor for name, tensor in table.items() if name.startswith(prefix)}
            name = _matching_backbone(state, expected)
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


def _starts(table: Mapping[str, Tensor], expected: str | None = None) -> list[str]:
    """Return the possible prefixes of a backbone's entries in a table, the shortest first."""
    names = [*BACKBONES.builtin, *([] if expected is None else [expected])]
    firsts = {next(iter(entry_shapes(name))) for name in names}
    found = {
        entry.removesuffix(first)
        for entry in table
        for first in firsts
        if entry == first or entry.endswith(f".{first}")
    }
    return sorted(found, key=lambda prefix: (len(prefix), prefix))


def _matching_backbone(state: Mapping[str, Tensor], expected: str | None) -> str | None:
    """Return the backbone whose entries are all in ``state`` as floats, if other entries belong to other modules.

    A deeper network has all entries of a shallower one, so a further entry in a module of the backbone excludes it.
    """
    for name in BACKBONES.builtin if expected is None else (expected,):
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


def _equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype and torch.equal(first[name], second[name]) for name in first
    )


def _chosen(path: Path, found: list[FoundBackbone], entry: str | None) -> FoundBackbone:
    """Return the backbone at ``entry`` or the only one that is not a running average; raise for several."""
    places = ", ".join(repr(each.entry or ".") for each in found)
    if entry is not None:
        wanted = entry.strip(".")
        matching = [each for each in found if each.entry == wanted] or [
            each for each in found if f".{wanted}." in f".{each.entry}."
        ]
        if len(matching) != 1:
            raise FedfrError(
                f"{path}: --entry is {entry!r}, which matches {len(matching) or 'no'} backbones; available: {places}"
            )
    else:
        matching = [each for each in found if not _AVERAGED.search(each.entry)] or found
        if len(matching) > 1:
            raise FedfrError(
                f"{path} contains {len(matching)} backbones with different weights ({places}); name one with --entry"
            )
    chosen = matching[0]
    others = tuple(each.entry or "." for each in found if each is not chosen)
    return FoundBackbone(chosen.name, chosen.state, chosen.entry, chosen.unused, others)


def _refuse_quantized(content: object, path: Path) -> None:
    """Raise :class:`FedfrError` for quantized weights, recognized by the names and types of the tensors."""
    for _, table in _tables(content):
        for name, tensor in table.items():
            eight_bits = tensor.dtype in (torch.int8, torch.uint8) and tensor.ndim > 1
            if tensor.is_quantized or eight_bits or re.search(r"(zero_point|absmax|_packed_params.*)$", name):
                raise FedfrError(
                    f"weights {path} are quantized ({name} is {str(tensor.dtype).removeprefix('torch.')}); allowed are "
                    "float32, float16 and bfloat16; give the weights before quantization, or evaluate an ONNX graph"
                )


def _largest(content: object, path: Path) -> dict[str, Tensor]:
    """Return the table with the most entries, whose differences from a backbone are reported."""
    tables = [table for _, table in _tables(content)]
    if not tables:
        raise _no_table(path)
    table = max(tables, key=len)
    start = next((each for each in _starts(table) if 2 * sum(name.startswith(each) for name in table) > len(table)), "")
    return _without_prefixes({name.removeprefix(start): tensor for name, tensor in table.items()})
