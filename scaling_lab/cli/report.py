"""demo and report: the whole job on the data that ships, and one page for any fits."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import UsageError
from .common import (
    DropBadOption,
    GivenOption,
    JsonOption,
    LevelOption,
    MapOption,
    ParamsColumnOption,
    UniqueTokensOption,
    WhereOption,
    check_apart,
    number_option,
    own_warnings,
    pairs,
    points,
    progress_bar,
    show,
    show_json,
    values,
    warn,
)


def demo(
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="Where the fit and the report go.")] = "out/demo",
    json: JsonOption = False,
) -> None:
    """Do the whole job on the data that ships: fit, backtest, predict, report."""
    from ..demo import demo as run

    with progress_bar() as progress:
        found = run(out, progress)
    warn(own_warnings(found.fit))
    if json:
        show_json({"schema": "scaling-lab/demo/1", "summary": found.summary(), "report": found.report})
    else:
        show("\n".join([*found.summary(), f"report: {found.report}"]))


def report(
    fits: Annotated[list[str], typer.Argument(metavar="FIT.json...", help="One fit, or several to compare.")],
    out: Annotated[str, typer.Option("--out", metavar="REPORT.html", help="The page to write.")] = "report.html",
    at: Annotated[
        list[str] | None, typer.Option("--at", metavar="params=7B,tokens=1.4T", help="Points the page answers for.")
    ] = None,
    flops: Annotated[float | None, number_option("--flops", help="A budget to allocate on the page.")] = None,
    unique_tokens: UniqueTokensOption = None,
    given: GivenOption = None,
    backtest_table: Annotated[
        str | None, typer.Option("--backtest", metavar="TABLE", help="Also backtest these laws on a table.")
    ] = None,
    test_above: Annotated[float | None, number_option("--test-above", help="The backtest's split, in FLOP.")] = None,
    map_: MapOption = None,
    where: WhereOption = None,
    params_column: ParamsColumnOption = None,
    drop_bad: DropBadOption = False,
    question: Annotated[str | None, typer.Option("--question", help="The question the page answers.")] = None,
    level: LevelOption = 0.9,
    json: JsonOption = False,
) -> None:
    """Write one self-contained HTML page: answer first, then figures, backtest, parameters and how to reproduce."""
    from ..decide.allocate import allocate
    from ..engine.backtest import backtest
    from ..engine.predict import predict
    from ..engine.result import Fit
    from ..files import check_writable
    from ..show.report import write_report

    if flops is None and (given or unique_tokens is not None):
        raise UsageError("--given and --unique-tokens are of the split that --flops asks for; give --flops too")
    if backtest_table is None and (test_above is not None or map_ or where or params_column or drop_bad):
        raise UsageError(
            "--test-above, --map, --where, --params-column and --drop-bad-rows are of the table that --backtest names; "
            "give --backtest TABLE too"
        )
    if not 0 < level < 1:
        raise UsageError(f"--level {level:g} is not between 0 and 1")
    check_writable(out)
    check_apart("--out", out, *fits, backtest_table)
    loaded = [Fit.load(path) for path in fits]
    tests = []
    if backtest_table:
        laws = list(dict.fromkeys(fit.law for fit in loaded))
        tests = [
            backtest(
                backtest_table,
                laws,
                test_above=test_above,
                level=level,
                mapping=pairs(map_),
                where=where,
                params_column=params_column,
                drop_bad=drop_bad,
            )
        ]
    predictions = predict(loaded[0], points(at), level) if at else None
    split = (
        allocate(loaded[0], flops, unique_tokens=unique_tokens, given=values(given, "--given"), level=level)
        if flops is not None
        else None
    )
    path = write_report(out, loaded, backtests=tests, question=question, predictions=predictions, allocation=split)
    for fit in loaded:
        warn(own_warnings(fit), of=fit.law if len(loaded) > 1 else "")
    # A warning about the fit's draws may come with both.
    warn(dict.fromkeys([*(predictions.warnings if predictions else ()), *(split.warnings if split else ())]))
    if json:
        show_json({"schema": "scaling-lab/report/1", "report": path})
    else:
        show(f"report: {path}")
