"""The noise of the residuals, and how fast a law's error grows outside its data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..accounting import six_nd
from ..domains import beyond
from ..laws import Law
from ..quantities import quantity
from ..tables import Rows
from .result import Noise

Floats = NDArray[np.float64]

# Standard error of log loss for each factor e outside the fitted range that is assumed at least: a table whose inner
# backtests went well has been lucky as often as it was good. Measured on public tables; see docs/intervals.md.
LEAST_DRIFT = 0.01
CUTS = (0.4, 0.5, 0.6, 0.7, 0.8)
# Held-out rows lean to one side (SL402) where over at least this many cuts they lie so many standard errors off in the
# mean; calibrated by bench/diagnostics.py.
LEAST_CUTS = 3
BIASED = 1.7
Z90 = 1.6448536269514722


def distance(x: Mapping[str, Floats], ranges: Mapping[str, Mapping[str, float]]) -> Floats:
    """By how many factors e each point (n,) lies outside the fitted range, in the input where it lies furthest.

    A share that lies outside by the width of its range counts as one factor e.
    """
    out = np.zeros(len(next(iter(x.values()))))
    for name, values in x.items():
        if name in ranges and "min" in ranges[name]:
            out = np.maximum(
                out, beyond(name, np.asarray(values, dtype=float), ranges[name]["min"], ranges[name]["max"])
            )
    return out


def extent(x: Mapping[str, Floats]) -> dict[str, Floats]:
    """The inputs, with compute as 6 * params * tokens where they say it and don't name it."""
    out = dict(x)
    if "flops" not in out and "params" in out and "tokens" in out:
        with np.errstate(over="ignore"):  # infinite, which Fit.outside refuses
            out["flops"] = six_nd(np.asarray(out["params"], dtype=float), out["tokens"])
    return out


def inflation(rows: int, free: int) -> float:
    """How much larger a new run's error is than a residual: n rows leave n - p degrees of freedom."""
    return float(np.sqrt(rows / max(rows - free, 1)))


def residual_spread(residuals: Floats, rows: int, free: int) -> float:
    """A robust standard deviation of a new run about a law with `free` parameters, from residuals (n,) of its fit."""
    sd = float(np.median(np.abs(residuals)) * 1.4826)
    return max(sd, float(np.quantile(np.abs(residuals), 0.9) / Z90)) * inflation(rows, free)


Lean = Callable[[Rows, Floats, Rows], tuple[float, float] | None]


def measure_noise(
    law: Law,
    rows: Rows,
    residuals: Floats,
    free: int,
    refit: Callable[[Rows], Floats | None],
    lean: Lean | None = None,
) -> Noise:
    """The residuals' spread, and the drift and the bias that inner backtests show.

    Each inner backtest fits the runs below a compute quantile and predicts those above; the largest drift that one of
    them needs is the answer, since one design says little. `refit` maps rows to parameters (1, P), or None. `lean`
    maps rows, the parameters fitted to them and other rows to the mean error of the latter and its standard error.
    """
    sd = residual_spread(residuals, rows.used, free)
    size = rows.flops if rows.flops is not None else _size(law.inputs[0], rows.x[law.inputs[0]])
    # A run belongs to the side of its last row: its checkpoints would tell the fit about it.
    _, run = np.unique(rows.group.astype(str), return_inverse=True)
    reach = np.full(run.max() + 1, -np.inf)
    np.maximum.at(reach, run, size)
    needed, leans = [], []
    for cut in CUTS:
        edge = np.quantile(size, cut)
        train, test = reach[run] <= edge, size > edge
        if test.sum() >= 3 and train.sum() >= 3:
            inside, outside = rows.take(train), rows.take(test)
            params = refit(inside)
            if params is None:
                continue
            drift = _needed_drift(law, inside, outside, sd, params)
            needed += [] if drift is None else [drift]
            leaning = lean(inside, params, outside) if lean else None
            leans += [] if leaning is None else [leaning]
    bias, bias_z = _common_lean(leans)
    return Noise(sd=sd, drift=max([LEAST_DRIFT, *needed]), cuts=len(needed), bias=bias, bias_z=bias_z)


def _size(name: str, values: Floats) -> Floats:
    """How large the runs (n,) are by an input: those of low loss are the large ones."""
    return -values if quantity(name).unit in ("nats/token", "bits/byte") else values


def _common_lean(leans: Sequence[tuple[float, float]]) -> tuple[float | None, float | None]:
    """The mean error over the cuts, each by its precision, and the mean of the cuts' errors in standard errors.

    Both have the same sign; None where too few cuts can say.
    """
    usable = [(mean, se) for mean, se in leans if np.isfinite(mean) and 0 < se < np.inf]
    if len(usable) < LEAST_CUTS:
        return None, None
    mean, se = np.array(usable).T
    return float(np.sum(mean / se) / np.sum(1 / se)), float(np.mean(mean / se))


def _needed_drift(law: Law, inside: Rows, outside: Rows, sd: float, params: Floats) -> float | None:
    """The drift with which 90 % intervals would have held 90 % of the rows outside; None where the fit can't say.

    An error e at distance d needs sqrt((e / 1.645)² - sd²) / d.
    """
    named = {name: params[:, [i]] for i, name in enumerate(law.names)}
    with np.errstate(all="ignore"):
        predicted = np.asarray(law.predict(dict(outside.x), **named))[0]
        error = np.log(predicted / outside.y) if law.residual == "log" else predicted - outside.y
    if not np.isfinite(error).all():  # a refit that ran away says nothing
        return None
    far = distance(extent(outside.x), ranges(extent(inside.x)))
    # Rows just beyond the edge say nothing of growth with distance.
    use = far > 0.1
    if use.sum() < 3:
        return None
    return float(np.quantile(np.sqrt(np.maximum((error[use] / Z90) ** 2 - sd**2, 0)) / far[use], 0.9))


def ranges(x: Mapping[str, Floats]) -> dict[str, dict[str, float]]:
    """The smallest and largest value of each input (n,)."""
    return {name: {"min": float(v.min()), "max": float(v.max())} for name, v in x.items()}
