"""Generate the reference pages: the API from docstrings, the command line from Typer, the settings from pydantic.

The pages lie in ``docs/reference/generated`` and are written anew by every build.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import pkgutil
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import click
from pydantic import BaseModel
from typer.main import get_command

from fedfr.cli.main import app
from fedfr.config.schema import ExperimentConfig
from fedfr.core.registry import Registry
from fedfr.core.settings import Settings
from fedfr.deployment.coordinator import CoordinatorConfig
from fedfr.deployment.site import SiteConfig
from fedfr.faces import SPLITS
from fedfr.methods import METHODS

__all__ = ["api_pages", "cli_page", "setting_names", "settings_page", "write_pages"]

DOCS = Path(__file__).resolve().parent
# Packages whose modules are documented; commands, processes and transport are documented as commands instead.
PACKAGES = (
    "fedfr.faces",
    "fedfr.losses",
    "fedfr.models",
    "fedfr.training",
    "fedfr.federation",
    "fedfr.methods",
    "fedfr.evaluation",
    "fedfr.results",
    "fedfr.experiments",
    "fedfr.audit",
    "fedfr.config",
    "fedfr.core",
)
# `fedfr server init` writes this file; its settings are described here alone.
COORDINATOR = {
    "name": "name of the federation, in its certificates",
    "hosts": "names or addresses under which the sites reach the coordinator",
    "port": "the only port that has to be open",
    "inner_port": "port of 127.0.0.1 behind the proxy",
    "track": "trackers of every run: `tensorboard`, `mlflow`, `prometheus`",
}


def write_pages(folder: Path) -> None:
    """Write every generated page below ``folder``; pages that did not change keep their time."""
    pages = {f"api/{name}.rst": text for name, text in api_pages().items()}
    pages |= {"cli.md": cli_page(), "settings.md": settings_page()}
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for path in folder.rglob("*.*"):
        if path.relative_to(folder).as_posix() not in pages:
            path.unlink()


# The API


def api_pages() -> dict[str, str]:
    """Return the text of each page of the API reference by the name of its package."""
    documented: set[int] = set()
    return {name: _api_page(name, documented) for name in ("fedfr", *PACKAGES)}


def _api_page(name: str, documented: set[int]) -> str:
    package = importlib.import_module(name)
    lines = [name, "=" * len(name), "", (inspect.getdoc(package) or ""), ""]
    exported = getattr(package, "__all__", [])
    if exported:
        for export in exported:
            lines += _member(name, export, documented)
    else:
        for module in _modules(name):
            title = f"{module.__name__}"
            lines += [title, "-" * len(title), "", (inspect.getdoc(module) or ""), ""]
            for export in getattr(module, "__all__", []):
                lines += _member(module.__name__, export, documented)
    if name == "fedfr.methods":
        for entry in METHODS:
            kind = METHODS[entry.name]
            paper = f" ({entry.paper})" if entry.paper else ""
            lines += [entry.name, "-" * len(entry.name), "", f"{_sentence(entry.description)}{paper}", ""]
            lines += [f".. autoclass:: {kind.__module__}.{kind.__qualname__}", "   :show-inheritance:"]
            lines += ["   :members:", ""]
    return "\n".join(lines)


def _modules(name: str) -> Iterator[Any]:
    package = importlib.import_module(name)
    for found in pkgutil.iter_modules(package.__path__, f"{name}."):
        module = importlib.import_module(found.name)
        if getattr(module, "__all__", []):
            yield module


def _member(module: str, name: str, documented: set[int]) -> list[str]:
    """Return the directive that documents one export; a class has one entry in the index, where it is met first."""
    value = getattr(importlib.import_module(module), name)
    if callable(value) and inspect.ismodule(value):  # `fedfr.audit` is a package and a function
        return [f".. autofunction:: {value.__name__}.face_audit.{name}", ""]
    if inspect.ismodule(value):
        return [f"- :doc:`{value.__name__}`: {_first_line(value)}", ""]
    if inspect.isclass(value):
        again = ["   :no-index:"] if id(value) in documented else []
        documented.add(id(value))
        return [f".. autoclass:: {module}.{name}", "   :members:", *again, ""]
    if inspect.isroutine(value):
        return [f".. autofunction:: {module}.{name}", ""]
    if isinstance(value, Registry):
        entries = [f"   - ``{entry.name}``: {_sentence(entry.description)}." for entry in value]
        return [f".. py:data:: {module}.{name}", "", f"   Registry of {value.kind}:", "", *entries, ""]
    return [f".. autodata:: {module}.{name}", ""]


def _first_line(value: object) -> str:
    return (inspect.getdoc(value) or "").partition("\n")[0]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


# The command line


def cli_page() -> str:
    """Return the page of every command with its arguments and options."""
    lines = ["# Command line", "", "Generated from the commands themselves; `fedfr COMMAND --help` shows the same.", ""]
    command = cast(click.Group, get_command(app))
    lines += [_prose(command.help), ""]
    lines += _group(command, "fedfr", 2)
    return "\n".join(lines)


def _group(group: click.Group, path: str, level: int) -> list[str]:
    lines = []
    for name, command in group.commands.items():
        if command.hidden:
            continue
        here = f"{path} {name}"
        with contextlib.redirect_stdout(io.StringIO()):  # showing the help fills in names from the registries
            command.get_help(click.Context(command, info_name=here))
        lines += [f"{'#' * level} {here}", "", _prose(command.help), ""]
        if isinstance(command, click.Group):
            lines += _group(command, here, level + 1)
        else:
            lines += _command(command, here)
    return lines


def _command(command: click.Command, path: str) -> list[str]:
    context = click.Context(command, info_name=path)
    usage = " ".join(piece for piece in [path, *command.collect_usage_pieces(context)] if piece)
    lines = ["```text", usage, "```", ""]
    rows = []
    for parameter in command.get_params(context):
        if getattr(parameter, "hidden", False) or parameter.name == "help":
            continue
        names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
        if parameter.param_type_name == "argument":
            names = f"`{parameter.make_metavar(context)}`".replace("[", "").replace("]", "")
        meaning = _cell(getattr(parameter, "help", None) or "")
        default = "" if getattr(parameter, "is_flag", False) else parameter.default
        if parameter.required:
            meaning += " **Required.**"
        elif (
            not callable(default) and default not in (None, False, (), []) and not getattr(parameter, "is_flag", False)
        ):
            shown = str(getattr(default, "value", default))
            meaning += f" Default: `{shown}`."
        rows.append(f"| {names} | {_kind(parameter, context)} | {meaning.strip()} |")
    if rows:
        lines += ["| | value | meaning |", "|---|---|---|", *rows, ""]
    return lines


def _kind(parameter: click.Parameter, context: click.Context) -> str:
    if parameter.param_type_name == "argument" or getattr(parameter, "is_flag", False):
        return ""
    choices = getattr(parameter.type, "choices", None)
    if choices and not parameter.metavar:
        return ", ".join(f"`{getattr(choice, 'value', choice)}`" for choice in choices)
    return f"`{parameter.make_metavar(context)}`".replace("|", "\\|")


def _prose(text: str | None) -> str:
    return re.sub(r"[<>*]", lambda found: "\\" + found.group(), inspect.cleandoc(text or "").replace("\f", ""))


def _cell(text: str) -> str:
    return " ".join(_prose(text).replace("|", "\\|").split())


# The settings


def setting_names(kind: type[BaseModel], prefix: str = "") -> dict[str, tuple[type[BaseModel], str]]:
    """Return the dotted name of every setting below ``kind`` with the model and field that define it."""
    names: dict[str, tuple[type[BaseModel], str]] = {}
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            names |= setting_names(inner, f"{prefix}{name}.")
        if not (isinstance(inner, type) and issubclass(inner, Settings)):
            names.setdefault(f"{prefix}{name}", (kind, name))
    names.pop("method", None)  # its fields stand for it
    return names


def settings_page() -> str:
    """Return the page of every setting: of runs, methods, split recipes, sites and coordinators."""
    meanings, of_sites = _meanings("configuration.md", "methods.md"), _meanings("deploy.md", "configuration.md")
    lines = [
        "# Every setting",
        "",
        "Generated from the definitions that check a configuration. [Configuration](../../configuration.md) explains",
        "how files, presets and `--set` are combined, [Settings that matter](../../explanation/settings.md) which to",
        "look at first.",
        "",
        "## A run",
        "",
        *_table(ExperimentConfig, "", meanings),
        "## Methods",
        "",
        "In a configuration below `method`, or below `baseline_settings.NAME` for a baseline. Every method also takes",
        "`prototypes` and `local`. [Methods](../../methods.md) describes them.",
        "",
    ]
    for entry in METHODS:
        kind = METHODS[entry.name].settings_type
        lines += [f"### `{entry.name}`", "", f"{_sentence(entry.description)}.", "", *_table(kind, "method.", meanings)]
    lines += ["## Split recipes", "", "In a configuration below `split.settings`; `--set` of `fedfr faces split`.", ""]
    for split in SPLITS:
        lines += [
            f"### Recipe `{split.name}`",
            "",
            f"{_sentence(split.description)}.",
            "",
            *_recipe(split.name, meanings),
        ]
    lines += ["## A site: `site.yaml`", "", *_table(SiteConfig, "", of_sites)]
    lines += ["## A coordinator: `server.yaml`", "", *_table(CoordinatorConfig, "", COORDINATOR)]
    return "\n".join(lines)


def _table(kind: type[BaseModel], prefix: str, meanings: Mapping[str, str]) -> list[str]:
    schema = kind.model_json_schema()
    lines = ["| setting | value | default | meaning |", "|---|---|---|---|"]
    for name, (model, field) in setting_names(kind).items():
        definition = schema if model is kind else schema["$defs"][model.__name__]
        found = definition["properties"].get(field)
        if found is None:
            continue
        meaning = meanings.get(f"{prefix}{name}", "")
        lines.append(f"| `{prefix}{name}` | {_allowed(found, schema)} | {_default(model, field)} | {meaning} |")
    return [*lines, ""]


def _allowed(found: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if "$ref" in found:
        return _allowed(schema["$defs"][str(found["$ref"]).rpartition("/")[2]], schema)
    if "anyOf" in found or "oneOf" in found:
        return " or ".join(_allowed(each, schema) for each in found.get("anyOf", found.get("oneOf", [])))
    if "enum" in found or "const" in found:
        return ", ".join(f"`{value}`" for value in found.get("enum", [found.get("const")]))
    kind = str(found.get("type", "any"))
    signs = {"minimum": "≥", "exclusiveMinimum": "\\>", "maximum": "≤", "exclusiveMaximum": "\\<"}
    limits = ", ".join(f"{sign} {found[limit]:g}" for limit, sign in signs.items() if limit in found)
    words = {"string": "text", "object": "mapping", "null": "null", "array": "list"}
    text = f"{words.get(kind, kind)} {limits}".strip()
    if kind == "array" and isinstance(found.get("items"), Mapping):
        text += f" of {_allowed(found['items'], schema)}"
    return text


def _default(model: type[BaseModel], field: str) -> str:
    found = model.model_fields[field]
    if found.is_required():
        return "required"
    value = found.get_default(call_default_factory=True)
    if value is None or value in ({}, ()):
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(f'{each:g}' if isinstance(each, float) else str(each) for each in value)}]`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _recipe(name: str, meanings: Mapping[str, str]) -> list[str]:
    lines = ["| setting | value | default | meaning |", "|---|---|---|---|"]
    for parameter in inspect.signature(SPLITS[name]).parameters.values():
        if parameter.name == "faces":
            continue
        default = parameter.default
        shown = "required" if default is parameter.empty else "–" if default is None else f"`{default}`"
        kind = str(parameter.annotation).replace("|", "or")
        meaning = meanings.get(f"{name}:{parameter.name}") or meanings.get(f"general:{parameter.name}", "")
        lines.append(f"| `{parameter.name}` | {kind} | {shown} | {meaning} |")
    return [*lines, ""]


def _meanings(*pages: str) -> dict[str, str]:
    """Return what the hand-written tables say of each setting, by its name or ``recipe:name``."""
    found: dict[str, str] = {}
    for page in pages:
        recipe = ""
        for line in (DOCS / page).read_text(encoding="utf-8").splitlines():
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
            if len(cells) < 3:
                recipe = "" if line.startswith("#") else recipe
                continue
            meaning = re.sub(r"\]\((?!http|#)", "](../../", cells[-1])
            meaning = re.sub(r"\]\(#", f"](../../{page}#", meaning)
            if len(cells) == 4:
                recipe = cells[0].strip("`") or recipe
                for name in re.findall(r"`(\w+)`", cells[1]):
                    if "as `general`" not in cells[2]:
                        found.setdefault(f"{recipe}:{name}", meaning if "as `general`" not in meaning else "")
            names = re.findall(r"`([\w.]+)`", cells[0])
            first = next((name for name in names if "." in name and not name.startswith(".")), "")
            for name in names:
                full = f"{first.rpartition('.')[0]}{name}" if name.startswith(".") else name
                found.setdefault(full, meaning)
    return found
