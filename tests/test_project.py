"""Project files: declared dependencies, pins, workflows, and contents of distributions."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import fedfr

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
# Their lowest releases are not tested: PyTorch's are too large, and flower names one release of Flower.
UNTESTED = {"torch", *(canonicalize_name(Requirement(text).name) for text in EXTRAS["flower"])}
# What develops fedfr is used at the versions of constraints.txt alone.
TOOLS = ("dev", "docs")


def pins(name: str) -> dict[str, str]:
    """The version of every package that a file of constraints names."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    found = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(parts) == 2 for parts in found)
    return {canonicalize_name(package): version for package, version in found}


def declared(*extras: str) -> list[Requirement]:
    """The dependencies of the package and of some extras."""
    return [Requirement(text) for text in sum((EXTRAS[name] for name in extras), PROJECT["dependencies"])]


def needed(extras: set[str]) -> set[str]:
    """Every installed package that fedfr with these extras needs, directly or not."""
    found: set[tuple[str, str]] = set()
    waiting = declared(*extras)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in ["", *requirement.extras]:
            if (name, extra) in found:
                continue
            found.add((name, extra))
            for text in metadata.requires(name) or []:
                inner = Requirement(text)
                if inner.marker is None or inner.marker.evaluate({"extra": extra}):
                    waiting.append(inner)
    return {name for name, _ in found}


def lowest(requirement: Requirement) -> str:
    """The version that ``>=`` or ``==`` names."""
    (version,) = [each.version for each in requirement.specifier if each.operator in (">=", "==")]
    return version


def test_every_pin_is_in_its_declared_range() -> None:
    pinned = pins("constraints.txt")
    wrong = [
        f"{requirement}: {version}"
        for requirement in declared(*EXTRAS)
        if (version := pinned.get(canonicalize_name(requirement.name))) is None
        or not requirement.specifier.contains(version)
    ]
    assert wrong == []


def test_everything_that_is_installed_for_fedfr_is_pinned() -> None:
    """Setuptools and pip are the virtual environment's own."""
    extras = {name for name in EXTRAS if _installed(name)}
    assert needed(extras) - {*pins("constraints.txt")} - {"setuptools", "pip"} == set()


def _installed(extra: str) -> bool:
    try:
        return all(metadata.version(Requirement(text).name) for text in EXTRAS[extra])
    except metadata.PackageNotFoundError:
        return False


def test_the_lowest_pins_are_the_declared_bounds() -> None:
    pinned = pins("constraints-lowest.txt")
    bounds = {
        canonicalize_name(requirement.name): lowest(requirement)
        for requirement in declared(*(name for name in EXTRAS if name not in TOOLS))
    }
    tested = {name: bound for name, bound in bounds.items() if name not in UNTESTED}
    assert {name: pinned.get(name) for name in tested} == tested
    assert pinned["torch"] == pins("constraints.txt")["torch"]


def test_the_version_stands_in_one_place() -> None:
    assert "version" not in PROJECT
    assert PROJECT["dynamic"] == ["version"]
    assert "version" not in yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|rc\d+)?", fedfr.__version__)
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)", changes, re.MULTILINE)[0] == fedfr.__version__


def test_the_declared_versions_of_python_are_those_that_are_tested() -> None:
    classified = {each.rpartition(" ")[2] for each in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", each)}
    jobs = workflow("ci.yml")["jobs"]
    matrix = jobs["fast"]["strategy"]["matrix"]["python"]
    main = re.fullmatch(r"python:(3\.\d+)-\w+", jobs["all"]["container"])
    assert main is not None
    assert classified == {main[1], *matrix}
    assert all(SpecifierSet(PROJECT["requires-python"]).contains(version) for version in classified)


def test_links_of_the_project_have_one_base() -> None:
    urls: dict[str, str] = PROJECT["urls"]
    assert {"Homepage", "Documentation", "Source", "Changelog"} <= {*urls}
    assert urls.pop("Documentation") in (ROOT / "README.md").read_text(encoding="utf-8")
    assert [url for url in urls.values() if not f"{url}/".startswith(f"{urls['Homepage']}/")] == []
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["repository-code"] == urls["Source"]


def workflow(name: str) -> dict[Any, Any]:
    """A workflow's content."""
    content: dict[Any, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text(encoding="utf-8"))
    return content


def targets() -> set[str]:
    """Return the names of the targets of ``make``."""
    (line,) = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    return {*line.split()}


def missing(line: str) -> list[str]:
    """What a line of a script calls that the repository does not have."""
    command, *words = shlex.split(line, comments=True)
    if command == "make":
        return [word for word in words if word not in targets()]
    return [] if command.startswith(".") and (ROOT / command).stat().st_mode & 0o111 else [command]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_call_what_exists(path: Path) -> None:
    content = workflow(path.name)
    assert content[True]  # `on`, which YAML reads as a truth value: when it runs
    assert content["permissions"] == {"contents": "read"}
    for job in content["jobs"].values():
        assert 0 < job["timeout-minutes"] <= 90
        runs = [step["run"] for step in job["steps"] if "run" in step]
        assert runs
        assert [name for run in runs for line in run.splitlines() for name in missing(line)] == []
        assert [step["uses"] for step in job["steps"] if "uses" in step and not re.search(r"@v\d+", step["uses"])] == []


def test_what_ci_runs_exists() -> None:
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    made = [line for line in lines if line.startswith("make ")]
    assert [name for line in made for name in missing(line)] == []
    assert {"make lint", "make types", "make test", "make test-slow", "make docs", "make dist-check"} <= {*made}


def test_targets_exist() -> None:
    """Every name in ``.PHONY`` has its rule."""
    rules = {*re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)}
    assert targets() == rules


def test_hooks_are_the_tools_of_make() -> None:
    """A commit is checked by what ``make lint types`` runs, at the same versions."""
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert local["repo"] == "local"
    tools = {Path(shlex.split(hook["entry"])[0]).name for hook in local["hooks"]}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert tools == {"ruff", "lint-imports", "mypy"}
    assert [tool for tool in tools if f"$(BIN)/{tool}" not in makefile] == []


@pytest.mark.parametrize(
    "path", [path for path in (ROOT / ".github").rglob("*.yml") if path not in WORKFLOWS], ids=lambda path: path.name
)
def test_other_files_of_the_repository_page_are_yaml(path: Path) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.parent.name == "ISSUE_TEMPLATE" and path.name != "config.yml":
        assert {"name", "description", "body"} <= {*content}
        fields = [field for field in content["body"] if field["type"] != "markdown"]
        assert fields
        assert all(field["attributes"]["label"] for field in fields)
    assert content


@pytest.mark.parametrize(
    ("argument", "kind"),
    [("", "ImportError"), ("tool.py", "ImportError"), ("-m", "fedfr"), (r"C:\Scripts\fedfr.exe", "fedfr")],
)
def test_windows_is_refused_in_one_line(argument: str, kind: str) -> None:
    """A command ends with the line alone; a program that imports fedfr can handle the exception."""
    code = f"import sys; sys.platform = 'win32'; sys.argv = [{argument!r}]; import fedfr"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert re.fullmatch(rf"{kind}: fedfr does not run on Windows itself, .* use it inside WSL .*", lines[-1])
    assert kind != "fedfr" or len(lines) == 1
