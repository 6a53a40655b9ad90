"""Reading of settings from presets, YAML files and ``a.b=c`` overrides into nested mappings."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from fedfr.core.errors import FedfrError
from fedfr.core.files import expand_home

__all__ = [
    "BENCHMARKS",
    "PRESETS",
    "absolute_paths",
    "first_difference",
    "merge",
    "parse_overrides",
    "read_benchmark",
    "read_preset",
    "read_settings_file",
    "read_yaml",
    "with_source_groups",
]

PRESETS: Mapping[str, str] = {
    "quickstart": "one deal of the quickstart: FedFR on the 40 people of ORL, in seconds on a CPU",
    "orl": "fedfr's benchmark on ORL: 4 clients of 5 identities, in minutes on a CPU",
    "lfw-fed": "fedfr's benchmark on Labeled Faces in the Wild: 10 clients of 15 identities",
    "pins-fed": "two face sets: clients with 60 training images per identity, public identities of another set",
    "paper": "FedFR as described in the paper (AAAI 2022): sphereface64, 40 clients of 100 identities",
    "released": "FedFR as implemented in the authors' released code, including its defects",
}

BENCHMARKS: Mapping[str, str] = {
    "orl": "every method on the 40 people of ORL, in minutes",
    "lfw-fed": "every method on Labeled Faces in the Wild: five deals of four clients with 10 identities",
    "pins-fed": "every method on two face sets: five deals of two clients with 7 identities of 60 training images",
    "paper": "the paper's comparison on MS1M-ArcFace",
}

_ROLES = ("public", "private", "generic")
_PATHS = (
    ("faces", "path"),
    ("faces", "compare_with"),
    *(("faces", role) for role in _ROLES),
    *(("faces", role, name) for role in _ROLES for name in ("path", "exclude")),
    ("split", "manifest"),
    ("split", "settings", "pairs"),
    ("split", "settings", "partition"),
    ("split", "settings", "exclude"),
    ("model", "start"),
    ("evaluation", "sets", "*"),
)

# Largest number of values of a configuration with all YAML aliases expanded; real ones have dozens.
MOST_VALUES = 1_000_000


_WORDS = "bool float timestamp"
NAMES: Mapping[str, tuple[str, str]] = {
    "client": (f"{_WORDS} int", ""),
    "clients": (_WORDS, f"{_WORDS} int"),
    "public_partitions": (_WORDS, _WORDS),
}
"""Settings that contain names: YAML 1.1 values of these types are read as text, as a single value and in a list.

``clients`` may also be a number of clients, and partitions may be numbers.
"""


def read_preset(name: str) -> dict[str, Any]:
    """Read a preset; its name is added as ``preset``. Raises :class:`FedfrError` for an unknown name."""
    if name not in PRESETS:
        raise FedfrError(f"unknown preset {name!r}; known: {', '.join(PRESETS)}")
    text = files("fedfr.config").joinpath("presets", f"{name}.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    return {**content, "preset": name}


def read_benchmark(name: str) -> dict[str, Any]:
    """Read the definition of a benchmark of fedfr. Raises :class:`FedfrError` for an unknown name."""
    if name not in BENCHMARKS:
        raise FedfrError(f"unknown benchmark {name!r}; known: {', '.join(BENCHMARKS)}")
    text = files("fedfr.config").joinpath("presets", "benchmarks", f"{name}.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    return content


def read_settings_file(path: Path) -> dict[str, Any]:
    """Read a YAML file, with absolute paths; raises :class:`FedfrError` if it is not a YAML mapping."""
    if not path.exists():
        raise FedfrError(f"configuration {path} does not exist; give a YAML file or a preset: {', '.join(PRESETS)}")
    try:
        content = read_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FedfrError(f"cannot read configuration {path}: {error.strerror or error}; check the file") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise FedfrError(f"configuration {path} is not readable YAML ({_reason(error)}); correct the file") from error
    if not isinstance(content, dict):
        raise FedfrError(f"configuration {path} holds {type(content).__name__}; it must be a mapping of settings")
    return absolute_paths(content, path.parent)


def read_yaml(text: str, place: Sequence[str] = ()) -> Any:
    """Parse YAML like ``yaml.safe_load``, but keep names as text, for instance a client named ``no`` or ``007``.

    ``place``: path of setting names to the value in ``text``. Raises ``yaml.YAMLError`` and no other exception.
    """
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_size(node)
        _keep_names(node, place[-1] if place else "", set())
        return loader.construct_document(node)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        # PyYAML raises these for a number of 5000 digits, day 99 of a month, or brackets nested thousands deep.
        raise yaml.YAMLError(f"{type(error).__name__}: {error}") from error
    finally:
        loader.dispose()


def _keep_names(node: yaml.Node, name: str, seen: set[int]) -> None:
    """Mark the value of the setting ``name`` as text if it contains names; nodes may be cyclic through anchors."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            _keep_names(value, key.value if isinstance(key, yaml.ScalarNode) else "", seen)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            if isinstance(value, yaml.ScalarNode):
                _as_text(value, NAMES.get(name, ("", ""))[1])
            else:
                _keep_names(value, "", seen)
    elif isinstance(node, yaml.ScalarNode):
        _as_text(node, NAMES.get(name, ("", ""))[0])


def _as_text(node: yaml.ScalarNode, kinds: str) -> None:
    # A quoted value has a style and is text already.
    if node.style is None and node.tag.rpartition(":")[2] in kinds.split():
        node.tag = "tag:yaml.org,2002:str"


def _check_size(node: yaml.Node) -> None:
    """Raise ``ValueError`` if expanding all YAML aliases gives more than :data:`MOST_VALUES` values."""
    left, waiting = MOST_VALUES, [node]
    while waiting:
        found = waiting.pop()
        if isinstance(found, yaml.MappingNode):
            inside = [each for pair in found.value for each in pair]
        else:
            inside = list(found.value) if isinstance(found, yaml.SequenceNode) else []
        left -= len(inside)
        if left < 0:
            raise ValueError(f"it expands to more than {MOST_VALUES} values")
        waiting += inside


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Parse ``a.b=c`` overrides into one nested mapping; values are YAML. Raises :class:`FedfrError` if invalid."""
    tree: dict[str, Any] = {}
    for override in overrides:
        tree = merge(tree, with_source_groups(_parse_override(override)))
    return tree


def absolute_paths(content: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the settings with absolute paths: relative ones are resolved in ``folder``, ``~`` is the home folder."""
    tree: dict[str, Any] = dict(content)
    for place in _PATHS:
        tree = _absolute(tree, place, folder)
    return tree


def _absolute(content: Any, place: Sequence[str], folder: Path) -> Any:
    """Return the settings with an absolute path at ``place``; ``*`` stands for every name, lists are gone through."""
    if isinstance(content, list | tuple):
        return [_absolute(each, place, folder) for each in content]
    if place and isinstance(content, Mapping):
        name, *inside = place
        if name == "*":
            return {each: _absolute(value, inside, folder) for each, value in content.items()}
        if name in content and (name, content[name]) != ("start", "scratch"):
            return {**content, name: _absolute(content[name], inside, folder)}
    if not place and isinstance(content, str):
        return os.path.normpath(folder.resolve() / expand_home(content))
    return content


def first_difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """Return the dotted name and both values of the first setting that differs; None if the mappings are equal."""
    for name in dict.fromkeys([*one, *other]):
        left, right = one.get(name), other.get(name)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            inner = first_difference(left, right)
            if inner is not None:
                return f"{name}.{inner[0]}", inner[1], inner[2]
        elif left != right:
            return name, left, right
    return None


def with_source_groups(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with ``faces.public=PATH`` and the like as ``faces.public.path=PATH``.

    The two then merge: neither drops what else is known of the face set, such as its ``exclude``.
    """
    faces = content.get("faces")
    if not isinstance(faces, Mapping):
        return dict(content)
    groups = {role: {"path": faces[role]} for role in _ROLES if isinstance(faces.get(role), str)}
    return {**content, "faces": {**faces, **groups}}


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge ``over`` into ``base``: groups are merged setting by setting, other values are replaced."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _reason(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return " ".join(str(error).split())


def _parse_override(text: str) -> dict[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise FedfrError(f"--set {text!r} is not of the form a.b=value, for example --set federation.rounds=3")
    try:
        parsed = read_yaml(value, tuple(name.strip().split(".")))
    except yaml.YAMLError as error:
        raise FedfrError(f"--set {text!r}: the value is not readable YAML") from error
    if isinstance(parsed, str) and name.strip().rpartition(".")[2] not in NAMES:
        # YAML 1.1 reads 1e-3, without a decimal point, as text.
        with contextlib.suppress(ValueError):
            parsed = float(parsed)
    tree = parsed
    for part in reversed(name.strip().split(".")):
        tree = {part: tree}
    return dict(tree)
