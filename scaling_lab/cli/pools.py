"""pools: which pools of data to train on."""

from __future__ import annotations

from typing import Annotated

import typer

from .common import (
    FailOnOption,
    FitArgument,
    JsonOption,
    LevelOption,
    check_apart,
    fail_on,
    number_option,
    numbers,
    own_warnings,
    show,
    show_json,
    warn,
)


def pools(
    fit: FitArgument,
    samples: Annotated[
        str, typer.Option("--samples", metavar="32M,640M,...", help="Samples to train on, one budget or several.")
    ],
    unique_samples: Annotated[
        float | None, number_option("--unique-samples", help="Size of one pool (default: that of the fitted rows).")
    ] = None,
    level: LevelOption = 0.9,
    plot: Annotated[str | None, typer.Option(metavar="FILE.svg|png|pdf", help="Draw the error of the sets.")] = None,
    fail: FailOnOption = None,
    json: JsonOption = False,
) -> None:
    """Choose the best pools of data for a budget of samples, from a fit of qqt to runs on each pool alone."""
    from ..decide.pools import pools as run
    from ..engine.result import Fit
    from ..files import check_writable
    from ..show import pools as text

    check_writable(plot)
    check_apart("--plot", plot, fit)
    loaded = Fit.load(fit)
    found = run(loaded, numbers(samples, "--samples"), unique_samples=unique_samples, level=level)
    if plot:
        from ..decide.pools import curves
        from ..files import sha256_file, write_meta
        from ..show import plot as draw

        draw.save(draw.draw_pools(found, curves(loaded, found)), plot)
        write_meta(plot, "scaling-lab/plot/1", {fit: sha256_file(fit)})
    notices = [*own_warnings(loaded), *found.warnings]
    warn(notices)
    if json:
        show_json(found.to_dict())
    else:
        show(text.pools(found))
    fail_on(fail, notices)
