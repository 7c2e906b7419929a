"""Between a law's parameters and the coordinates they are searched in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..histories import Points
from ..laws import Law, Param
from ..laws.base import Bowls
from ..quantities import SHARE_PREFIX
from . import sums
from .bowls import BowlKernel
from .dual import Dual
from .powers import PowerSum
from .solve import ByDual, Kernel

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Coordinates:
    """The free parameters of a law as columns theta (B, p).

    The log of positive ones and of minus negative ones, the logit of one's place between two limits, real ones as they
    are.
    """

    law: Law
    fixed: Mapping[str, float]

    def __post_init__(self) -> None:
        for name, value in self.fixed.items():
            low, high = self.law.param(name).bounds
            if not np.isfinite(value) or (low is not None and value < low) or (high is not None and value > high):
                raise UsageError(f"--fix {name}={value:g} is outside what {self.law.name} allows for {name}")

    @classmethod
    def of(cls, law: Law, fix: Mapping[str, float], x: Mapping[str, Floats]) -> Coordinates:
        """The coordinates with `fix` held, and the law's places of reference at the geometric means of inputs (n,)."""
        # No rows have no middle: a fit to them is refused for want of rows.
        places = {
            p.name: float(np.exp(np.sum(np.log(v)) / max(len(v), 1)))
            for p in law.params
            if p.reference
            for v in [x[p.reference]]
        }
        return cls(_placed(law, x), places | dict(fix))

    @property
    def free(self) -> tuple[Param, ...]:
        """The parameters that are searched."""
        return tuple(p for p in self.law.params if p.name not in self.fixed)

    def to_theta(self, params: Mapping[str, Floats]) -> Floats:
        """Coordinates (B, p) of free parameters given by name, each (B,)."""
        return np.column_stack([inward(p, np.asarray(params[p.name], dtype=float)) for p in self.free])

    def to_params(self, theta: Floats) -> dict[str, Floats]:
        """Every parameter by name, each (B, 1), fixed ones included."""
        found = {p.name: outward(p, theta[:, [i]]) for i, p in enumerate(self.free)}
        held = {name: np.full((len(theta), 1), value) for name, value in self.fixed.items()}
        return {name: (found | held)[name] for name in self.law.names}

    def to_array(self, theta: Floats) -> Floats:
        """Every parameter (B, P) in the order of the registry entry."""
        return np.column_stack(list(self.to_params(theta).values()))

    def from_array(self, params: Floats) -> Floats:
        """Coordinates (B, p) of every parameter (B, P) in the order of the registry entry."""
        if not self.free:
            return np.zeros((len(params), 0))
        return self.to_theta({name: params[:, i] for i, name in enumerate(self.law.names)})

    def duals(self, theta: Floats) -> dict[str, Dual | Floats]:
        """Every parameter by name, the free ones as variables numbered by column of theta."""
        found: dict[str, Dual | Floats] = {
            p.name: outward(p, Dual.variable(theta[:, [i]], i)) for i, p in enumerate(self.free)
        }
        held: dict[str, Dual | Floats] = {n: np.full((1, 1), v) for n, v in self.fixed.items()}
        return found | held

    def model(self, x: Mapping[str, Floats], theta: Floats) -> Dual:
        """The law (B, n) at inputs (n,), with derivatives towards theta."""
        out = self.law.predict(x, **self.duals(theta))
        return out if isinstance(out, Dual) else Dual(out)

    def kernel(self, x: Mapping[str, Floats], size: float = 1.0) -> Kernel:
        """The law at inputs (n,) as the solver minimises it: its own sums of powers, else by duals.

        `size` is about that of the target; no answer hangs on it, only how fast it is reached.
        """
        coefficients = {power.coefficient for power in self.law.powers}
        if self.law.powers and all(self.law.param(n).domain == "positive" for n in coefficients):
            return PowerSum(self, x, size)
        if isinstance(self.law.form, Bowls):
            return BowlKernel(self, self.law.form, x, size)
        if self.law.form is not None:
            return sums.kernel_of(self, self.law.form, x)
        real = np.array([p.domain == "real" for p in self.free], dtype=bool)
        cut = lambda keep: {name: values[keep] for name, values in x.items()}  # noqa: E731
        kernel = ByDual(lambda t: self.model(x, t), real, part=lambda t, keep: self.model(cut(keep), t))
        # A law of curves works on every drop that each row has seen: as many starts at once as such arrays allow.
        n = len(next(iter(x.values())))
        kernel.block = max(kernel.block * n // max(numbers(x), 1), n)
        return kernel

    def predictor(self, x: Mapping[str, Floats]) -> Callable[[Floats], Floats]:
        """The law at inputs (n,) as a function of theta (B, p), (B, n): infinite or NaN where it is no number."""
        kernel = self.kernel(x)
        if isinstance(kernel, PowerSum):
            return kernel.predictions

        def predictions(theta: Floats) -> Floats:
            with np.errstate(all="ignore"):
                out = np.asarray(self.law.predict(dict(x), **self.to_params(theta)), dtype=float)
            return np.broadcast_to(out, (len(theta), len(next(iter(x.values())))))

        return predictions

    def in_reach(self, x: Mapping[str, Floats], theta: Floats) -> NDArray[np.bool_]:
        """Whether the law's parameters at theta (B, p), as numbers, predict (B,) what theta does at inputs (n,).

        A coefficient at x = 1 of 1e320, or of 1e300 times a power of 1e-310, leaves floating point where the search, in
        logarithms, does not.
        """
        with np.errstate(all="ignore"):
            params = self.to_params(theta)
            plain = np.asarray(self.law.predict(dict(x), **params), dtype=float)
            close = np.abs(plain - self.predictor(x)(theta)) <= 1e-6 * np.abs(plain)
            finite = np.isfinite(np.column_stack(list(params.values()))).all(axis=1)
        # Beyond 1e150 a loss has no square, which a root mean square error needs.
        sound = close & (np.abs(plain) < 1e150) & ((plain > 0) | (self.law.residual != "log"))
        return np.asarray(finite & sound.all(axis=1))

    def random(self, count: int, rng: np.random.Generator) -> Floats:
        """Starts (count, p) drawn evenly over the start ranges, in logarithm where the range keeps one sign."""
        columns = []
        for p in self.free:
            low, high = p.start
            ends = sorted(inward(p, np.array([low, high])))
            columns.append(rng.uniform(ends[0], ends[1], count))
        return np.column_stack(columns) if columns else np.zeros((count, 0))


def numbers(x: Mapping[str, Any]) -> int:
    """How many numbers a law works on for one set of parameters: its rows, or the drops that rows of curves saw."""
    return max((len(v.pairs.drop) if isinstance(v, Points) else len(v) for v in x.values()), default=0)


def _placed(law: Law, x: Mapping[str, Floats]) -> Law:
    """The law with places along an input started within the range of its values (n,), where they have one."""

    def placed(p: Param) -> Param:
        found = x.get(p.along, np.zeros(0))
        if not found.size or found.min() == found.max():
            return p
        return replace(p, start=(float(found.min()), float(found.max())))

    if not any(p.along for p in law.params):
        return law
    return replace(law, params=tuple(placed(p) for p in law.params))


def ends(x: Mapping[str, Floats]) -> dict[str, Floats]:
    """The smallest and the largest value of each input (n,): where a law leaves floating point first.

    Every row, where there are shares: no mixture has the smallest of all.
    """
    if any(name.startswith(SHARE_PREFIX) for name in x):
        return dict(x)
    return {name: np.array([values.min(), values.max()]) for name, values in x.items()}


# How near to a limit a parameter between two is searched: beyond, the logistic function has no digits left.
NEAREST = 1e-12


def inward(param: Param, value: Floats) -> Floats:
    """The coordinates of values of one parameter."""
    if param.domain == "real":
        return value
    if param.domain == "between":
        low, high = param.limits
        share = np.clip((value - low) / (high - low), NEAREST, 1 - NEAREST)
        return np.asarray(np.log(share) - np.log1p(-share))
    return np.log(np.maximum(value if param.domain == "positive" else -value, 1e-300))


def outward(param: Param, theta: Any) -> Any:
    """One parameter at its coordinates, which may be dual numbers."""
    if param.domain == "real":
        return theta
    if param.domain == "between":
        low, high = param.limits
        return low + (0.5 * (high - low)) * (1.0 + np.tanh(0.5 * theta))
    size = np.exp(theta)
    return size if param.domain == "positive" else -size


def slope(param: Param, value: float) -> float:
    """How fast a parameter moves with its coordinate."""
    if param.domain == "between":
        low, high = param.limits
        return (value - low) * (high - value) / (high - low)
    return abs(value) if param.signed else 1.0
