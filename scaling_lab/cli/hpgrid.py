"""hpgrid, and fit step-law: grids of learning rate and batch, what is best on them and what rules lose there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError
from .common import (
    DropBadOption,
    FailOnOption,
    JsonOption,
    MapOption,
    ParamsColumnOption,
    TableArgument,
    WhereOption,
    check_apart,
    fail_on,
    own_warnings,
    pairs,
    show,
    show_json,
    warn,
)

if TYPE_CHECKING:
    from ..decide.steplaw import StepLaw
    from ..engine.result import Fit


def percentage(text: str) -> float:
    """The share of a text such as 0.25% or 0.0025."""
    number = text.strip().removesuffix("%").strip()
    try:
        value = float(number)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a share; write it as 0.25% or 0.0025") from None
    return value / 100 if text.strip().endswith("%") else value


DropAboveOption = Annotated[
    float | None,
    typer.Option(
        "--drop-above",
        metavar="SHARE",
        parser=percentage,
        help="Leave out runs whose loss is more than this above the best of their size and tokens, as 25%.",
    ),
]


def hpgrid(
    table: TableArgument,
    fit: Annotated[
        list[str] | None,
        typer.Option("--fit", metavar="FIT.json", help="Judge a fit too: of step-law, or of hp-surface."),
    ] = None,
    within: Annotated[
        str, typer.Option("--within", metavar="SHARES", help="Losses that plateaus are told for.")
    ] = "0.25%,0.5%,1%",
    drop_above: DropAboveOption = None,
    map_: MapOption = None,
    where: WhereOption = None,
    params_column: ParamsColumnOption = None,
    drop_bad: DropBadOption = False,
    plot: Annotated[
        str | None, typer.Option("--plot", metavar="FILE.svg", help="Draw the bowls, plateaus and the rules' picks.")
    ] = None,
    fail: FailOnOption = None,
    json: JsonOption = False,
) -> None:
    """Look at grids of learning rate and batch: the best cells, plateaus, and what each rule loses there."""
    from ..decide.hpgrid import hpgrid as run
    from ..files import check_writable
    from ..show import hpgrid as text

    check_writable(plot)
    check_apart("--plot", plot, table, *(fit or ()))
    if plot:
        from ..show.plot import check_kind

        check_kind(plot)
    found = run(
        table,
        fits=_fits(fit),
        within=_shares(within),
        drop_above=drop_above,
        mapping=pairs(map_),
        where=where,
        params_column=params_column,
        drop_bad=drop_bad,
    )
    if plot:
        _draw(found, plot)
    warn(found.warnings)
    if json:
        show_json(found.to_dict())
    else:
        show(text.report(found))
    fail_on(fail, found.warnings)


def _shares(text: str) -> list[float]:
    """The shares of --within."""
    try:
        return [percentage(part) for part in text.split(",")]
    except typer.BadParameter as fault:
        raise UsageError(f"--within {text}: {fault}; several stand behind one another as 0.25%,1%") from None


def _fits(paths: Sequence[str] | None) -> dict[str, Sequence[Fit]]:
    """The fits of --fit by the names of their files."""
    from ..decide.steplaw import fits_of

    found: dict[str, Sequence[Fit]] = {}
    for path in paths or ():
        loaded = fits_of(path)
        for one in loaded:
            warn(own_warnings(one), of=path)
        name = Path(path).name
        if name in found:
            raise UsageError(f"--fit {path}: two files are named {name}; give each once, under names of their own")
        found[name] = loaded
    return found


def _draw(found: Any, path: str) -> None:
    from ..files import write_meta
    from ..show import plot as draw

    draw.save(draw.draw_hpgrid(found), path)
    write_meta(path, "scaling-lab/plot/1", {found.grids.name: found.grids.sha256})


def show_step_law(found: StepLaw, out: str | None, json: bool) -> None:
    """Saves and prints what `fit step-law` found."""
    from ..decide.steplaw import optimum_of
    from ..show import hpgrid as text

    if out:
        found.save(out)
    warn(found.warnings)
    if json:
        show_json(found.to_dict())
        return
    largest = found.optima[-1].grid
    places = [(largest.params * k, largest.tokens * k) for k in (1, 10)]
    show(text.step_law(found, [optimum_of(found.fits, *place) for place in places] if found.batch else []))
    if out:
        show(f"saved to {out}: the fit of lr_max, with that of batch_tokens and the grids beside it")
