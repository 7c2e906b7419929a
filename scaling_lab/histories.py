"""The learning rates a run has seen, as what the laws of loss curves are laws of: areas under them, and their drops."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import BadInput

Floats = NDArray[np.float64]
Warmup = Literal["area", "flat", "included"]
WARMUPS: tuple[Warmup, ...] = get_args(Warmup)

# Drops of so many neighbouring updates are counted as two, which have their first four moments: a law's answer to each
# of them differs by less than 1e-6 nats from the sum over all updates (tests/test_histories.py, bench/curves.py).
TOGETHER = 32
# Updates in one piece of the forward-momentum law's filter, which hangs on them.
MOMENT_STEPS = 100


@dataclass(frozen=True)
class History:
    """The learning rate of every update of one run: `lr[k - 1]` is that of update k, shape (T,).

    The first `warmup_steps` updates are its warm-up, which a law counts in one of three ways. `area`: as an area of
    half its length times the peak, and no rise. `flat`: as if it had been run at the peak. `included`: as it is, with
    its rises as drops below zero. Raises BadInput for what is no history.
    """

    lr: Floats
    warmup_steps: int = 0
    warmup: Warmup = "area"

    def __post_init__(self) -> None:
        if self.warmup not in WARMUPS:
            raise BadInput(f"no warm-up convention {self.warmup!r}", fix=f"one of {', '.join(WARMUPS)}")
        if self.lr.ndim != 1 or not len(self.lr):
            raise BadInput("a schedule needs one learning rate for each update")
        if not (np.isfinite(self.lr).all() and (self.lr >= 0).all()):
            raise BadInput("learning rates must be numbers of zero or above")
        if not self.lr.any():
            raise BadInput("the learning rate is zero all along: nothing is trained")
        if not 0 <= self.warmup_steps < len(self.lr):
            raise BadInput(f"{self.warmup_steps} warm-up steps leave nothing of {len(self.lr)} steps")

    @property
    def steps(self) -> int:
        """How many updates there are."""
        return len(self.lr)

    @cached_property
    def peak(self) -> float:
        """The highest learning rate."""
        return float(self.lr.max())

    @cached_property
    def areas(self) -> Floats:
        """The sum of the learning rates up to and including update k, at [k], shape (T + 1,): S1 with the warm-up."""
        start = self.warmup_steps
        begun = self.lr[start - 1] if start else 0.0
        lr = self.lr.copy()
        if self.warmup != "included" and start:
            # Linear to the rate at its end, so that the whole warm-up has its area; flat, as if at the end all along.
            ramp = begun * (np.arange(1, start + 1) - 0.5) / start
            lr[:start] = begun if self.warmup == "flat" else ramp
        return np.concatenate([[0.0], np.cumsum(lr)])

    @cached_property
    def moments(self) -> Floats:
        """The forward momentum of arXiv:2512.13705 after update k, at [k], shape (T + 1,)."""
        from scipy.signal import lfilter

        before = np.concatenate([[0], np.arange(MOMENT_STEPS, self.steps, MOMENT_STEPS), [self.steps]])
        fell = np.concatenate([[0.0], np.cumsum(self.drops)])
        delta = np.diff(fell[before]) * np.diff(before)
        count = np.arange(1, len(delta) + 1)
        mean = lfilter([0.1], [1.0, -0.9], delta) / (1 - 0.9**count)
        square = lfilter([0.001], [1.0, -0.999], delta**2) / (1 - 0.999**count)
        steps = mean / (np.sqrt(1e5 * np.maximum(square, 0.0) + 1e-8) + 1e-8)
        return np.interp(np.arange(self.steps + 1), before, np.concatenate([[0.0], np.cumsum(steps)]))

    @cached_property
    def drops(self) -> Floats:
        """How much lower the learning rate of update k is than that of the one before, at [k - 1], shape (T,)."""
        before = np.concatenate([[0.0 if self.warmup == "included" else self.lr[0]], self.lr[:-1]])
        out = before - self.lr
        if self.warmup != "included":
            out[: self.warmup_steps] = 0.0
        return out

    def at(self, steps: ArrayLike, together: int = TOGETHER) -> Points:
        """What the laws need to know of the run after each of these steps (n,), which never go back.

        Raises BadInput where a step lies outside the schedule, or in a warm-up that is not included.
        """
        step = np.atleast_1d(np.asarray(steps, dtype=float))
        if step.size and (step.min() < 1 or step.max() > self.steps):
            raise BadInput(
                f"steps {step.min():g} to {step.max():g} are not all within the schedule's {self.steps}",
                fix="give a schedule as long as the curve",
            )
        if self.warmup != "included" and step.size and step.min() < self.warmup_steps:
            raise BadInput(f"step {step.min():g} lies in the warm-up of {self.warmup_steps} steps")
        whole = np.floor(step).astype(np.int64)
        nodes = self._nodes(np.unique(whole), together)
        counts = np.searchsorted(nodes.last, whole, side="right")
        # A point before any drop has an empty sum, which reduceat does not know: every point has one drop of nothing.
        starts = np.concatenate([[0], np.cumsum(counts + 1)])
        of = np.repeat(np.arange(len(step)), counts + 1)
        which = np.arange(starts[-1]) - starts[of] - 1
        none = which < 0
        area = np.interp(step, np.arange(self.steps + 1), self.areas)
        rate = self.lr[whole - 1]
        peak = self.peak

        def of_pairs(values: Floats, missing: float) -> Floats:
            if not len(values):
                return np.full(len(of), missing)
            return np.where(none, missing, values[which])

        pairs = Pairs(
            drop=of_pairs(nodes.drop, 0.0),
            lr=of_pairs(nodes.lr, peak),
            since=np.maximum(area[of] - of_pairs(nodes.area, 0.0), 0.0),
            steps=np.maximum(step[of] - of_pairs(nodes.step, 0.0) + 1.0, 0.0),
            area_then=of_pairs(nodes.area, 0.0) + of_pairs(nodes.lr, peak),
        )
        moment = np.interp(step, np.arange(self.steps + 1), self.moments)
        return Points(step, area, rate, np.full(len(step), peak), moment, pairs, starts[:-1])

    def _nodes(self, ends: NDArray[np.int64], together: int) -> _Nodes:
        """The drops, gathered in pieces that begin anew after each of the steps `ends` and every `together` updates."""
        at = np.flatnonzero(self.drops)
        update = at + 1
        drop = self.drops[at]
        if not len(at):
            empty = np.zeros(0)
            return _Nodes(empty, empty, empty, empty, np.zeros(0, dtype=np.int64))
        piece = np.searchsorted(ends, update, side="left")
        within = (update - np.concatenate([[0], ends])[piece] - 1) // together
        key = np.stack([piece, within, drop > 0])
        new = np.any(key[:, 1:] != key[:, :-1], axis=0)
        first = np.concatenate([[0], np.flatnonzero(new) + 1])
        last = update[np.concatenate([first[1:] - 1, [len(update) - 1]])]
        weight = np.add.reduceat(drop, first)
        group = np.cumsum(np.concatenate([[0], new]))
        mean = np.add.reduceat(drop * update, first) / weight
        off = update - mean[group]
        spread = np.sqrt(np.maximum(np.add.reduceat(drop * off**2, first) / weight, 0.0))
        with np.errstate(invalid="ignore", divide="ignore"):
            skew = np.where(spread > 0, np.add.reduceat(drop * off**3, first) / weight / spread**3, 0.0)
        single = spread == 0
        # The two places and weights of Gauss's rule for the drops of a piece, from their first four moments.
        root = np.sqrt(1.0 + 0.25 * skew**2)
        high, low = 0.5 * skew + root, 0.5 * skew - root
        share = np.where(single, 1.0, -low / (high - low))
        place = np.concatenate([mean + spread * np.where(single, 0.0, high), (mean + spread * low)[~single]])
        weights = np.concatenate([weight * share, (weight * (1 - share))[~single]])
        ended = np.concatenate([last, last[~single]])
        order = np.argsort(ended, kind="stable")
        place, weights, ended = place[order], weights[order], ended[order]
        areas = np.interp(place - 1.0, np.arange(self.steps + 1), self.areas)
        rates = np.interp(place, np.arange(1, self.steps + 1), self.lr)
        return _Nodes(place, weights, rates, areas, ended)


@dataclass(frozen=True)
class _Nodes:
    """Drops (K,) of a run: the update each belongs to, how much, the rate after it, the area before it.

    `last` is the last update that is counted in each: a step has seen those whose last update it has made.
    """

    step: Floats
    drop: Floats
    lr: Floats
    area: Floats
    last: NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """Every drop that every point has seen, one after another, (P,).

    `drop` is how much the learning rate fell and `lr` what it fell to; `since` the area of learning rate from that
    update on and `steps` how many updates that is, both with the update itself; `area_then` the whole area with it.
    """

    drop: Floats
    lr: Floats
    since: Floats
    steps: Floats
    area_then: Floats

    def take(self, keep: NDArray[np.int64]) -> Pairs:
        """Some of them."""
        return Pairs(self.drop[keep], self.lr[keep], self.since[keep], self.steps[keep], self.area_then[keep])


@dataclass(frozen=True)
class Points:
    """Places on loss curves, (n,): step, area so far, the rate there, the run's peak, its forward momentum.

    `pairs` are their drops, those of point i from `starts[i]` to `starts[i + 1]`. Indexing takes some of the points.
    """

    step: Floats
    area: Floats
    lr: Floats
    peak: Floats
    moment: Floats
    pairs: Pairs
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.step)

    def __getitem__(self, keep: Any) -> Points:
        """The points of a mask, an index or a slice."""
        chosen = np.arange(len(self))[keep]
        ends = np.concatenate([self.starts[1:], [len(self.pairs.drop)]])
        counts = (ends - self.starts)[chosen]
        starts = np.concatenate([[0], np.cumsum(counts)])[:-1]
        where = np.arange(int(counts.sum())) + np.repeat(self.starts[chosen] - starts, counts)
        return Points(
            self.step[chosen],
            self.area[chosen],
            self.lr[chosen],
            self.peak[chosen],
            self.moment[chosen],
            self.pairs.take(where),
            starts,
        )

    @property
    def x(self) -> dict[str, Any]:
        """The inputs of a curve law: (n,) by name, the drops with them."""
        return {
            "step": self.step,
            "area": self.area,
            "lr": self.lr,
            "lr_max": self.peak,
            "moment": self.moment,
            "drops": self,
        }

    def total(self, of_pairs: Any) -> Any:
        """The sums (B, n) over each point's drops of something of every drop (B, P)."""
        return np.add.reduceat(of_pairs, self.starts, axis=-1)

    @classmethod
    def join(cls, parts: Sequence[Points]) -> Points:
        """The points of several runs, one run after another."""
        if not parts:
            raise ValueError("no points to join")
        offsets = np.concatenate([[0], np.cumsum([len(p.pairs.drop) for p in parts])])

        def all_of(values: Iterable[Floats]) -> Floats:
            return np.concatenate(list(values))

        pairs = Pairs(
            *(all_of(getattr(p.pairs, name) for p in parts) for name in ("drop", "lr", "since", "steps", "area_then"))
        )
        step, area, lr, peak, moment = (
            all_of(getattr(p, name) for p in parts) for name in ("step", "area", "lr", "peak", "moment")
        )
        starts = np.concatenate([p.starts + at for p, at in zip(parts, offsets[:-1], strict=True)])
        return cls(step, area, lr, peak, moment, pairs, starts)
