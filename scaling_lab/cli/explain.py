"""explain: what a warning's code means, what it was found by, and what to do."""

from __future__ import annotations

from typing import Annotated

import typer

from .common import JsonOption, show, show_json


def explain(
    code: Annotated[
        list[str] | None, typer.Argument(metavar="[CODE]...", help="SL201 or collinear-design; all without one.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Say what a warning's code means: the reason, the evidence with its threshold, and what to do."""
    from ..engine.codes import CODES, catalogue, get_code
    from ..show.explain import code_list, code_page

    chosen = list(dict.fromkeys(map(get_code, code))) if code else list(CODES.values())
    if json:
        show_json(catalogue(chosen))
    elif code:
        show("\n\n".join(map(code_page, chosen)))
    else:
        show(code_list(chosen))
