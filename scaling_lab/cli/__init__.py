"""The command line: reads arguments, calls one function, prints. Heavy libraries load inside the commands."""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated

import typer

from .. import __version__
from ..errors import LabError
from . import (
    batch,
    compare,
    decide,
    explain,
    extrapolate,
    fit,
    forecast,
    growth,
    hparams,
    hpgrid,
    ingest,
    laws,
    mixture,
    pools,
    proxy,
    report,
    schedule,
    steps,
    tasks,
    vocab,
)
from .common import with_law_files

# Letters of a fault's one line.
LONGEST = 900
INTERRUPTED = "interrupted; no result was written"

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


for command in (
    report.demo,
    laws.laws,
    fit.fit,
    fit.predict,
    fit.backtest,
    decide.allocate,
    compare.compare,
    decide.isoflop,
    decide.envelope,
    mixture.mixture,
    growth.growth,
    hparams.hparams,
    hpgrid.hpgrid,
    tasks.emergence,
    tasks.checkpoints,
    pools.pools,
    vocab.vocab,
    steps.noise,
    steps.cbs,
    steps.trajectory,
    steps.retention,
    extrapolate.extrapolate,
    forecast.forecast,
    ingest.ingest,
    explain.explain,
    report.report,
    batch.batch,
):
    app.command()(with_law_files(command))
app.add_typer(proxy.app, name="proxy")
app.add_typer(schedule.app, name="schedule")


def main() -> None:
    """Runs the command; a fault is one line on stderr and an exit code, never a traceback (unless --debug)."""
    for stream in (sys.stdout, sys.stderr):
        # What a terminal's encoding lacks, or a file name that is not UTF-8, is shown escaped, not a crash.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = typer.main.get_command(app).main(standalone_mode=False)
        sys.stdout.flush()
    except LabError as fault:
        if os.environ.get("SCALING_LAB_DEBUG"):
            raise
        _fail(str(fault), fault.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        _fail(INTERRUPTED, 130)
    except BrokenPipeError:
        # The reader (head, less) has left: point stdout at nothing, so that the interpreter's own flush stays quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as fault:
        # The option parser's own errors: its base class is not public, its method and exit code are.
        if not hasattr(fault, "format_message"):
            raise
        if type(fault).__name__ == "NoArgsIsHelpError":
            sys.stderr.write(f"{fault.format_message()}\n")
            sys.exit(2)
        message = fault.format_message()
        if message.startswith("Got unexpected extra argument") and sys.argv[1] in ("fit", "backtest"):
            message += (
                "; quote what has blanks; logs of one run each are joined by "
                "`scaling-lab ingest LOG... --out runs.csv --curves curves.csv`"
            )
        _fail(message, getattr(fault, "exit_code", 2))
    if code == 130:  # typer turns Ctrl-C into this code without a word
        _fail(INTERRUPTED, 130)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> None:
    # What is quoted from a file must not move the terminal.
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(message.split()))
    # A cell or a name may be a page long: what is wrong stands at the beginning, what to do at the end.
    line = line if len(line) <= LONGEST else f"{line[: LONGEST * 2 // 3]} [...] {line[-LONGEST // 3 :]}"
    sys.stderr.write(f"error: {line}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
