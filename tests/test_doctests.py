"""Examples in docstrings: every export of the public packages has one, and all run."""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import fedfr

PACKAGES = ("fedfr", "fedfr.losses", "fedfr.evaluation", "fedfr.models", "fedfr.faces")
# Packages in which a function or class without an example is an error.
COMPLETE = ("fedfr", "fedfr.evaluation", "fedfr.faces", "fedfr.losses", "fedfr.models")

SOURCE = Path(fedfr.__file__).parent


def run(examples: list[doctest.DocTest]) -> int:
    """Number of examples run; raises at the first unexpected output."""
    # Each docstring starts with no names but its own imports: what a reader copies has to run.
    runner = doctest.DebugRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    try:
        return sum(runner.run(each).attempted for each in examples)
    except doctest.DocTestFailure as failure:
        wrong = failure
    pytest.fail(
        f"{wrong.test.name}, {wrong.example.source.strip()}: expected {wrong.example.want.strip()}, "
        f"got {wrong.got.strip()}"
    )


def find(thing: object, name: str) -> list[doctest.DocTest]:
    return doctest.DocTestFinder(exclude_empty=True).find(thing, name, module=False, globs={})


def modules_with_examples() -> list[str]:
    files = [path for path in sorted(SOURCE.rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]
    return [".".join(("fedfr", *path.relative_to(SOURCE).with_suffix("").parts)) for path in files]


@pytest.mark.parametrize(
    ("package", "name"), [(package, name) for package in PACKAGES for name in import_module(package).__all__]
)
def test_export_has_an_example(package: str, name: str) -> None:
    thing = getattr(import_module(package), name)
    if not (inspect.isclass(thing) or inspect.isroutine(thing)):
        return  # constants, registries, sub-packages
    if ">>> " not in (inspect.getdoc(thing) or ""):
        if package in COMPLETE:
            pytest.fail(f"{package}.{name} has no example in its docstring")
        pytest.skip(f"{package}.{name} has no example yet")
    assert run(find(thing, f"{package}.{name}")) > 0


@pytest.mark.parametrize("module", modules_with_examples())
def test_examples_of_the_module(module: str) -> None:
    module = module.removesuffix(".__init__")
    found = doctest.DocTestFinder(exclude_empty=True).find(import_module(module), module, globs={})
    # Examples of objects with a docstring of their own, such as `register_method`, are run below.
    assert run(found) > 0 or module == "fedfr.experiments.registration"


REGISTER = """
import doctest, fedfr
names = [name for name in fedfr.__all__ if name.startswith("register_")]
runner = doctest.DebugRunner(verbose=False)
for name in names:
    (example,) = doctest.DocTestFinder().find(getattr(fedfr, name), name, module=False, globs={})
    assert runner.run(example).attempted > 0, name
assert names
"""


def test_examples_of_the_register_functions() -> None:
    # In a process of its own: what they register must not remain for other tests.
    subprocess.run([sys.executable, "-c", REGISTER], check=True, timeout=120)
