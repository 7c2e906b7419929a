"""Resampled weights, the noise of the residuals, and how fast a law's error grows outside its data."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from ..laws import Law
from ..tables import Rows
from .result import Noise

Floats = NDArray[np.float64]

# Standard error of log loss for each factor e outside the fitted range that is assumed at least: a table whose inner
# backtests went well has been lucky as often as it was good. Measured on public tables; see docs/intervals.md.
LEAST_DRIFT = 0.01
CUTS = (0.4, 0.5, 0.6, 0.7, 0.8)
Z90 = 1.6448536269514722


def bootstrap_weights(
    groups: NDArray[np.generic], count: int, seed: int, least: int
) -> tuple[NDArray[np.int32], int]:
    """How often each row counts in each of `count` resamples of whole groups, (count, n), and how many were redrawn.

    A resample with fewer than `least` distinct rows can't be fitted and is drawn again. All are drawn before any is
    fitted, so the numbers do not depend on how the work is shared out.
    """
    _, index = np.unique(groups.astype(str), return_inverse=True)
    kinds = int(index.max()) + 1
    rng = np.random.default_rng([seed, 1])
    out = np.empty((count, len(index)), dtype=np.int32)
    redrawn = 0
    for b in range(count):
        for _ in range(1000):
            times = np.bincount(rng.integers(0, kinds, kinds), minlength=kinds)
            if np.sum(times[index] > 0) >= min(least, len(index)):
                break
            redrawn += 1
        out[b] = times[index]
    return out, redrawn


def distance(x: Mapping[str, Floats], ranges: Mapping[str, Mapping[str, float]]) -> Floats:
    """By how many factors e each point (n,) lies outside the fitted range, in the input where it lies furthest."""
    out = np.zeros(len(next(iter(x.values()))))
    for name, values in x.items():
        if name in ranges and "min" in ranges[name]:
            low, high = ranges[name]["min"], ranges[name]["max"]
            out = np.maximum(out, np.maximum(np.log(values / high), np.log(low / values)))
    return out


def measure_noise(law: Law, rows: Rows, residuals: Floats, refit: Callable[[Rows], Floats | None]) -> Noise:
    """The residuals' spread, and the drift that inner backtests show.

    Each inner backtest fits the runs below a compute quantile and predicts those above. A held-out error e at
    distance d needs a drift of sqrt((e/1.645)² - sd²) / d to lie inside its 90 % interval; the drift kept for a cut
    covers 90 % of its rows, and the largest of the cuts is the answer, since one design says little.
    """
    sd = float(np.median(np.abs(residuals)) * 1.4826)
    sd = max(sd, float(np.quantile(np.abs(residuals), 0.9) / Z90))
    size = rows.flops if rows.flops is not None else rows.x[law.inputs[0]]
    top: dict[object, float] = {}
    for g, s in zip(rows.group.tolist(), size.tolist(), strict=True):
        top[g] = max(top.get(g, 0.0), s)
    reach = np.array([top[g] for g in rows.group.tolist()])
    needed = []
    for cut in CUTS:
        edge = np.quantile(size, cut)
        train, test = reach <= edge, size > edge
        if test.sum() < 3 or train.sum() < 3:
            continue
        params = refit(rows.take(train))
        if params is None:
            continue
        inside, outside = rows.take(train), rows.take(test)
        named = {name: params[:, [i]] for i, name in enumerate(law.names)}
        predicted = np.asarray(law.predict(dict(outside.x), **named))[0]
        error = np.log(predicted / outside.y) if law.residual == "log" else predicted - outside.y
        far = distance({**outside.x, **_flops(outside)}, _ranges({**inside.x, **_flops(inside)}))
        use = far > 0.1
        if use.sum() >= 3:
            wanted = np.sqrt(np.maximum((error[use] / Z90) ** 2 - sd**2, 0)) / far[use]
            needed.append(float(np.quantile(wanted, 0.9)))
    return Noise(sd=sd, drift=max([LEAST_DRIFT, *needed]), cuts=len(needed))


def _flops(rows: Rows) -> dict[str, Floats]:
    return {} if rows.flops is None else {"flops": rows.flops}


def _ranges(x: Mapping[str, Floats]) -> dict[str, dict[str, float]]:
    return {name: {"min": float(v.min()), "max": float(v.max())} for name, v in x.items()}
