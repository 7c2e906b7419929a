"""Predictions of a fit with intervals, and how far each lies outside the data."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..accounting import DERIVED
from ..domains import allowed
from ..errors import BadInput, UsageError, nearest
from ..laws import broken_rules
from ..quantities import DOMAINS, QUANTITIES, format_quantity, quantity
from ..tables import Table, column_numbers, read_table
from .blend import Calibration
from .coordinates import Coordinates
from .discrepancy import Posterior, Seen
from .repeats import repeats
from .result import Fit, Notice, too_few_draws
from .uncertainty import distance, extent, inflation

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
SCHEMA = "scaling-lab/predict/1"
# Beyond this factor outside the fitted range a prediction carries a warning.
FAR = 30.0


@dataclass(frozen=True)
class Predictions:
    """The target at m points: inputs and value, low, high (m,), and by what factor each input lies outside the fit."""

    inputs: Mapping[str, Floats]
    target: str
    value: Floats
    low: Floats
    high: Floats
    level: float
    outside: tuple[Mapping[str, float], ...]
    warnings: tuple[Notice, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The contract's JSON."""
        points = [
            {
                "inputs": {name: float(v[i]) for name, v in self.inputs.items()},
                "target": self.target,
                "value": float(self.value[i]),
                "interval": [float(self.low[i]), float(self.high[i])],
                "level": self.level,
                "outside": dict(self.outside[i]),
            }
            for i in range(len(self.value))
        ]
        return {"schema": SCHEMA, "points": points, "warnings": [vars(w) for w in self.warnings]}


def predict(
    fit: Fit,
    at: Mapping[str, Any] | Sequence[Mapping[str, float]] | str | os.PathLike[str] | pd.DataFrame | Table,
    level: float = 0.9,
) -> Predictions:
    """What the fit expects at points (one mapping, several, or a table), with intervals at `level`.

    An interval holds three kinds of doubt: the parameters' (bootstrap draws), one run's noise (residuals of the fit)
    and the law's own error outside its data (`fit.noise.drift` for each factor e); docs/intervals.md has the details.
    """
    if not 0 < level < 1:
        raise UsageError(f"--level {level:g} is not between 0 and 1")
    x = _points(fit, at)
    value = fit.at(x)
    points = [{name: v[i] for name, v in x.items()} for i in range(len(value))]
    # First of all: what lies outside every number is refused here, before it is computed with.
    outside = tuple(fit.outside(extent(point)) for point in points)
    if not np.isfinite(value).all():
        worst = int(np.argmin(np.isfinite(value)))
        point = ", ".join(f"{name} = {format_quantity(values)}" for name, values in points[worst].items())
        raise BadInput(f"{fit.law} gives no finite {fit.target} at {point}", fix="ask for a point nearer to the data")
    low, high = interval(fit, x, level)
    about_draws = () if fit.calibration or fit.posterior else (*no_draws(fit), *too_few_draws(fit, level))
    notices = (*about_draws, *far_outside(outside), *_other_compute(fit, at), *cautions(fit, x), *repeats(x))
    return Predictions(x, fit.target, value, low, high, level, outside, notices)


def _other_compute(fit: Fit, at: Any) -> tuple[Notice, ...]:
    """A warning where a law of the table's own flops is asked about compute that is 6 * params * tokens."""
    derived = isinstance(at, (list, tuple)) and any("flops" not in point for point in at)
    derived = derived or (isinstance(at, Mapping) and "flops" not in at)
    if "flops" not in fit.entry.inputs or not derived or fit.inputs["flops"]["column"] == "6*params*tokens":
        return ()
    column = fit.inputs["flops"]["column"]
    message = f"the law was fitted to column {column!r}, and the compute of a point is taken as 6*params*tokens"
    return (Notice("SL102", "warning", message),)


def cautions(fit: Fit, x: Mapping[str, Floats]) -> tuple[Notice, ...]:
    """What the law itself says of points (n,), as of one past the last break of a broken power law."""
    if fit.entry.cautions is None:
        return ()
    return tuple(Notice("SL408", "warning", message) for message in fit.entry.cautions(x, fit.values))


def interval(fit: Fit, x: Mapping[str, Floats], level: float, noise: bool = True) -> tuple[Floats, Floats]:
    """Ends (m,), (m,) of the central interval for a new run at x, or for the law itself without `noise`.

    Every point sees the same random draws, so its interval does not depend on the points beside it. A choice of laws
    has the calibrated intervals of its inner backtests, which hold a run's noise in any case.
    """
    if fit.calibration is not None:
        return _calibrated(fit, fit.calibration, x, level)
    if fit.posterior is not None:
        return _of_posterior(fit, fit.posterior, x, level)
    low, high = ends(ensemble(fit, x, noise), level)
    # The optimum itself is never called impossible, however skewed the draws are.
    value = fit.at(x)
    return np.minimum(low, value), np.maximum(high, value)


def ensemble(fit: Fit, x: Mapping[str, Floats], noise: bool = True) -> Floats:
    """What a new run at each of m points may come to (n, m), by draws, drift and noise; of a fit of one law."""
    rng = np.random.default_rng([fit.seed, 2])
    count = max(len(fit.draws), 1000)
    paths = fit.at_draws(x)[np.arange(count) % len(fit.draws)]
    residuals = fit.objective.residual(fit.at(_inputs_of(fit)), fit.objective.scale(np.asarray(fit.points[fit.target])))
    residuals = residuals * inflation(fit.metrics.n, sum(not p.fixed for p in fit.params.values()))
    drift = np.outer(rng.standard_normal(count), fit.noise.drift * distance(extent(x), fit.inputs))
    # Residuals stand for the noise of one run; resampled, they keep its heavy tails.
    shift = drift + (-rng.choice(residuals, count)[:, None] if noise else 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        return paths * np.exp(shift) if fit.objective.on == "log" else paths + shift


def ends(ensemble: Floats, level: float) -> tuple[Floats, Floats]:
    """Quantiles (m,), (m,) of an ensemble (n, m), in which a draw that is no number lies beyond both ends."""
    tails = [(1 - level) / 2, (1 + level) / 2]
    if np.isfinite(ensemble).all():
        low, high = np.quantile(ensemble, tails, axis=0)
        return low, high
    unknown = np.isnan(ensemble)
    # Between finite and infinite there is nothing to interpolate: the draw further out is the end.
    return (
        np.quantile(np.where(unknown, -np.inf, ensemble), tails[0], axis=0, method="lower"),
        np.quantile(np.where(unknown, np.inf, ensemble), tails[1], axis=0, method="higher"),
    )


def _calibrated(fit: Fit, calibration: Calibration, x: Mapping[str, Floats], level: float) -> tuple[Floats, Floats]:
    half = calibration.half_width(distance(extent(x), fit.inputs), fit.blend.spread(x, fit.values), level)
    return _about(fit.at(x), half, fit.objective.on)


def _of_posterior(fit: Fit, posterior: Posterior, x: Mapping[str, Floats], level: float) -> tuple[Floats, Floats]:
    """Ends about the plain fit: the posterior's doubt, and how far its mean lies from the plain fit."""
    coordinates = Coordinates(fit.entry, {name: p.value for name, p in fit.params.items() if p.fixed})
    mean, sd = posterior.predictive(coordinates, Seen.of_points(fit.entry, fit.points), x)
    value = fit.at(x)
    apart = mean - fit.objective.scale(value)
    half = np.sqrt((NormalDist().inv_cdf((1 + level) / 2) * sd) ** 2 + apart**2)
    return _about(value, half, fit.objective.on)


def _about(value: Floats, half: Floats, on: str) -> tuple[Floats, Floats]:
    """Ends a factor of exp(half), or `half` itself on a plain scale, about values (m,).

    A doubt beyond floating point leaves them open.
    """
    if on == "plain":
        return value - half, value + half
    with np.errstate(over="ignore"):
        return value * np.exp(-half), value * np.exp(half)


def no_draws(fit: Fit) -> tuple[Notice, ...]:
    """A warning where the fit has no bootstrap, so that its intervals leave out the parameters' doubt."""
    if len(fit.draws) > 1 or all(p.fixed for p in fit.params.values()):
        return ()
    why = "has no bootstrap" if fit.bootstrap["n"] == 0 else "has too few runs to resample"
    if fit.intervals["method"] != "bootstrap":
        why = f"has no draws by {fit.intervals['method']}"
    message = f"the fit {why}: these intervals leave out the doubt of the parameters and are too narrow"
    if fit.calibration is not None or fit.posterior is not None:
        message = f"the fit {why}: the split has no intervals (that of the loss rests on no draws)"
    return (Notice("SL405", "warning", message),)


def _inputs_of(fit: Fit) -> dict[str, Floats]:
    return {name: np.asarray(fit.points[name], dtype=float) for name in fit.entry.inputs}


def _points(fit: Fit, at: Any) -> dict[str, Floats]:
    wanted = fit.entry.inputs
    if isinstance(at, Mapping):
        at = [at]
    if isinstance(at, (list, tuple)):
        for point in at:
            derived = {"params", "tokens"} if any(n in DERIVED and n not in point for n in wanted) else set()
            stray = [name for name in point if name not in {*wanted, *derived}]
            if stray:
                hint = nearest(stray[0], wanted) if stray[0] not in QUANTITIES else "leave it out"
                raise UsageError(f"{fit.law} takes {', '.join(wanted)}, not {stray[0]!r}; {hint}")
            missing = [name for name in wanted if name not in _completed(point)]
            if missing:
                given = ", ".join(f"{k}={format_quantity(v)}" for k, v in point.items()) or "an empty point"
                raise UsageError(f"a point needs {', '.join(wanted)}: {missing[0]} is missing from {given}")
        x = {name: np.array([float(_completed(point)[name]) for point in at]) for name in wanted}
    else:
        x = _points_of_table(fit, read_table(at))
    for name, values in x.items():
        domain = quantity(name).domain
        wrong = ~allowed(domain, values)
        if wrong.any():
            raise BadInput(f"{name} = {values[wrong][0]:g} is not a number {DOMAINS[domain]}", fix="mend the point")
    for at, why in broken_rules(fit.entry, x).items():
        point = ", ".join(f"{name} = {format_quantity(v[at])}" for name, v in x.items())
        raise BadInput(f"{why} at {point}", fix="mend the point")
    return x


def _completed(point: Mapping[str, float]) -> dict[str, float]:
    """A point with what follows from its params and tokens, where it does not name that itself."""
    out = dict(point)
    if "params" in point and "tokens" in point:
        n, d = np.float64(point["params"]), np.float64(point["tokens"])
        with np.errstate(all="ignore"):  # what is not finite is refused by name
            out = {name: follows(n, d) for name, (follows, _) in DERIVED.items()} | out
    return out


def _points_of_table(fit: Fit, table: Table) -> dict[str, Floats]:
    x = {}
    for name in fit.entry.inputs:
        if name in DERIVED and not table.has(name):
            with np.errstate(all="ignore"):
                x[name] = DERIVED[name][0](column_numbers(table, "params")[0], column_numbers(table, "tokens")[0])
            continue
        values, faults = column_numbers(table, name)
        domain = quantity(name).domain
        wrong = sorted({*faults, *np.flatnonzero(~allowed(domain, values)).tolist()})
        if wrong:
            cell = faults.get(wrong[0], f"{values[wrong[0]]:g}")
            raise BadInput(
                f"{cell} is not a number {DOMAINS[domain]}",
                file=table.name,
                line=int(table.lines[wrong[0]]),
                column=table.columns.get(name, name),
                fix="mend the point, or select others with --where",
            )
        x[name] = values
    return x


def far_outside(outside: Sequence[Mapping[str, float]]) -> tuple[Notice, ...]:
    """A warning where points lie further outside the fitted range than any backtest here reaches."""
    far = [max(factors.values()) for factors in outside if factors and max(factors.values()) > FAR]
    if not far:
        return ()
    return (
        Notice(
            "SL401",
            "warning",
            f"{len(far)} of {len(outside)} point{'s' if len(outside) > 1 else ''} more than {FAR:g} times outside the "
            f"fitted range (at most {max(far):.3g} times); no backtest here reaches that far",
        ),
    )
