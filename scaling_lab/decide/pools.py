"""Which pools of data to train on for a budget of samples, from runs on each pool alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engine.predict import far_outside, interval, no_draws
from ..engine.result import Estimate, Fit, Notice, too_few_draws
from ..errors import BadInput, UsageError
from ..laws.pools import PASSES
from ..quantities import SHARE_PREFIX, format_quantity
from .allocate import Quantile, quantile_of

Floats = NDArray[np.float64]
SCHEMA = "scaling-lab/pools/1"
# Up to so many pools every set of them is tried; of more, the best one, two, three, ... by utility.
EXHAUSTIVE = 8
# A set that is best in a smaller share of the draws is not certain to be the best.
DECIDED = 0.9
# Sample counts between which a looser set may overtake a tighter one: pool sizes, and places of the search.
FIRST, PLACES = 1 / 64, 161


@dataclass(frozen=True)
class Pool:
    """A pool's utility b (below zero; the lower the better) and its half-life in repetitions, with intervals."""

    name: str
    utility: Estimate
    half_life: Estimate


@dataclass(frozen=True)
class PoolSet:
    """Equal shares of some pools at one budget of samples.

    `error` has the interval of the law's own doubt, `interval` that of a new run; `passes` is how often each pool is
    seen; `best_in` the share of draws in which no other set does better, None without draws.
    """

    names: tuple[str, ...]
    error: Quantile
    interval: tuple[float, float]
    passes: float
    best_in: float | None

    def to_dict(self) -> dict[str, Any]:
        """An entry of the JSON."""
        return {
            "pools": list(self.names),
            "error": self.error.to_dict(),
            "interval": list(self.interval),
            "passes": self.passes,
            "best_in": self.best_in,
        }


@dataclass(frozen=True)
class BestPools:
    """The sets tried for one budget of samples, best first."""

    samples: float
    sets: tuple[PoolSet, ...]


@dataclass(frozen=True)
class Crossing:
    """The samples beyond which the looser set stays better than the tighter; infinite where that is never."""

    tighter: tuple[str, ...]
    looser: tuple[str, ...]
    samples: Quantile


@dataclass(frozen=True)
class PoolChoice:
    """Pools by utility, the best sets of them for each budget, and where the next looser set overtakes."""

    law: str
    target: str
    unique_samples: float
    level: float
    pools: tuple[Pool, ...]
    budgets: tuple[BestPools, ...]
    crossings: tuple[Crossing, ...]
    warnings: tuple[Notice, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `pools --json`."""
        return {
            "schema": SCHEMA,
            "law": self.law,
            "target": self.target,
            "unique_samples": self.unique_samples,
            "level": self.level,
            "pools": [
                {"name": p.name, "utility": _estimate(p.utility), "half_life": _estimate(p.half_life)}
                for p in self.pools
            ],
            "budgets": [{"samples": b.samples, "sets": [s.to_dict() for s in b.sets]} for b in self.budgets],
            "crossings": [
                {"tighter": list(c.tighter), "looser": list(c.looser), "samples": _open(c.samples)}
                for c in self.crossings
            ],
            "warnings": [vars(notice) for notice in self.warnings],
        }


@dataclass(frozen=True)
class SetCurve:
    """The error of equal shares of some pools at samples (m,), with the ends of its interval."""

    names: tuple[str, ...]
    samples: Floats
    error: Floats
    low: Floats
    high: Floats


def _estimate(found: Estimate) -> dict[str, Any]:
    return {"value": found.value, "se": found.se, "ci": None if found.ci is None else list(found.ci)}


def _open(found: Quantile) -> dict[str, Any]:
    value = found.to_dict()
    return value | {"value": found.value if np.isfinite(found.value) else None}


def pools(fit: Fit, samples: Sequence[float], *, unique_samples: float | None = None, level: float = 0.9) -> PoolChoice:
    """The pools of a fit of `qqt`, and for each budget of samples the sets of them with the least predicted error.

    No run need have mixed pools. A set is used in equal shares; every set is tried where there are at most EXHAUSTIVE
    pools, else the best one, two, three, ... by utility. `unique_samples` is the size of one pool (default: that of the
    fitted rows, where they have one). Raises UsageError for another law or impossible budgets.
    """
    shares = _shares(fit)
    size = _size(fit, unique_samples)
    _check(samples, size, level)
    found = sorted(
        (Pool(n, fit.params[f"b_{n}"], fit.params[f"tau_{n}"]) for n in shares), key=lambda pool: pool.utility.value
    )
    order = tuple(pool.name for pool in found)
    budgets = tuple(_best(fit, _sets(order), order, float(n), size, level) for n in samples)
    crossings = tuple(_crossing(fit, order[:k], order[: k + 1], order, size, level) for k in range(1, len(order)))
    outside = [fit.outside({"samples": n, "unique_samples": size}) for n in samples]
    return PoolChoice(
        law=fit.law,
        target=fit.target,
        unique_samples=size,
        level=level,
        pools=tuple(found),
        budgets=budgets,
        crossings=crossings,
        warnings=(
            *no_draws(fit),
            *too_few_draws(fit, level),
            *far_outside(outside),
            *_untested(fit, order),
            *_beyond(fit, order, budgets, size),
            *_undecided(budgets),
        ),
    )


def curves(fit: Fit, found: PoolChoice, places: int = 121) -> tuple[SetCurve, ...]:
    """The best one, two, three, ... pools by utility over the fitted sample counts and the budgets."""
    order = tuple(pool.name for pool in found.pools)
    about = fit.inputs["samples"]
    ends = [about["min"], about["max"], *(budget.samples for budget in found.budgets)]
    samples = np.geomspace(min(ends), max(ends), places)
    drawn = []
    for k in range(1, len(order) + 1):
        x = _inputs([order[:k]], order, samples, found.unique_samples)
        drawn.append(SetCurve(order[:k], samples, fit.at(x), *interval(fit, x, found.level, noise=False)))
    return tuple(drawn)


def _shares(fit: Fit) -> tuple[str, ...]:
    """The names of the pools of a fit of qqt."""
    if not fit.law.startswith("qqt"):
        raise UsageError(f"pools needs a fit of qqt, and this is one of {fit.law}: fit qqt to a table of w_POOL shares")
    return tuple(name.removeprefix(SHARE_PREFIX) for name in fit.entry.inputs if name.startswith(SHARE_PREFIX))


def _size(fit: Fit, given: float | None) -> float:
    """The size of one pool."""
    low, high = fit.inputs["unique_samples"]["min"], fit.inputs["unique_samples"]["max"]
    if given is None and high > low:
        raise UsageError(
            f"the fitted pools have {format_quantity(low)} to {format_quantity(high)} samples: say with "
            "--unique-samples how many one pool is to have"
        )
    return float(low if given is None else given)


def _check(samples: Sequence[float], size: float, level: float) -> None:
    if not samples:
        raise UsageError("give one budget of samples or more, as in --samples 32M,640M")
    if not (np.isfinite(size) and size > 0):
        raise UsageError(f"--unique-samples {size:g} is not a number above zero")
    if not 0 < level < 1:
        raise UsageError(f"--level {level:g} is not between 0 and 1")
    for n in samples:
        if not (np.isfinite(n) and 0 < n <= PASSES * size):
            raise UsageError(
                f"--samples {n:g} is not between 0 and {format_quantity(PASSES * size)}, {PASSES} times the size of a "
                "pool, up to which the law is summed"
            )


def _sets(order: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The sets of pools that are tried, each in the order of utility."""
    if len(order) > EXHAUSTIVE:
        return [order[:k] for k in range(1, len(order) + 1)]
    return [chosen for k in range(1, len(order) + 1) for chosen in combinations(order, k)]


def _inputs(
    sets: Sequence[tuple[str, ...]], order: tuple[str, ...], samples: Floats | float, size: float
) -> dict[str, Floats]:
    """The law's inputs (m,) for equal shares of each of m sets (or one set at m sample counts)."""
    m = max(len(sets), np.size(samples))
    x = {"samples": np.broadcast_to(np.asarray(samples, dtype=float), (m,)), "unique_samples": np.full(m, size)}
    for name in order:
        share = [(name in chosen) / len(chosen) for chosen in sets]
        x[SHARE_PREFIX + name] = np.broadcast_to(np.asarray(share, dtype=float), (m,))
    return x


def _best(
    fit: Fit, sets: list[tuple[str, ...]], order: tuple[str, ...], samples: float, size: float, level: float
) -> BestPools:
    x = _inputs(sets, order, samples, size)
    value = fit.at(x)
    if not np.isfinite(value).all():
        raise BadInput(
            f"{fit.law} gives no finite {fit.target} at {format_quantity(samples)} samples", fix="ask nearer"
        )
    low, high = interval(fit, x, level, noise=False)
    run_low, run_high = interval(fit, x, level)
    known = len(fit.draws) > 1
    wins = np.bincount(np.argmin(fit.at_draws(x), axis=1), minlength=len(sets)) / len(fit.draws) if known else None
    found = [
        PoolSet(
            chosen,
            Quantile(float(value[i]), (float(low[i]), float(high[i])) if known else ()),
            (float(run_low[i]), float(run_high[i])),
            samples / size / len(chosen),
            float(wins[i]) if wins is not None else None,
        )
        for i, chosen in enumerate(sets)
    ]
    return BestPools(samples, tuple(sorted(found, key=lambda each: each.error.value)))


def _crossing(
    fit: Fit, tighter: tuple[str, ...], looser: tuple[str, ...], order: tuple[str, ...], size: float, level: float
) -> Crossing:
    """Where the looser set's error falls below the tighter's for good, at the optimum and at each draw."""
    samples = size * np.geomspace(FIRST, PASSES, PLACES)
    one, other = (_inputs([chosen], order, samples, size) for chosen in (tighter, looser))
    # The optimum first, then the draws.
    every = np.concatenate([(fit.at(other) - fit.at(one))[None, :], fit.at_draws(other) - fit.at_draws(one)])
    places = np.array([_last_fall(np.log(samples), gap) for gap in every])
    return Crossing(tighter, looser, quantile_of(places, level))


def _last_fall(log_samples: Floats, gap: Floats) -> float:
    """The samples beyond which a gap (m,) stays below zero: infinite where it ends above, 0 where it always was."""
    above = np.flatnonzero(~(gap < 0))
    if above.size == 0:
        return 0.0
    at = int(above[-1])
    if at == len(gap) - 1:
        return float(np.inf)
    share = gap[at] / (gap[at] - gap[at + 1])
    return float(np.exp(log_samples[at] + share * (log_samples[at + 1] - log_samples[at])))


def _untested(fit: Fit, order: tuple[str, ...]) -> tuple[Notice, ...]:
    """A warning where no fitted row mixes pools: then nothing has tested how they add up."""
    if np.any(np.max(_fitted_shares(fit, order), axis=0) < 1 - 1e-9):
        return ()
    message = (
        "no fitted run mixes pools: the errors of sets of several assume the law's rule, that utilities average and "
        "half-lives stretch, and their intervals hold no doubt of it"
    )
    return (Notice("SL422", "warning", message),)


def _fitted_shares(fit: Fit, order: tuple[str, ...]) -> Floats:
    """The shares of the fitted rows, (pools, n)."""
    return np.array([np.asarray(fit.points[SHARE_PREFIX + name], dtype=float) for name in order])


def _beyond(fit: Fit, order: tuple[str, ...], budgets: Sequence[BestPools], size: float) -> tuple[Notice, ...]:
    """A warning where a best set passes over a pool more often than any fitted run did."""
    passes = np.asarray(fit.points["samples"], dtype=float) / np.asarray(fit.points["unique_samples"], dtype=float)
    seen: Mapping[str, float] = dict(zip(order, np.max(_fitted_shares(fit, order) * passes, axis=1), strict=True))
    told = [
        (budget.samples, best.passes, name)
        for budget in budgets
        for best in budget.sets[:1]
        for name in best.names
        if best.passes > seen[name] * (1 + 1e-9)
    ]
    if not told:
        return ()
    samples, count, name = max(told, key=lambda each: each[1] / seen[each[2]])
    message = (
        f"the best set for {format_quantity(samples)} samples passes {count:.3g} times over pool {name}, which no "
        f"fitted run did more than {seen[name]:.3g} times: what its repeats are worth there is extrapolated"
    )
    return (Notice("SL423", "warning", message),)


def _undecided(budgets: Sequence[BestPools]) -> tuple[Notice, ...]:
    """A warning where the best set is not the best in most draws."""
    open_ = [b for b in budgets if b.sets[0].best_in is not None and b.sets[0].best_in < DECIDED]
    if not open_:
        return ()
    worst = min(open_, key=lambda b: b.sets[0].best_in or 0.0)
    message = (
        f"for {len(open_)} of {len(budgets)} budgets the best set is not certain (for "
        f"{format_quantity(worst.samples)} samples it is best in {worst.sets[0].best_in:.0%} of the draws): the runs "
        "do not tell it from the next"
    )
    return (Notice("SL424", "warning", message),)
