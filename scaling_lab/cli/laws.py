"""laws: the catalogue, or one law of it."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import UsageError
from .common import JsonOption, show, show_json


def laws(
    law: Annotated[str | None, typer.Argument(metavar="[LAW]", help="One law in full.")] = None,
    json: JsonOption = False,
) -> None:
    """List the laws, or print one: formula, inputs, parameters, published coefficients, source."""
    from ..laws import LAWS, catalogue, get_law
    from ..laws.curves import AUTO_CURVE, CURVE_LAWS, get_curve_law, is_curve_law
    from ..show import terminal

    if law == "auto":
        among = ", ".join(known.name for known in LAWS.values() if known.priors)
        raise UsageError(f"auto is no law but the choice among {among} by inner backtests: scaling-lab fit auto TABLE")
    if law == AUTO_CURVE:
        among = ", ".join(known.name for known in CURVE_LAWS.values() if known.priors)
        raise UsageError(f"{law} is no law but a choice among {among}: scaling-lab fit {law} CURVES")
    if law:
        chosen = [get_curve_law(law) if is_curve_law(law) else get_law(law)]
    else:
        chosen = [*LAWS.values(), *CURVE_LAWS.values()]
    if json:
        show_json(catalogue(chosen))
    elif law:
        show(terminal.law(chosen[0]))
    else:
        show(terminal.laws(chosen))
