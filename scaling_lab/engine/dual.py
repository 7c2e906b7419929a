"""Numbers that carry their exact first and second derivatives through numpy's ufuncs. Knows no law."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Grad = dict[int, Floats]
Hess = dict[tuple[int, int], Floats]


class Dual:
    """A value with derivatives towards numbered variables, both sparse: what is absent is zero.

    `grad[i]` is the derivative towards variable i, `hess[i, j]` with i <= j the second derivative; every array
    broadcasts against `value`. Rules: one line for each ufunc in _UNARY, the products and quotients below.
    """

    __slots__ = ("grad", "hess", "value")
    # Above ndarray's, so that `array * dual` comes here.
    __array_priority__ = 1000

    def __init__(self, value: Any, grad: Grad | None = None, hess: Hess | None = None) -> None:
        self.value = np.asarray(value, dtype=float)
        self.grad = {} if grad is None else grad
        self.hess = {} if hess is None else hess

    @classmethod
    def variable(cls, value: Any, index: int) -> Dual:
        """Variable number `index` at `value`."""
        return cls(value, {index: np.ones(())})

    def chain(self, value: Floats, first: Floats, second: Floats) -> Dual:
        """f(self), given f, f' and f'' at self.value."""
        grad = {i: first * g for i, g in self.grad.items()}
        hess = {key: first * h for key, h in self.hess.items()}
        names = sorted(self.grad)
        for at, i in enumerate(names):
            for j in names[at:]:
                _add(hess, (i, j), second * (self.grad[i] * self.grad[j]))
        return Dual(value, grad, hess)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__" or options:
            return NotImplemented
        if ufunc in _UNARY:
            (x,) = inputs
            return x.chain(*_UNARY[ufunc](x.value))
        if ufunc in _BINARY:
            return _BINARY[ufunc](*inputs)
        raise TypeError(f"a law uses numpy.{ufunc.__name__}, which engine/dual.py has no derivative for")

    def __add__(self, other: Any) -> Dual:
        return _sum(self, other, 1.0)

    def __sub__(self, other: Any) -> Dual:
        return _sum(self, other, -1.0)

    def __rsub__(self, other: Any) -> Dual:
        return _sum(-self, other, 1.0)

    def __mul__(self, other: Any) -> Dual:
        return _product(self, other)

    def __truediv__(self, other: Any) -> Dual:
        return _product(self, _reciprocal(other))

    def __rtruediv__(self, other: Any) -> Dual:
        return _product(_reciprocal(self), other)

    def __pow__(self, other: Any) -> Dual:
        return _power(self, other)

    def __rpow__(self, other: Any) -> Dual:
        return _power(other, self)

    def __neg__(self) -> Dual:
        return Dual(-self.value, {i: -g for i, g in self.grad.items()}, {k: -h for k, h in self.hess.items()})

    __radd__ = __add__
    __rmul__ = __mul__


def _add(into: Any, key: Any, term: Floats) -> None:
    into[key] = into[key] + term if key in into else term


def _sum(x: Any, y: Any, sign: float) -> Dual:
    if not isinstance(x, Dual):
        x, y, sign = (y if sign > 0 else -y), x, 1.0
    if not isinstance(y, Dual):
        return Dual(x.value + sign * y, dict(x.grad), dict(x.hess))
    grad, hess = dict(x.grad), dict(x.hess)
    for i, g in y.grad.items():
        _add(grad, i, sign * g)
    for key, h in y.hess.items():
        _add(hess, key, sign * h)
    return Dual(x.value + sign * y.value, grad, hess)


def _product(x: Any, y: Any) -> Dual:
    if not isinstance(x, Dual):
        x, y = y, x
    if not isinstance(y, Dual):
        return Dual(x.value * y, {i: g * y for i, g in x.grad.items()}, {k: h * y for k, h in x.hess.items()})
    grad: Grad = {i: g * y.value for i, g in x.grad.items()}
    hess: Hess = {k: h * y.value for k, h in x.hess.items()}
    for i, g in y.grad.items():
        _add(grad, i, x.value * g)
    for key, h in y.hess.items():
        _add(hess, key, x.value * h)
    for i, gx in x.grad.items():
        for j, gy in y.grad.items():
            _add(hess, (min(i, j), max(i, j)), (2.0 if i == j else 1.0) * (gx * gy))
    return Dual(x.value * y.value, grad, hess)


def _larger(x: Any, y: Any) -> Dual:
    """The larger of the two, with its own derivatives; at a tie those of x."""
    a, b = (v if isinstance(v, Dual) else Dual(v) for v in (x, y))
    first = a.value >= b.value

    def choose(mine: Any, other: Any, key: Any) -> Floats:
        return np.where(first, mine.get(key, 0.0), other.get(key, 0.0))

    grad = {i: choose(a.grad, b.grad, i) for i in {**a.grad, **b.grad}}
    hess = {k: choose(a.hess, b.hess, k) for k in {**a.hess, **b.hess}}
    return Dual(np.maximum(a.value, b.value), grad, hess)


def _softplus(x: Dual) -> Dual:
    share = 0.5 * (1.0 + np.tanh(0.5 * x.value))
    return x.chain(np.logaddexp(0.0, x.value), share, share * (1.0 - share))


def _reciprocal(x: Any) -> Any:
    if not isinstance(x, Dual):
        return 1.0 / np.asarray(x, dtype=float)
    inverse = 1.0 / x.value
    return x.chain(inverse, -inverse * inverse, 2.0 * inverse**3)


def _power(x: Any, y: Any) -> Dual:
    if not isinstance(y, Dual):
        y = np.asarray(y, dtype=float)
        value = x.value**y
        return x.chain(value, y * x.value ** (y - 1), y * (y - 1) * x.value ** (y - 2))
    log_x = np.log(x)
    return _exp(_product(y, log_x))


def _exp(x: Dual) -> Dual:
    value = np.exp(x.value)
    return x.chain(value, value, value)


_Rule = Callable[[Floats], tuple[Floats, Floats, Floats]]


def _exp_rule(v: Floats) -> tuple[Floats, Floats, Floats]:
    e = np.exp(v)
    return e, e, e


def _tanh_rule(v: Floats) -> tuple[Floats, Floats, Floats]:
    t = np.tanh(v)
    return t, 1 - t * t, -2 * t * (1 - t * t)


_UNARY: dict[np.ufunc, _Rule] = {
    np.exp: _exp_rule,
    np.expm1: lambda v: (np.expm1(v), np.exp(v), np.exp(v)),
    np.log: lambda v: (np.log(v), 1 / v, -1 / (v * v)),
    np.log1p: lambda v: (np.log1p(v), 1 / (1 + v), -1 / (1 + v) ** 2),
    np.sqrt: lambda v: (np.sqrt(v), 0.5 / np.sqrt(v), -0.25 / v**1.5),
    np.square: lambda v: (v * v, 2 * v, np.full_like(v, 2.0)),
    np.tanh: _tanh_rule,
    np.sin: lambda v: (np.sin(v), np.cos(v), -np.sin(v)),
    np.cos: lambda v: (np.cos(v), -np.sin(v), -np.cos(v)),
    np.arctan: lambda v: (np.arctan(v), 1 / (1 + v * v), -2 * v / (1 + v * v) ** 2),
}
_BINARY: dict[np.ufunc, Callable[[Any, Any], Any]] = {
    np.add: lambda x, y: _sum(x, y, 1.0),
    np.subtract: lambda x, y: _sum(x, y, -1.0),
    np.multiply: _product,
    np.divide: lambda x, y: _product(x, _reciprocal(y)) if isinstance(x, Dual) else _product(_reciprocal(y), x),
    np.power: _power,
    np.maximum: _larger,
    np.minimum: lambda x, y: -_larger(-x, -y),
    # log(exp(x) + exp(y)), whatever their sizes.
    np.logaddexp: lambda x, y: _sum(_softplus(_sum(x, y, -1.0)), y, 1.0),
}
_UNARY[np.negative] = lambda v: (-v, -np.ones_like(v), np.zeros_like(v))
