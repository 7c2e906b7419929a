"""ingest: training logs to one table of runs and one of curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .common import DropBadOption, JsonOption, MapOption, WhereOption, number_option, pairs, show, show_json

if TYPE_CHECKING:
    from ..ingest import Ingested

# Beyond this many issues a terminal shows counts; --json has them all.
SHOWN = 20


def ingest(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Logs: files, folders, globs; - is stdin.")],
    out: Annotated[str, typer.Option("--out", metavar="TABLE", help="The runs table: .csv, .tsv (.gz) or .parquet.")],
    curves: Annotated[str | None, typer.Option("--curves", metavar="CURVES", help="Also write every step.")] = None,
    endpoint: Annotated[str, typer.Option(help="The loss of a run: last, min or mean-last-K.")] = "last",
    map_: MapOption = None,
    where: WhereOption = None,
    params: Annotated[float | None, number_option("--params", help="Parameters of every run.")] = None,
    batch_tokens: Annotated[float | None, number_option("--batch-tokens", help="Tokens of one step.")] = None,
    drop_bad: DropBadOption = False,
    json: JsonOption = False,
) -> None:
    """Read training logs and write one table of runs, and one of curves."""
    from ..ingest import ingest as run
    from ..ingest.output import check_outputs

    check_outputs(out, curves)
    found = run(
        paths,
        endpoint=endpoint,
        mapping=pairs(map_),
        where=where,
        params=params,
        batch_tokens=batch_tokens,
        drop_bad=drop_bad,
        exclude=[path for path in (out, curves) if path],
    )
    found.write(out, curves)
    _warn(found)
    if json:
        show_json({**found.to_dict(), "out": out, "curves": curves})
    else:
        show("\n".join(_summary(found, out, curves)))


def _warn(found: Ingested) -> None:
    for note in found.notes:
        typer.echo(f"note: {note}", err=True)
    for issue in found.issues[:SHOWN]:
        place = f" ({issue.location})" if issue.location and issue.location not in issue.message else ""
        run = f"{issue.run_id}: " if issue.run_id else ""
        typer.echo(f"{issue.severity} {issue.code}: {run}{issue.message}{place}", err=True)
    if len(found.issues) > SHOWN:
        counts = ", ".join(f"{count} {code}" for code, count in found.counts().items())
        typer.echo(f"{len(found.issues) - SHOWN} more issues (all: {counts}); --json lists them", err=True)


def _summary(found: Ingested, out: str, curves: str | None) -> list[str]:
    about = found.to_dict()
    status = ", ".join(f"{count} {status}" for status, count in about["status"].items())
    origin = ", ".join(f"{name} ({count})" for name, count in about["tokens_from"].items())
    lines = [
        f"{out}: {about['runs']} runs of {about['files']} file{'s' * (about['files'] != 1)} ({status})",
        f"endpoint: {about['endpoint']}; tokens: {origin}",
    ]
    if "lr_over_max" in found.runs:
        shares = found.runs["lr_over_max"].dropna()
        lines.append(f"learning rate at the endpoint: {shares.min():.3g} to {shares.max():.3g} of its peak")
    if curves:
        lines.append(f"{curves}: {about['points']} points")
    dropped = ", ".join(f"{count} {why}" for why, count in found.dropped.items())
    lines.append(f"rows: {found.read} read" + (f"; left out: {dropped}" if dropped else ", none left out"))
    return lines
