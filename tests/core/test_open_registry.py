"""Registries extended by other packages: dotted names, registered objects, entry points, and one-line errors."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import fedfr
from fedfr.core import registry as registries
from fedfr.core.code_identity import UNVERSIONED, source_digest, version_of
from fedfr.core.errors import FedfrError
from fedfr.core.registry import Entry, Extensions, Registry
from fedfr.methods import METHODS
from fedfr.methods.fedavg import FedAvg
from fedfr.models import BACKBONES, BackboneSpec

BAD_MODULES = {
    "plain": "value = 3\nclass Wrong: ...\n",
    "broken": "def (:\n",
    "leaving": "raise SystemExit(3)\n",
    "needing": "import no_such_module_at_all\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package of which every module has another fault."""
    name = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    for module, text in BAD_MODULES.items():
        (tmp_path / name / f"{module}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{0}.absent:A", "method '{0}.absent:A': there is no module '{0}.absent'; install its package"),
        ("no_such_package_at_all:A", "there is no module 'no_such_package_at_all'; install its package"),
        ("{0}.plain:Wrog", "{0}.plain has no 'Wrog'; did you mean 'Wrong'?"),
        ("{0}.plain:Wrong", "is the class Wrong; give a subclass of fedfr.federation.method.Method"),
        ("{0}.plain:value", "is a int; give a subclass of fedfr.federation.method.Method"),
        ("{0}.broken:A", "importing {0}.broken failed (SyntaxError: "),
        ("{0}.leaving:A", "importing {0}.leaving failed (SystemExit: 3)"),
        ("{0}.needing:A", "importing {0}.needing failed (ModuleNotFoundError: "),
        ("__main__:A", "is defined in the main program (a script or notebook), which other processes cannot import"),
        ("{0}.plain:make.<locals>.A", "is defined inside a function, where other processes cannot import it"),
        ("fedavgg", "unknown method 'fedavgg'; did you mean 'fedavg'?"),
        ("../fedavg:A", "unknown method '../fedavg:A'"),
    ],
)
def test_unresolvable_names_are_refused(package: str, name: str, message: str) -> None:
    with pytest.raises(FedfrError) as raised:
        _ = METHODS[name.format(package)]
    assert message.format(package) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_name_of_a_protocol_is_no_module() -> None:
    with pytest.raises(FedfrError, match=r"unknown protocol 'generic-1:M'; did you mean 'generic-1:"):
        _ = fedfr.evaluation.PROTOCOLS["generic-1:M"]


def test_a_closed_registry_imports_nothing() -> None:
    with pytest.raises(FedfrError, match=r"unknown format 'os:system'"):
        _ = fedfr.faces.EXPORTERS["os:system"]


class Own(FedAvg):
    """A method of this module."""


def test_registered_names_are_stored_with_importable_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(METHODS, "_registered", {})
    assert fedfr.register_method("own-average", Own, paper="none") is Own
    assert METHODS["own-average"] is Own
    stored = METHODS.stored_name("own-average")
    assert stored == f"{__name__}:Own"
    METHODS.check_portable("own-average")
    assert METHODS[stored] is Own
    (row,) = [row for row in fedfr.list_methods() if row["name"] == "own-average"]
    assert row == {
        "name": "own-average",
        "description": "A method of this module.",
        "paper": "none",
        "origin": __name__,
    }
    assert fedfr.register_method(Own) is Own
    assert "own" in METHODS
    with pytest.raises(FedfrError, match="'fedavg' is one of fedfr's own; choose another name"):
        fedfr.register_method("fedavg", Own)
    with pytest.raises(FedfrError, match="'own-average' is registered already for another object"):
        fedfr.register_method("own-average", FedAvg)
    with pytest.raises(FedfrError, match=r"use letters, digits"):
        fedfr.register_method("own/average", Own)
    with pytest.raises(FedfrError, match="give a subclass of fedfr"):
        fedfr.register_method("wrong", nn.Linear)


def test_objects_of_this_process_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(METHODS, "_registered", {})

    @fedfr.register_method("local-class")
    class Local(FedAvg):
        pass

    assert METHODS[METHODS.stored_name("local-class")] is Local
    with pytest.raises(FedfrError, match=r"'local-class' is defined inside a function.*runtime\.workers=1"):
        METHODS.check_portable("local-class")
    assert METHODS.name_of(FedAvg) == "fedavg"


TINY = BackboneSpec(nn.Identity, 3)


class Net(nn.Module):
    """A network that is a backbone by itself."""

    embedding_dim = 8


def test_a_backbone_is_a_specification_or_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BACKBONES, "_registered", {})
    fedfr.register_backbone("spec", TINY)
    assert BACKBONES.stored_name("spec") == f"{__name__}:TINY"
    fedfr.register_backbone("net", Net)
    assert (
        BACKBONES["net"] == BACKBONES[f"{__name__}:Net"] == BackboneSpec(Net, 8, source=f"the defaults of {__name__}")
    )
    for name in ("spec", "net"):
        BACKBONES.check_portable(name)


def test_a_model_file_alone_imports_nothing(package: str) -> None:
    name = f"{package}.plain:value"
    with pytest.raises(FedfrError, match="code of another package, which a model file alone does not import"):
        BACKBONES.named_in_file(name)
    assert f"{package}.plain" not in sys.modules


def test_entry_points_are_listed_without_being_imported(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    points = [
        EntryPoint("own", f"{__name__}:Own", "group"),
        EntryPoint("broken", f"{package}.broken:A", "group"),
        EntryPoint("twice", f"{package}.plain:A", "group"),
        EntryPoint("twice", f"{package}.plain:B", "group"),
        EntryPoint("fedavg", f"{package}.plain:A", "group"),
    ]
    monkeypatch.setattr(registries, "entry_points", lambda group: points)

    def accept(value: Any) -> type[FedAvg] | None:
        return value if isinstance(value, type) and issubclass(value, FedAvg) else None

    registry: Registry[type[FedAvg]] = Registry(
        "method", (Entry("fedavg", FedAvg, "ours"),), Extensions("group", "a FedAvg", accept)
    )
    assert registry.names == ("fedavg", "own", "broken", "twice")
    assert registry["fedavg"] is FedAvg
    assert registry["own"] is Own
    assert registry.stored_name("own") == f"{__name__}:Own"
    assert f"{package}.broken" not in sys.modules
    with pytest.raises(FedfrError, match=r"importing .*broken failed \(SyntaxError"):
        _ = registry["broken"]
    with pytest.raises(FedfrError, match=r"'twice' is provided by two packages, as .*:A or .*:B; use one of these"):
        _ = registry["twice"]


def test_the_hash_is_of_all_sources_of_the_package(package: str, tmp_path: Path) -> None:
    name = f"{package}.plain:value"
    before = source_digest(name)
    assert version_of(name) == UNVERSIONED
    assert version_of("torch.nn:Module") != UNVERSIONED
    (tmp_path / package / "notes.txt").write_text("nothing that runs", encoding="utf-8")
    assert source_digest(name) == before
    (tmp_path / package / "helper.py").write_text("value = 1", encoding="utf-8")
    assert source_digest(name) != before
    assert f"{package}.plain" not in sys.modules
    with pytest.raises(FedfrError, match="the package no_such_package_at_all is not installed; install it"):
        source_digest("no_such_package_at_all:A")


def test_a_package_installed_later_has_a_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    assert version_of("later:value") == UNVERSIONED
    made = tmp_path / "later-2.1.dist-info"
    made.mkdir()
    (made / "METADATA").write_text("Metadata-Version: 2.1\nName: later\nVersion: 2.1\n", encoding="utf-8")
    (made / "top_level.txt").write_text("later\n", encoding="utf-8")
    assert version_of("later:value") == "2.1"
