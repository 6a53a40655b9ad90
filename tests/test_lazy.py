"""What is imported late is found all the same."""

from __future__ import annotations

from importlib import import_module

import pytest

from fedfr.lazy import exports, resolve


@pytest.mark.parametrize("package", ["fedfr", "fedfr.models", "fedfr.evaluation"])
def test_every_public_name_is_there(package: str) -> None:
    module = import_module(package)
    assert len(module.__all__) > 10
    for name in module.__all__:
        assert getattr(module, name) is not None, name


@pytest.mark.parametrize("package", ["fedfr", "fedfr.models", "fedfr.evaluation"])
def test_an_unknown_name_is_an_attribute_error(package: str) -> None:
    with pytest.raises(AttributeError, match=rf"module '{package}' has no attribute 'nothing'"):
        _ = import_module(package).nothing


def test_a_home_is_a_module_and_an_attribute() -> None:
    assert resolve("fedfr.errors:FedfrError").__name__ == "FedfrError"
    assert exports("fedfr", {"errors": "FedfrError", "rng": "derive_seed torch_generator"})("derive_seed")(1) >= 0
