"""A law that is a sum of powers as one kernel: value, gradient and Hessian from a few products of shared arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .solve import Derivatives, Kernel, Objective, Pull, sum_blocks

if TYPE_CHECKING:
    from .coordinates import Coordinates

Floats = NDArray[np.float64]

# The height, as a share of the target's size, above which a term is searched as it is and below which by its logarithm.
SOFT = 0.02


class PowerSum(Kernel):
    """The sum over terms k of C_k * x_k ** q_k at inputs (n,), searched in coordinates phi.

    phi are the columns of theta, but for log C_k. A coefficient at x = 1 and its exponent trade against each other
    over many orders, so there stands the term's height at the middle of the data, H = C_k * exp(q_k * mean(log x_k)),
    where they hardly do. And two heights trade so that their sum stays, a straight valley for them and a curved one for
    their logarithms; but only a logarithm keeps H above zero. So phi is v with H = s * log(1 + exp(v)): about H / s
    where the term is larger than s, a fiftieth of `size`, and log(H / s) where it is smaller. Refits take a third fewer
    Newton steps than in theta, starts from afar half as many. Derivatives are exact as `dual`'s are (tested against
    it), and several times faster: all second derivatives are sums over rows of products of terms with 1, log x, log x².
    """

    block = 120_000

    def far(self, place: Floats, begun: Floats) -> Floats:
        """See Kernel. A height may go to nothing or up by `size` in one step."""
        return np.where(self.heights, 1.0 / SOFT + np.maximum(place, 0.0), super().far(place, begun))

    def __init__(self, coordinates: Coordinates, x: Mapping[str, Floats], size: float) -> None:
        law, free = coordinates.law, [p.name for p in coordinates.free]
        self.logs = np.array([p.domain != "real" for p in coordinates.free], dtype=bool)
        self.soft = SOFT * size
        self.heights = np.zeros(len(free), dtype=bool)
        self.terms: list[_Term] = []
        self.flat: _Term | None = None
        at = 0
        for power in law.powers:
            term = _Term(at)
            if power.coefficient in free:
                term.coefficient = free.index(power.coefficient)
                self.heights[term.coefficient] = True
            else:
                value = coordinates.fixed[power.coefficient]
                term.height = float(np.log(value)) if value > 0 else -np.inf
            at += 1
            if not power.factor:
                self.flat, term.side = term, -1.0 if power.minus else 1.0
                continue
            logs = np.log(power.base(x))
            # A held coefficient has no column of its own that could take the shift.
            term.middle = float(np.mean(logs)) if term.coefficient is not None else 0.0
            term.logs = logs - term.middle
            term.sign = float(power.sign)
            domain = law.param(power.exponent).domain
            term.side = -1.0 if domain == "negative" else 1.0
            term.straight = domain == "real"
            term.limits = law.param(power.exponent).limits if domain == "between" else None
            if power.exponent in free:
                term.exponent = free.index(power.exponent)
            else:
                term.power = term.sign * coordinates.fixed[power.exponent]
            at += 1
            one = np.ones_like(term.logs)
            term.second = np.stack([one, term.logs, term.logs**2], axis=1)
            self.terms.append(term)
        self.local = at
        # Which local variable (log height, power, of each term) belongs to which column: tied exponents share one.
        self.column = np.zeros((at, len(free)))
        for term in (*self.terms, *([self.flat] if self.flat else [])):
            if term.coefficient is not None:
                self.column[term.at, term.coefficient] = 1.0
            if term.exponent is not None:
                self.column[term.at + 1, term.exponent] = 1.0
        self.pairs = {
            (i, j): np.stack([np.ones_like(a.logs), b.logs, a.logs, a.logs * b.logs], axis=1)
            for i, a in enumerate(self.terms)
            for j, b in enumerate(self.terms)
            if i < j
        }

    def inward(self, theta: Floats) -> Floats:
        """Coordinates phi (b, p) of theta (b, p)."""
        out = np.array(theta, dtype=float)
        for term in self._every():
            if term.coefficient is not None:
                with np.errstate(all="ignore"):
                    z = out[:, term.coefficient] + term.middle * term.powers(theta)[0] - np.log(self.soft)
                    # log(expm1(e^z)), whose argument overflows where it is e^z itself, and is z where that is small.
                    height = np.exp(np.minimum(z, 700.0))
                    out[:, term.coefficient] = np.where(z < -30, z, height + np.log(-np.expm1(-height)))
        return out

    def outward(self, phi: Floats) -> Floats:
        """Coordinates theta (b, p) of phi (b, p)."""
        out = np.array(phi, dtype=float)
        for term in self._every():
            if term.coefficient is not None:
                with np.errstate(all="ignore"):
                    out[:, term.coefficient] = self._heights(term, phi)[0] - term.middle * term.powers(phi)[0]
        return out

    def _every(self) -> tuple[_Term, ...]:
        return (*self.terms, *((self.flat,) if self.flat else ()))

    def _heights(self, term: _Term, phi: Floats) -> tuple[Floats, Floats, Floats]:
        """The log of the term at the middle of the data, and its derivatives towards its column, each (b,)."""
        if term.coefficient is None:
            nothing = np.zeros(len(phi))
            return nothing + term.height, nothing, nothing
        v = phi[:, term.coefficient]
        soft = np.logaddexp(0.0, v)
        share = np.exp(-np.logaddexp(0.0, -v))
        # Far below zero softplus is e^v, and its logarithm v.
        slope = np.where(v < -30, 1.0, share / np.where(v < -30, 1.0, soft))
        return (
            np.log(self.soft) + np.where(v < -700, v, np.log(np.maximum(soft, 1e-320))),
            slope,
            slope * (1.0 - share - slope),
        )

    def predictions(self, theta: Floats) -> Floats:
        """The sum (b, n) at theta (b, p), several times faster than powers are."""
        with np.errstate(all="ignore"):
            phi = self.inward(theta)
            out = self.terms[0].sizes(phi, self._heights(self.terms[0], phi)[0])
            for term in self.terms[1:]:
                out += term.sizes(phi, self._heights(term, phi)[0])
            if self.flat:
                out += self.flat.side * np.exp(self._heights(self.flat, phi)[0])[:, None]
        return out

    def derivatives(
        self, theta: Floats, target: Floats, weights: Floats, objective: Objective, width: float, pull: Pull | None
    ) -> Derivatives:
        """See Kernel; `theta` is phi."""
        n = target.shape[-1]
        with np.errstate(all="ignore"):
            if n <= 2 * self.block:
                out = self._derivatives(theta, target, weights, objective, width, slice(0, n))
            else:
                out = sum_blocks(
                    lambda keep: self._derivatives(
                        theta, target[..., keep], weights[..., keep], objective, width, keep
                    ),
                    n,
                    self.block,
                )
            if pull is not None:
                out = self._pulled(out, theta, pull)
        total, gradient, hessian, diagonal = out
        return np.where(np.isfinite(total), total, np.inf), gradient, hessian, diagonal

    def _derivatives(
        self, phi: Floats, target: Floats, weights: Floats, objective: Objective, width: float, rows: slice
    ) -> Derivatives:
        powers = [term.powers(phi) for term in self.terms]
        heights = {term.at: self._heights(term, phi) for term in self._every()}
        sizes = [term.sizes(phi, heights[term.at][0], rows) for term in self.terms]
        flat = self.flat.side * np.exp(heights[self.flat.at][0]) if self.flat else np.zeros(len(phi))
        f = sizes[0] + flat[:, None]
        for size in sizes[1:]:
            f += size
        total, u, curve, damping = _slopes(f, target, weights, objective, width)
        gradient, hessian, diagonal = self._products(sizes, flat, u, curve, damping, rows)
        # From log heights and powers to the columns that they are searched in, which two terms may share.
        scale, bends = np.empty_like(gradient), np.empty_like(gradient)
        towards = {term.at + 1: power for term, power in zip(self.terms, powers, strict=True)} | heights
        for at, (_, slope, bend) in towards.items():
            scale[:, at], bends[:, at] = slope, bend * gradient[:, at]
        every = np.arange(self.local)
        hessian *= scale[:, :, None]
        hessian *= scale[:, None, :]
        hessian[:, every, every] += bends
        gradient = (gradient * scale) @ self.column
        hessian = self.column.T @ hessian @ self.column
        diagonal = (diagonal * scale**2) @ self.column
        if objective.name == "l1":
            return total / width, gradient / width, hessian / width, diagonal / width
        return total, gradient, hessian, diagonal

    def _products(
        self, sizes: list[Floats], flat: Floats, u: Floats, curve: Floats, damping: Floats, rows: slice
    ) -> tuple[Floats, Floats, Floats]:
        """Gradient (b, l), Hessian (b, l, l) and damping (b, l) towards log heights and powers; overwrites `sizes`.

        Each entry is a sum over rows of a product of terms with 1, log x or log x²: a matrix product with (n, 2 to 4).
        """
        b = len(u)
        gradient, diagonal = np.zeros((2, b, self.local))
        hessian = np.zeros((b, self.local, self.local))
        if self.flat:
            k, moved = self.flat.at, flat * np.sum(u, axis=1)
            gradient[:, k] = moved
            hessian[:, k, k] = flat * flat * np.sum(curve, axis=1) + moved
            diagonal[:, k] = flat * flat * np.sum(damping, axis=1)
        for i, (term, size) in enumerate(zip(self.terms, sizes, strict=True)):
            both = slice(term.at, term.at + 2)
            across, second = curve * size, term.second[rows]
            if self.flat:
                hessian[:, self.flat.at, both] = flat[:, None] * (across @ second[:, :2])
                hessian[:, both, self.flat.at] = hessian[:, self.flat.at, both]
            for j in range(i + 1, len(self.terms)):
                mixed = ((across * sizes[j]) @ self.pairs[i, j][rows]).reshape(b, 2, 2)
                others = slice(self.terms[j].at, self.terms[j].at + 2)
                hessian[:, both, others], hessian[:, others, both] = mixed, mixed.transpose(0, 2, 1)
            across *= size
            own = across @ second
            pulled = np.multiply(u, size, out=across) @ second
            gradient[:, both] = pulled[:, :2]
            own += pulled
            hessian[:, both, both] = own[:, [0, 1, 1, 2]].reshape(b, 2, 2)
            size *= size
            size *= damping
            diagonal[:, both] = size @ second[:, [0, 2]]
        return gradient, hessian, diagonal

    def _pulled(self, found: Derivatives, phi: Floats, pull: Pull) -> Derivatives:
        """The derivatives with those of a pull on theta, which phi bends."""
        total, gradient, hessian, diagonal = found
        theta = self.outward(phi)
        b, p = phi.shape
        force = pull.precision * (theta - pull.center)
        turn = np.broadcast_to(np.eye(p), (b, p, p)).copy()
        bend = np.zeros((b, p))
        for term in self._every():
            c, e = term.coefficient, term.exponent
            if c is None:
                continue
            _, turn[:, c, c], second = self._heights(term, phi)
            bend[:, c] += second * force[:, c]
            if e is not None:
                _, slope, second = term.powers(phi)
                turn[:, c, e] -= term.middle * slope
                bend[:, e] -= term.middle * second * force[:, c]
        curve = turn.transpose(0, 2, 1) @ (pull.precision[None, :, None] * turn)
        every = np.arange(p)
        own = curve[:, every, every].copy()
        curve[:, every, every] += bend
        moved = (turn.transpose(0, 2, 1) @ force[:, :, None])[:, :, 0]
        return total + pull.value(theta), gradient + moved, hessian + curve, diagonal + own


class _Term:
    """One term: where its height and power are found, and the arrays (n, ·) that its derivatives are summed with."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.coefficient: int | None = None
        self.exponent: int | None = None
        self.height = 0.0
        self.power = 0.0
        self.middle = 0.0
        self.sign = self.side = 1.0
        self.straight = False
        self.limits: tuple[float, float] | None = None
        self.logs = self.second = np.empty(0)

    def sizes(self, phi: Floats, height: Floats, rows: slice = slice(None)) -> Floats:
        """The term itself, (b, n), from its log height (b,)."""
        out: Floats = np.stack([height, self.powers(phi)[0]], axis=1) @ self.second[rows, :2].T
        return np.exp(out, out=out)

    def powers(self, phi: Floats) -> tuple[Floats, Floats, Floats]:
        """The power of x and its first and second derivative towards the exponent's column, each (b,)."""
        if self.exponent is None:
            nothing = np.zeros(len(phi))
            return np.full(len(phi), self.power), nothing, nothing
        theta = phi[:, self.exponent]
        if self.straight:
            return self.sign * theta, np.full(len(phi), self.sign), np.zeros(len(phi))
        if self.limits:
            low, high = self.limits
            lean = np.tanh(0.5 * theta)
            first = 0.25 * self.sign * (high - low) * (1.0 - lean * lean)
            return self.sign * (low + 0.5 * (high - low) * (1.0 + lean)), first, -lean * first
        q = self.sign * self.side * np.exp(theta)
        return q, q, q


def _slopes(
    f: Floats, target: Floats, weights: Floats, objective: Objective, width: float
) -> tuple[Floats, Floats, Floats, Floats]:
    """The objective (b,), and for each row (b, n) its first and second derivative towards f and its damping.

    Overwrites the predictions f. Of log f, d²/df² = -1/f²: the second derivative is w (rho'' - rho') / f². An l1
    objective and its derivatives are still to be divided by the width.
    """
    log = objective.on == "log"
    inverse = np.reciprocal(f) if log else np.ones_like(f)
    r = np.log(f, out=f) if log else f
    r -= target
    if objective.name == "l2":
        u = weights * r
        total = 0.5 * np.sum(u * r, axis=1)
        curve = weights - u if log else weights * inverse
    else:
        first = np.clip(r, -width, width)
        curve = (first == r) * weights
        u = weights * first
        if log:
            curve -= u
        first *= -0.5
        first += r
        first *= u
        total = np.sum(first, axis=1)
    u *= inverse
    inverse *= inverse
    curve *= inverse
    inverse *= weights
    return total, u, curve, inverse
