"""`scaling-lab schedule`: learning-rate schedules as tables and figures, and against each other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import BadInput, UsageError
from . import schedule_fit
from .common import FailOnOption, JsonOption, LevelOption, check_apart, fail_on, number_option, show, show_json, warn

if TYPE_CHECKING:
    from ..decide.schedules import Listing, Refined

app = typer.Typer(
    help="Learning-rate schedules: their rates, their ranking, and the best by a fitted law.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Specs = Annotated[
    list[str] | None,
    typer.Argument(metavar="SPEC...", help="cosine:total=24K,warmup=2000,floor=0.1 or file:LR.csv; none: all names."),
]
Total = Annotated[float | None, number_option("--total", "--steps", help="Steps, where a SPEC gives none.")]
Peak = Annotated[float | None, number_option("--lr-max", help="Peak, where a SPEC gives none (default 1).")]
Warmup = Annotated[float | None, number_option("--warmup", help="Steps of warm-up, where a SPEC gives none.")]
Floor = Annotated[float | None, number_option("--floor", help="Last rate over the peak, where a SPEC gives none.")]
Plot = Annotated[str | None, typer.Option("--plot", metavar="FIGURE", help="Rates against steps (.svg, .png, .pdf).")]


@app.command("show")
def show_(
    specs: Specs = None,
    total: Total = None,
    lr_max: Peak = None,
    warmup: Warmup = None,
    floor: Floor = None,
    plot: Plot = None,
    out: Annotated[str | None, typer.Option("--out", metavar="TABLE", help="Every step and its rate.")] = None,
    refine: Annotated[
        str | None, typer.Option("--refine", metavar="LOG", help="Refine a schedule from a log of gradient norms.")
    ] = None,
    norm_column: Annotated[str, typer.Option("--norm-column", help="Its column of norms.")] = "grad_norm",
    optimizer: Annotated[str, typer.Option("--optimizer", help="adam (L1 norms) or sgd (L2 norms).")] = "adam",
    smooth: Annotated[str, typer.Option("--smooth", help="How norms are smoothed; none, median:10%.")] = "median:10%",
    where: Annotated[str | None, typer.Option("--where", metavar="CONDITION", help="Rows of the log to use.")] = None,
    json: JsonOption = False,
    fail: FailOnOption = None,
) -> None:
    """Show a schedule: its rates in a few places, its area and its shape; or refine one from gradient norms."""
    from ..decide import schedules as decide
    from ..show import schedules as text

    _check_paths(plot, out, specs or (), refine)
    how: dict[str, Any] = {"optimizer": optimizer, "smooth": smooth, "where": where}
    if refine is None and (norm_column, *how.values()) != ("grad_norm", "adam", "median:10%", None):
        raise UsageError("--norm-column, --optimizer, --smooth and --where are for a log; give --refine LOG")
    found: Refined | None = None
    if refine is not None:
        if specs or warmup is not None or floor is not None:
            raise UsageError("--refine makes the schedule from the log; leave SPEC, --warmup and --floor out")
        found = decide.refine_log(refine, norm_column, total=total, lr_max=1.0 if lr_max is None else lr_max, **how)
        listing = decide.list_refined(found)
    elif specs:
        listing = _listed(specs, False, total=total, lr_max=lr_max, warmup=warmup, floor=floor)
    else:
        if any(given is not None for given in (plot, out, total, lr_max, warmup, floor)):
            raise UsageError("name a schedule for these options, as cosine:total=24000; without one all are listed")
        show_json(decide.catalogue()) if json else show(text.catalogue())
        return
    _write(listing, plot, out)
    answer = text.shown(listing) if found is None else f"{text.refined(found)}\n\n{text.shown(listing)}"
    _answer(listing, json, answer, {} if found is None else {"refined": found.to_dict()})
    fail_on(fail, listing.warnings)


@app.command()
def compare(
    specs: Annotated[
        list[str], typer.Argument(metavar="SPEC...", help="Schedules, as cosine:total=24K or file:LR.csv.")
    ],
    bound: Annotated[bool, typer.Option("--bound", help="Rank them by the bound of the last iterate.")] = False,
    tuned_lr: Annotated[
        float | None, number_option("--tuned-lr", help="The best peak of the first SPEC: gives the others' (--bound).")
    ] = None,
    total: Total = None,
    lr_max: Peak = None,
    warmup: Warmup = None,
    floor: Floor = None,
    fit: Annotated[
        str | None, typer.Option("--fit", metavar="FIT.json", help="The loss under each by a fitted law of curves.")
    ] = None,
    at_step: Annotated[float | None, number_option("--at-step", help="At this step, not the last one (--fit).")] = None,
    level: LevelOption = 0.9,
    params: schedule_fit.ParamsOption = None,
    plot: Plot = None,
    json: JsonOption = False,
    fail: FailOnOption = None,
) -> None:
    """Set schedules side by side: ranked by a convergence bound, or with the loss of each by a fitted law."""
    from ..show import schedules as text

    _check_paths(plot, None, [*specs, *([f"file:{fit}"] if fit else [])], None)
    if fit is not None:
        _compare_fit(fit, specs, bound, at_step, plot, level, params, json, fail, total, lr_max, warmup, floor)
        return
    if at_step is not None or params is not None:
        raise UsageError("--at-step and --params are of losses by a law; give --fit FIT.json")
    if tuned_lr is not None and not bound:
        raise UsageError("--tuned-lr is carried over by the bound; add --bound")
    given = {"tuned_lr": tuned_lr} if bound else {}
    listing = _listed(specs, bound, total=total, lr_max=lr_max, warmup=warmup, floor=floor, **given)
    _write(listing, plot, None)
    _answer(listing, json, text.compared(listing), {})
    fail_on(fail, listing.warnings)


def _compare_fit(
    path: str,
    specs: list[str],
    bound: bool,
    at_step: float | None,
    plot: str | None,
    level: float,
    params: float | None,
    json: bool,
    fail: str | None,
    total: float | None,
    lr_max: float | None,
    warmup: float | None,
    floor: float | None,
) -> None:
    from ..show import optimize as text

    if bound:
        raise UsageError("--bound ranks without a law, --fit by one; give one of them")
    fields = {"total": total, "lr_max": lr_max, "warmup": warmup, "floor": floor}
    found, inherited = schedule_fit.compare_fit(path, specs, at_step, plot, level, params, **fields)
    warn(found.warnings, found.notes)
    if json:
        show_json(found.to_dict())
    else:
        show(text.losses(found))
    fail_on(fail, [*inherited, *found.warnings])


app.command()(schedule_fit.optimize)
app.command()(schedule_fit.cost)


def _check_paths(plot: str | None, out: str | None, specs: Iterable[str], log: str | None) -> None:
    """Refuses, before any work, what can't be written."""
    from ..schedules import file_of

    read = (log, *map(file_of, specs))
    if plot is not None:
        from ..show import plot as draw

        draw.check_kind(plot)
        check_apart("--plot", plot, *read, out)
    if out is not None:
        from ..ingest.output import check_outputs

        check_outputs(out, None)
        check_apart("--out", out, *read)


def _listed(specs: list[str], bound: bool, **fields: Any) -> Listing:
    """The schedules of the SPECs; a fault of a SPEC is one of the command line, a fault of its file is not."""
    from ..decide.schedules import list_schedules, rank_schedules

    try:
        return (rank_schedules if bound else list_schedules)(specs, **fields)
    except BadInput as fault:
        if fault.file is not None:
            raise
        raise UsageError(str(fault)) from None


def _write(listing: Listing, plot: str | None, out: str | None) -> None:
    from ..files import write_bytes, write_meta

    if plot is not None:
        from ..show import plot as draw

        draw.save(draw.draw_schedules(listing), plot)
        write_meta(plot, "scaling-lab/plot/1", dict(listing.inputs))
    if out is not None:
        from ..ingest.output import table_bytes

        write_bytes(out, table_bytes(out, listing.rates()))
        made = [{"label": entry.label, "schedule": str(entry.schedule)} for entry in listing.each]
        write_meta(out, "scaling-lab/rates/1", dict(listing.inputs), schedules=made)


def _answer(listing: Listing, json: bool, text: str, more: dict[str, Any]) -> None:
    warn(listing.warnings, listing.notes)
    if json:
        show_json({**listing.to_dict(), **more})
    else:
        show(text)
