"""allocate, isoflop, envelope: what to do with a compute budget."""

from __future__ import annotations

from typing import Annotated

import typer

from .common import (
    DropBadOption,
    FailOnOption,
    FitArgument,
    GivenOption,
    JsonOption,
    LevelOption,
    MapOption,
    ParamsColumnOption,
    SeedOption,
    TableArgument,
    UniqueTokensOption,
    WhereOption,
    check_apart,
    fail_on,
    number_option,
    numbers,
    own_warnings,
    pairs,
    show,
    show_json,
    values,
    warn,
)


def allocate(
    fit: FitArgument,
    flops: Annotated[float | None, number_option("--flops", help="Compute to spend.")] = None,
    target_loss: Annotated[float | None, number_option("--target-loss", help="Or the loss to reach.")] = None,
    inference_tokens: Annotated[
        float, number_option("--inference-tokens", help="Tokens to serve, at 2 FLOP a parameter each.")
    ] = 0.0,
    unique_tokens: UniqueTokensOption = None,
    given: GivenOption = None,
    rules: Annotated[bool, typer.Option("--rules", help="Show what rules of thumb would do with the budget.")] = False,
    level: LevelOption = 0.9,
    fail: FailOnOption = None,
    json: JsonOption = False,
) -> None:
    """Split a compute budget over the inputs of a fitted law, with intervals."""
    from ..decide.allocate import allocate as run
    from ..engine.result import Fit
    from ..show import terminal

    loaded = Fit.load(fit)
    found = run(
        loaded,
        flops,
        inference_tokens=inference_tokens,
        unique_tokens=unique_tokens,
        target_loss=target_loss,
        given=values(given, "--given"),
        level=level,
    )
    notices = [*own_warnings(loaded), *found.warnings]
    warn(notices)
    if json:
        show_json(found.to_dict())
    else:
        show(terminal.allocation(found, rules=rules))
    fail_on(fail, notices)


def isoflop(
    table: TableArgument,
    method: Annotated[str, typer.Option(help="akima or parabola; the other is shown beside it.")] = "akima",
    tolerance: Annotated[
        float, typer.Option(help="How far a row's compute may lie from its budget (relative).")
    ] = 0.05,
    budgets: Annotated[
        str | None, typer.Option(metavar="6e18,1e19,...", help="The budgets, where rows do not show them.")
    ] = None,
    map_: MapOption = None,
    where: WhereOption = None,
    params_column: ParamsColumnOption = None,
    drop_bad: DropBadOption = False,
    plot: Annotated[str | None, typer.Option(metavar="FILE.svg", help="Draw the profiles and their minima.")] = None,
    fail: FailOnOption = None,
    json: JsonOption = False,
) -> None:
    """Find the best size of each compute budget and the power law through them (approach 2)."""
    from ..decide.isoflop import isoflop as run
    from ..files import check_writable
    from ..show import terminal

    check_writable(plot)
    check_apart("--plot", plot, table)
    found = run(
        table,
        method=method,  # type: ignore[arg-type]  # checked there, with the known ones named
        tolerance=tolerance,
        budgets=numbers(budgets, "--budgets") if budgets is not None else None,
        mapping=pairs(map_),
        where=where,
        params_column=params_column,
        drop_bad=drop_bad,
    )
    if plot:
        from ..files import sha256_file, write_meta, write_text
        from ..show import plot as draw

        write_text(plot, draw.profiles(found))
        write_meta(plot, "scaling-lab/plot/1", {} if table == "-" else {table: sha256_file(table)})
    warn(found.warnings, found.notes)
    if json:
        show_json(found.to_dict())
    else:
        show(terminal.isoflop(found))
    fail_on(fail, found.warnings)


def envelope(
    table: TableArgument,
    grid: Annotated[int, typer.Option("--points", help="Log-spaced compute values of the envelope.")] = 1500,
    bootstrap: Annotated[int, typer.Option(help="Resamples of the curves.")] = 200,
    map_: MapOption = None,
    where: WhereOption = None,
    params_column: ParamsColumnOption = None,
    drop_bad: DropBadOption = False,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Follow the lowest loss of any curve at each compute, and the power law of its size (approach 1)."""
    from ..decide.isoflop import envelope as run
    from ..show import terminal

    found = run(
        table,
        points=grid,
        bootstrap=bootstrap,
        seed=seed,
        mapping=pairs(map_),
        where=where,
        params_column=params_column,
        drop_bad=drop_bad,
    )
    warn((), found.notes)
    if json:
        show_json(found.to_dict())
    else:
        show(terminal.envelope(found))
