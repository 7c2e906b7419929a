"""Whether a run still follows its forecast: a sequential test of each stretch against what was said before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..engine.continuation import FIRST_SHARE, Continuation, Posterior, Seen

Floats = NDArray[np.float64]
Departure = Literal["divergence", "jump", "drift"]

# A stretch is a 50th of the whole run; the watch begins after a tenth of it, and never before a dozen points.
STRETCHES, BEGIN_SHARE, BEGIN_POINTS = 50, 0.1, 12
# The chance that a run which the model is right about is ever told to have left its forecast.
FALSE_ALARMS = 0.01
# A stretch says no more than this many standard deviations: one alone, however far off, is no departure.
CAP = 3.0
# Shifts (in standard deviations of a stretch) that the test looks for.
SHIFTS = (0.5, 1.0, 2.0)
# Further off than this a stretch is not learned from until it is known what it was: chance makes 6e-5 of them.
HOLD = 4.0
# Standard deviations beyond which a stretch lies outside: the ends of a 90 % interval.
OUTSIDE = 1.645
# A jump is a step of this share of the distance (across two stretches of that) which then changes by less than half; a
# divergence rises to the last.
JUMP, ACROSS, SETTLED, STILL = 0.6, 0.8, 0.5, 0.8
# What kind it is shows in so many stretches; later ones are far from the forecast that was made before it.
NAMED_BY = 8
# Groups of points behind the forecast of a stretch: fewer than of the forecast itself, which is made once.
WATCH_BINS = 60


@dataclass(frozen=True)
class Left:
    """How a run left its forecast: what kind, the step from which, the step at which it was certain, and how far off.

    `off` is the loss of the latest stretch over its forecast (nats), `score` that in standard deviations.
    """

    kind: Departure
    since: float
    told: float
    off: float
    score: float


@dataclass(frozen=True)
class Stretch:
    """One stretch: its end, mean step and loss, and how far that lay from the forecast made before it, in sd."""

    end: float
    step: float
    loss: float
    score: float


class Watch:
    """The test of one run, which goes on where it stopped when more points are there.

    `made` gives the model of the run from the steps and losses before the watch begins.
    The score of every stretch against the forecast made from all points before it is standard normal and independent
    of the others, where the model of drift and noise is right: so the likelihood ratios of a lasting shift, over all
    places where it may have begun, make a martingale, which exceeds 1/FALSE_ALARMS with that chance at most (Ville).
    """

    def __init__(self, made: Callable[[Floats, Floats], Continuation]) -> None:
        self._made = made
        self._model: Continuation | None = None
        self._total = 0
        self.stretches: list[Stretch] = []
        self.left: Left | None = None
        self._edge: float | None = None
        self._evidence = np.zeros((2, len(SHIFTS)))
        self._sum = np.zeros(2)
        self._since = np.zeros(2)
        self._held: list[tuple[float, float]] = []

    def advance(self, step: Floats, loss: Floats, total: int, *, done: bool = False) -> Left | None:
        """Looks at every stretch of `total` steps that is complete; what is told of a run that has left, else None."""
        self._total, width = total, total / STRETCHES
        if self._edge is None:
            if len(step) < BEGIN_POINTS:
                return None
            self._edge = max(BEGIN_SHARE * total, float(step[BEGIN_POINTS - 1]))
            begun = step <= self._edge
            self._model = self._made(step[begun], loss[begun])
        while step[-1] >= self._edge + width or (done and step[-1] > self._edge):
            self._look(step, loss, self._edge, self._edge + width)
            self._edge += width
        if self.left is not None:
            self.left = self._named(step, loss, self.left.since, self.left.told)
        return self.left

    def learned(self, step: Floats) -> NDArray[np.bool_]:
        """Which points (n,) a forecast learns from: not those of stretches that were held back."""
        keep = np.ones(len(step), dtype=bool)
        for low, high in self._held:
            keep &= (step <= low) | (step > high)
        return keep

    def _look(self, step: Floats, loss: Floats, low: float, high: float) -> None:
        new = (step > low) & (step <= high)
        before = (step <= low) & self.learned(step)
        if not new.any() or before.sum() < BEGIN_POINTS // 2 or self.left is not None:
            return
        place, level, count = float(step[new].mean()), float(loss[new].mean()), float(new.sum())
        if count >= 5:
            # The median, which one spike does not move, has the noise of pi/2 times fewer points.
            level, count = float(np.median(loss[new])), count * 2 / np.pi
        found = self._from(step[before], loss[before], np.array([place]))
        score = float(found.score(np.array([level]), count)[0])
        self.stretches.append(Stretch(high, place, level, score))
        if abs(score) > HOLD:
            self._held.append((low, high))
        self._weigh(score, low)
        self.left = self._told(step, loss, high)

    def _from(self, step: Floats, loss: Floats, targets: Floats) -> Posterior:
        assert self._model is not None
        late = step >= FIRST_SHARE * step[-1]
        return self._model.posterior(Seen.of(step[late], loss[late], self._model.history, WATCH_BINS), targets)

    def _weigh(self, score: float, low: float) -> None:
        """Adds a stretch to the evidence of a lasting shift up and down."""
        capped = min(max(score, -CAP), CAP)
        shifts = np.array(SHIFTS)
        for side, sign in enumerate((1.0, -1.0)):
            # A capped normal number moves less than the normal number itself: the ratio's mean stays at most 1.
            ratio = np.exp(shifts * sign * capped - 0.5 * shifts**2)
            self._evidence[side] = (self._evidence[side] + 1.0 / STRETCHES) * ratio
            if self._sum[side] <= 0:
                self._since[side] = low
            self._sum[side] = max(0.0, self._sum[side] + sign * capped - 0.5)

    def _told(self, step: Floats, loss: Floats, high: float) -> Left | None:
        """The departure, where a shift is certain and the latest stretch is outside what was said before the shift."""
        if self._evidence.mean() < 1.0 / FALSE_ALARMS:
            return None
        side = int(np.argmax(self._evidence.mean(axis=1)))
        seen = step <= high
        left = self._named(step[seen], loss[seen], float(self._since[side]), high)
        return left if abs(left.score) > OUTSIDE else None

    def _named(self, step: Floats, loss: Floats, since: float, told: float) -> Left:
        """What kind of departure the points after step `since` look like, by the forecast made before it."""
        before = (step <= since) & self.learned(step)
        after = step > since
        edges = np.arange(since, step[-1] + 1, self._total / STRETCHES)
        group = np.searchsorted(edges, step[after], side="left")
        count = np.bincount(group)[1:]
        there = count > 0
        place = (np.bincount(group, step[after])[1:][there]) / count[there]
        level = (np.bincount(group, loss[after])[1:][there]) / count[there]
        found = self._from(step[before], loss[before], place)
        off = level - found.quantiles(0.5)
        score = float(found.score(level)[-1])
        kind, begins = _kind(off[:NAMED_BY], level[:NAMED_BY], float(np.median(loss[before][-3:])))
        return Left(kind, float(edges[there.nonzero()[0][begins]]), told, float(off[-1]), score)


def _kind(off: Floats, level: Floats, before: float) -> tuple[Departure, int]:
    """What distances from a forecast and losses of stretches (n,) look like, and at which of them it begins."""
    most, padded = np.abs(off).max(), np.concatenate([[0.0], off])
    for wide, share in ((1, JUMP), (2, ACROSS)):
        # A jump may come in the middle of a stretch, and show half in it and half in the next.
        steps = np.abs(padded[wide:] - padded[:-wide])
        at = int(np.argmax(steps))
        after = off[at + wide - 1 :]
        if steps[at] >= share * most and len(after) >= 2 and np.ptp(after) <= SETTLED * most:
            return "jump", at
    if off[-1] >= STILL * most and level[-1] > max(before, level[0]):
        return "divergence", 0
    return "drift", 0
