"""Reference page of the command line, generated from Typer."""

from __future__ import annotations

import contextlib
import inspect
import io
import re
from typing import cast

import click
from typer.main import get_command

from fedfr.cli.main import app

__all__ = ["cli_page"]


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
