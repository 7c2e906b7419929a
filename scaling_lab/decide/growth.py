"""Growing a large model out of a small one: when to stack, what it costs, and how much compute it saves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..accounting import six_nd
from ..engine.predict import cautions, far_outside, interval, no_draws
from ..engine.result import Fit, Notice, too_few_draws
from ..errors import UsageError
from ..laws import LAWS
from ..quantities import format_quantity
from .allocate import Quantile
from .compare import Comparison, compare

GROWTH_SCHEMA, SPEEDUP_SCHEMA = "scaling-lab/growth/1", "scaling-lab/speedup/1"
# Du et al. 2024, arXiv:2405.15319: factors of 2 to 4 did best, and 4 is the advice; sizes that were trained.
FACTOR, FACTORS, SIZES = 4.0, (2.0, 4.0), (410e6, 7e9)
_PUBLISHED = "du2024"


@dataclass(frozen=True)
class Growth:
    """When to stack a model of params / factor into one of params that is to see `tokens`, and what that costs.

    `growth_tokens` is what the small model sees, `asked` what the law says before it is held between 0 and all tokens;
    `small_flops` is the small model's compute, as much as `worth_tokens` of the large one's.
    """

    params: float
    tokens: float
    flops: float
    factor: float
    growth_tokens: Quantile
    asked: float
    share: float
    small_params: float
    small_flops: float
    worth_tokens: float
    source: str
    level: float
    warnings: tuple[Notice, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON of the whole."""
        own = {name: value for name, value in vars(self).items() if name not in ("growth_tokens", "warnings")}
        return {
            "schema": GROWTH_SCHEMA,
            **own,
            "growth_tokens": self.growth_tokens.to_dict(),
            "warnings": [vars(notice) for notice in self.warnings],
        }


@dataclass(frozen=True)
class Speedup:
    """FLOPs from scratch over FLOPs grown, less one, at equal loss, at each place of `comparison` (A grown)."""

    comparison: Comparison
    speedups: tuple[Quantile, ...]
    small_flops: float

    @property
    def warnings(self) -> tuple[Notice, ...]:
        """Those of the comparison."""
        return self.comparison.warnings

    def to_dict(self) -> dict[str, Any]:
        """JSON: each place with the loss there and the speed-up; null where scratch never gets there."""
        places = []
        for place, speedup in zip(self.comparison.multipliers, self.speedups, strict=True):
            found = speedup.to_dict()
            found["value"] = found["value"] if np.isfinite(speedup.value) else None
            places.append(
                {"at": dict(place.at), "flops": place.flops, "loss": place.loss_a.to_dict(), "speedup": found}
            )
        return {
            "schema": SPEEDUP_SCHEMA,
            "laws": {"grown": self.comparison.laws[0], "scratch": self.comparison.laws[1]},
            "small_flops": self.small_flops,
            "places": places,
            "level": self.comparison.level,
            "warnings": [vars(notice) for notice in self.warnings],
        }


def growth(
    params: float,
    tokens: float | None = None,
    flops: float | None = None,
    *,
    factor: float = FACTOR,
    fit: Fit | None = None,
    level: float = 0.9,
) -> Growth:
    """When to stack, for a target of `params` (without embeddings) and `tokens`, or their compute.

    By the published timing law, or by a fit of `gstack` to one's own runs, whose interval is then given. Raises
    UsageError where the numbers make no sense.
    """
    if (tokens is None) == (flops is None):
        raise UsageError("give --tokens or --flops, one of the two")
    for name, value in (("--params", params), ("--tokens", tokens), ("--flops", flops)):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise UsageError(f"{name} {value:g} is not a number above zero")
    if not (np.isfinite(factor) and 1 < factor < params):
        raise UsageError(f"--factor {factor:g} is no growth: it must lie above 1")
    if not 0 < level < 1:
        raise UsageError(f"--level {level:g} is not between 0 and 1")
    spent = float(six_nd(params, tokens)) if tokens is not None else float(flops or 0)
    total = float(tokens) if tokens is not None else spent / (6.0 * params)
    if np.log10(spent) <= 1:
        raise UsageError(f"{spent:g} FLOP train nothing; the timing law needs more than 10")
    asked, ci, source, notices = _asked(fit, params, spent, level)
    held = [min(max(value, 0.0), total) for value in (asked, *ci)]
    small = params / factor
    return Growth(
        params=params,
        tokens=total,
        flops=spent,
        factor=factor,
        growth_tokens=Quantile(held[0], tuple(held[1:])),
        asked=asked,
        share=held[0] / total,
        small_params=small,
        small_flops=float(six_nd(small, held[0])),
        worth_tokens=held[0] / factor,
        source=source,
        level=level,
        warnings=(*notices, *_held(asked, total), *_untried(params, factor, fit)),
    )


def _asked(
    fit: Fit | None, params: float, flops: float, level: float
) -> tuple[float, tuple[float, ...], str, tuple[Notice, ...]]:
    """The law's tokens, their interval, where the law comes from, and what it says of the place."""
    law = LAWS["gstack"]
    x = {"params": np.array([params]), "flops": np.array([flops])}
    if fit is None:
        row = law.published[_PUBLISHED]
        return float(np.asarray(law.predict(x, **row.values))[0]), (), row.source, ()
    if fit.law != law.name:
        raise UsageError(f"the fit is of {fit.law}; --fit takes one of {law.name}")
    low, high = interval(fit, x, level, noise=False)
    # That there are too few tokens is said once, by what holds them.
    notices = (
        *no_draws(fit),
        *too_few_draws(fit, level),
        *far_outside([fit.outside({"params": params, "flops": flops})]),
        *(n for n in cautions(fit, x) if "growth_tokens" not in n.message),
    )
    ends = (float(low[0]), float(high[0])) if len(fit.draws) > 1 else ()
    return float(fit.at(x)[0]), ends, "your fit of gstack", notices


def _held(asked: float, tokens: float) -> tuple[Notice, ...]:
    if asked <= tokens:
        return ()
    message = (
        f"the timing law asks for {format_quantity(asked)} tokens of the small model, more than the "
        f"{format_quantity(tokens)} there are: held there, where nothing is left to train the large one. The law was "
        "not made for so short a training"
    )
    return (Notice("SL446", "warning", message),)


def _untried(params: float, factor: float, fit: Fit | None) -> tuple[Notice, ...]:
    """What nobody published has tried: another factor, or a size beyond those of the paper."""
    said = []
    if not FACTORS[0] <= factor <= FACTORS[1]:
        said.append(f"a growth factor of {factor:g} (2 to 4 did best, and the timing law is of 4)")
    elif factor != FACTOR:
        said.append(f"timing for a growth factor of {factor:g} (the law is of 4)")
    if fit is None and not SIZES[0] <= params <= SIZES[1]:
        said.append(f"{format_quantity(params)} parameters (410M to 7B were trained)")
    if not said:
        return ()
    return (Notice("SL447", "warning", f"beyond what the guideline was made from: {' and '.join(said)}"),)


def speedup(
    scratch: Fit,
    grown: Fit,
    *,
    at: Sequence[Mapping[str, float]] = (),
    small_flops: float = 0.0,
    level: float = 0.9,
) -> Speedup:
    """FLOPs_scratch / FLOPs_grown - 1 at equal loss (Du et al. 2024), from two fitted loss-compute laws.

    `at` are places of the grown recipe: its compute, or a model of params and tokens; default five over its own runs.
    `small_flops` is the small model's compute, where the grown table's flops leave it out. Raises what compare raises.
    """
    if not (np.isfinite(small_flops) and small_flops >= 0):
        raise UsageError(f"--small-flops {small_flops:g} is below zero")
    found = compare(grown, scratch, at=at or _over(grown), level=level)
    speedups = tuple(_less_one(place.factor, place.flops / (place.flops + small_flops)) for place in found.multipliers)
    return Speedup(found, speedups, small_flops)


def _over(grown: Fit) -> list[dict[str, float]]:
    """Five computes over the runs of the grown recipe."""
    reach = grown.inputs.get("flops")
    if reach is None:
        raise UsageError("the grown runs say no compute: give --at flops=NUMBER")
    return [{"flops": float(c)} for c in np.geomspace(reach["min"], reach["max"], 5)]


def _less_one(factor: Quantile, share: float) -> Quantile:
    """The speed-up of a factor of compute, of which the grown recipe's table shows a share."""
    return replace(factor, value=factor.value * share - 1, ci=tuple(end * share - 1 for end in factor.ci))
