"""`scaling-lab vocab`: the best vocabulary for a model's size and compute."""

from __future__ import annotations

from typing import Annotated

import typer

from .common import (
    DropBadOption,
    FailOnOption,
    JsonOption,
    LevelOption,
    MapOption,
    SeedOption,
    WhereOption,
    check_apart,
    fail_on,
    number_option,
    pairs,
    show,
    show_json,
    warn,
)

_Source = typer.Argument(
    metavar="[TABLE|FIT.json]", help="Runs of several sizes and vocabularies, or a fit of vocab; none: published."
)


def vocab(
    source: Annotated[str | None, _Source] = None,
    params_nonvocab: Annotated[
        float | None, number_option("--params-nonvocab", help="Parameters outside the vocabulary matrices.")
    ] = None,
    flops: Annotated[float | None, number_option("--flops", help="Training compute; else approach 1's.")] = None,
    width: Annotated[float | None, number_option("--width", help="Model width; else the usual at that size.")] = None,
    least_flops: Annotated[
        float, number_option("--least-flops", help="Leave rows of less compute out of approach 3's fit.")
    ] = 0.0,
    bootstrap: Annotated[int, typer.Option(help="Resamples of the runs, for intervals.")] = 200,
    plot: Annotated[str | None, typer.Option("--plot", metavar="FIGURE", help="Loss against vocabulary.")] = None,
    level: LevelOption = 0.9,
    map_: MapOption = None,
    where: WhereOption = None,
    drop_bad: DropBadOption = False,
    seed: SeedOption = 0,
    json: JsonOption = False,
    fail: FailOnOption = None,
) -> None:
    """The vocabulary of least loss by isoFLOP envelope, derivative and parametric law, each with its interval."""
    from ..decide.vocab import optimal_vocabulary
    from ..show import vocab as text

    if plot:
        from ..show import plot as draw

        draw.check_kind(plot)
        check_apart("--plot", plot, source)
    found = optimal_vocabulary(
        source,
        params_nonvocab=params_nonvocab,
        flops=flops,
        width=width,
        least_flops=least_flops,
        bootstrap=bootstrap,
        level=level,
        seed=seed,
        mapping=pairs(map_),
        where=where,
        drop_bad=drop_bad,
    )
    if plot:
        from ..files import sha256_file, write_meta

        draw.save(draw.draw_vocabulary(found), plot)
        write_meta(plot, "scaling-lab/plot/1", {source: sha256_file(source)} if source and source != "-" else {})
    warn(found.warnings, found.notes)
    if json:
        show_json(found.to_dict())
    else:
        show(text.vocabulary(found))
    fail_on(fail, found.warnings)
