"""The short-horizon forecast of AutoLRS: an exponential through a cleaned piece of a loss curve."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .errors import BadInput

Floats = NDArray[np.float64]

NAME = "autolrs"
# Jin et al. 2021, arXiv:2105.10762, and their code: rounds of cleaning, and the share of points of the first half that
# each leaves out; a validation loss gets one round that leaves out one point.
ROUNDS, LEFT_OUT = 10, 0.03
# Their stages are ten times as long as what they observe.
HORIZON = 10.0
LEAST = 5
# The rate times the steps observed: from a straight line to a gain that is over at once.
RATES = (1e-3, 50.0)


@dataclass(frozen=True)
class ShortForecast:
    """The loss `value` at `horizon` by gain * exp(b * (t - origin)) + c, from `origin`, the first step observed.

    `kept` (n,) says which points the cleaning left. `rose`: the loss ended above where it began, and the forecast is
    the last loss. `beyond` is how many times the observed stretch the horizon lies behind its end.
    """

    CAUTION: ClassVar[str] = (
        "an exponential is a forecast for short horizons: a loss goes on falling long after an exponential has come to "
        "rest, and its error grows at once beyond the stretch observed"
    )

    value: float
    gain: float
    b: float
    c: float
    origin: float
    kept: NDArray[np.bool_]
    rose: bool
    beyond: float

    @property
    def a(self) -> float:
        """The gain at t = 0, infinite where the stretch observed lies so late that no number holds it."""
        with np.errstate(over="ignore", invalid="ignore"):
            return float(self.gain * np.exp(-self.b * self.origin))

    @property
    def params(self) -> dict[str, float]:
        """The parameters by name, those of the law lc:exp3."""
        return {"a": self.a, "b": self.b, "c": self.c}

    @property
    def far(self) -> bool:
        """Whether the horizon lies further than the method was made for."""
        return self.beyond > HORIZON


def autolrs_forecast(
    steps: Floats, losses: Floats, horizon: float, *, validation: bool = False, smoothing: float | None = None
) -> ShortForecast:
    """The loss at step `horizon` from losses (n,) at rising steps (n,) at one learning rate.

    Ten rounds leave out the 3 % of the points of the first half that lie furthest from a quadratic spline; then an
    exponential is fitted to such a spline through the rest, its rate by a search in one dimension, a and c by least
    squares.
    `validation` is for few, exact losses: one round that leaves out one point. `smoothing` is the spline's sum of
    squares; by default that of the noise about the median of five neighbours (no smoothing is known from the paper;
    scipy's own default is one parabola, for losses in nats). Source: Jin et al. 2021, arXiv:2105.10762. Raises BadInput
    for fewer than five points or steps that do not rise.
    """
    t, y = np.asarray(steps, dtype=float), np.asarray(losses, dtype=float)
    if t.shape != y.shape or t.ndim != 1 or len(t) < LEAST:
        raise BadInput(f"{len(t)} losses are too few for a forecast", fix=f"give {LEAST} or more, one for each step")
    if not (np.isfinite(t).all() and np.isfinite(y).all() and (np.diff(t) > 0).all()):
        raise BadInput("a forecast needs finite losses at rising steps", fix="leave out what is not finite")
    kept = _cleaned(t, y, smoothing, rounds=1 if validation else ROUNDS, one=validation)
    level = _spline(t[kept], y[kept], smoothing)(t[kept])
    beyond = max(horizon - t[-1], 0.0) / (t[-1] - t[0])
    origin = float(t[0])
    gain, b, c = _exponential(t[kept] - origin, level)
    if y[-max(len(y) // 10, 1) :].mean() > y[0]:
        return ShortForecast(float(y[-1]), gain, b, c, origin, kept, True, beyond)
    value = float(gain * np.exp(b * (horizon - origin)) + c)
    return ShortForecast(value, gain, b, c, origin, kept, False, beyond)


def _spline(t: Floats, y: Floats, smoothing: float | None) -> Any:
    """The quadratic spline through losses, smooth by the noise that neighbours show."""
    from scipy.interpolate import UnivariateSpline

    if smoothing is None:
        # About the median of five neighbours: a spike counts in full, so that no spline is asked to follow it.
        middle = np.median(np.lib.stride_tricks.sliding_window_view(y, 5), axis=1)
        smoothing = len(t) * float(np.mean((y[2:-2] - middle) ** 2))
    with warnings.catch_warnings():
        # Told where the noise is estimated too low for any spline of so few knots: the one it stops at is used.
        warnings.filterwarnings("ignore", category=UserWarning, module="scipy")
        return UnivariateSpline(t, y, k=2, s=smoothing)


def _cleaned(t: Floats, y: Floats, smoothing: float | None, *, rounds: int, one: bool) -> NDArray[np.bool_]:
    """Which points (n,) are left after rounds that drop those of the first half furthest from a spline."""
    kept = np.ones(len(t), dtype=bool)
    half = t <= t[0] + 0.5 * (t[-1] - t[0])
    for _ in range(rounds):
        at = np.flatnonzero(kept)
        apart = np.abs(_spline(t[at], y[at], smoothing)(t[at]) - y[at])
        early = np.flatnonzero(half[at])
        count = 1 if one else max(1, round(LEFT_OUT * len(early)))
        if len(early) <= count or len(at) - count < LEAST:
            break
        worst = early[np.argsort(-apart[early], kind="stable")[:count]]
        kept[at[worst]] = False
    return kept


def _exponential(t: Floats, y: Floats) -> tuple[float, float, float]:
    """Gain at t = 0, b < 0 and c of least squares: the best rate of a grid, then of the stretch about it."""
    from scipy.optimize import minimize_scalar

    length = float(t[-1] - t[0])

    def solved(log_rate: float) -> tuple[float, float, float]:
        e = np.exp(-np.exp(log_rate) * t)
        centred = e - e.mean()
        size = float(centred @ centred)
        a = float(centred @ (y - y.mean())) / size if size > 0 else 0.0
        c = float(y.mean() - a * e.mean())
        return float(np.sum((a * e + c - y) ** 2)), a, c

    grid = np.linspace(np.log(RATES[0] / length), np.log(RATES[1] / length), 121)
    best = int(np.argmin([solved(g)[0] for g in grid]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    log_rate = float(
        minimize_scalar(lambda g: solved(g)[0], bounds=(low, high), method="bounded", options={"xatol": 1e-10}).x
    )
    _, a, c = solved(log_rate)
    return a, -float(np.exp(log_rate)), c
