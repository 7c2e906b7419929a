"""The learning rates a run has seen, as what the laws of loss curves are laws of: areas under them, and their drops."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import BadInput

Floats = NDArray[np.float64]
Warmup = Literal["area", "flat", "included"]
WARMUPS: tuple[Warmup, ...] = get_args(Warmup)

# Drops of neighbouring updates are counted as two, which have their first four moments: those of TOGETHER updates, and
# of 2, 4, 8, … times as many where they lie APART times their own length before the point that is asked for. A law's
# answer differs by less than 1e-6 nats from the sum over all updates, and by less than 1e-5 where pieces are COARSE and
# lie their own length before (tests/test_histories.py, bench/curves.py).
TOGETHER, APART, COARSE = 16, 4, 32
# A piece stays apart, update by update, where one drop is more than this share of the peak, or where the rate or the
# area changes by more than this factor within it: there the laws are far from straight.
JUMP, CHANGE = 0.002, 1.2
# Where points times updates are no more than this, every drop is counted alone.
FEW = 2**18
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
    def _moments(self) -> tuple[Floats, Floats]:
        """Updates (k,), and the forward momentum of arXiv:2512.13705 after each."""
        before = np.concatenate([[0], np.arange(MOMENT_STEPS, self.steps, MOMENT_STEPS), [self.steps]])
        fell = np.concatenate([[0.0], np.cumsum(self.drops)])
        delta = np.diff(fell[before]) * np.diff(before)
        count = np.arange(1, len(delta) + 1)
        mean, square = np.zeros((2, len(delta)))
        m = v = 0.0
        for i, value in enumerate(delta.tolist()):
            mean[i] = m = 0.9 * m + 0.1 * value
            square[i] = v = 0.999 * v + 0.001 * value * value
        steps = mean / (1 - 0.9**count) / (np.sqrt(1e5 * square / (1 - 0.999**count) + 1e-8) + 1e-8)
        return before.astype(float), np.concatenate([[0.0], np.cumsum(steps)])

    @cached_property
    def _halves(self) -> Floats:
        """The rate half way between that of the update before and that of update k, at [k - 1], shape (T,)."""
        before = np.concatenate([[0.0 if self.warmup == "included" else self.lr[0]], self.lr[:-1]])
        return 0.5 * (before + self.lr)

    @cached_property
    def drops(self) -> Floats:
        """How much lower the learning rate of update k is than that of the one before, at [k - 1], shape (T,)."""
        before = np.concatenate([[0.0 if self.warmup == "included" else self.lr[0]], self.lr[:-1]])
        out = before - self.lr
        if self.warmup != "included":
            out[: self.warmup_steps] = 0.0
        return out

    def at(self, steps: ArrayLike, together: int = TOGETHER) -> Points:
        """What the laws need to know of the run after each of these steps (n,).

        Drops of `together` updates count as one piece: 1 is the sum over all of them, more than TOGETHER a coarse one.

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
        fine = together <= TOGETHER
        alone = together <= 1 or (fine and len(step) * self.steps <= FEW)
        tree = self._tree(1 if alone else min(int(together), COARSE))
        counts, which = tree.seen(whole, *((APART, 1) if fine else (1, 0)))
        # A point before any drop has an empty sum, which reduceat does not know: every point has one drop of nothing.
        starts = np.concatenate([[0], np.cumsum(counts + 1)])
        of = np.repeat(np.arange(len(step)), counts + 1)
        held = np.ones(len(of), dtype=bool)
        held[starts[:-1]] = False
        found = np.zeros(len(of), dtype=np.int64)
        found[held] = which + 1
        area = np.interp(step, np.arange(self.steps + 1), self.areas)
        place = tree.place[found]
        low = place.astype(np.int64)
        share = None if alone else place - low
        lr = _between(self.lr, low, share)
        before = _between(self.areas[:-1], low, share)
        pairs = Pairs(
            drop=tree.drop[found],
            lr=lr,
            share=_between(self._halves, low, share) / self.peak,
            since=np.maximum(area[of] - before, 0.0),
            steps=np.maximum(step[of] - place + 1.0, 0.0),
            area_then=before + lr,
        )
        peak = np.full(len(step), self.peak)
        moment = np.interp(step, *self._moments)
        return Points(step, area, self.lr[whole - 1], peak, moment, pairs, starts[:-1])

    def _tree(self, together: int) -> _Tree:
        """The drops, alone and in pieces of `together` updates and more; made once."""
        made: dict[int, _Tree] = self.__dict__.setdefault("_trees", {})
        if together not in made:
            made[together] = _Tree.of(self, together)
        return made[together]


def _between(values: Floats, low: NDArray[np.int64], share: Floats | None) -> Floats:
    """The values (T,) of updates 1 to T at updates `low` (k,), or at this share of the way from them to the next."""
    at = values[low - 1]
    return at if share is None else at * (1.0 - share) + values[np.minimum(low, len(values) - 1)] * share


@dataclass(frozen=True)
class _Tree:
    """The drops of a run, each alone, then in pieces of ever more updates.

    They have a place among the updates and a size (K,); the first is none. `levels` says of each length of piece where
    its drops begin among all, and how many there are before each piece (k + 1,); the first length is one update.
    """

    place: Floats
    drop: Floats
    together: int
    levels: tuple[tuple[int, NDArray[np.int64]], ...]

    @classmethod
    def of(cls, run: History, together: int) -> _Tree:
        drops = run.drops
        at = np.flatnonzero(drops)
        places, weights = [np.ones(1), at + 1.0], [np.zeros(1), drops[at]]
        levels = [(1, np.concatenate([[0], np.cumsum(drops != 0)]))]
        if together > 1 and len(at):
            for place, weight, piece, count in _levels(run, at, together):
                levels.append(
                    (sum(map(len, places)), np.concatenate([[0], np.cumsum(np.bincount(piece, minlength=count))]))
                )
                places.append(place)
                weights.append(weight)
        return cls(np.concatenate(places), np.concatenate(weights), together, tuple(levels))

    def seen(self, step: NDArray[np.int64], apart: int, first: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How many drops each of the steps (n,) has seen (n,), and which, one step after another, less the first.

        Pieces lie `apart` times their length before a step, the shortest `first` times.
        """
        ranges = []
        length, edge = 1, step
        for i, (begun, count) in enumerate(self.levels):
            longer = 2 * length if i else self.together
            last = i == len(self.levels) - 1
            before = step - longer * (apart if i else first)
            older = 0 * step if last else np.maximum(before // longer, 0) * longer
            ranges.append((begun - 1 + count[older // length], begun - 1 + count[edge // length]))
            length, edge = longer, older
        low, high = (np.stack(ends, axis=1) for ends in zip(*ranges, strict=True))
        each = (high - low).ravel()
        which = np.arange(int(each.sum())) + np.repeat(low.ravel() - (np.cumsum(each) - each), each)
        return (high - low).sum(axis=1), which


@dataclass(frozen=True)
class _Pieces:
    """Drops of one sign (k,) gathered in pieces: their sum, mean place, and second and third moments about it."""

    weight: Floats
    mean: Floats
    second: Floats
    third: Floats

    def pairwise(self) -> _Pieces:
        """Pieces of twice the length."""
        w1, w2 = self.weight[::2], self.weight[1::2]
        weight = w1 + w2
        share = np.divide(w2, weight, out=np.zeros_like(weight), where=weight != 0)
        apart = self.mean[1::2] - self.mean[::2]
        mixed = share * (1 - share)
        second = (1 - share) * self.second[::2] + share * self.second[1::2] + mixed * apart**2
        third = (
            (1 - share) * self.third[::2] + share * self.third[1::2] + mixed * (1 - 2 * share) * apart**3
            + 3 * mixed * apart * (self.second[1::2] - self.second[::2])
        )  # fmt: skip
        return _Pieces(weight, self.mean[::2] + share * apart, second, third)

    def gauss(self, length: int) -> tuple[Floats, Floats, NDArray[Any]]:
        """Places and weights of two drops (or one) for each piece that has any, and its number: Gauss's rule."""
        there = np.flatnonzero(self.weight)
        weight, mean, spread = self.weight[there], self.mean[there], np.sqrt(np.maximum(self.second[there], 0.0))
        single = spread <= 1e-9 * length
        skew = self.third[there] / np.where(single, 1.0, spread) ** 3
        root = np.sqrt(1.0 + 0.25 * skew**2)
        high, low = 0.5 * skew + root, 0.5 * skew - root
        share = np.where(single, 1.0, -low / (high - low))
        two = ~single
        return (
            np.concatenate([mean + np.where(single, 0.0, spread * high), (mean + spread * low)[two]]),
            np.concatenate([weight * share, (weight * (1 - share))[two]]),
            np.concatenate([there, there[two]]),
        )


def _levels(
    run: History, at: NDArray[np.int64], together: int
) -> Iterator[tuple[NDArray[Any], Floats, NDArray[Any], int]]:
    """Places and weights of the drops in pieces of each length, the piece of each, which rises, and how many there are.

    A piece in which the laws bend holds the drops of the pieces that it is made of.
    """
    total = run.steps
    depth = 1
    while together * 2**depth < total:
        depth += 1
    pieces = -(-total // (together * 2**depth)) * 2**depth
    more = pieces * together - total

    def shaped(values: Floats, rest: float) -> Floats:
        return np.concatenate([values, np.full(more, rest)]).reshape(pieces, together)

    drops = shaped(run.drops, 0.0)
    signs = [_gathered(part) for part in (np.maximum(drops, 0.0), np.minimum(drops, 0.0)) if part.any()]
    rates, areas = shaped(run.lr, run.lr[-1]), shaped(run.areas[1:], run.areas[-1])
    lowest, highest, before, after = rates.min(axis=1), rates.max(axis=1), areas[:, 0], areas[:, -1]
    jumps = np.abs(drops).max(axis=1) > JUMP * run.peak
    places, weights, of = at + 1.0, run.drops[at], at // together
    length = together
    while True:
        bent = jumps | (highest > CHANGE * lowest) | (after > CHANGE * before)
        kept = bent[of]
        parts = [(places[kept], weights[kept], of[kept])]
        for sign in signs:
            found = sign.gauss(length)
            straight = ~bent[found[2]]
            parts.append((found[0][straight], found[1][straight], found[2][straight]))
        places, weights, of = (np.concatenate(values) for values in zip(*parts, strict=True))
        order = np.argsort(of, kind="stable")
        places, weights, of = places[order], weights[order], of[order]
        yield places, weights, of, len(bent)
        length *= 2
        if length >= total or len(bent) % 2:
            return
        signs = [sign.pairwise() for sign in signs]
        lowest, highest = np.minimum(lowest[::2], lowest[1::2]), np.maximum(highest[::2], highest[1::2])
        before, after, jumps, of = before[::2], after[1::2], jumps[::2] | jumps[1::2], of // 2


def _gathered(drops: Floats) -> _Pieces:
    """The moments of drops (k, n) of one sign in pieces of n updates; where there is none, at the middle."""
    pieces, length = drops.shape
    within = np.arange(1.0, length + 1.0)
    weight = drops.sum(axis=1)
    safe = np.where(weight == 0, 1.0, weight)
    mean = np.where(weight == 0, 0.5 * (length + 1), drops @ within / safe)
    off = within - mean[:, None]
    weighed = drops * off * off
    second = weighed.sum(axis=1) / safe
    third = np.einsum("kn,kn->k", weighed, off) / safe
    return _Pieces(weight, mean + length * np.arange(pieces), second, third)


@dataclass(frozen=True)
class Pairs:
    """Every drop that every point has seen, one after another, (P,).

    `drop` is how much the learning rate fell, `lr` what it fell to and `share` the rate half way down, over the peak;
    `since` the area of learning rate from that update on and `steps` how many updates that is, both with the update
    itself; `area_then` the whole area with it.
    """

    drop: Floats
    lr: Floats
    share: Floats
    since: Floats
    steps: Floats
    area_then: Floats

    def take(self, keep: NDArray[np.int64]) -> Pairs:
        """Some of them."""
        return Pairs(*(getattr(self, part.name)[keep] for part in fields(self)))


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

        pairs = Pairs(*(all_of(getattr(p.pairs, part.name) for p in parts) for part in fields(Pairs)))
        step, area, lr, peak, moment = (
            all_of(getattr(p, name) for p in parts) for name in ("step", "area", "lr", "peak", "moment")
        )
        starts = np.concatenate([p.starts + at for p, at in zip(parts, offsets[:-1], strict=True)])
        return cls(step, area, lr, peak, moment, pairs, starts)
