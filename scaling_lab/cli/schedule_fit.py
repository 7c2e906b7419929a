"""The `schedule` commands that rest on a fitted law of loss curves: losses under schedules, the best one, and cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError
from .common import (
    FailOnOption,
    FitArgument,
    JsonOption,
    LevelOption,
    check_apart,
    fail_on,
    number_option,
    numbers,
    show,
    show_json,
    warn,
)

if TYPE_CHECKING:
    from ..decide.gains import Losses
    from ..decide.optimize import Best, Optimum, Shares
    from ..engine.curves import CurveFit
    from ..engine.result import Notice

PlotOption = Annotated[str | None, typer.Option("--plot", metavar="FIGURE", help="A figure (.svg, .png, .pdf).")]
ParamsOption = Annotated[
    float | None, number_option("--params", help="Size of the model, where the law is of several sizes.")
]


def compare_fit(
    path: str,
    specs: list[str],
    at_step: float | None,
    plot: str | None,
    level: float,
    params: float | None,
    **fields: Any,
) -> tuple[Losses, list[Notice]]:
    """Losses under schedules by a fit, drawn where asked, and the warnings of all."""
    from ..decide.gains import loss_paths, schedule_losses
    from ..files import sha256_file, write_meta

    fit, inherited = _loaded(path)
    step = None if at_step is None else _whole(at_step, "--at-step")
    found = schedule_losses(fit, specs, at_step=step, level=level, params=params, **fields)
    if plot is not None:
        from ..show import plot as draw

        draw.save(draw.draw_schedule_losses(found, loss_paths(fit, found, params)), plot)
        write_meta(plot, "scaling-lab/plot/1", {**found.inputs, path: sha256_file(path)})
    return found, inherited


def optimize(
    fit: FitArgument,
    steps: Annotated[float | None, number_option("--steps", help="Length of the run.")] = None,
    peak: Annotated[float | None, number_option("--peak", help="Its peak (default: the highest fitted).")] = None,
    warmup: Annotated[float | None, number_option("--warmup", help="Steps of warm-up, or a share.")] = None,
    final_lr: Annotated[float | None, number_option("--final-lr", help="Hold the last learning rate.")] = None,
    min_decay: Annotated[
        float | None,
        number_option("--min-decay", help="Fewest steps that a decay takes."),
    ] = None,
    family: Annotated[
        list[str] | None, typer.Option("--family", metavar="NAME", help="Search only this family (may be repeated).")
    ] = None,
    free: Annotated[bool, typer.Option("--free/--no-free", help="Also the best of all rates that never rise.")] = True,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="SPEC", help="What gains are over (default: a cosine to a tenth)."),
    ] = None,
    fractions: Annotated[
        str | None,
        typer.Option("--fractions", metavar="STEPS,...", help="Instead: the best share to anneal in at these lengths."),
    ] = None,
    take: Annotated[
        str | None, typer.Option("--take", metavar="NAME", help="What --out writes: a family, free or staircase.")
    ] = None,
    level: LevelOption = 0.9,
    params: ParamsOption = None,
    plot: PlotOption = None,
    out: Annotated[str | None, typer.Option("--out", metavar="TABLE", help="Every step and rate of the best.")] = None,
    json: JsonOption = False,
    fail: FailOnOption = None,
) -> None:
    """Find the best schedule by a fitted law of loss curves: of each family, and of all that never rise."""
    from ..show import optimize as text

    _check_paths(fit, plot, out)
    loaded, inherited = _loaded(fit)
    least = None if min_decay is None else _whole(min_decay, "--min-decay")
    shared: dict[str, Any] = {
        "peak": peak, "warmup": warmup, "final_lr": final_lr, "min_decay": least, "params": params,
    }  # fmt: skip
    found: Optimum | Shares
    if fractions is not None:
        given = [
            name
            for name, there in (("--steps", steps), ("--against", against), ("--out", out), ("--take", take))
            if there
        ]
        if given or len(family or ()) > 1:
            raise UsageError(f"--fractions takes one --family and no {', '.join(given) or 'second one'}")
        found = _shares(loaded, fractions, family, shared)
        shown = text.shares(found)
    else:
        found = _optimum(loaded, steps, family, free, against, level, shared)
        shown = text.optimum(found)
    _write(fit, found, plot, out, take)
    warn(found.warnings, found.notes)
    if json:
        show_json(found.to_dict())
    else:
        show(shown)
    fail_on(fail, [*inherited, *found.warnings])


def cost(
    horizons: Annotated[
        str | None, typer.Argument(metavar="[STEPS,...]", help="Lengths at which the loss is to be known.")
    ] = None,
    points: Annotated[int | None, typer.Option("--points", help="Or so many lengths, evenly up to --longest.")] = None,
    longest: Annotated[float | None, number_option("--longest", help="The longest of them.")] = None,
    decay: Annotated[
        float, typer.Option("--decay", help="Share of a run that decays, where one trunk is reused.")
    ] = 0.2,
    fitted: Annotated[
        str | None, typer.Option("--fitted", metavar="STEPS,...", help="Curves for a law (default: half the longest).")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Say what it costs to know the loss at many lengths: runs, decays off one trunk, or one fitted curve."""
    from ..decide.curve_cost import schedule_cost
    from ..show import optimize as text

    spread = (points is not None, longest is not None)
    if spread != ((True, True) if horizons is None else (False, False)):
        raise UsageError("give lengths, as 10K,20K,50K, or --points 100 --longest 100K")
    if horizons is not None:
        lengths = numbers(horizons, "lengths")
    else:
        assert points is not None
        assert longest is not None
        if points < 1:
            raise UsageError(f"--points {points} is no number of lengths")
        lengths = [longest * (i + 1) / points for i in range(points)]
    found = schedule_cost(lengths, decay=decay, fitted=None if fitted is None else numbers(fitted, "--fitted"))
    if json:
        show_json(found.to_dict())
    else:
        show(text.cost(found))


def _loaded(path: str) -> tuple[CurveFit, list[Notice]]:
    """The fit, and what it was warned of, which is shown here."""
    from ..engine.curves import CurveFit

    fit = CurveFit.load(path)
    inherited = [notice for notice in fit.warnings if notice.severity in ("warning", "error")]
    warn(inherited, of=path)
    return fit, inherited


def _whole(value: float, option: str) -> int:
    if value != round(value) or value < 1:
        raise UsageError(f"{option} {value:g} is not a whole number of steps from 1 up")
    return round(value)


def _check_paths(fit: str, plot: str | None, out: str | None) -> None:
    """Refuses, before any work, what can't be written."""
    if plot is not None:
        from ..show import plot as draw

        draw.check_kind(plot)
        check_apart("--plot", plot, fit, out)
    if out is not None:
        from ..ingest.output import check_outputs

        check_outputs(out, None)
        check_apart("--out", out, fit)


def _shares(fit: CurveFit, fractions: str, family: list[str] | None, shared: dict[str, Any]) -> Shares:
    from ..decide.optimize import annealing_shares

    totals = [_whole(total, "--fractions") for total in numbers(fractions, "--fractions")]
    return annealing_shares(fit, totals, family=family[0] if family else "wsd", **shared)


def _optimum(
    fit: CurveFit, steps: float | None, family: list[str] | None, free: bool, against: str | None, level: float,
    shared: dict[str, Any],
) -> Optimum:  # fmt: skip
    from ..decide.optimize import optimize_schedule

    if steps is None:
        raise UsageError("give --steps, the length of the run (or --fractions 10K,20K,50K)")
    total = _whole(steps, "--steps")
    return optimize_schedule(fit, total, families=family, free=free, against=against, level=level, **shared)


def _chosen(found: Optimum, take: str | None) -> Best:
    """What --out writes."""
    made = {best.family: best for best in (*found.best, found.free, found.steep) if best is not None}
    if take is None:
        return found.best[0]
    if take not in made:
        raise UsageError(f"--take {take!r} was not searched; there are {', '.join(made)}")
    return made[take]


def _write(fit: str, found: Optimum | Shares, plot: str | None, out: str | None, take: str | None) -> None:
    from ..decide.optimize import Optimum
    from ..files import sha256_file, write_bytes, write_meta

    inputs = {fit: sha256_file(fit)}
    if isinstance(found, Optimum):
        best = _chosen(found, take)
        if out is not None:
            import pandas as pd

            from ..ingest.output import table_bytes

            rates = best.schedule.updates()
            write_bytes(out, table_bytes(out, pd.DataFrame({"step": range(1, len(rates) + 1), "lr": rates})))
            write_meta(
                out, "scaling-lab/rates/1", inputs, schedules=[{"label": best.family, "schedule": str(best.schedule)}]
            )
    if plot is not None:
        from ..show import plot as draw

        drawing = draw.draw_optimum(found) if isinstance(found, Optimum) else draw.draw_shares(found)
        draw.save(drawing, plot)
        write_meta(plot, "scaling-lab/plot/1", inputs)
