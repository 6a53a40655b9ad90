"""Lazily imported names are found by attribute access, ``dir`` and import."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from importlib import import_module

import pytest

import fedfr
from fedfr.core.lazy import exports, resolve


@pytest.mark.parametrize("package", ["fedfr", "fedfr.models", "fedfr.evaluation"])
def test_every_public_name_exists(package: str) -> None:
    module = import_module(package)
    assert len(module.__all__) > 10
    for name in module.__all__:
        assert getattr(module, name) is not None, name


@pytest.mark.parametrize("package", ["fedfr", "fedfr.models", "fedfr.evaluation"])
def test_an_unknown_name_is_an_attribute_error(package: str) -> None:
    with pytest.raises(AttributeError, match=rf"module '{package}' has no attribute 'nothing'"):
        _ = import_module(package).nothing


def test_a_home_is_a_module_and_an_attribute() -> None:
    assert resolve("fedfr.core.errors:FedfrError").__name__ == "FedfrError"
    assert (
        exports("fedfr", {"core.errors": "FedfrError", "core.rng": "derive_seed torch_generator"})("derive_seed")(1)
        >= 0
    )


PUBLIC = [
    name
    for name in ("fedfr", *(found.name for found in pkgutil.walk_packages(fedfr.__path__, "fedfr.") if found.ispkg))
    if hasattr(import_module(name), "__all__")
]


@pytest.mark.parametrize("package", PUBLIC)
def test_a_package_lists_what_is_public_and_nothing_else(package: str) -> None:
    module = import_module(package)
    assert dir(module) == sorted(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)


def test_the_public_packages_are_among_them_and_need_no_import_of_their_own() -> None:
    assert {"fedfr", "fedfr.models", "fedfr.losses", "fedfr.evaluation", "fedfr.faces", "fedfr.methods"} <= {*PUBLIC}
    script = (
        "import fedfr; print(fedfr.losses.cosine.__name__, fedfr.models.BACKBONES.kind, fedfr.methods.METHODS.kind)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["cosine", "backbone", "method"]
