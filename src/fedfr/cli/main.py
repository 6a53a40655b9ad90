"""Entry point: one line for every mistake of the user, exit code 2, no traceback."""

from __future__ import annotations

import io
import os
import sys
import warnings
from typing import Annotated, cast

import typer

from fedfr import __version__
from fedfr.cli import benchmarks, faces, list_command, models, runs, server_commands, site_commands
from fedfr.cli.choices import CommandWithChoices
from fedfr.cli.interruption import Interrupted
from fedfr.core.errors import FedfrError
from fedfr.core.threads import let_threads_sleep

__all__ = ["app", "main"]

# Typer shows the parent of all its usage errors only in some versions; this is it in every one.
UsageError = cast(type[typer.BadParameter], typer.BadParameter.__base__)

app = typer.Typer(
    name="fedfr",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(faces.app, name="faces")
app.add_typer(list_command.app, name="list")
app.add_typer(models.app, name="models")
app.add_typer(server_commands.app, name="server")
app.add_typer(site_commands.app, name="site")
runs.register(app)
app.command(cls=CommandWithChoices)(benchmarks.benchmark)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"fedfr {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Federated face recognition: one generic model, a personalized one per site, faces stay at home."""


def _show_warning(message: Warning | str, category: type[Warning], *where: object, **more: object) -> None:
    print(f"fedfr: warning: {message}", file=sys.stderr)


def main() -> None:
    """Run the command line; exits with 0, 2 for the user's mistakes, 130 when interrupted."""
    let_threads_sleep(os.environ)
    warnings.showwarning = _show_warning
    for stream in (sys.stdout, sys.stderr):
        # Under an ASCII locale a name with an umlaut, or our own middle dot, must not end the command.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(prog_name="fedfr", standalone_mode=False)
        if code == 130:  # how Typer answers Ctrl-C
            raise KeyboardInterrupt
        sys.exit(code)
    except FedfrError as error:
        print(f"fedfr: {error}", file=sys.stderr)
        sys.exit(2)
    except UsageError as error:
        if len(sys.argv) > 1:
            path = error.ctx.command_path if error.ctx is not None else "fedfr"
            print(
                f"fedfr: {' '.join(error.format_message().split()).rstrip('.')}; see `{path} --help`", file=sys.stderr
            )
        else:
            error.show()
        sys.exit(2)
    except Interrupted as error:
        print(f"fedfr: {error}", file=sys.stderr)
        sys.exit(130)
    except (KeyboardInterrupt, typer.Abort):
        print("fedfr: interrupted", file=sys.stderr)
        sys.exit(130)
