"""extrapolate: a loss further along its own curve, without a schedule."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import UsageError
from .common import (
    DropBadOption,
    FailOnOption,
    JsonOption,
    LevelOption,
    MapOption,
    WhereOption,
    check_apart,
    fail_on,
    number_option,
    pairs,
    show,
    show_json,
    warn,
)

_Curve = typer.Argument(metavar="CURVE", help="A table of one run: step (or --x) and loss, lr where it is known.")


def extrapolate(
    curve: Annotated[str, _Curve],
    to_step: Annotated[
        list[float] | None, number_option("--to-step", "--to", help="The step (or place of --x) asked; repeatable.")
    ] = None,
    family: Annotated[
        list[str] | None, typer.Option("--family", metavar="lc:pow3", help="A family to weigh; default: all of them.")
    ] = None,
    along: Annotated[str, typer.Option("--x", metavar="COLUMN", help="What the curve runs along.")] = "step",
    drop_first: Annotated[
        str, typer.Option("--drop-first", metavar="10%|STEP", help="How much of the beginning is left out.")
    ] = "10%",
    smooth: Annotated[
        str, typer.Option("--smooth", metavar="none|ema:A|gaussian:S|window:5%", help="Smoothing of the loss.")
    ] = "none",
    stop: Annotated[
        float | None, number_option("--stop", help="Say where predictions moved by no more than that, in nats.")
    ] = None,
    plot: Annotated[str | None, typer.Option("--plot", metavar="FIGURE", help="The curve and what is ahead.")] = None,
    level: LevelOption = 0.9,
    map_: MapOption = None,
    where: WhereOption = None,
    drop_bad: DropBadOption = False,
    json: JsonOption = False,
    fail: FailOnOption = None,
) -> None:
    """Predict the loss of a run at constant learning rate at a later step, by families of learning curves."""
    from ..decide.extrapolate import extrapolate as run
    from ..show import extrapolate as text

    if not to_step:
        raise UsageError("give the step to extrapolate to: --to-step 72000")
    if plot:
        from ..show import plot as draw

        draw.check_kind(plot)
        check_apart("--plot", plot, curve)
    found = run(
        curve,
        to_step,
        family=family or (),
        along=along,
        drop_first=drop_first,
        smooth=smooth,
        level=level,
        stop=stop,
        mapping=pairs(map_),
        where=where,
        drop_bad=drop_bad,
    )
    if plot:
        from ..files import write_meta

        draw.save(draw.draw_extrapolation(found), plot)
        write_meta(plot, "scaling-lab/plot/1", {} if curve == "-" else {curve: found.curve.sha256})
    warn(found.warnings, found.notes)
    if json:
        show_json(found.to_dict())
    else:
        show(text.extrapolation(found))
    fail_on(fail, found.warnings)
