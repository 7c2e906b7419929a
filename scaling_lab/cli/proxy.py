"""`scaling-lab proxy`: small training runs, planned, trained, watched and written out as tables."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import JsonOption

if TYPE_CHECKING:
    from ..proxy.plan import RunPlan, Sweep
    from ..proxy.sweep import Watcher

app = typer.Typer(help="Train small models that feed a scaling law.", no_args_is_help=True, rich_markup_mode=None)

File = Annotated[Path, typer.Argument(metavar="SWEEP.toml", help="The sweep.", show_default=False)]
Out = Annotated[Path | None, typer.Option("--out", help="The sweep's folder (default: runs/NAME).")]


@app.command()
def plan(file: File, out: Out = None, as_json: JsonOption = False) -> None:
    """List the runs with their parameters, tokens, FLOPs and estimated time."""
    from ..files import to_json
    from ..proxy.cost import estimate_cost
    from ..proxy.plan import read_sweep

    sweep = read_sweep(file, out)
    cost = estimate_cost(sweep)
    if as_json:
        typer.echo(to_json(cost.to_json()))
        return
    for row in cost.table():
        typer.echo(row)


@app.command()
def run(
    file: File,
    out: Out = None,
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda (default: the file's).")] = None,
    threads: Annotated[int, typer.Option("--threads", min=0, help="CPU threads; 0 chooses by model size.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Train every run that is not finished; the same command resumes."""
    from ..errors import FinishedWithFailures, Stopped
    from ..files import to_json
    from ..proxy.folder import status_json
    from ..proxy.plan import read_sweep
    from ..proxy.sweep import run_sweep

    sweep = read_sweep(file, out)
    end: FinishedWithFailures | Stopped | None = None
    with _watching(sweep, quiet=as_json) as watcher:
        try:
            run_sweep(sweep, device=device, threads=threads, watcher=watcher)
        except (FinishedWithFailures, Stopped) as fault:
            end = fault
    status = status_json(sweep)
    typer.echo(to_json(status) if as_json else _summary(status))
    if end is not None:
        raise end


@app.command()
def status(file: File, out: Out = None, as_json: JsonOption = False) -> None:
    """Tell how far the sweep is."""
    from ..files import to_json
    from ..proxy.folder import status_json
    from ..proxy.plan import read_sweep

    found = status_json(read_sweep(file, out))
    if as_json:
        typer.echo(to_json(found))
        return
    for each in found["each"]:
        loss = "" if each["loss"] is None else f"{each['loss']:.4f}"
        state = each["status"] if each["status"] == "diverged" else each["state"]
        typer.echo(
            f"{each['run_id']:<36} {state:<9} {each['tokens']:>12,} tokens  {loss:>7}  {each['reason'] or ''}".rstrip()
        )
    typer.echo(_summary(found))


@app.command()
def export(
    file: File,
    out: Out = None,
    runs: Annotated[Path, typer.Option("--runs", help="The runs table to write.")] = Path("runs.csv"),
    curves: Annotated[Path, typer.Option("--curves", help="The curves table to write.")] = Path("curves.csv"),
    as_json: JsonOption = False,
) -> None:
    """Write the runs and curves tables of the finished runs."""
    from ..files import to_json
    from ..proxy.export import export_sweep
    from ..proxy.plan import read_sweep

    written = export_sweep(read_sweep(file, out), runs, curves)
    if as_json:
        typer.echo(
            to_json({"schema": "scaling-lab/export/1", "runs_file": runs, "curves_file": curves, **vars(written)})
        )
        return
    typer.echo(f"{runs}: {written.runs} runs; {curves}: {written.points} points")
    if written.unfinished:
        typer.echo(f"left out, not finished: {', '.join(written.unfinished)}")


def _summary(status: dict[str, Any]) -> str:
    runs, flops = status["runs"], status["flops"]
    diverged = f" ({runs['diverged']} diverged)" if runs["diverged"] else ""
    return (
        f"{runs['done']} of {runs['total']} runs done{diverged}, {runs['running']} running, {runs['failed']} failed, "
        f"{runs['waiting']} waiting; {flops['spent']:.3g} of {flops['planned']:.3g} FLOP; {status['out']}"
    )


@contextlib.contextmanager
def _watching(sweep: Sweep, quiet: bool) -> Iterator[Watcher]:
    """A watcher that says each finished run on stdout, and moves a bar on stderr where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from ..proxy.sweep import Watcher

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[loss]}"), TimeRemainingColumn())
    with Progress(
        *columns,
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # lines go above the bar; where stdout is a file or a pipe they stay in it
    ) as bar:
        task = bar.add_task("", total=sweep.flops, loss="")
        spent = [0.0]

        def stepped(plan: RunPlan, step: int, loss: float | None) -> None:
            done = spent[0] + plan.flops * step / plan.steps
            bar.update(task, completed=done, loss="" if loss is None else f"loss {loss:.4f}")

        def finished(plan: RunPlan, record: dict[str, Any], trained: bool) -> None:
            spent[0] += plan.flops
            if trained and not quiet:
                loss = "diverged" if record["loss"] is None else f"loss {record['loss']:.4f}"
                typer.echo(f"{plan.run_id:<36} {loss}  {record['made_by']['wall_s']:.1f} s")

        def failed(plan: RunPlan, reason: str) -> None:
            spent[0] += plan.flops
            typer.echo(f"{plan.run_id:<36} failed: {reason}", err=True)

        yield Watcher(
            started=lambda plan: bar.update(task, description=plan.run_id),
            stepped=stepped,
            finished=finished,
            failed=failed,
        )
