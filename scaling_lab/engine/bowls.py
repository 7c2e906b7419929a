"""Two bowls over a falling floor as a kernel: derivatives by hand, for a table of thousands of cells."""

from __future__ import annotations

from collections.abc import Mapping
from math import factorial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..laws.base import Bowls
from .powers import SOFT, _slopes
from .solve import FAR_STEP, Derivatives, Objective, Pull
from .sums import _Sum

if TYPE_CHECKING:
    from .coordinates import Coordinates

Floats = NDArray[np.float64]

# A skew below SMALL loses its second derivatives to rounding; where skew times way is below NEAR they come by series,
# whose TERMS leave less than rounding.
SMALL, NEAR, TERMS = 0.03, 0.5, 14
# Huber widths from which on the way to a narrower one goes by Gauss-Newton steps.
REWEIGHTED = 1e-3
# Places of the parameters in the form's order.
E, A, ALPHA, B, BETA, LR_0, LR_N, LR_D, BATCH_0, BATCH_D, C_LR, SKEW_LR, TILT, C_BATCH, SKEW_BATCH = range(15)
_WAYS = np.array([LR_0, LR_N, LR_D, TILT, BATCH_0, BATCH_D])
_BATCH = np.array([BATCH_0, BATCH_D])


class BowlKernel(_Sum):
    """E + A e^(-alpha n) + B e^(-beta d) + bowl(C_lr, skew_lr, u) + bowl(C_batch, skew_batch, v), see laws.base.Bowls.

    u and v are linear in the columns 1, n, d and log batch, so that every sum of second derivatives over rows is one
    with products of those. Exact as `dual`'s are (tested against it); how much faster stands in docs/hparams-accuracy.

    A table tells how fast A e^(-alpha n) falls at n = 0, and hardly whether it is a high floor and a steep term or a
    low one and a flat: E, A and alpha trade along a valley that is straight in E, log(A alpha) and 1 / alpha. Those are
    searched, E and 1 / alpha as powers.PowerSum searches heights; B and beta alike. At widths beyond the objective's
    own the Hessian is the Gauss-Newton one, for from afar the exact one leads to where bowls have merged. With both
    every start of the reference table reached its optimum, in half the steps.
    """

    block = 20_000

    def __init__(self, coordinates: Coordinates, form: Bowls, x: Mapping[str, Floats], size: float) -> None:
        logs = [np.asarray(column, dtype=float) for column in form.logs(x)]
        self.n, self.d, self.lr, self.batch = logs
        columns = np.stack([np.ones_like(self.n), self.n, self.d, self.batch], axis=1)
        super().__init__(coordinates, form.names, columns)
        self.free = [p.name for p in coordinates.free]
        self.soft = SOFT * size
        place = {at: self.free.index(form.names[at]) for at in self.kept.tolist()}
        self.floor = place.get(E)
        # The columns of a term's height and power, where both are free.
        self.pairs_of = [(place[h], place[q]) for h, q in ((A, ALPHA), (B, BETA)) if h in place and q in place]
        self.paired = [float(h in place and q in place) for h, q in ((A, ALPHA), (B, BETA))]
        self.mix = np.eye(len(self.free))
        for height, power in self.pairs_of:
            self.mix[height, power] = -1.0

    def inward(self, theta: Floats) -> Floats:
        """See Kernel."""
        out = np.array(theta, dtype=float)
        for height, power in self.pairs_of:
            out[:, height] += out[:, power]
            out[:, power] = _unsoftened(-out[:, power])
        if self.floor is not None:
            out[:, self.floor] = _unsoftened(out[:, self.floor] - np.log(self.soft))
        return out

    def outward(self, own: Floats) -> Floats:
        """See Kernel."""
        with np.errstate(all="ignore"):
            return np.asarray(self._logarithms(own)[0] @ self.mix.T)

    def far(self, place: Floats, begun: Floats) -> Floats:
        """See Kernel. What is searched by its softplus may go to nothing, or grow several times, in one step."""
        out = np.array(super().far(place, begun))
        for _, power in self.pairs_of:
            out[:, power] = FAR_STEP + np.maximum(place[:, power], 0.0)
        if self.floor is not None:
            out[:, self.floor] = 1.0 / SOFT + np.maximum(place[:, self.floor], 0.0)
        return out

    def _logarithms(self, own: Floats) -> tuple[Floats, Floats, Floats]:
        """Theta (b, p), but for log(A alpha) where log A stood, and its derivatives towards the own coordinates."""
        out, slope, bend = np.array(own, dtype=float), np.ones_like(own), np.zeros_like(own)
        for _, at in self.pairs_of:
            found, first, second = _softened(own[:, at])
            out[:, at], slope[:, at], bend[:, at] = -found, -first, -second
        if self.floor is not None:
            found, slope[:, self.floor], bend[:, self.floor] = _softened(own[:, self.floor])
            out[:, self.floor] = found + np.log(self.soft)
        return out, slope, bend

    def derivatives(
        self, theta: Floats, target: Floats, weights: Floats, objective: Objective, width: float, pull: Pull | None
    ) -> Derivatives:
        """See Kernel; `theta` is its own coordinates."""
        with np.errstate(all="ignore"):
            logs, slope, bend = self._logarithms(theta)
        total, gradient, hessian, diagonal = super().derivatives(logs, target, weights, objective, width, None)
        if pull is not None:
            there = logs @ self.mix.T
            curve = self.mix.T @ (pull.precision[:, None] * self.mix)
            total = total + pull.value(there)
            gradient = gradient + (pull.precision * (there - pull.center)) @ self.mix
            hessian, diagonal = hessian + curve, diagonal + np.diag(curve)
        with np.errstate(all="ignore"):
            hessian *= slope[:, :, None]
            hessian *= slope[:, None, :]
            if not _from_afar(objective, width):
                every = np.arange(theta.shape[1])
                hessian[:, every, every] += bend * gradient
            return total, gradient * slope, hessian, diagonal * slope**2

    def of_all(
        self, every: Floats, target: Floats, weights: Floats, objective: Objective, width: float, rows: slice
    ) -> Derivatives:
        """See _Sum."""
        columns = self.columns[rows]
        n, d, lr, batch = self.n[rows], self.d[rows], self.lr[rows], self.batch[rows]
        tilt = every[:, [TILT]]
        v = batch - every[:, [BATCH_0]] - every[:, [BATCH_D]] * d
        u = lr - every[:, [LR_0]] - every[:, [LR_N]] * n - every[:, [LR_D]] * d + tilt * v
        floor = np.exp(every[:, [E]])
        size, size_way = self._term(every, A, ALPHA, n)
        data, data_way = self._term(every, B, BETA, d)
        convex = _from_afar(objective, width)
        rate = _Bowl(every, C_LR, SKEW_LR, u, not convex)
        bowl = _Bowl(every, C_BATCH, SKEW_BATCH, v, not convex)
        jac = np.empty((len(every), 15, len(columns)))
        jac[:, E], jac[:, A], jac[:, B] = floor, size, data
        np.multiply(size, size_way, out=jac[:, ALPHA])
        np.multiply(data, data_way, out=jac[:, BETA])
        jac[:, C_LR], jac[:, SKEW_LR], jac[:, C_BATCH], jac[:, SKEW_BATCH] = (
            rate.value,
            rate.skew,
            bowl.value,
            bowl.skew,
        )
        np.negative(rate.way, out=jac[:, LR_0])
        np.multiply(jac[:, LR_0], n, out=jac[:, LR_N])
        np.multiply(jac[:, LR_0], d, out=jac[:, LR_D])
        np.multiply(rate.way, v, out=jac[:, TILT])
        np.multiply(jac[:, LR_0], tilt, out=jac[:, BATCH_0])
        jac[:, BATCH_0] -= bowl.way
        np.multiply(jac[:, BATCH_0], d, out=jac[:, BATCH_D])
        found = floor + size + data + rate.value + bowl.value
        reweighted = _reweighted(found, target, objective, width) if convex else None
        total, slope, curve, damping = _slopes(found, target, weights, objective, width)
        if reweighted is not None:
            curve = damping * reweighted
        gradient = (jac @ slope[:, :, None])[:, :, 0]
        work = jac * curve[:, None, :]
        hessian = work @ jac.transpose(0, 2, 1)
        diagonal = (np.multiply(jac, jac, out=work) @ damping[:, :, None])[:, :, 0]
        if convex:
            return total, gradient, hessian, diagonal
        # Those that are linear in a parameter's exponential have it for their second derivative too.
        for at in (E, A, B, C_LR, C_BATCH):
            hessian[:, at, at] += gradient[:, at]
        for term, way, height, power in ((size, size_way, A, ALPHA), (data, data_way, B, BETA)):
            _bend_power(hessian, slope * term, way, height, power, self.paired[height == B])
        ways = np.zeros((len(every), 6, 4))
        ways[:, [0, 1, 2], [0, 1, 2]] = -1.0
        ways[:, 3, 0], ways[:, 3, 2], ways[:, 3, 3] = -every[:, BATCH_0], -every[:, BATCH_D], 1.0
        ways[:, 4, 0] = ways[:, 5, 2] = -tilt[:, 0]
        pushed = rate.bend(hessian, slope, columns, self.pairs[rows], ways, _WAYS)
        # u holds tilt * v: its own second derivatives.
        for at, column in ((BATCH_0, 0), (BATCH_D, 2)):
            hessian[:, TILT, at] -= pushed[:, column]
            hessian[:, at, TILT] -= pushed[:, column]
        bowl.bend(hessian, slope, columns, self.pairs[rows], ways[:1, [0, 2]], _BATCH)
        return total, gradient, hessian, diagonal

    def _term(self, every: Floats, height: int, power: int, logs: Floats) -> tuple[Floats, Floats]:
        """A power of size or tokens (b, n), and the derivative of its logarithm towards that of the exponent."""
        mixed = self.paired[height == B]
        turn = np.exp(every[:, [power]]) * logs
        start = every[:, [height]] - (every[:, [power]] if mixed else 0.0)
        return np.exp(start - turn), -mixed - turn


def _from_afar(objective: Objective, width: float) -> bool:
    """Whether a width only leads to the objective's own; terms narrower than REWEIGHTED are too nearly |r| for it."""
    return objective.name != "l2" and width > objective.width and width >= REWEIGHTED


def _reweighted(found: Floats, target: Floats, objective: Objective, width: float) -> Floats:
    """How much rows (b, n) weigh in the Gauss-Newton Hessian: less the further they lie outside a Huber width."""
    size = np.abs((np.log(found) if objective.on == "log" else found) - target)
    return np.asarray(width / np.maximum(size, width))


def _softened(v: Floats) -> tuple[Floats, Floats, Floats]:
    """log(log(1 + e^v)) and its first two derivatives, (b,)."""
    soft = np.logaddexp(0.0, v)
    share = np.exp(-np.logaddexp(0.0, -v))
    slope = np.where(v < -30, 1.0, share / np.where(v < -30, 1.0, soft))
    return np.where(v < -30, v, np.log(np.maximum(soft, 1e-320))), slope, slope * (1.0 - share - slope)


def _unsoftened(log: Floats) -> Floats:
    """v (b,) at which log(1 + e^v) is the exponential of `log`."""
    with np.errstate(all="ignore"):
        height = np.exp(np.minimum(log, 700.0))
        return np.where(log < -30, log, height + np.log(-np.expm1(-height)))


def _bend_power(hessian: Floats, pull: Floats, way: Floats, height: int, power: int, mixed: float) -> None:
    """Adds the second derivatives of a term but towards its height twice; `pull` (b, n) is slope * term."""
    pulled = pull * way
    across = np.sum(pulled, axis=1)
    hessian[:, height, power] += across
    hessian[:, power, height] += across
    # The way's own derivative is the way without what log(A alpha) mixes in.
    hessian[:, power, power] += np.sum(pulled * way, axis=1) + across + mixed * np.sum(pull, axis=1)


class _Bowl:
    """height * (e^z - 1 - z) / skew² at z = skew * way (b, n), and its derivatives towards skew and way.

    Those that only the exact Hessian needs, `curve` (way twice), `across` (skew and way) and `second` (skew twice), are
    made `deep`.
    """

    def __init__(self, every: Floats, height: int, skew: int, way: Floats, deep: bool) -> None:
        self.height, self.at = height, skew
        high, lean = np.exp(every[:, [height]]), every[:, [skew]]
        small = np.flatnonzero(np.abs(lean[:, 0]) < SMALL)
        with np.errstate(all="ignore"):
            each = 1.0 / lean
            z = lean * way
            rise = np.expm1(z)
            self.way = rise * (high * each)
            np.subtract(rise, z, out=z)
            z *= high * each * each
            self.value = z
            # d/dskew of value: (way * its slope - 2 * value) / skew, and so on for the others.
            self.skew = way * self.way
            self.skew -= 2.0 * z
            self.skew *= each
            if deep:
                rise += 1.0
                rise *= high
                self.curve = rise
                self.across = way * rise
                self.across -= self.way
                self.across *= each
                self.second = way * self.across
                self.second -= 3.0 * self.skew
                self.second *= each
        if small.size:
            self._by_series(small, high[small], lean[small], way[small], deep)

    def _by_series(self, small: NDArray[np.intp], h: Floats, lean: Floats, w: Floats, deep: bool) -> None:
        z = lean * w
        near = np.abs(z) < NEAR
        inside = np.where(near, z, 0.0)
        phi = [_series(inside, k) for k in range(3)]
        exact = [
            (self.value, w * w * phi[0]),
            (self.way, w * (2.0 * phi[0] + inside * phi[1])),
            (self.skew, w**3 * phi[1]),
        ]
        if deep:
            exact += [(self.across, w * w * (3.0 * phi[1] + inside * phi[2])), (self.second, w**4 * phi[2])]
        for values, series in exact:
            values[small] = np.where(near, h * series, values[small])

    def bend(self, hessian: Floats, slope: Floats, columns: Floats, pairs: Floats, ways: Floats, at: Floats) -> Floats:
        """Adds the second derivatives, but towards the height twice; the sums (b, 4) of the slope along the way.

        The way moves with parameters `at` (k,) as `ways` (b, k, 4) times `columns` (n, 4).
        """
        b = len(slope)
        of_skew = np.sum(slope * self.skew, axis=1)
        hessian[:, self.height, self.at] += of_skew
        hessian[:, self.at, self.height] += of_skew
        hessian[:, self.at, self.at] += np.sum(slope * self.second, axis=1)
        pushed = (slope * self.way) @ columns
        for own, sums in ((self.height, pushed), (self.at, (slope * self.across) @ columns)):
            moved = (ways @ sums[:, :, None])[:, :, 0]
            hessian[:, own, at] += moved
            hessian[:, at, own] += moved
        curved = ((slope * self.curve) @ pairs).reshape(b, 4, 4)
        hessian[:, at[:, None], at] += ways @ curved @ ways.transpose(0, 2, 1)
        return pushed


def _series(z: Floats, times: int) -> Floats:
    """(e^z - 1 - z) / z² derived so many times, by its series."""
    out = np.zeros_like(z)
    for k in range(TERMS, times - 1, -1):
        out = out * z + factorial(k) / factorial(k - times) / factorial(k + 2)
    return out
