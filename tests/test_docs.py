"""The documentation names every setting, and no unknown ones."""

from __future__ import annotations

import importlib
import inspect
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import BaseModel
from typer.main import get_command

from fedfr import losses
from fedfr.audit import FINDING_KINDS
from fedfr.cli.main import app
from fedfr.config.schema import COMMON_SPLIT_SETTINGS, ExperimentConfig, load_config
from fedfr.deployment.coordinator import CoordinatorConfig
from fedfr.deployment.site_config import SiteConfig
from fedfr.evaluation import PROTOCOLS
from fedfr.faces import SPLITS
from fedfr.methods.fedfr import FedFRSettings
from fedfr.models import BACKBONES, build_backbone
from fedfr.recognition.decision import REASONS, Decision
from fedfr.recognition.gallery.gallery_settings import GallerySettings

DOCS = Path(__file__).resolve().parents[1] / "docs"
SITE = "https://fedfr.github.io/fedfr/"


def settings_of(kind: type[BaseModel], prefix: str = "") -> list[str]:
    """Dotted names of every setting below ``kind``."""
    names = []
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            names += settings_of(inner, f"{prefix}{name}.")
        else:
            names.append(f"{prefix}{name}")
    return names


def test_every_setting_is_documented() -> None:
    text = (DOCS / "configuration.md").read_text(encoding="utf-8")
    names = [name for name in settings_of(ExperimentConfig) if name != "preset"]
    assert len(names) > 40
    assert [name for name in names if f"`{name}`" not in text] == []


def test_no_documented_setting_is_unknown() -> None:
    text = (DOCS / "configuration.md").read_text(encoding="utf-8")
    groups = "|".join(
        name for name, field in ExperimentConfig.model_fields.items() if "Config" in str(field.annotation)
    )
    documented = set(re.findall(rf"`((?:{groups})\.\w+)`", text))
    assert documented - set(settings_of(ExperimentConfig)) == set()


def test_every_setting_of_a_site_is_documented() -> None:
    text = (DOCS / "deploy.md").read_text(encoding="utf-8")
    names = [name for name in settings_of(SiteConfig) if not name.startswith("runtime.")]
    assert [name for name in [*names, "runtime"] if f"`{name}`" not in text] == []


def test_the_commands_of_a_federation_are_ones() -> None:
    """The command line accepts every documented line, up to running it."""
    lines = re.findall(r"^fedfr ((?:server|site) .+)$", (DOCS / "deploy.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(lines) >= 6
    for line in lines:
        group, name, *arguments = shlex.split(line.replace("SITE SITE.key.pub", "north north.key.pub"), comments=True)
        command = get_command(app).commands[group].commands[name]  # type: ignore[attr-defined]
        command.make_context(name, arguments)


def test_the_commands_of_a_gallery_are_ones() -> None:
    """The command line accepts every line in README and reference, up to running it; the reference names all."""
    page = (DOCS / "recognition.md").read_text(encoding="utf-8")
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8").partition("## Recognize people")[2]
    blocks = re.findall(r"```sh\n(.*?)```", f"{page}\n{readme.partition('## What it')[0]}", re.DOTALL)
    lines = re.findall(r"^fedfr (.+)$", "\n".join(blocks), re.MULTILINE)
    assert len(lines) >= 11
    for line in lines:
        command, arguments = get_command(app), shlex.split(line, comments=True)
        while hasattr(command, "commands"):
            command = command.commands[arguments.pop(0)]
        command.make_context("fedfr", arguments)
    for path, _ in every_command(get_command(app).commands["gallery"], "fedfr gallery"):  # type: ignore[attr-defined]
        assert f"`{path}`" in page or path.startswith("fedfr gallery token "), path


def test_decisions_and_galleries_are_documented() -> None:
    """Every reason, with its advice, every field of a decision and every setting of a gallery."""
    text = (DOCS / "recognition.md").read_text(encoding="utf-8")
    missing = [code for code, it in REASONS.items() if f"| `{code}` | {it.text} | {it.advice} |" not in text]
    fields = [name for name in Decision("reject").to_json() if f"`{name}`" not in text]
    assert (missing, fields) == ([], [])
    assert [name for name in settings_of(GallerySettings) if f"`{name}`" not in text] == []


@pytest.mark.parametrize("page", ["reliability.md", "security.md", "explanation/threat-model.md"])
def test_the_tests_that_a_page_names_exist(page: str) -> None:
    names = re.findall(r"`((?:\w+/)*test_\w+\.py)`", (DOCS / page).read_text(encoding="utf-8"))
    assert len(names) > 15
    assert [name for name in names if not (DOCS.parent / "tests" / name).is_file()] == []


def test_the_configuration_of_a_federation_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```\n(faces: .*?)```", (DOCS / "deploy.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "first.yaml").write_text(text, encoding="utf-8")
    config = load_config(tmp_path / "first.yaml")
    assert config.split.settings["clients"] == ["north", "south"]
    assert (config.federation.updates, config.baselines) == ("int8", ())


def test_every_setting_of_fedfr_is_documented() -> None:
    text = (DOCS / "methods.md").read_text(encoding="utf-8")
    for name in settings_of(FedFRSettings):
        assert f"`method.{name}`" in text or f"`.{name.rpartition('.')[2]}`" in text, name


@pytest.mark.parametrize("name", BACKBONES.names)
def test_every_backbone_is_documented_with_its_size(name: str) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name, 0)
    size = f"{sum(parameter.numel() for parameter in backbone.parameters()) / 1e6:.1f} M"
    dimension = BACKBONES[name].embedding_dim
    assert f"| `{name}` | {dimension} | {size} |" in (DOCS / "models.md").read_text(encoding="utf-8")
    assert f"{size} parameters" in BACKBONES.entry(name).description


@pytest.mark.parametrize("name", losses.__all__)
def test_every_loss_is_documented(name: str) -> None:
    assert f"`{name}`" in (DOCS / "models.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PROTOCOLS.names)
def test_every_protocol_is_documented(name: str) -> None:
    assert f"| `{name}` |" in (DOCS / "evaluation.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("recipe", SPLITS.names)
def test_every_recipe_is_documented(recipe: str) -> None:
    text = (DOCS / "configuration.md").read_text(encoding="utf-8")
    assert f"| `{recipe}` |" in text
    settings = [name for name in inspect.signature(SPLITS[recipe]).parameters if name != "faces"]
    assert [name for name in settings if f"`{name}`" not in text] == []


@pytest.mark.parametrize("kind", FINDING_KINDS.names)
def test_every_finding_is_documented_with_its_severity(kind: str) -> None:
    assert f"| `{kind}` | {FINDING_KINDS[kind].severity} |" in (DOCS / "faces.md").read_text(encoding="utf-8")


def test_the_setting_of_every_recipe_is_documented() -> None:
    text = (DOCS / "configuration.md").read_text(encoding="utf-8")
    assert [name for name in COMMON_SPLIT_SETTINGS if f"| every recipe | `{name}` |" not in text] == []


def test_readme_is_short_and_links_absolutely() -> None:
    """Relative links do not work on the package index."""
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 158
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert [link for link in links if not link.startswith("https://")] == []
    terms = re.findall(rf"^\[([\w-]+)\]: {SITE}glossary\.html#term-([\w-]+)$", text, re.MULTILINE)
    glossary = (DOCS / "glossary.md").read_text(encoding="utf-8")
    known = {re.sub(r"[^\w]+", "-", term) for term in re.findall(r"^(\w.*)$", glossary, re.MULTILINE)}
    assert len(terms) >= 8
    assert [term for term in terms if term[0] != term[1] or term[1] not in known] == []
    assert [name for name, _ in terms if f"[{name}]" not in text.partition(f"[{name}]: ")[0]] == []
    pages = [link.removeprefix(SITE).removesuffix(".html") for link in links if link.startswith(SITE)]
    assert len(pages) >= 7
    assert [page for page in pages if not (DOCS / f"{page}.md").is_file()] == []
    urls = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    assert urls["Documentation"] == SITE
    own = [link for link in links if link.startswith("https://github.com/") and not link.startswith(SITE)]
    assert [link for link in own if link not in urls.values()] == []


def test_the_reference_forgets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting, command, option and export has an entry in the generated pages."""
    monkeypatch.syspath_prepend(str(DOCS))
    generate = importlib.import_module("generate")
    settings, commands, api = generate.settings_page(), generate.cli_page(), generate.api_pages()
    assert [name for name in settings_of(ExperimentConfig) if f"| `{name}` |" not in settings] == []
    for kind, prefix in ((SiteConfig, ""), (CoordinatorConfig, ""), (FedFRSettings, "method.")):
        assert [name for name in settings_of(kind) if f"| `{prefix}{name}` |" not in settings] == []
    for recipe in SPLITS.names:
        assert f"### Recipe `{recipe}`" in settings
    rows = [line for line in settings.splitlines() if line.startswith("| `")]
    assert [row for row in rows if len(row.split(" | ")[-1].strip(" |")) < 10] == [], "every setting is explained"
    for path, command in every_command(get_command(app), "fedfr"):
        section = commands.partition(f"# {path}\n")[2].partition("\n#")[0]
        options = [name for option in command.params for name in option.opts if name.startswith("--")]
        assert [name for name in options if name != "--help" and f"`{name}`" not in section] == [], path
    for package in ("fedfr", "fedfr.losses", "fedfr.evaluation", "fedfr.models", "fedfr.faces", "fedfr.recognition"):
        exported = importlib.import_module(package).__all__
        assert [name for name in exported if not re.search(rf"[.`]{name}(`|$)", api[package], re.MULTILINE)] == []


def every_command(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield each command that does something, with its path."""
    for name, inner in getattr(command, "commands", {}).items():
        if hasattr(inner, "commands"):
            yield from every_command(inner, f"{path} {name}")
        else:
            yield f"{path} {name}", inner
