"""Smoothing of a curve by name: the one place where a loss is made smoother than it was logged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import BadInput, UsageError, nearest

Floats = NDArray[np.float64]

KINDS = ("none", "ema", "gaussian", "window")
# How many standard deviations of a Gaussian are looked at: what lies beyond weighs 3e-4 in all.
REACH = 4.0


@dataclass(frozen=True)
class Smoothing:
    """A way to smooth, as `--smooth` names it: `kind` of KINDS and its amount.

    ema: what the one before weighs, 0 to 1. gaussian: standard deviation, window: width, both in points, or as a
    share of all points where `share`.
    """

    kind: str = "none"
    amount: float = 0.0
    share: bool = False

    def __str__(self) -> str:
        if self.kind == "none":
            return "none"
        return f"{self.kind}:{f'{100 * self.amount:g}%' if self.share else f'{self.amount:g}'}"

    @classmethod
    def parse(cls, text: str | Smoothing) -> Smoothing:
        """The smoothing that none, ema:0.9, gaussian:5 (or 1%) or window:5% names; raises UsageError on others."""
        if isinstance(text, Smoothing):
            return text
        kind, colon, amount = text.strip().partition(":")
        if kind not in KINDS:
            raise UsageError(f"no smoothing {kind!r}; {nearest(kind, KINDS)}: none, ema:0.9, gaussian:5, window:5%")
        if kind == "none":
            if colon:
                raise UsageError(f"smoothing {text!r}: none takes no amount")
            return cls()
        share = amount.endswith("%")
        try:
            value = float(amount.removesuffix("%")) / (100.0 if share else 1.0)
        except ValueError:
            value = np.nan
        if kind == "ema":
            if share or not 0 <= value < 1:
                raise UsageError(f"smoothing {text!r}: an ema takes what the past weighs, 0 to below 1, as in ema:0.9")
        elif not 0 < value < np.inf or (share and value > 0.5):
            raise UsageError(f"smoothing {text!r}: give points or up to 50 % of them, as in {kind}:5 or {kind}:5%")
        return cls(kind, value, share)

    def points(self, count: int) -> float:
        """The amount in points, for a curve of `count`."""
        return self.amount * count if self.share else self.amount

    @property
    def note(self) -> str:
        """What a result records of it; empty where nothing was smoothed."""
        if self.kind == "none":
            return ""
        how = {
            "ema": "exponential moving average, de-biased: it lags behind a falling loss",
            "gaussian": "Gaussian, narrowed towards both ends so that it lags nowhere",
            "window": "median of a centred window, narrowed towards both ends so that it lags nowhere",
        }[self.kind]
        return f"the loss is smoothed: {self} ({how})"


def smoothed(loss: Floats, how: str | Smoothing = "none") -> Floats:
    """A loss (n,) in the order of its steps, smoothed over rows: none, ema:α, gaussian:σ, window:5%.

    An ema is divided by the weight that it has seen, so that it does not begin near zero. A Gaussian and the median of
    a window look as far back as forward, so less far near an end. Raises UsageError for an unknown name, BadInput for a
    value that is not finite.
    """
    way, values = Smoothing.parse(how), np.array(loss, dtype=float)
    if not np.isfinite(values).all():
        at = int(np.argmin(np.isfinite(values)))
        problem = f"loss {at} of {len(values)} is {values[at]}: nothing smooths over it"
        raise BadInput(problem, fix="leave such rows out")
    if way.kind == "none" or len(values) < 2:
        return values
    if way.kind == "ema":
        return _ema(values, way.amount)
    amount = way.points(len(values))
    if way.kind == "gaussian":
        return _gaussian(values, amount)
    return _median(values, int(amount // 2))


def _ema(values: Floats, past: float) -> Floats:
    from scipy.signal import lfilter

    mean = np.asarray(lfilter([1.0 - past], [1.0, -past], values))
    seen = -np.expm1(np.arange(1, len(values) + 1) * np.log(past)) if past else np.ones(len(values))
    return np.asarray(mean / seen)


def _gaussian(values: Floats, sd: float) -> Floats:
    """Sums over pairs of neighbours at equal distances, as far as both are there."""
    n = len(values)
    total, weight = values.copy(), np.ones(n)
    for k in range(1, min(int(np.ceil(REACH * sd)), (n - 1) // 2) + 1):
        w = float(np.exp(-0.5 * (k / sd) ** 2))
        total[k : n - k] += w * (values[: n - 2 * k] + values[2 * k :])
        weight[k : n - k] += 2.0 * w
    return total / weight


def _median(values: Floats, half: int) -> Floats:
    """The median of as many neighbours on both sides: `half`, or as many as the nearer end leaves."""
    n, out = len(values), values.copy()
    half = min(half, (n - 1) // 2)
    if half:
        windows = np.lib.stride_tricks.sliding_window_view(values, 2 * half + 1)
        out[half : n - half] = np.median(windows, axis=1)
    for k in range(1, half):
        out[k], out[n - 1 - k] = np.median(values[: 2 * k + 1]), np.median(values[n - 1 - 2 * k :])
    return out
