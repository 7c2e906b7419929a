"""The command line: reads arguments, calls one function, prints. Heavy libraries load inside the commands."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from .. import __version__
from ..errors import LabError

app = typer.Typer(
    name="scaling-lab",
    help="Fit scaling laws to finished training runs and predict what larger models will reach.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"scaling-lab {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of a fault.")] = False,
) -> None:
    if debug:
        os.environ["SCALING_LAB_DEBUG"] = "1"


def main() -> None:
    """Runs the command; a fault is one line on stderr and an exit code, never a traceback (unless --debug)."""
    try:
        app()
    except LabError as fault:
        if os.environ.get("SCALING_LAB_DEBUG"):
            raise
        sys.stderr.write(f"error: {' '.join(str(fault).split())}\n")
        sys.exit(fault.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted; nothing was written\n")
        sys.exit(130)
    except BrokenPipeError:
        # The reader (head, less) has left: point stdout at nothing, so that the interpreter's own flush stays quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


from . import proxy as _proxy  # noqa: E402

app.add_typer(_proxy.app, name="proxy")

if __name__ == "__main__":
    main()
