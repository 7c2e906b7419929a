"""When a run could have been stopped: the sequence of trends fitted to a growing curve, and where it comes to rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from .one_curve import DropFirst

if TYPE_CHECKING:
    from .extrapolate import Points

Floats = NDArray[np.float64]

# A level is the curve up to another fortieth of its length; ours, as is how many further levels must agree.
LEVELS, AGREEING = 40, 3
LEAST_POINTS = 8
# A trend without a floor: less than this share of the last loss seen.
FLOORLESS = 1e-3


@dataclass(frozen=True)
class Level:
    """The trend through the curve up to `at`: its prediction of the target, its floor, and how far that moved.

    `change` is from the level before, NaN for the first.
    """

    at: float
    prediction: float
    floor: float
    change: float


@dataclass(frozen=True)
class Stopping:
    """The sequence of trends, with where it works, where it predicts and where it has converged within `epsilon` nats.

    `working` is where trends have a floor above zero from then on, `predicts` where that floor also lies below every
    loss seen, `converged` the first level behind both after which `AGREEING` further predictions of the target moved by
    no more than epsilon each, `stop` the last of those: where the run could have been stopped. None: not reached.
    `later` is how far predictions of later levels went from the one at `stop`, `measured` the loss at the target where
    the curve reached it.
    """

    epsilon: float
    target: float
    levels: tuple[Level, ...]
    working: float | None
    predicts: float | None
    converged: float | None
    stop: float | None
    predicted: float | None
    later: float | None
    measured: float | None

    def to_dict(self) -> dict[str, Any]:
        """JSON of the whole; NaN as null."""
        own = {name: value for name, value in vars(self).items() if name != "levels"}
        levels = [{**vars(lv), "change": lv.change if np.isfinite(lv.change) else None} for lv in self.levels]
        return {**own, "levels": levels}


def stopping(
    points: Points,
    drop: DropFirst,
    target: float,
    epsilon: float,
    trend: Callable[[Points], dict[str, float] | None],
    reached: float,
) -> Stopping:
    """Where the sequence of trends c + a / x**alpha through growing prefixes came to rest, see Stopping.

    The points may be means of neighbours: the curve itself `reached` a little further than the last. Raises UsageError
    for a threshold that is none.
    """
    if not (np.isfinite(epsilon) and epsilon > 0):
        raise UsageError(f"--stop {epsilon:g} is no threshold: give nats above zero, as in --stop 0.002")
    levels = _levels(points, drop, target, trend)
    floors, seen = np.array([lv.floor for lv in levels]), np.array([lv.at for lv in levels])
    lowest = np.array([points.loss[points.x <= at].min() for at in seen])
    working = _from_on(floors > FLOORLESS * lowest)
    predicts = None if working is None else _from_on((floors < lowest) & (np.arange(len(levels)) >= working))
    changes = np.abs([lv.change for lv in levels])
    at = None
    for i in range(len(levels) if predicts is None else predicts, len(levels) - AGREEING):
        if (changes[i + 1 : i + 1 + AGREEING] <= epsilon).all():
            at = i
            break
    stop = None if at is None else at + AGREEING
    predicted = None if stop is None else levels[stop].prediction
    rest = [] if stop is None or predicted is None else [abs(lv.prediction - predicted) for lv in levels[stop + 1 :]]
    return Stopping(
        epsilon=epsilon,
        target=target,
        levels=tuple(levels),
        working=None if working is None else levels[working].at,
        predicts=None if predicts is None else levels[predicts].at,
        converged=None if at is None else levels[at].at,
        stop=None if stop is None else levels[stop].at,
        predicted=predicted,
        later=max(rest) if rest else None,
        measured=_measured(points, target, reached),
    )


def _levels(
    points: Points, drop: DropFirst, target: float, trend: Callable[[Points], dict[str, float] | None]
) -> list[Level]:
    """The trends at every place where one can be fitted."""
    first, last = float(points.x[0]), float(points.x[-1])
    found: list[Level] = []
    for place in first + np.arange(1, LEVELS + 1) / LEVELS * (last - first):
        part = points.between(drop.begin(np.array([first, place])), float(place))
        if len(part.x) < LEAST_POINTS or (found and part.x[-1] == found[-1].at):
            continue
        params = trend(part)
        if params is None:
            continue
        prediction = params["c"] + params["a"] * target ** -params["alpha"]
        change = prediction - found[-1].prediction if found else np.nan
        found.append(Level(float(part.x[-1]), float(prediction), params["c"], float(change)))
    return found


def _from_on(holds: NDArray[np.bool_]) -> int | None:
    """The first place from which on something holds."""
    broken = np.flatnonzero(~holds)
    first = int(broken[-1]) + 1 if broken.size else 0
    return first if first < len(holds) else None


def _measured(points: Points, target: float, reached: float) -> float | None:
    """The loss at the target, on a line through the points of a fortieth of the curve on both sides of it.

    None where the curve ended before it.
    """
    near = np.abs(points.x - target) <= (reached - points.x[0]) / LEVELS
    if target > reached or near.sum() < 2:
        return None
    line = np.polyfit(points.x[near] - target, points.loss[near], 1, w=np.sqrt(points.weight[near]))
    return float(line[1])
