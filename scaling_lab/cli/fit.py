"""fit, predict, backtest: from a table to a law, and from a law to a prediction and its error."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..errors import Interrupted, UsageError
from .common import (
    DropBadOption,
    FailOnOption,
    FitArgument,
    JsonOption,
    LevelOption,
    MapOption,
    ParamsColumnOption,
    SeedOption,
    TableArgument,
    WeightsOption,
    WhereOption,
    check_apart,
    fail_on,
    fixed,
    number_option,
    own_warnings,
    pairs,
    points,
    progress_bar,
    show,
    show_json,
    warn,
)
from .curves import (
    AfterBranchOption,
    HoldOutOption,
    ScheduleOption,
    SmoothOption,
    WarmupOption,
    WarmupStepsOption,
    backtest_curve,
    fit_curve,
    of_curves,
)
from .hpgrid import DropAboveOption, percentage, show_step_law


def fit(
    law: Annotated[
        str, typer.Argument(metavar="LAW", help="A law's name (`scaling-lab laws` lists them), auto or step-law.")
    ],
    table: TableArgument,
    out: Annotated[str | None, typer.Option("--out", metavar="FIT.json", help="Where to save the fit.")] = None,
    objective: Annotated[str, typer.Option(help="huber, l2 or l1, summed over rows.")] = "huber",
    delta: Annotated[
        float | None,
        typer.Option(help="Width of the Huber objective, in log loss (1e-3, unless the law has one of its own)."),
    ] = None,
    starts: Annotated[int, typer.Option(help="Starts to rank; the best are followed (auto has its own).")] = 2304,
    bootstrap: Annotated[
        int, typer.Option(help="Refits to resampled runs (auto: 500 at most), or draws of other --intervals; 0: none.")
    ] = 1000,
    resample: Annotated[
        str, typer.Option(help="What the bootstrap draws: runs or rows again, or new losses: wild, parametric.")
    ] = "runs",
    intervals: Annotated[
        str, typer.Option(help="Of the parameters, by bootstrap, profile, covariance or emcee.")
    ] = "bootstrap",
    fix: Annotated[list[str] | None, typer.Option("--fix", metavar="NAME=VALUE", help="Hold a parameter.")] = None,
    prior: Annotated[
        str | None, typer.Option("--prior", metavar="OTHER.json", help="Draw exponents to another family's fit.")
    ] = None,
    prior_sd: Annotated[
        float | None, typer.Option(help="How far exponents are from family to family, in their logarithm (0.35).")
    ] = None,
    map_: MapOption = None,
    where: WhereOption = None,
    weights: WeightsOption = None,
    params_column: ParamsColumnOption = None,
    drop_bad: DropBadOption = False,
    drop_above: DropAboveOption = None,
    optima: Annotated[
        str | None,
        typer.Option(
            "--optima",
            metavar="METHOD",
            help="step-law: the best of each grid by near (default), best, quadratic, akima or lr-quadratic.",
        ),
    ] = None,
    near: Annotated[
        float | None,
        typer.Option(
            "--near",
            metavar="SHARE",
            parser=percentage,
            help="step-law: cells within this of a grid's best count (0.25%).",
        ),
    ] = None,
    at_edge: Annotated[
        str | None,
        typer.Option("--at-edge", metavar="WHAT", help="step-law: grids whose best is at the edge: leave-out or keep."),
    ] = None,
    schedule: ScheduleOption = None,
    warmup: WarmupOption = None,
    warmup_steps: WarmupStepsOption = None,
    smooth: SmoothOption = None,
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="Refit in every other way and show how far the decision moves.")
    ] = False,
    flops: Annotated[
        float | None, number_option("--flops", help="What --sensitivity decides for (10 x the table's).")
    ] = None,
    sensitivity_plot: Annotated[
        str | None, typer.Option("--sensitivity-plot", metavar="FILE.svg", help="Draw the sensitivity.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where the bootstrap's refits are solved: cpu or cuda.")] = "cpu",
    seed: SeedOption = 0,
    fail: FailOnOption = None,
    json: JsonOption = False,
) -> None:
    """Fit one law to a table of finished runs, or let `auto` weigh several by how each predicts the larger runs."""
    from ..engine.fit import fit as run
    from ..files import check_writable
    from ..show import terminal

    check_writable(out)
    check_apart("--out", out, table, prior)
    if of_curves([law], table, map_, schedule):
        others = {
            "--resample": resample != "runs",
            "--intervals": intervals != "bootstrap",
            "--prior": bool(prior) or prior_sd is not None,
            "--weights": bool(weights),
            "--params-column": params_column is not None,
            "--drop-above": drop_above is not None,
            "--optima": bool(optima) or near is not None or bool(at_edge),
            "--sensitivity": sensitivity or bool(sensitivity_plot) or flops is not None,
            "--device": device != "cpu",
        }
        fit_curve(
            law,
            table,
            out,
            fail,
            json,
            others=others,
            schedule=schedule,
            warmup=warmup or "area",
            warmup_steps=warmup_steps,
            smooth=smooth or "none",
            objective=objective,
            fix=fixed(fix),
            seed=seed,
            mapping=pairs(map_),
            where=where,
            drop_bad=drop_bad,
            **({} if starts == 2304 else {"starts": starts}),
            **({} if delta is None else {"delta": delta}),
        )
        return
    if schedule or warmup or warmup_steps is not None or smooth:
        raise UsageError(f"--schedule, --warmup, --warmup-steps and --smooth are of laws of loss curves, not of {law}")
    if law == "step-law":
        others = {
            "--objective": objective not in ("huber", "l2"),
            "--delta": delta is not None,
            "--starts": starts != 2304,
            "--intervals": intervals != "bootstrap",
            "--fix": bool(fix),
            "--prior": bool(prior) or prior_sd is not None,
            "--weights": bool(weights),
            "--sensitivity": sensitivity or bool(sensitivity_plot) or flops is not None,
            "--device": device != "cpu",
        }
        _step_law(
            table,
            [option for option, given in others.items() if given],
            out,
            fail,
            json,
            {"method": optima, "near": near, "at_edge": at_edge},
            bootstrap=bootstrap,
            resample=resample,
            seed=seed,
            drop_above=drop_above,
            mapping=pairs(map_),
            where=where,
            params_column=params_column,
            drop_bad=drop_bad,
        )
        return
    if optima or near is not None or at_edge:
        raise UsageError(f"--optima, --near and --at-edge are of fit step-law, not of fit {law}")
    other = _prior(prior, prior_sd, sensitivity or bool(sensitivity_plot))
    source = _source(law, table, sensitivity, flops, sensitivity_plot, out)
    if law == "hp-surface" or drop_above is not None:
        source = _grids(law == "hp-surface", source, drop_above, map_, where, params_column)
        map_, where, params_column = None, None, None
    with progress_bar() as progress:
        found = run(
            law,
            source,
            objective=objective,  # type: ignore[arg-type]  # Settings checks the word and names the known ones
            delta=delta,
            starts=starts,
            bootstrap=bootstrap,
            resample=resample,  # type: ignore[arg-type]
            intervals=intervals,  # type: ignore[arg-type]
            fix=fixed(fix),
            seed=seed,
            device=device,  # type: ignore[arg-type]
            mapping=pairs(map_),
            where=where,
            weights=weights,
            prior=other,
            prior_sd=prior_sd,
            params_column=params_column,
            drop_bad=drop_bad,
            progress=progress,
        )
        moved = None
        stopped = found.bootstrap.get("interrupted", False)
        if (sensitivity or sensitivity_plot) and not stopped:
            from ..decide.sensitivity import sensitivity as vary

            moved = vary(
                law,
                source,
                flops=flops,
                objective=objective,  # type: ignore[arg-type]
                delta=delta,
                starts=starts,
                fix=fixed(fix),
                seed=seed,
                mapping=pairs(map_),
                where=where,
                weights=weights,
                params_column=params_column,
                drop_bad=drop_bad,
                fit=found,
                progress=progress,
            )
    if out:
        found.save(out)
    if moved is not None and sensitivity_plot:
        from ..files import write_meta
        from ..show import plot as draw

        draw.save(draw.draw_sensitivity(moved), sensitivity_plot)
        write_meta(sensitivity_plot, "scaling-lab/plot/1", dict(found.made_by["inputs"]), seed=seed)
    warn(found.warnings, found.notes)
    if json:
        show_json(found.to_dict() | ({} if moved is None else {"sensitivity": moved.to_dict()}))
    else:
        show(terminal.fit(found))
        if moved is not None:
            show(f"\n{terminal.sensitivity(moved)}")
        if out:
            show(f"saved to {out}")
    if stopped:
        account = found.bootstrap
        raise Interrupted(f"interrupted after {account['n']} of {account['asked']} bootstrap refits, which are kept")
    fail_on(fail, found.warnings)


def _step_law(
    table: str,
    others: list[str],
    out: str | None,
    fail: str | None,
    json: bool,
    ways: dict[str, Any],
    **options: Any,
) -> None:
    """`fit step-law`: from grids of learning rate and batch to two power laws."""
    from ..decide.steplaw import fit_step_law

    if others:
        raise UsageError(f"fit step-law is least squares through the optima of grids: leave {', '.join(others)} out")
    at_edge = ways.pop("at_edge") or "leave-out"
    if at_edge not in ("leave-out", "keep"):
        raise UsageError(f"--at-edge {at_edge}: leave-out or keep")
    given = {name: value for name, value in ways.items() if value is not None}
    with progress_bar() as progress:
        found = fit_step_law(table, **given, keep_edges=at_edge == "keep", **options, progress=progress)
    show_step_law(found, out, json)
    fail_on(fail, found.warnings)


def _grids(
    surface: bool,
    source: Any,
    drop_above: float | None,
    map_: list[str] | None,
    where: str | None,
    params_column: str | None,
) -> Any:
    """The table without its diverged runs, counted; for a surface of learning rate and batch in grids."""
    from ..decide.hpgrid import drop_diverged, grid_table

    read: dict[str, Any] = {"mapping": pairs(map_), "where": where, "params_column": params_column}
    if surface:
        return grid_table(source, drop_above=drop_above, **read)
    return drop_diverged(source, float(drop_above or 0), **read)


def _prior(path: str | None, sd: float | None, sensitivity: bool) -> Any:
    """The fit of --prior; checks the options that go with it."""
    from ..engine.result import Fit
    from ..errors import UsageError

    if path is None:
        if sd is not None:
            raise UsageError("--prior-sd says how far to trust --prior; give --prior OTHER.json too")
        return None
    if sensitivity:
        raise UsageError("--sensitivity refits without a prior; leave --prior or --sensitivity out")
    return Fit.load(path)


def _source(law: str, table: str, sensitivity: bool, flops: float | None, plot: str | None, out: str | None) -> Any:
    """The table's path, or the table itself where it is read in several ways, as stdin can't be.

    Checks the options of --sensitivity before any work is done.
    """
    if not sensitivity and plot is None:
        if flops is not None:
            raise UsageError("--flops is what --sensitivity decides for; give both, or split a budget with allocate")
        return table
    if law == "auto":
        raise UsageError("--sensitivity refits one law, and auto blends several: name one of them, as chinchilla")
    from ..files import check_writable
    from ..tables import read_content, table_of

    check_writable(plot)
    check_apart("--sensitivity-plot", plot, table, out)
    if plot is not None:
        from ..show import plot as draw

        draw.check_kind(plot)
    return table_of(read_content(table))


def predict(
    fit: FitArgument,
    at: Annotated[
        list[str] | None, typer.Option("--at", metavar="params=7B,tokens=1.4T", help="A point; give several.")
    ] = None,
    table: Annotated[str | None, typer.Option("--table", help="Points as a table.")] = None,
    partial: Annotated[
        str | None,
        typer.Option("--partial", metavar="CURVES", help="Curves of the point's unfinished run and of finished ones."),
    ] = None,
    partial_run: Annotated[
        str | None, typer.Option("--partial-run", metavar="ID", help="Which run of CURVES is the unfinished one.")
    ] = None,
    then: Annotated[
        str | None, typer.Option("--then", metavar="TASK.json", help="A second fit, of what the first one predicts.")
    ] = None,
    feeds: Annotated[
        str | None, typer.Option("--feeds", metavar="NAME", help="The input of --then, where it has another name.")
    ] = None,
    map_: MapOption = None,
    where: WhereOption = None,
    level: LevelOption = 0.9,
    fail: FailOnOption = None,
    json: JsonOption = False,
) -> None:
    """Predict the loss at points, each with an interval and its distance from the data."""
    from ..engine.predict import predict as run
    from ..engine.result import Fit
    from ..show import terminal
    from ..tables import read_table

    if bool(at) == bool(table):
        raise UsageError("give points with --at params=7B,tokens=1.4T or with --table POINTS, one of the two")
    if partial is None and partial_run:
        raise UsageError("--partial-run is about the curves of --partial: give it too")
    if partial is None and table is None and (map_ or where):
        raise UsageError("--map and --where are about the curves of --partial, or about --table: give one of the two")
    if partial is not None and len(at or ()) != 1:
        raise UsageError("--partial is about one run: give its point with one --at params=7B,tokens=1.4T")
    if then is not None and partial is not None:
        raise UsageError("--then goes on from a fit's prediction, --partial from a run's curve: give one of the two")
    if feeds is not None and then is None:
        raise UsageError("--feeds names the input of the second fit: give --then TASK.json too")
    loaded = Fit.load(fit)
    second = None if then is None else Fit.load(then)
    found: Any
    asked = points(at) if at else read_table(str(table), mapping=pairs(map_), where=where)
    if second is not None:
        from ..engine.chain import chain

        found = chain(loaded, second, asked, level, feeds)
    elif partial is not None:
        from ..engine.partial import predict_partial

        (point,) = points(at or ())
        found = predict_partial(loaded, point, partial, level, run=partial_run, mapping=pairs(map_), where=where)
    else:
        found = run(loaded, asked, level)
    notices = [*own_warnings(loaded), *([] if second is None else own_warnings(second)), *found.warnings]
    warn(notices)
    if json:
        show_json(found.to_dict())
    elif second is not None:
        from ..show import tasks

        show(tasks.chained(found))
    else:
        show(terminal.predictions(found) if partial is None else terminal.partial(found))
    fail_on(fail, notices)


def backtest(
    table: TableArgument,
    law: Annotated[
        list[str] | None,
        typer.Option(
            "--law", metavar="LAW", help="A law, several, auto, all the table allows, or the usual (default)."
        ),
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="The column that says how large a run is (flops, or the first size of the law).")
    ] = None,
    test_above: Annotated[float | None, number_option("--test-above", help="Runs above this are held out.")] = None,
    test_fraction: Annotated[float | None, typer.Option(help="Share of the rows to hold out (default 0.25).")] = None,
    level: LevelOption = 0.9,
    objective: Annotated[str, typer.Option(help="huber, l2 or l1.")] = "huber",
    delta: Annotated[float | None, typer.Option(help="Width of the Huber objective (1e-3, or each law's own).")] = None,
    starts: Annotated[int, typer.Option(help="Starting points to rank.")] = 2304,
    bootstrap: Annotated[int, typer.Option(help="Refits to resampled runs.")] = 400,
    map_: MapOption = None,
    where: WhereOption = None,
    weights: WeightsOption = None,
    params_column: ParamsColumnOption = None,
    drop_bad: DropBadOption = False,
    drop_above: DropAboveOption = None,
    hold_out: HoldOutOption = None,
    after_branch: AfterBranchOption = False,
    schedule: ScheduleOption = None,
    warmup: WarmupOption = None,
    warmup_steps: WarmupStepsOption = None,
    smooth: SmoothOption = None,
    seed: SeedOption = 0,
    fail: FailOnOption = None,
    json: JsonOption = False,
) -> None:
    """Fit laws to the small runs and score them on the large ones; laws of loss curves on curves left out."""
    from ..engine.backtest import backtest as run
    from ..engine.fit import Settings
    from ..engine.solve import DELTA, Objective
    from ..show import terminal

    if of_curves(law or [], table, map_, schedule) or hold_out:
        others = {
            "--by": bool(by),
            "--test-above": test_above is not None or test_fraction is not None,
            "--bootstrap": bootstrap != 400,
            "--weights": bool(weights),
            "--params-column": params_column is not None,
            "--drop-above": drop_above is not None,
        }
        backtest_curve(
            law,
            table,
            fail,
            json,
            others=others,
            schedule=schedule,
            after_branch=after_branch,
            hold_out=hold_out,
            level=level,
            warmup=warmup or "area",
            warmup_steps=warmup_steps,
            smooth=smooth or "none",
            objective=objective,
            seed=seed,
            mapping=pairs(map_),
            where=where,
            drop_bad=drop_bad,
            **({} if starts == 2304 else {"starts": starts}),
            **({} if delta is None else {"delta": delta}),
        )
        return
    if after_branch or schedule or warmup or warmup_steps is not None or smooth:
        raise UsageError("--after-branch, --schedule, --warmup, --warmup-steps and --smooth are of laws of loss curves")
    settings = Settings(
        Objective(objective, DELTA if delta is None else delta),  # type: ignore[arg-type]
        starts=starts,
        bootstrap=bootstrap,
        seed=seed,
        own_width=delta is None,
    )
    source: Any = table
    if drop_above is not None or "hp-surface" in (law or ()):
        source = _grids("hp-surface" in (law or ()), table, drop_above, map_, where, params_column)
        map_, where, params_column = None, None, None
    with progress_bar() as progress:
        found = run(
            source,
            law or ["usual"],
            by=by,
            test_above=test_above,
            test_fraction=test_fraction,
            level=level,
            mapping=pairs(map_),
            where=where,
            weights=weights,
            params_column=params_column,
            drop_bad=drop_bad,
            settings=settings,
            progress=progress,
        )
    warn((), dict.fromkeys(note for scored in found.laws for note in scored.fit.notes))
    for scored in found.laws:
        warn(scored.warnings, of=scored.asked)
    if json:
        show_json(found.to_dict())
    else:
        show(terminal.backtest(found))
    fail_on(fail, [notice for scored in found.laws for notice in scored.warnings])
