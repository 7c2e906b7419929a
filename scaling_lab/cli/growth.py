"""growth: when to stack a small model into a large one, and what it saves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UsageError
from .common import (
    FailOnOption,
    JsonOption,
    LevelOption,
    fail_on,
    number_option,
    own_warnings,
    points,
    show,
    show_json,
    warn,
)

if TYPE_CHECKING:
    from ..decide.growth import Growth, Speedup
    from ..engine.result import Notice


def growth(
    params: Annotated[float | None, number_option("--params", help="Size of the large model, no embeddings.")] = None,
    tokens: Annotated[float | None, number_option("--tokens", help="Tokens it is to see.")] = None,
    flops: Annotated[float | None, number_option("--flops", help="Or the compute of its training.")] = None,
    factor: Annotated[float, number_option("--factor", help="How many times its layers are stacked.")] = 4.0,
    fit: Annotated[
        str | None, typer.Option("--fit", metavar="FIT.json", help="A fit of gstack, instead of the published one.")
    ] = None,
    scratch: Annotated[
        str | None, typer.Option("--scratch", metavar="A.json", help="Loss against compute, from scratch.")
    ] = None,
    grown: Annotated[
        str | None, typer.Option("--grown", metavar="B.json", help="The same of grown models: prints the speed-up.")
    ] = None,
    at: Annotated[
        list[str] | None, typer.Option("--at", metavar="flops=1e22", help="Where: compute, or params=…,tokens=….")
    ] = None,
    small_flops: Annotated[
        float, number_option("--small-flops", help="The small model's compute, where the table leaves it out.")
    ] = 0.0,
    level: LevelOption = 0.9,
    fail: FailOnOption = None,
    json: JsonOption = False,
) -> None:
    """Say when to grow a small model into a large one, or how much compute growing saved."""
    from ..show import growth as text

    found: Growth | Speedup
    if scratch or grown:
        if fit or not (params is tokens is flops is None):
            raise UsageError("--scratch and --grown ask for a speed-up; leave --params, --tokens, --flops, --fit out")
        found, inherited = _speedup(scratch, grown, at, small_flops, level)
        shown = text.speedup(found)
    else:
        if at or small_flops:
            raise UsageError("--at and --small-flops are of a speed-up; give --scratch A.json and --grown B.json")
        found, inherited = _growth(params, tokens, flops, factor, fit, level)
        shown = text.growth(found)
    warn(found.warnings)
    if json:
        show_json(found.to_dict())
    else:
        show(shown)
    fail_on(fail, [*inherited, *found.warnings])


def _speedup(
    scratch: str | None, grown: str | None, at: list[str] | None, small: float, level: float
) -> tuple[Speedup, list[Notice]]:
    """The speed-up, and what its fits were warned of, which is shown here."""
    from ..decide.growth import speedup
    from ..engine.result import Fit

    if scratch is None or grown is None:
        raise UsageError("a speed-up needs both: --scratch A.json and --grown B.json")
    fits = [Fit.load(path) for path in (scratch, grown)]
    for which, fit in zip(("scratch", "grown"), fits, strict=True):
        warn(own_warnings(fit), of=which)
    found = speedup(*fits, at=points(at or ()), small_flops=small, level=level)
    return found, [notice for fit in fits for notice in own_warnings(fit)]


def _growth(
    params: float | None, tokens: float | None, flops: float | None, factor: float, fit: str | None, level: float
) -> tuple[Growth, list[Notice]]:
    """The advice, and what the fit it rests on was warned of, which is shown here."""
    from ..decide.growth import growth as run
    from ..engine.result import Fit

    if params is None:
        raise UsageError("give --params, the size of the model to be grown (or --scratch and --grown for a speed-up)")
    loaded = Fit.load(fit) if fit else None
    inherited = own_warnings(loaded) if loaded else []
    warn(inherited)
    return run(params, tokens, flops, factor=factor, fit=loaded, level=level), inherited
