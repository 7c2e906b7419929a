"""How wrong a law of loss curves is where no curve was: how unlike a place is, and what inner backtests say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..histories import Points
from ..tables import Curve, Curves, Rows

Floats = NDArray[np.float64]

# Each drop of the learning rate counts as fresh by this factor less with each step since (arXiv:2408.11029 has .999,
# arXiv:2503.12811's curves .998), and a whole fall as half of what it is worth in nats (priors of laws/curves.py): that
# is foretold better than where a trend ends.
FRESH, WORTH = 0.998, 0.5 * 0.13
# Places of the fitted curves that are kept, to measure distances to.
KEPT_PLACES = 240
# As sd of log loss: the least everywhere, since between seeds the loss differs by .0007 to .0014 nats of 2.5 to 3.5
# (arXiv:2503.12811); and for each unit of distance what is assumed of the choice of laws and of one law, as if so many
# inner backtests had asked for it, and the share of it that is the least: they reach less far than forecasts do. Chosen
# on the curves of that paper's 25M model and on the ladders of docs/curves-accuracy.md.
LEAST_NEAR, FAR, FAR_ALONE, COUNTED, LEAST_SHARE = 0.0003, 0.15, 0.25, 2.0, 5 / 6
# Trends flatten more slowly than their beginnings say: beyond twice the fitted area a distance counts for more, by this
# for each factor e (the ladders of 190M and 370M).
TWICE, BEYOND = 2.0, 2.0
# Closer than this no error is for want of likeness.
CLOSE = 0.002
# Inner backtests: the shares of the longest curve that are fitted, the rest being predicted; points on either side.
CUTS = (0.4, 0.6)
LEAST_TRAIN, LEAST_TEST = 15, 3
Z90 = 1.6448536269514722


def points_in(rows: Rows) -> Points:
    """The points of curves that rows hold."""
    found: Any = rows.x["drops"]
    assert isinstance(found, Points)
    return found


@dataclass(frozen=True)
class Likeness:
    """What a law that was fitted says of a curve, roughly: the trend A * area**-alpha, over a loss of about `level`.

    It gives places (n, 3) to the points of curves, in units of log loss: the trend, what all drops so far are worth and
    what the fresh ones are. The distance of two places is about what the law says lies between them.
    """

    A: float
    alpha: float
    level: float

    def places(self, points: Points) -> Floats:
        """Where points lie, (n, 3)."""
        pairs = points.pairs
        annealed = points.total(pairs.drop) / points.peak
        fresh = points.total(pairs.drop * FRESH**pairs.steps) / points.peak
        trend = self.A * np.maximum(points.area, 1e-300) ** -self.alpha
        return np.column_stack([trend, WORTH * annealed, WORTH * fresh]) / self.level

    def seen(self, points: Points) -> Floats:
        """The places (k, 3) of points, of many some taken evenly, with the first and last."""
        place = self.places(points)
        kept = np.unique(np.round(np.linspace(0, len(place) - 1, min(len(place), KEPT_PLACES))).astype(np.int64))
        return np.asarray(place[kept])

    def distances(self, points: Points, fitted: Points) -> Floats:
        """How unlike the points that were fitted others (n,) are, (n,)."""
        return distance(self.places(points), self.seen(fitted)) * reach(points.area, float(fitted.area.max()))


@dataclass(frozen=True)
class Misfit:
    """How far off a law may be, as sd of log loss: `near` everywhere, and `far` for each unit of distance.

    The distance of a place is that to the nearest of `seen` (k, 3), more where it lies far beyond the largest fitted
    `area`. `cuts` inner backtests were made.
    """

    near: float
    far: float
    cuts: int
    likeness: Likeness
    seen: Floats
    area: float

    def distance(self, points: Points) -> Floats:
        """How unlike what was fitted the points (n,) are, (n,)."""
        return distance(self.likeness.places(points), self.seen) * reach(points.area, self.area)

    def sd(self, points: Points) -> Floats:
        """What is assumed at points (n,), (n,)."""
        return np.hypot(self.near, self.far * self.distance(points))

    def to_dict(self) -> dict[str, Any]:
        """As FIT.json has it."""
        return {
            "near": self.near,
            "far": self.far,
            "cuts": self.cuts,
            "likeness": asdict(self.likeness),
            "seen": self.seen,
            "area": self.area,
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Misfit:
        """Of FIT.json's entry."""
        seen = np.array(found["seen"], dtype=float).reshape(-1, 3)
        likeness = Likeness(**{name: float(value) for name, value in found["likeness"].items()})
        return cls(float(found["near"]), float(found["far"]), int(found["cuts"]), likeness, seen, float(found["area"]))


def distance(place: Floats, seen: Floats) -> Floats:
    """The distance (n,) of places (n, 3) to the nearest of those seen (k, 3)."""
    return np.sqrt(np.min(np.sum((place[:, None, :] - seen[None, :, :]) ** 2, axis=2), axis=1))


def reach(area: Floats, fitted: float) -> Floats:
    """By how much distances at these areas (n,) count for more, (n,): one up to TWICE the largest fitted."""
    return 1.0 + BEYOND * np.log(np.maximum(area / (TWICE * fitted), 1.0))


@dataclass(frozen=True)
class Split:
    """Curves to fit, and what to predict: whole curves of a schedule left out, or the rest of those that were cut."""

    name: str
    train: Curves
    test: Curves


def inner_splits(curves: Curves) -> list[Split]:
    """The inner backtests that curves allow: each of three or more schedules left out, and the ends of all.

    A curve that another one begins like is not foretold by it: of a schedule left out those points are not scored that
    a curve fitted has too.
    """
    found = []
    kinds = list(dict.fromkeys(curve.schedule for curve in curves.curves))
    if len(kinds) > 2:
        for kind in kinds:
            train = [curve for curve in curves.curves if curve.schedule != kind]
            test = [after_branch(curve, train) for curve in curves.curves if curve.schedule == kind]
            name = f"without {', '.join(curve.run for curve in test)}"
            found.append(Split(name, replace(curves, curves=tuple(train)), replace(curves, curves=tuple(test))))
    longest = max(float(curve.step[-1]) for curve in curves.curves)
    for share in CUTS:
        step = share * longest
        train = [curve.until(step) for curve in curves.curves]
        test = [_between(curve, step, np.inf) for curve in curves.curves]
        found.append(Split(f"first {share:.0%}", _some(curves, train, LEAST_TEST), _some(curves, test, 1)))
    return [split for split in found if split.train.used >= LEAST_TRAIN and split.test.used >= LEAST_TEST]


def after_branch(curve: Curve, others: Sequence[Curve]) -> Curve:
    """The part of a curve that none of the others has: what comes after the learning rates part."""
    first = 0
    for other in others:
        n = min(curve.history.steps, other.history.steps)
        apart = np.flatnonzero(np.abs(curve.history.lr[:n] - other.history.lr[:n]) > 1e-9 * curve.history.peak)
        first = max(first, min(int(apart[0]) if len(apart) else n, int(other.step[-1])))
    return _between(curve, float(first), np.inf) if first < curve.step[-1] else curve


def _between(curve: Curve, low: float, high: float) -> Curve:
    """The points of a curve after one step and up to another."""
    keep = (curve.step > low) & (curve.step <= high)
    return replace(curve, step=curve.step[keep], loss=curve.loss[keep], lines=curve.lines[keep])


def _some(curves: Curves, parts: Sequence[Curve], least: int) -> Curves:
    """Those parts of curves that hold so many points."""
    return replace(curves, curves=tuple(part for part in parts if len(part.step) >= least))


def calibrated(
    errors: Sequence[tuple[Floats, Floats, Floats]], sd: float, likeness: Likeness, fitted: Points, far: float = FAR
) -> Misfit:
    """The misfit that inner backtests ask for: errors of log loss, distances and variances known otherwise, of each.

    Each asks for as much for a unit of distance as would hold nine in ten of its errors. The answer is the root mean
    square of them and of `far`, which counts as COUNTED of them, and LEAST_SHARE of `far` at least: one asks for little
    by luck as often as for much.
    """
    needed = []
    for error, apart, known in errors:
        if not np.isfinite(error).all():
            continue
        over = np.sqrt(np.maximum((error / Z90) ** 2 - known - sd**2 - LEAST_NEAR**2, 0.0))
        needed.append(float(np.quantile(over / np.maximum(apart, CLOSE), 0.9)))
    mean = float(np.sqrt((COUNTED * far**2 + np.sum(np.square(needed))) / (COUNTED + len(needed))))
    seen, area = likeness.seen(fitted), float(fitted.area.max())
    return Misfit(LEAST_NEAR, max(mean, LEAST_SHARE * far), len(needed), likeness, seen, area)
