"""batch: fit, backtest and report over many tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import JsonOption, progress_bar, show, show_json

if TYPE_CHECKING:
    from ..decide.batch import Batch, Outcome


def batch(
    file: Annotated[str, typer.Argument(metavar="JOBS.toml", help="The jobs; docs/batch.md has an example.")],
    out: Annotated[
        str | None, typer.Option("--out", metavar="DIR", help="Where results go (default: the file's)")
    ] = None,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="Run every job; exit 5 if some failed.")] = False,
    json: JsonOption = False,
) -> None:
    """Fit, backtest and report each table of JOBS.toml, with an index over them."""
    from ..decide.batch import Writers, run_batch
    from ..decide.jobs import read_jobs
    from ..show.report import write_report

    jobs = read_jobs(file, out)
    with progress_bar() as progress:
        done, error = run_batch(jobs, Writers(write_report, _index), keep_going=keep_going, progress=progress)
    _warn(done)
    if json:
        show_json({**done.to_dict(), "out": jobs.out})
    else:
        show("\n".join(_summary(done)))
    if error:
        raise error


def _index(path: Path, outcomes: Sequence[Outcome]) -> Any:
    """Writes the page that links to every job's report."""
    from ..show.report import Entry, write_index

    entries = [
        Entry(
            name=outcome.name,
            law=outcome.best or ", ".join(law["law"] for law in outcome.laws),
            status=outcome.status,
            link=outcome.files.get("report"),
            numbers=_numbers(outcome),
            message=outcome.error or "; ".join(f"{law}: {why}" for law, why in outcome.failed_laws.items()),
        )
        for outcome in outcomes
    ]
    return write_index(path, entries)


def _numbers(outcome: Outcome) -> dict[str, str]:
    if not outcome.laws:
        return {}
    first = outcome.laws[0]
    held_out = "" if first["mape"] is None else f"{first['mape']:.2%}"
    return {"runs used": f"{outcome.rows['used']:,}", "error": f"{first['fit_mape']:.2%}", "held-out error": held_out}


def _warn(done: Batch) -> None:
    for outcome in done.outcomes:
        for note in outcome.notes:
            typer.echo(f"note: {outcome.name}: {note}", err=True)
        for law in outcome.laws:
            for notice in law["warnings"]:
                about = f"{notice['severity']} {notice['code']}: {outcome.name}: {law['law']}"
                typer.echo(f"{about}: {notice['message']}", err=True)


def _summary(done: Batch) -> list[str]:
    width = max(len(outcome.name) for outcome in done.outcomes)
    names = max((len(law["law"]) for outcome in done.outcomes for law in outcome.laws[:1]), default=0)
    lines = []
    for outcome in done.outcomes:
        said = f"failed: {outcome.error}" if outcome.error else outcome.status
        if outcome.status == "done":
            numbers = "  ".join(f"{name} {value}" for name, value in _numbers(outcome).items() if value)
            said = f"{outcome.laws[0]['law']:<{names}}  {numbers}  {done.jobs.out / outcome.files['report']}"
        lines.append(f"{outcome.name:<{width}}  {said}")
        lines += [f"{'':<{width}}  {law} left out: {why}" for law, why in outcome.failed_laws.items()]
    return [*lines, f"index: {done.jobs.out / 'index.html'}"]
