"""emergence, checkpoints: what task scores show, and curves made ready for a ladder."""

from __future__ import annotations

from typing import Annotated

import typer

from .common import (
    FailOnOption,
    JsonOption,
    MapOption,
    TableArgument,
    WhereOption,
    check_apart,
    fail_on,
    pairs,
    show,
    show_json,
    warn,
)


def emergence(
    table: TableArgument,
    by: Annotated[str, typer.Option(help="The column that says how large a model is.")] = "params",
    score: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Shares to judge (default: successes and draws, pass_rate or accuracy)."),
    ] = None,
    chance: Annotated[float, typer.Option(help="Share that guessing gets right; above 0 there is no test.")] = 0.0,
    items: Annotated[int | None, typer.Option(help="Items that an accuracy is the mean of.")] = None,
    fixed_draws: Annotated[
        bool, typer.Option("--fixed-draws", help="Draws were fixed beforehand, not stopped at a success.")
    ] = False,
    map_: MapOption = None,
    where: WhereOption = None,
    level: Annotated[float, typer.Option("--level", help="Level of the test and its interval.")] = 0.95,
    plot: Annotated[str | None, typer.Option(metavar="FILE.svg|png|pdf", help="Draw scores and test.")] = None,
    fail: FailOnOption = None,
    json: JsonOption = False,
) -> None:
    """Tell jumps from steady growth: metrics of scores by scale, and the test of the task law for pass rates."""
    from ..decide.tasks import emergence as run
    from ..files import check_writable
    from ..show import tasks as text

    check_writable(plot)
    check_apart("--plot", plot, table)
    found = run(
        table,
        by=by,
        score=score,
        chance=chance,
        items=items,
        fixed_draws=fixed_draws,
        level=level,
        mapping=pairs(map_),
        where=where,
    )
    if plot:
        from ..files import write_meta
        from ..show import plot as draw

        draw.save(draw.draw_emergence(found), plot)
        write_meta(plot, "scaling-lab/plot/1", dict(found.sha256))
    warn(found.warnings)
    if json:
        show_json(found.to_dict())
    else:
        show(text.emergence(found))
    fail_on(fail, found.warnings)


def checkpoints(
    table: TableArgument,
    columns: Annotated[str, typer.Option("--columns", metavar="A,B,...", help="Columns to average.")],
    out: Annotated[str, typer.Option("--out", metavar="TABLE.csv", help="Where to write the table.")],
    drop: Annotated[float, typer.Option(help="Share of each run's first rows to leave out.")] = 0.1,
    window: Annotated[int, typer.Option(help="Rows in the moving average.")] = 5,
    final: Annotated[
        int | None, typer.Option(help="Instead: each run's last row, with means over so many last rows.")
    ] = None,
    order: Annotated[str, typer.Option(help="The column that orders a run's rows.")] = "step",
    json: JsonOption = False,
) -> None:
    """Average the checkpoints of a curves table for a second step, or the last ones of each run for a first step."""
    from ..decide.tasks import ready
    from ..files import write_bytes, write_meta
    from ..ingest.output import check_outputs, table_bytes

    check_outputs(out, None)
    check_apart("--out", out, table)
    found = ready(table, columns.split(","), order=order, drop=drop, window=window, final=final)
    write_bytes(out, table_bytes(out, found.frame))
    write_meta(out, "scaling-lab/checkpoints/1", dict(found.sha256), **found.record)
    if json:
        show_json({"schema": "scaling-lab/checkpoints/1", "out": out, "rows": len(found.frame), **found.record})
    else:
        show(f"{found.sentence}; {len(found.frame)} rows written to {out}")
