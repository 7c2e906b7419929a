"""compare: two recipes side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import UsageError
from .common import (
    FailOnOption,
    JsonOption,
    LevelOption,
    check_apart,
    fail_on,
    number_option,
    numbers,
    own_warnings,
    points,
    show,
    show_json,
    values,
    warn,
)


def compare(
    first: Annotated[str, typer.Argument(metavar="A.json", help="The fit of one recipe.")],
    second: Annotated[str, typer.Argument(metavar="B.json", help="The fit of the other, of the same target.")],
    flops: Annotated[
        str | None,
        typer.Option("--flops", metavar="LOW..HIGH", help="Where crossings are looked for (default: both tables)."),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option("--at", metavar="flops=1e22", help="A compute, or params=7B,tokens=1T: one model for both."),
    ] = None,
    given: Annotated[
        list[str] | None, typer.Option("--given", metavar="NAME=NUMBER", help="Hold a further input of either law.")
    ] = None,
    unique_tokens: Annotated[float | None, number_option("--unique-tokens", help="Tokens that exist.")] = None,
    plot: Annotated[str | None, typer.Option(metavar="FILE.svg|png|pdf", help="Draw both curves.")] = None,
    level: LevelOption = 0.9,
    fail: FailOnOption = None,
    json: JsonOption = False,
) -> None:
    """Say how much more compute recipe B needs than A for the same loss, and where their curves cross."""
    from ..decide.compare import compare as run
    from ..engine.result import Fit
    from ..files import check_writable
    from ..show import compare as text

    check_writable(plot)
    check_apart("--plot", plot, first, second)
    a, b = (Fit.load(path) for path in (first, second))
    found = run(
        a,
        b,
        flops=_span(flops),
        at=points(at or ()),
        given=values(given, "--given"),
        unique_tokens=unique_tokens,
        level=level,
    )
    if plot:
        from ..files import sha256_file, write_meta
        from ..show import plot as draw

        draw.save(draw.draw_comparison(found), plot)
        write_meta(plot, "scaling-lab/plot/1", {path: sha256_file(path) for path in (first, second)})
    warn(own_warnings(a), of="A")
    warn(own_warnings(b), of="B")
    warn(found.warnings)
    if json:
        show_json(found.to_dict())
    else:
        show(text.comparison(found))
    fail_on(fail, [*own_warnings(a), *own_warnings(b), *found.warnings])


def _span(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    low, dots, high = text.partition("..")
    if not dots or not low or not high:
        raise UsageError(f"--flops {text!r} is not LOW..HIGH, as in --flops 1e18..1e22")
    ends = numbers(f"{low},{high}", "--flops")
    return ends[0], ends[1]
