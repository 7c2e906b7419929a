"""What `fit` and `backtest` do with a law of loss curves, and the options that commands on curves share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError
from .common import fail_on, show, show_json, warn

if TYPE_CHECKING:
    from ..schedules import Schedule

ScheduleOption = Annotated[
    list[str] | None,
    typer.Option(
        "--schedule",
        metavar="[RUN=]SPEC",
        help="Learning rates, where the table does not log them: cosine:total=24000,warmup=2160,lr_max=3e-4,floor=0.1.",
    ),
]
WarmupOption = Annotated[
    str | None,
    typer.Option("--warmup", metavar="HOW", help="How a law of curves counts the warm-up: area, flat or included."),
]
WarmupStepsOption = Annotated[
    int | None, typer.Option("--warmup-steps", help="Steps of warm-up, where neither a column nor the log tells.")
]
SmoothOption = Annotated[
    str | None, typer.Option("--smooth", metavar="HOW", help="none, ema:0.9, gaussian:5 or window:5%, of a curve.")
]
HoldOutOption = Annotated[
    str | None,
    typer.Option(
        "--hold-out",
        metavar="CONDITION",
        help="Laws of curves: predict these rows, as \"run_id == 'cosine'\" (default: each schedule in turn).",
    ),
]
AfterBranchOption = Annotated[
    bool, typer.Option("--after-branch", help="Laws of curves: score only what no fitted curve has in common.")
]


def of_curves(laws: Iterable[str], table: str, map_: list[str] | None, schedule: list[str] | None) -> bool:
    """Whether laws are those of loss curves: by name, or as `auto` over a table of steps without sizes and tokens."""
    from ..laws.curves import AUTO_CURVE, is_curve_law
    from ..tables import read_table
    from .common import pairs

    if any(law == AUTO_CURVE or is_curve_law(law) for law in laws):
        return True
    if "auto" not in laws or table == "-":
        return "auto" in laws and bool(schedule)
    found = read_table(table, mapping=pairs(map_))
    return (
        found.has("step") and (bool(schedule) or found.has("lr")) and not (found.has("params") and found.has("tokens"))
    )


def schedules(asked: list[str] | None, runs: Iterable[str] | None = None) -> Schedule | Mapping[str, Schedule] | None:
    """The schedule of --schedule SPEC for every run, or those of --schedule RUN=SPEC by run."""
    from ..schedules import Schedule

    if not asked:
        return None
    named: dict[str, Schedule] = {}
    for text in asked:
        head, equals, rest = text.partition("=")
        if not equals or ":" in head:
            if len(asked) > 1:
                raise UsageError(f"--schedule {text}: of several schedules each names its run, as RUN={text}")
            return Schedule.parse(text)
        if head in named:
            raise UsageError(f"--schedule names run {head!r} twice")
        named[head] = Schedule.parse(rest)
    return named


def fit_curve(
    law: str,
    table: str,
    out: str | None,
    fail: str | None,
    json: bool,
    *,
    others: Mapping[str, bool],
    schedule: list[str] | None,
    **options: Any,
) -> None:
    """`fit` of a law of curves; `others` says which options that it does not take were given."""
    from ..engine.curves import fit_curves
    from ..show import loss_curves as text

    _refuse(law, "fit", others)
    found = fit_curves(law, table, schedule=schedules(schedule), **options)
    if out:
        found.save(out)
    warn(found.warnings, found.notes)
    if json:
        show_json(found.to_dict())
    else:
        show(text.fit(found))
        if out:
            show(f"saved to {out}")
    fail_on(fail, found.warnings)


def backtest_curve(
    laws: list[str] | None,
    table: str,
    fail: str | None,
    json: bool,
    *,
    others: Mapping[str, bool],
    schedule: list[str] | None,
    after_branch: bool,
    **options: Any,
) -> None:
    """`backtest` of laws of curves; `others` says which options that it does not take were given."""
    from ..engine.curve_backtest import LAWS, backtest_curves
    from ..show import loss_curves as text

    laws = laws or list(LAWS)
    _refuse(laws[0], "backtest", others)
    found = backtest_curves(table, laws, schedule=schedules(schedule), **options)
    for scored in found.laws:
        warn(scored.warnings, of=scored.law)
    if json:
        show_json(found.to_dict())
    else:
        show(text.backtest(found, after_branch))
    fail_on(fail, [notice for scored in found.laws for notice in scored.warnings])


def _refuse(law: str, command: str, others: Mapping[str, bool]) -> None:
    given = [option for option, there in others.items() if there]
    if given:
        raise UsageError(f"{law} is a law of loss curves, whose {command} takes no {', '.join(given)}")
