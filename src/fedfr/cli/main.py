"""Entry point of the command line: user errors are one line and exit code 2, without a traceback."""

from __future__ import annotations

import errno
import io
import os
import sys
import warnings
from typing import Annotated, cast

import typer

from fedfr import __version__
from fedfr.cli import (
    benchmarks,
    door_commands,
    faces,
    gallery_commands,
    list_command,
    models,
    privacy_commands,
    quickstart,
    runs,
    serve_command,
    server_commands,
    site_commands,
)
from fedfr.cli.choices import CommandWithChoices
from fedfr.cli.interruption import Interrupted
from fedfr.core.errors import FedfrError, printable
from fedfr.core.telemetry import disable_telemetry
from fedfr.core.threads import let_threads_sleep

__all__ = ["app", "main"]

# The parent of Typer's usage errors, which only some versions export.
UsageError = cast(type[typer.BadParameter], typer.BadParameter.__base__)

app = typer.Typer(
    name="fedfr",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(faces.app, name="faces")
app.add_typer(gallery_commands.app, name="gallery")
app.add_typer(list_command.app, name="list")
app.add_typer(models.app, name="models")
app.add_typer(privacy_commands.app, name="privacy")
app.add_typer(server_commands.app, name="server")
app.add_typer(site_commands.app, name="site")
app.command(cls=CommandWithChoices)(quickstart.quickstart)
runs.register(app)
door_commands.register(app)
app.command()(serve_command.serve)
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
    """Federated face recognition: a generic model and one personalized model per site; faces never leave their site."""


def _show_warning(message: Warning | str, category: type[Warning], *where: object, **more: object) -> None:
    print(f"fedfr: warning: {printable(str(message))}", file=sys.stderr)


def _describe(error: OSError) -> str:
    """Return what to do about a missing permission, or about output that cannot be written; raises other errors."""
    if isinstance(error, PermissionError):
        place = error.filename or "a file"
        return f"cannot use {place}: {error.strerror}; check its permissions and those above it"
    # Of a file, a write error has its name. Standard output may be a file on a full disk.
    if error.filename is not None or error.errno != errno.ENOSPC:
        raise error
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - Python would write the rest at its end
    return f"cannot write the output: {error.strerror}; free space, then repeat the command"


def main() -> None:
    """Run the command line; exits with 0, 2 for user errors, 130 when interrupted."""
    let_threads_sleep(os.environ)
    disable_telemetry(os.environ)
    warnings.showwarning = _show_warning
    for stream in (sys.stdout, sys.stderr):
        # Under an ASCII locale, names with umlauts and our own middle dot must not end the command.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(prog_name="fedfr", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
        if code == 130:  # how Typer answers Ctrl-C
            raise KeyboardInterrupt
        sys.exit(code)
    except FedfrError as error:
        print(f"fedfr: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"fedfr: {printable(_describe(error))}", file=sys.stderr)
        sys.exit(2)
    except UsageError as error:
        if not error.format_message():
            pass  # a group without a subcommand has shown its help
        elif len(sys.argv) > 1:
            path = error.ctx.command_path if error.ctx is not None else "fedfr"
            text = printable(" ".join(error.format_message().split()))
            print(f"fedfr: {text.rstrip('.')}; see `{path} --help`", file=sys.stderr)
        else:
            error.show()
        sys.exit(2)
    except Interrupted as error:
        print(f"fedfr: {error}", file=sys.stderr)
        sys.exit(130)
    except (KeyboardInterrupt, typer.Abort):
        print("fedfr: interrupted", file=sys.stderr)
        sys.exit(130)
