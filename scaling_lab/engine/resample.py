"""Other tables that might have been measured: resampled runs or rows, or new losses about a fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..laws import Law
from ..laws.learning import PREFIX as CURVE_PREFIX
from ..tables import Rows
from .coordinates import Coordinates
from .diagnostics import jacobian
from .solve import Objective

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

RESAMPLES = ("runs", "rows", "wild", "parametric")
# Replicates that share one child of the seed and are always drawn together, whatever is asked for: at most so many, and
# fewer where that would be more than so many numbers.
FAMILY, FAMILY_NUMBERS = 64, 2_000_000
# A resample that can't tell every parameter is drawn again at most so often.
ATTEMPTS = 100
# A derivative matrix whose Gram matrix has eigenvalues further apart than this tells nothing of some direction.
RANK = 1e-13


# Neighbours on one run's curve err together: it is resampled in so many blocks of them, each a twentieth of its rows.
CURVE_BLOCKS = 20


def curve_blocks(law: Law, rows: Rows) -> Rows | None:
    """The rows of one run's curve with a group for each block of neighbours; None for other laws and several runs."""
    if not law.name.startswith(CURVE_PREFIX) or (rows.grouped and rows.runs > 1) or not rows.used:
        return None
    place = np.empty(rows.used, dtype=np.intp)
    place[np.argsort(rows.x[law.inputs[0]], kind="stable")] = np.arange(rows.used)
    return replace(rows, group=place * CURVE_BLOCKS // max(rows.used, CURVE_BLOCKS), grouped=False)


class Sampler(Protocol):
    """Replicates by number: those of 0 to 100 are the same however many others are drawn, by whomever."""

    @property
    def family(self) -> int:
        """Replicates drawn together."""
        ...

    def draw(self, begin: int, end: int) -> tuple[Floats, Floats, int]:
        """Weights and targets of replicates `begin` to `end`, each (n,) or (k, n), and how many were drawn again."""
        ...


@dataclass(frozen=True)
class WholeGroups:
    """Groups of rows drawn with replacement, as many as there are; a row counts `each` (n,) of its weight each time.

    `told` says of counts (k, n) which can tell every parameter: the others are drawn again. `stream` keeps what is
    drawn for one purpose apart from what is drawn for another.
    """

    index: NDArray[np.intp]
    each: Floats
    target: Floats
    told: Callable[[NDArray[np.intp]], Bools]
    seed: int
    stream: int = 1

    @property
    def kinds(self) -> int:
        """The number of groups."""
        return int(self.index.max()) + 1

    @property
    def family(self) -> int:
        """Replicates drawn together."""
        return family_of(len(self.index))

    def draw(self, begin: int, end: int) -> tuple[Floats, Floats, int]:
        """See Sampler. One that can't tell after many attempts keeps weights of NaN, and its refit fails."""
        parts, redrawn = [], 0
        for child, keep in _families(begin, end, self.family):
            counts = self._counts(child, 0)
            bad = np.flatnonzero(~self.told(counts[keep])) + keep.start
            weights = counts * self.each
            for attempt in range(1, ATTEMPTS + 1):
                if not bad.size:
                    break
                redrawn += len(bad)
                again = self._counts(child, attempt)[bad]
                good = self.told(again)
                weights[bad[good]] = again[good] * self.each
                bad = bad[~good]
            weights[bad] = np.nan
            parts.append(weights[keep])
        return np.concatenate(parts), self.target, redrawn

    def share_told(self) -> float:
        """The share of first draws that can tell every parameter."""
        return float(np.mean(self.told(self._counts(0, 0))))

    def _counts(self, child: int, attempt: int) -> NDArray[np.intp]:
        rng = np.random.default_rng([self.seed, self.stream, child, attempt])
        drawn = rng.integers(0, self.kinds, (self.family, self.kinds))
        drawn += np.arange(self.family)[:, None] * self.kinds
        counts = np.bincount(drawn.ravel(), minlength=self.family * self.kinds)
        return counts.reshape(self.family, self.kinds)[:, self.index]


@dataclass(frozen=True)
class NewLosses:
    """The table's own rows with new targets about the `fitted` ones (n,), in which the rows of a group share an error.

    wild: every group's `residuals` (n,) keep their size and turn their sign by a coin. Otherwise errors are normal:
    `between` is the standard deviation of what a group shares and `within` of the rest, both scaled by sqrt(df / chi²)
    for each replicate, since with `df` degrees of freedom the scale is in doubt itself: refits spread as Student's t.
    """

    index: NDArray[np.intp]
    each: Floats
    fitted: Floats
    residuals: Floats
    wild: bool
    between: float
    within: float
    df: int
    seed: int
    stream: int = 1

    @property
    def family(self) -> int:
        """Replicates drawn together."""
        return family_of(len(self.index))

    def draw(self, begin: int, end: int) -> tuple[Floats, Floats, int]:
        """See Sampler."""
        parts = [self._family(child)[keep] for child, keep in _families(begin, end, self.family)]
        return self.each, np.concatenate(parts), 0

    def _family(self, child: int) -> Floats:
        rng = np.random.default_rng([self.seed, self.stream, child])
        shape = (self.family, int(self.index.max()) + 1)
        if self.wild:
            turned = 2.0 * rng.integers(0, 2, shape) - 1.0
            return np.asarray(self.fitted - turned[:, self.index] * self.residuals)
        scale = np.sqrt(self.df / rng.chisquare(self.df, (self.family, 1)))
        error = self.between * rng.standard_normal(shape)[:, self.index]
        if self.within:
            error += self.within * rng.standard_normal((self.family, len(self.index)))
        return np.asarray(self.fitted + scale * error)


def sampler_of(
    coordinates: Coordinates, rows: Rows, objective: Objective, theta: Floats, resample: str, seed: int, stream: int = 1
) -> tuple[Sampler | None, str]:
    """What draws replicates, and its name in the fit's account; None where too few runs say nothing of their scatter.

    Where most resamples could not tell every parameter, or hardly more groups are there than parameters, single-row
    runs get new losses instead ("residuals"); runs of several rows get nothing: their checkpoints share one error, of
    which so few runs say nothing.
    """
    _, index = np.unique((np.arange(rows.used) if resample == "rows" else rows.group).astype(str), return_inverse=True)
    kinds = int(index.max()) + 1
    few = kinds < len(coordinates.free) + 2
    if resample in ("runs", "rows"):
        told = _rank_test(coordinates, rows, theta)
        whole = WholeGroups(index, rows.weights, objective.scale(rows.y), told, seed, stream)
        if not few and whole.share_told() > 0.5:
            return whole, resample
        few = True
    if few and kinds < rows.used:
        return None, "none: too few runs"
    wild = resample == "wild"
    name = resample if resample in ("wild", "parametric") else "residuals"
    return _new_losses(coordinates, rows, objective, theta, index, wild, seed, stream), name


def _new_losses(
    coordinates: Coordinates,
    rows: Rows,
    objective: Objective,
    theta: Floats,
    index: NDArray[np.intp],
    wild: bool,
    seed: int,
    stream: int,
) -> NewLosses:
    """Residuals with the size that n - p degrees of freedom say, and how much of it the rows of a run share."""
    fitted = objective.scale(coordinates.predictor(rows.x)(theta[None, :])[0])
    df = max(rows.used - len(theta), 1)
    residuals = (fitted - objective.scale(rows.y)) * np.sqrt(rows.used / df)
    sizes = np.bincount(index)
    within = 0.0
    square = float(np.mean(residuals**2))
    if len(sizes) < rows.used:
        # One-way analysis of variance by its moments; what runs share is the rest, and is never below zero.
        means = np.bincount(index, residuals) / sizes
        within = float(np.sum((residuals - means[index]) ** 2) / (rows.used - len(sizes)))
    between = max(square - within, 0.0)
    return NewLosses(
        index, rows.weights, fitted, residuals, wild, float(np.sqrt(between)), float(np.sqrt(within)), df, seed, stream
    )


def _rank_test(coordinates: Coordinates, rows: Rows, theta: Floats) -> Callable[[NDArray[np.intp]], Bools]:
    """Which resamples' rows tell every parameter that all rows tell, by the rank of the derivatives at the optimum."""
    jac = jacobian(coordinates, rows, theta[None, :])
    length = np.linalg.norm(jac, axis=0)
    # A parameter at its bound moves nothing in any resample: it is no reason to draw again.
    jac = jac[:, length > 1e-9 * length.max()] / length[length > 1e-9 * length.max()]
    p, block = jac.shape[1], 50_000

    def told(counts: NDArray[np.intp]) -> Bools:
        gram = np.zeros((len(counts), p * p))
        for at in range(0, len(jac), block):
            part = jac[at : at + block]
            gram += (counts[:, at : at + block] > 0) @ (part[:, :, None] * part[:, None, :]).reshape(len(part), -1)
        values = np.linalg.eigvalsh(gram.reshape(-1, p, p))
        return np.asarray(values[:, 0] > RANK * values[:, -1])

    return told


def family_of(numbers: int) -> int:
    """How many replicates of so many numbers are drawn together."""
    return int(np.clip(FAMILY_NUMBERS // max(numbers, 1), 1, FAMILY))


def _families(begin: int, end: int, size: int) -> list[tuple[int, slice]]:
    """The families that replicates `begin` to `end` belong to, each with the part of it that is wanted."""
    return [
        (child, slice(max(begin - child * size, 0), min(end - child * size, size)))
        for child in range(begin // size, -(-end // size))
    ]
