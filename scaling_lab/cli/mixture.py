"""mixture: the best mixture of training sources by fitted laws, or by regression on a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UsageError
from ..quantities import parse_number
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
    own_warnings,
    pairs,
    points,
    show,
    show_json,
    warn,
)

if TYPE_CHECKING:
    from ..decide.mixture import Cap

BoundsOption = Annotated[
    list[str] | None, typer.Option("--bounds", metavar="NAME=LOW..HIGH", help="Keep a share between two values.")
]


def _bounds(texts: Iterable[str] | None) -> dict[str, tuple[float, float]]:
    """{share: (low, high)} of code=0.05..0.3 texts."""
    found = {}
    for text in texts or ():
        name, equals, span = text.partition("=")
        low, dots, high = span.partition("..")
        try:
            if not equals or not dots:
                raise ValueError
            found[name.strip()] = (parse_number(low), parse_number(high))
        except ValueError:
            raise UsageError(f"--bounds {text!r} is not NAME=LOW..HIGH, as in --bounds code=0.05..0.3") from None
    return found


def _caps(texts: Iterable[str] | None) -> list[Cap]:
    """The caps of general.json:0.03 and general.json:0.03:2.86 texts."""
    from ..decide.mixture import Cap
    from ..engine.result import Fit

    found = []
    for text in texts or ():
        path, *given = text.split(":")
        try:
            if len(given) not in (1, 2):
                raise ValueError
            numbers = [parse_number(part) for part in given]
        except ValueError:
            raise UsageError(f"--cap {text!r} is not FIT.json:RISE[:LOSS], as in --cap general.json:0.03") from None
        found.append(Cap(Fit.load(path), *numbers))
    return found


def mixture(
    fits: Annotated[
        list[str] | None, typer.Argument(metavar="FIT.json...", help="Fits of mixture laws, one for each domain.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option("--weights", metavar="1,2,...", help="How much each fit's loss counts.")
    ] = None,
    cap: Annotated[
        list[str] | None,
        typer.Option("--cap", metavar="FIT.json:RISE[:LOSS]", help="Another loss may rise by this share, e.g. 0.03."),
    ] = None,
    bounds: BoundsOption = None,
    at: Annotated[str | None, typer.Option("--at", metavar="params=1.8B,...", help="Other inputs of the law.")] = None,
    domain_tokens: Annotated[
        float | None, number_option("--domain-tokens", help="Domain tokens that exist; all tokens are that / ratio.")
    ] = None,
    flops: Annotated[float | None, number_option("--flops", help="Split this compute into params and tokens.")] = None,
    regress: Annotated[
        str | None, typer.Option("--regress", metavar="TABLE", help="No law: regress the table's loss on its shares.")
    ] = None,
    small: Annotated[
        str | None,
        typer.Option(
            "--small", metavar="TABLE", help="With --regress: learn from these cheaper runs, and carry it over."
        ),
    ] = None,
    method: Annotated[str, typer.Option(help="Of --regress: trees, process, ridge, or auto by inner folds.")] = "auto",
    renormalise: Annotated[
        bool, typer.Option("--renormalise", help="With --regress: divide the shares of each row by their sum.")
    ] = False,
    strength: Annotated[float, typer.Option(help="Of --regress: how narrow the simulated mixtures are drawn.")] = 1.0,
    simulated: Annotated[int, typer.Option(help="Of --regress: mixtures simulated.")] = 100_000,
    top: Annotated[int, typer.Option(help="Of --regress: the best of them that are averaged.")] = 128,
    map_: MapOption = None,
    where: WhereOption = None,
    drop_bad: DropBadOption = False,
    level: LevelOption = 0.9,
    plot: Annotated[
        str | None, typer.Option("--plot", metavar="FILE.svg", help="Draw the shares (.svg, .png, .pdf).")
    ] = None,
    seed: SeedOption = 0,
    fail: FailOnOption = None,
    json: JsonOption = False,
) -> None:
    """Find the mixture of least loss, by laws of shares or of a ratio, or by regression."""
    from ..engine.result import Fit
    from ..files import check_writable, sha256_file, write_meta
    from ..show import mixture as page

    if (regress is None) == (not fits):
        raise UsageError("give FIT.json files of mixture laws, or --regress TABLE, one of the two")
    if regress is not None:
        from ..decide.regression import regress_mixture

        if weights or cap or at or plot or domain_tokens is not None or flops is not None:
            raise UsageError(
                "--weights, --cap, --at, --domain-tokens, --flops and --plot are for FIT.json, not for --regress"
            )
        by = regress_mixture(
            regress,
            small=small,
            method=method,
            bounds=_bounds(bounds),
            strength=strength,
            simulated=simulated,
            top=top,
            renormalise=renormalise,
            mapping=pairs(map_),
            where=where,
            drop_bad=drop_bad,
            level=level,
            seed=seed,
        )
        warn(by.warnings, by.notes)
        show_json(by.to_dict()) if json else show(page.regression(by))
        fail_on(fail, by.warnings)
        return
    from ..decide.mixture import mixture as run

    if map_ or where or renormalise or drop_bad or small:
        raise UsageError("--small, --map, --where, --renormalise and --drop-bad-rows are for --regress")
    check_writable(plot)
    check_apart("--plot", plot, *(fits or ()))
    loaded = [Fit.load(path) for path in fits or ()]
    found = run(
        loaded,
        weights=_weights(weights),
        caps=_caps(cap),
        bounds=_bounds(bounds),
        at=points([at])[0] if at else None,
        domain_tokens=domain_tokens,
        flops=flops,
        level=level,
    )
    if plot:
        from ..show import plot as draw

        draw.save(page.draw_mixture(found), plot)
        write_meta(plot, "scaling-lab/plot/1", {path: sha256_file(path) for path in fits or ()})
    notices = list(dict.fromkeys([*(n for fit in loaded for n in own_warnings(fit)), *found.warnings]))
    warn(notices)
    show_json(found.to_dict()) if json else show(page.mixture(found))
    fail_on(fail, notices)


def _weights(text: str | None) -> list[float] | None:
    from .common import numbers

    return None if text is None else numbers(text, "--weights")
