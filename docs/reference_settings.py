"""Reference page of all settings, generated from pydantic and the tables of the pages about settings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from fedfr.config.schema import COMMON_SPLIT_SETTINGS, ExperimentConfig
from fedfr.core.settings import Settings
from fedfr.deployment.coordinator import CoordinatorConfig
from fedfr.deployment.site_config import SiteConfig
from fedfr.faces import SPLITS
from fedfr.methods import METHODS

__all__ = ["sentence", "setting_names", "settings_page"]

DOCS = Path(__file__).resolve().parent
# Descriptions of the settings in the file that `fedfr server init` writes.
COORDINATOR = {
    "name": "name of the federation, in its certificates",
    "hosts": "names or addresses under which the sites reach the coordinator",
    "port": "the only port that has to be open",
    "inner_port": "port of 127.0.0.1 behind the proxy",
    "track": "trackers of every run: `tensorboard`, `mlflow`, `prometheus`",
}


def sentence(text: str) -> str:
    """Return ``text`` with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def setting_names(kind: type[BaseModel], prefix: str = "") -> dict[str, tuple[type[BaseModel], str]]:
    """Return the dotted name of every setting below ``kind`` with the model and field that define it."""
    names: dict[str, tuple[type[BaseModel], str]] = {}
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            names |= setting_names(inner, f"{prefix}{name}.")
        if not (isinstance(inner, type) and issubclass(inner, Settings)):
            names.setdefault(f"{prefix}{name}", (kind, name))
    names.pop("method", None)  # replaced by its fields
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
        lines += [f"### `{entry.name}`", "", f"{sentence(entry.description)}.", "", *_table(kind, "method.", meanings)]
    lines += [
        "## Split recipes",
        "",
        "In a configuration below `split.settings`; `--set` of `fedfr faces split`. Every recipe also takes:",
        "",
        "| setting | meaning |",
        "|---|---|",
        *(f"| `{name}` | {meanings[f'every recipe:{name}']} |" for name in COMMON_SPLIT_SETTINGS),
        "",
    ]
    for split in SPLITS:
        lines += [
            f"### Recipe `{split.name}`",
            "",
            f"{sentence(split.description)}.",
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
    """Return the descriptions in the tables of these pages by the name of the setting or by ``recipe:name``."""
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
