"""noise, cbs, trajectory, retention: how large a batch may be, how far so many steps lead, and what stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError
from .common import (
    DropBadOption,
    FailOnOption,
    JsonOption,
    LevelOption,
    MapOption,
    SeedOption,
    TableArgument,
    WhereOption,
    check_apart,
    fail_on,
    number_option,
    numbers,
    pairs,
    show,
    show_json,
    warn,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..decide.steps import TrajectoryFit
    from ..decide.trajectory import Trajectory
    from ..engine.result import Notice

PlotOption = Annotated[str | None, typer.Option("--plot", metavar="FILE.svg|png|pdf", help="Draw it.")]
WarmupOption = Annotated[
    float | None, number_option("--warmup-steps", help="Leave out rows up to this step (default: that column).")
]


def _draw(drawing: str, found: Any, plot: str | None, inputs: Mapping[str, str]) -> None:
    """Saves the figure of that name, with its record."""
    if plot is None:
        return
    from ..files import write_meta
    from ..show import plot as draw

    draw.save(getattr(draw, drawing)(found), plot)
    write_meta(plot, "scaling-lab/plot/1", dict(inputs))


def _write(frame: Any, out: str | None, inputs: Mapping[str, str]) -> None:
    """Saves a table as CSV, with its record."""
    if out is None:
        return
    from ..files import write_meta, write_text

    write_text(out, frame.to_csv(index=False, lineterminator="\n"))
    write_meta(out, "scaling-lab/table/1", dict(inputs))


def _checked(table: str, plot: str | None, out: str | None = None) -> None:
    from ..files import check_writable

    for option, path in (("--plot", plot), ("--out", out)):
        check_writable(path)
        check_apart(option, path, table)


def _refuse(ctx: typer.Context, options: tuple[str, ...], of: str) -> None:
    """Raises UsageError where one of the options (by parameter) was given that only `of` heeds."""
    source = {param.name: ctx.get_parameter_source(param.name or "") for param in ctx.command.params}
    given = [
        param.opts[0]
        for param in ctx.command.params
        if param.name in options and getattr(source[param.name], "name", "") == "COMMANDLINE"
    ]
    if given:
        raise UsageError(f"{', '.join(given)} {'is' if len(given) == 1 else 'are'} of {of}; leave out")


def noise(
    log: TableArgument,
    small_batch: Annotated[float, number_option("--small-batch", help="Batch of grad_sq_small: that of one rank.")],
    big_batch: Annotated[float, number_option("--big-batch", help="Batch of grad_sq_big: all of it.")],
    half_life: Annotated[
        float | None, number_option("--half-life", help="Of the moving averages, in rows (default: 5 % of the log).")
    ] = None,
    map_: MapOption = None,
    where: WhereOption = None,
    drop_bad: DropBadOption = False,
    level: LevelOption = 0.9,
    plot: PlotOption = None,
    fail: FailOnOption = None,
    json: JsonOption = False,
) -> None:
    """Estimate the gradient noise scale from squared gradient norms at two batch sizes."""
    from ..decide.noise import noise_scale
    from ..show import noise as text

    _checked(log, plot)
    found = noise_scale(
        log, small_batch, big_batch,
        half_life=half_life, mapping=pairs(map_), where=where, drop_bad=drop_bad, level=level,
    )  # fmt: skip
    _draw("draw_noise", found, plot, found.sha256)
    warn(found.warnings, found.notes)
    if json:
        show_json(found.to_dict())
    else:
        show(text.noise(found))
    fail_on(fail, found.warnings)


def cbs(
    ctx: typer.Context,
    table: TableArgument,
    method: Annotated[
        str, typer.Option(help="hyperbola (critical batch), optimum (fewest tokens) or branched (of one run).")
    ] = "hyperbola",
    levels: Annotated[
        str | None, typer.Option(metavar="3.6,3.4,...", help="The table is of curves: losses to read steps at.")
    ] = None,
    overhead: Annotated[float, number_option("--overhead", help="Share of steps over linear scaling.")] = 0.2,
    linear_from: Annotated[
        float | None, number_option("--linear-from", help="Batch (tokens) that linear scaling starts from.")
    ] = None,
    huber: Annotated[
        float | None, number_option("--huber", help="Huber's loss beyond this residual of log steps.")
    ] = None,
    warmup_steps: WarmupOption = None,
    tolerance: Annotated[float, number_option("--tolerance", help="branched: losses that count as equal.")] = 0.01,
    start_batch: Annotated[
        float | None, number_option("--start-batch", help="branched: tokens a step at the start of the plan.")
    ] = None,
    out: Annotated[
        str | None, typer.Option("--out", metavar="CBS.csv", help="Write the batch of each level, for fit.")
    ] = None,
    map_: MapOption = None,
    where: WhereOption = None,
    drop_bad: DropBadOption = False,
    level: LevelOption = 0.9,
    plot: PlotOption = None,
    fail: FailOnOption = None,
    json: JsonOption = False,
) -> None:
    """Find the critical batch size from steps to a loss at several batch sizes."""
    _checked(table, plot, out)
    if method == "branched":
        others = ("levels", "overhead", "linear_from", "huber", "warmup_steps", "out", "level", "plot")
        _refuse(ctx, others, "the other methods")
        _branched(table, start_batch, tolerance, pairs(map_), where, drop_bad, fail, json)
        return
    _refuse(ctx, ("tolerance", "start_batch"), "--method branched")
    if linear_from is None:
        _refuse(ctx, ("overhead",), "--linear-from, the batch that linear scaling starts from")
    from ..decide.critical import cbs as run
    from ..show import critical as text

    found = run(
        table,
        method=method,  # type: ignore[arg-type]  # checked there
        levels=None if levels is None else numbers(levels, "--levels"),
        overhead=overhead, linear_from=linear_from, delta=huber, warmup_steps=warmup_steps,
        mapping=pairs(map_), where=where, drop_bad=drop_bad, level=level,
    )  # fmt: skip
    _draw("draw_critical", found, plot, found.sha256)
    _write(found.table(), out, found.sha256)
    warn(found.warnings, found.notes)
    if json:
        show_json(found.to_dict())
    else:
        show(text.cbs(found))
    fail_on(fail, found.warnings)


def _branched(
    table: str,
    start: float | None,
    tolerance: float,
    mapping: dict[str, str],
    where: str | None,
    drop_bad: bool,
    fail: str | None,
    json: bool,
) -> None:
    from ..decide.critical import branched_cbs
    from ..show import critical as text

    found = branched_cbs(table, start=start, tolerance=tolerance, mapping=mapping, where=where, drop_bad=drop_bad)
    warn(found.warnings)
    if json:
        show_json(found.to_dict())
    else:
        show(text.branched(found))
    fail_on(fail, found.warnings)


def trajectory(
    ctx: typer.Context,
    fit: Annotated[
        str | None, typer.Argument(metavar="FIT.json", help="Constants that --estimate wrote; or give --published.")
    ] = None,
    published: Annotated[str | None, typer.Option(metavar="kaplan2020", help="Published constants.")] = None,
    estimate: Annotated[
        str | None, typer.Option(metavar="CURVES.csv", help="Estimate the constants from curves of small runs.")
    ] = None,
    out: Annotated[str | None, typer.Option("--out", metavar="FIT.json", help="Where to write them.")] = None,
    method: Annotated[str, typer.Option(help="joint (all curves at once) or recipe (step by step).")] = "joint",
    converged: Annotated[
        float, number_option("--converged", help="recipe: a run is done when a doubling of steps lowers less.")
    ] = 0.01,
    warmup_steps: WarmupOption = None,
    params: Annotated[float | None, number_option("--params", help="Size of the model, no embeddings.")] = None,
    batch: Annotated[float | None, number_option("--batch", help="Tokens in a step.")] = None,
    steps: Annotated[str | None, typer.Option(metavar="1e4,1e5", help="Steps to give the loss at.")] = None,
    target_loss: Annotated[float | None, number_option("--target-loss", help="Loss to reach.")] = None,
    flops: Annotated[float | None, number_option("--flops", help="Compute of the frontier's point.")] = None,
    unique_tokens: Annotated[
        float | None, number_option("--unique-tokens", help="Say where training on so few tokens, repeated, may stop.")
    ] = None,
    map_: MapOption = None,
    where: WhereOption = None,
    drop_bad: DropBadOption = False,
    level: LevelOption = 0.9,
    seed: SeedOption = 0,
    plot: PlotOption = None,
    fail: FailOnOption = None,
    json: JsonOption = False,
) -> None:
    """Predict the loss along a training at any batch size (Kaplan), or estimate the law's constants from small runs."""
    from ..decide.trajectory import published as of_paper
    from ..decide.trajectory import trajectory as run
    from ..show import trajectory as text

    if sum(given is not None for given in (fit, published, estimate)) != 1:
        raise UsageError("give FIT.json, --published kaplan2020 or --estimate CURVES.csv, one of the three")
    found: Trajectory | TrajectoryFit
    inherited: tuple[Notice, ...]
    if estimate is not None:
        if any(v is not None for v in (params, batch, steps, target_loss, flops, unique_tokens, plot)):
            raise UsageError("--estimate writes constants with --out; ask them for a training in a second command")
        found = _estimate(estimate, out, method, converged, warmup_steps, pairs(map_), where, drop_bad, level, seed)
        shown, inherited = text.constants(found), ()
    else:
        _refuse(ctx, ("out", "method", "converged", "warmup_steps", "map_", "where", "drop_bad", "seed"), "--estimate")
        if params is None or batch is None:
            raise UsageError("give --params (without embeddings) and --batch (tokens in a step)")
        _checked(fit or "-", plot)
        loaded = _loaded(fit) if fit is not None else None
        source = of_paper(published or "") if loaded is None else loaded.source(fit or "")
        at = numbers(steps, "--steps") if steps is not None else ()
        found = run(
            source, params, batch, steps=at, target_loss=target_loss, flops=flops, unique_tokens=unique_tokens,
            level=level,
        )  # fmt: skip
        _draw("draw_trajectory", found, plot, _digest(fit))
        shown = text.trajectory(found)
        inherited = () if loaded is None else loaded.warnings
    notices = (*inherited, *found.warnings)
    warn(notices)
    if json:
        show_json(found.to_dict())
    else:
        show(shown)
    fail_on(fail, notices)


def _digest(path: str | None) -> dict[str, str]:
    from ..files import sha256_file

    return {} if path is None else {path: sha256_file(path)}


def _loaded(fit: str) -> TrajectoryFit:
    from ..decide.steps import TrajectoryFit

    return TrajectoryFit.load(fit)


def _estimate(
    table: str,
    out: str | None,
    method: str,
    converged: float,
    warmup_steps: float | None,
    mapping: dict[str, str],
    where: str | None,
    drop_bad: bool,
    level: float,
    seed: int,
) -> TrajectoryFit:
    from ..decide.steps import estimate_trajectory

    _checked(table, None, out)
    found = estimate_trajectory(
        table,
        method=method,  # type: ignore[arg-type]  # checked there
        converged=converged, warmup_steps=warmup_steps, mapping=mapping, where=where, drop_bad=drop_bad,
        level=level, seed=seed,
    )  # fmt: skip
    warn((), found.notes)
    if out is not None:
        found.save(out)
    return found


def retention(
    table: TableArgument,
    window: Annotated[
        float, number_option("--window", help="Steps after an injection in which the best reading is looked for.")
    ] = 50.0,
    out: Annotated[
        str | None, typer.Option("--out", metavar="TABLE.csv", help="Write the points, for fit retention.")
    ] = None,
    map_: MapOption = None,
    where: WhereOption = None,
    drop_bad: DropBadOption = False,
    level: LevelOption = 0.9,
    seed: SeedOption = 0,
    plot: PlotOption = None,
    fail: FailOnOption = None,
    json: JsonOption = False,
) -> None:
    """Measure how well injected facts are learnt and how fast they are forgotten, from a log of probes."""
    from ..decide.retention import retention as run
    from ..show import retention as text

    _checked(table, plot, out)
    found = run(table, window=window, mapping=pairs(map_), where=where, drop_bad=drop_bad, level=level, seed=seed)
    _draw("draw_retention", found, plot, found.sha256)
    _write(found.table(), out, found.sha256)
    warn(found.warnings, found.notes)
    if json:
        show_json(found.to_dict())
    else:
        show(text.retention(found))
    fail_on(fail, found.warnings)
