"""All registries: entries are listed by ``fedfr list``, documented and tested."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import fedfr
from fedfr.cli.main import app
from fedfr.config.loading import BENCHMARKS, PRESETS
from fedfr.core.lazy import resolve
from fedfr.experiments.catalogue import REGISTRIES, list_scenarios

TESTS = Path(__file__).parent
DOCS = TESTS.parent / "docs"
SOURCE = Path(fedfr.__file__).parent


@dataclass(frozen=True)
class Kind:
    """Where the entries of a registry are documented, tested, and, if they can be chosen by name, listed.

    ``page``: the page, in which each has a line of a table, unless ``table`` is false.
    """

    home: str
    page: str
    tests: str
    listed: str = ""
    table: bool = True


KINDS = {
    kind.home.partition(":")[2]: kind
    for kind in (
        Kind("fedfr.methods:METHODS", "methods.md", "methods/test_methods.py", "methods"),
        Kind("fedfr.losses:LOSSES", "models.md", "losses/test_loss_registry.py", "losses"),
        Kind("fedfr.models:BACKBONES", "models.md", "models/test_backbone_registry.py", "backbones"),
        Kind(
            "fedfr.federation.rule_registry:AGGREGATIONS",
            "methods.md",
            "federation/test_robust_rules.py",
            "aggregations",
        ),
        Kind("fedfr.evaluation:PROTOCOLS", "evaluation.md", "evaluation/test_protocols.py", "protocols"),
        Kind("fedfr.evaluation:SCORES", "evaluation.md", "evaluation/test_score_distributions.py"),
        Kind("fedfr.faces:IMPORTERS", "faces.md", "cli/test_importers.py", "importers"),
        Kind("fedfr.faces:SPLITS", "configuration.md", "faces/test_exact_duplicates.py", "splits"),
        Kind("fedfr.faces:EXPORTERS", "faces.md", "faces/writers/test_writers.py", "formats"),
        Kind("fedfr.audit:FINDING_KINDS", "faces.md", "test_docs.py", "findings"),
        Kind("fedfr.models:LAYOUTS", "models.md", "models/test_layouts.py", "layouts", table=False),
        Kind("fedfr.reporting.tracking:TRACKERS", "howto/tracking.md", "reporting/test_tracking.py", "trackers"),
        Kind(
            "fedfr.faces.alignment.photographs.aligners:ALIGNERS",
            "faces.md",
            "cli/test_photograph_options.py",
            "aligners",
            table=False,
        ),
        Kind(
            "fedfr.faces.writers.released_split:ENCODINGS",
            "faces.md",
            "faces/writers/test_released_split.py",
            "encodings",
            table=False,
        ),
        # Chosen by the name of a file, or by a setting of a recipe.
        Kind("fedfr.faces.readers.metadata:METADATA", "faces.md", "faces/readers", table=False),
        Kind("fedfr.faces.readers.pairs.pair_lists:PAIR_LISTS", "faces.md", "faces/readers", table=False),
        Kind("fedfr.faces.splits.partition_files:PARTITION_FILES", "configuration.md", "faces/splits", table=False),
        Kind("fedfr.faces.splits.shared_identities:SHARED_IDENTITIES", "configuration.md", "faces/splits", table=False),
        Kind("fedfr.faces.storage:PIXELS", "faces.md", "faces", table=False),
        Kind(
            "fedfr.recognition.photos.quality:GATES",
            "explanation/photo-quality.md",
            "recognition/photos/test_quality.py",
        ),
    )
}
NAMES = [(name, entry) for name, kind in KINDS.items() for entry in resolve(kind.home).builtin]


def test_no_registry_is_forgotten() -> None:
    sources = [path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py")]
    found = {name for text in sources for name in re.findall(r"(?m)^([A-Z_]+): Registry\[", text)}
    assert found == KINDS.keys()
    assert {kind: home for kind, (home, _) in REGISTRIES.items()} == {
        kind.listed: kind.home for kind in KINDS.values() if kind.listed
    }


@pytest.mark.parametrize("name", KINDS)
def test_every_entry_is_described(name: str) -> None:
    registry = resolve(KINDS[name].home)
    assert [entry.name for entry in registry if not entry.description] == []
    assert registry.kind


@pytest.mark.parametrize("kind", [*REGISTRIES, "presets", "benchmarks", "scenarios"])
def test_fedfr_list_names_every_entry(kind: str) -> None:
    others = {"presets": PRESETS, "benchmarks": BENCHMARKS}
    if kind in REGISTRIES:
        names = resolve(REGISTRIES[kind][0]).names
    else:
        names = tuple(others.get(kind) or (row["name"] for row in list_scenarios()))
    answer = CliRunner().invoke(app, ["list", kind, "--json"])
    assert answer.exit_code == 0
    rows = json.loads(answer.stdout)
    assert tuple(row["name"] for row in rows) == names
    assert all(row["description"] for row in rows)
    shown = CliRunner().invoke(app, ["list", kind]).stdout
    assert [name for name in names if name not in shown] == []


@pytest.mark.parametrize(("registry", "name"), NAMES)
def test_every_entry_has_its_line_in_the_documentation(registry: str, name: str) -> None:
    kind = KINDS[registry]
    text = (DOCS / kind.page).read_text(encoding="utf-8")
    assert (f"| `{name}` |" if kind.table else name) in text, f"docs/{kind.page} has no line of {name}"


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_documented(name: str) -> None:
    assert f"`{name}`" in (DOCS / "configuration.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_is_documented(name: str) -> None:
    assert f"`{name}`" in (DOCS / "benchmarks.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("registry", KINDS)
def test_every_entry_is_tested(registry: str) -> None:
    """By a test parametrized from the registry; in a registry that is not open, each may be tested by its name."""
    place, found = TESTS / KINDS[registry].tests, resolve(KINDS[registry].home)
    if not place.is_dir() and registry in parametrized(place):
        return
    assert not found.is_open, f"{KINDS[registry].tests} has no test parametrized from {registry}"
    texts = (path.read_text(encoding="utf-8") for path in (place.rglob("test_*.py") if place.is_dir() else [place]))
    text = "".join(texts)
    assert [name for name in found.builtin if name not in text] == []


@cache
def parametrized(path: Path) -> frozenset[str]:
    """Names in the arguments of ``pytest.mark.parametrize``, also by way of a constant of the module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _last(node.func) == "parametrize"]
    named = {_last(node) for call in calls for node in ast.walk(call)}
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    behind = {_last(node) for name in named & constants.keys() for node in ast.walk(constants[name])}
    return frozenset(named | behind)


def _last(node: Any) -> str:
    return str(getattr(node, "id", getattr(node, "attr", "")))


# The names of SCORES are some of PROTOCOLS.
REGISTERED = {name: frozenset(resolve(kind.home).builtin) for name, kind in KINDS.items() if name != "SCORES"}
REGISTERED |= {"PRESETS": frozenset(PRESETS), "BENCHMARKS": frozenset(BENCHMARKS)}


def test_no_test_copies_the_names_of_a_registry() -> None:
    """A list of most names of a registry would go stale with the next entry."""
    copied = []
    for path in sorted(TESTS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.List | ast.Tuple | ast.Set):
                texts = {each.value for each in node.elts if isinstance(each, ast.Constant)}
                copied += [
                    f"{path.relative_to(TESTS)}:{node.lineno} {registry}"
                    for registry, names in REGISTERED.items()
                    if len(names) > 3 and 2 * len(names & texts) > len(names)
                ]
    assert copied == []
