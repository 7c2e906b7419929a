"""forecast: the rest of a running curve, once or whenever its file grows."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import Interrupted, UsageError
from ..quantities import parse_number
from .common import (
    DropBadOption,
    FailOnOption,
    JsonOption,
    LevelOption,
    MapOption,
    WhereOption,
    check_apart,
    fail_on,
    pairs,
    show,
    show_json,
    warn,
)

if TYPE_CHECKING:
    from ..decide.forecast import RunForecast
    from ..engine.curves import CurveFit

_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def forecast(
    curve: Annotated[str, typer.Argument(metavar="CURVE", help="The run's log: step, loss, lr if logged; - is stdin.")],
    schedule: Annotated[
        str,
        typer.Option(
            "--schedule",
            metavar="SPEC",
            help="Learning rates of the whole run: cosine:total=24000,warmup=2160,floor=.1,lr_max=3e-4.",
        ),
    ],
    fit: Annotated[
        str | None, typer.Option("--fit", metavar="FIT.json", help="A law fitted to other runs of this size and batch.")
    ] = None,
    law: Annotated[
        str, typer.Option("--law", metavar="LAW", help="auto-curve (both), annealing or multi-power.")
    ] = "auto-curve",
    at: Annotated[
        list[str] | None, typer.Option("--at-step", metavar="STEP", help="Steps to print; default: six to the end.")
    ] = None,
    level: LevelOption = 0.9,
    target: Annotated[str, typer.Option("--target", help="Column to forecast.")] = "loss",
    look_back: Annotated[
        bool, typer.Option("--look-back", help="Also what earlier forecasts of the last point would have been.")
    ] = False,
    map_: MapOption = None,
    where: WhereOption = None,
    drop_bad: DropBadOption = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Read a growing file, a line for each look, until the last step is there.")
    ] = False,
    every: Annotated[str, typer.Option("--every", metavar="TIME", help="Between two looks: 5s, 2min, 1h.")] = "5s",
    out: Annotated[
        str | None, typer.Option("--out", metavar="TABLE.csv", help="Write the forecast as a table.")
    ] = None,
    plot: Annotated[str | None, typer.Option("--plot", metavar="FILE.svg", help="Draw it (.svg, .png, .pdf).")] = None,
    fail: FailOnOption = None,
    json: JsonOption = False,
) -> None:
    """Forecast the rest of a running loss curve under its schedule, and say whether the run still follows."""
    from ..decide.forecast import forecast as run
    from ..files import check_writable
    from ..show import forecast as text

    check_writable(out)
    check_writable(plot)
    check_apart("--out", out, curve, fit)
    check_apart("--plot", plot, curve, fit, out)
    if plot:
        from ..show.plot import check_kind

        check_kind(plot)
    options: dict[str, Any] = {"fit": _fit(fit), "law": law, "level": level, "target": target}
    options |= {"mapping": pairs(map_), "where": where, "drop_bad": drop_bad}
    options["look_back"] = look_back
    steps = [_number(step, "--at-step") for step in at or ()]
    if follow:
        if steps:
            raise UsageError(
                "--at-step is of one look: leave it out with --follow, whose --out holds places to the end"
            )
        _follow(curve, schedule, seconds(every), options, out, plot, fail, json)
        return
    found = run(curve, schedule, at=steps, **options)
    _write(found, out, plot)
    warn(found.warnings, found.notes)
    if json:
        show_json(found.to_dict())
    else:
        show(text.forecast(found))
    fail_on(fail, found.warnings)


def _fit(path: str | None) -> CurveFit | None:
    if path is None:
        return None
    from ..engine.curves import CurveFit

    found = CurveFit.load(path)
    warn([notice for notice in found.warnings if notice.severity in ("warning", "error")], of=path)
    return found


def seconds(text: str) -> float:
    """The seconds of 5s, 2min, 1h or a plain number; raises UsageError."""
    number = text.strip().rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = text.strip()[len(number) :].strip() or "s"
    try:
        value = float(number) * _UNITS[unit]
    except (ValueError, KeyError):
        raise UsageError(f"--every {text!r} is not a time; write it as 5s, 2min or 1h") from None
    if not 0 < value < float("inf"):
        raise UsageError(f"--every {text!r} must lie above 0")
    return value


def _number(text: str, option: str) -> float:
    try:
        return parse_number(text)
    except ValueError:
        raise UsageError(f"{option} {text!r} is not a number; write it as 24000 or 24K") from None


def _follow(
    curve: str,
    schedule: str,
    every: float,
    options: dict[str, Any],
    out: str | None,
    plot: str | None,
    fail: str | None,
    json: bool,
) -> None:
    """A line for each look; what was last known is written whether the run ends, leaves or the user stops it."""
    from ..decide.forecast import RunForecast, follow
    from ..show import forecast as text

    if curve == "-":
        raise UsageError("--follow reads a file that grows, and stdin is none; give its path")
    last: RunForecast | None = None
    told: set[str] = set()

    def end() -> None:
        if last is not None:
            _write(last, out, plot)
            if json:
                show_json(last.to_dict())

    try:
        for found in follow(curve, schedule, every=every, **options):
            if not isinstance(found, RunForecast):
                typer.echo(f"note: {found.why}", err=True)
                continue
            last = found
            typer.echo(text.line(found), err=json)
            sys.stdout.flush()
            warn([notice for notice in found.warnings if notice.code not in told])
            told |= {notice.code for notice in found.warnings}
            _leave(fail, found, end)
    except KeyboardInterrupt:
        end()
        known = f"; last known: {text.line(last)}" if last is not None else " before any forecast was made"
        raise Interrupted(f"interrupted{known}") from None
    end()


def _leave(fail: str | None, found: RunForecast, end: Any) -> None:
    """Exits where --fail-on names what came up, once what is known is written."""
    from ..errors import ConditionMet

    try:
        fail_on(fail, found.warnings)
    except ConditionMet:
        end()
        raise


def _write(found: RunForecast, out: str | None, plot: str | None) -> None:
    from ..files import write_meta, write_text

    inputs = {found.name: found.sha256}
    if out:
        write_text(out, found.frame().to_csv(index=False, lineterminator="\n"))
        write_meta(out, "scaling-lab/forecast/1", inputs, schedule=str(found.schedule), level=found.level)
    if plot:
        from ..show import plot as draw

        draw.save(draw.draw_forecast(found), plot)
        write_meta(plot, "scaling-lab/plot/1", inputs)
