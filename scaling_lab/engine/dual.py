"""Numbers that carry their exact first and second derivatives through numpy's ufuncs. Knows no law."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_ONE = np.ones(())
# Variables are numbered below it, intermediate results above, in the order in which they are made.
_FIRST = 1 << 32
_numbers = count(_FIRST)


class _Node:
    """What derivatives are taken towards: a variable, or an intermediate `result` that stands for one."""

    __slots__ = ("number", "result")

    def __init__(self, number: int, result: Dual | None = None) -> None:
        self.number = number
        self.result = result


_variable = cache(_Node)
_Grad = dict[_Node, Floats]
_Hess = dict[tuple[_Node, _Node], Floats]
# Derivatives (k, ...) of something towards the k variables of these numbers.
_Gradient = tuple[tuple[int, ...], Floats]


class Dual:
    """A value with derivatives towards numbered variables, both sparse: what is absent is zero.

    `grad[i]` is the derivative towards variable i, `hess[i, j]` with i <= j the second derivative; every array
    broadcasts against `value`. Rules: one line for each ufunc in _UNARY, the products and quotients below.

    Second derivatives towards p variables are p²/2 arrays, which each step of a law would have to carry. So a result
    of more than one variable stands for a variable itself in the steps that bend it: they carry derivatives towards
    those few (`near`, `bent`), and the chain of all steps is put together at the end, by one sweep back.
    """

    __slots__ = ("bent", "near", "value")
    # Above ndarray's, so that `array * dual` comes here.
    __array_priority__ = 1000

    def __init__(self, value: Any, near: _Grad | None = None, bent: _Hess | None = None) -> None:
        self.value = np.asarray(value, dtype=float)
        self.near = {} if near is None else near
        self.bent = {} if bent is None else bent

    @classmethod
    def variable(cls, value: Any, index: int) -> Dual:
        """Variable number `index` at `value`."""
        return cls(value, {_variable(index): _ONE})

    @property
    def grad(self) -> dict[int, Floats]:
        """First derivatives by variable; infinite or NaN where they overflow."""
        with np.errstate(all="ignore"):
            numbers, found = _gradient(self, _gradients(_nodes(self)))
        return dict(zip(numbers, found, strict=True))

    @property
    def hess(self) -> dict[tuple[int, int], Floats]:
        """Second derivatives by pair of variables; infinite or NaN where they overflow."""
        out: dict[tuple[int, int], Floats] = {}
        with np.errstate(all="ignore"):
            nodes = _nodes(self)
            known = _gradients(nodes)
            curved = _swept(self, nodes, np.ones_like(self.value), summed=False)
            for (one, other), c in curved.items():
                (rows, first), (columns, second) = _towards(one, known), _towards(other, known)
                deep = self.value.ndim
                for i, a in zip(rows, _deep(first, deep, 1), strict=True):
                    for j, b in zip(columns, _deep(second, deep, 1), strict=True):
                        if one is not other:
                            _add(out, (min(i, j), max(i, j)), (2.0 if i == j else 1.0) * (c * (a * b)))
                        elif i <= j:
                            _add(out, (i, j), c * (a * b))
        return out

    def sums(
        self, slope: Floats, curve: Floats, weight: Floats, p: int, straight: bool = False
    ) -> tuple[Floats, Floats, Floats]:
        """Derivatives towards p variables of sums over rows, from those of each row's term towards this value (b, n).

        `slope` and `curve` (b, n) are the first and second of those: the gradient is (b, p), the Hessian (b, p, p),
        without this value's own second derivatives where `straight`. Third comes the sum of weight * grad² (b, p).
        """
        b = len(slope)
        gradient, hessian, square = np.zeros((b, p)), np.zeros((b, p, p)), np.zeros((b, p))
        nodes = _nodes(self)
        known = _gradients(nodes)
        numbers, own = _gradient(self, known)
        if not numbers:
            return gradient, hessian, square
        all_of_them = len(numbers) == p
        every: Any = slice(None) if all_of_them else np.array(numbers)
        # Those of the value are at hand: the sweep needs only to find the second derivatives.
        gradient[:, every] = _summed(own, slope).T
        square[:, every] = _summed(own * own, weight).T
        found = _crossed(own, curve, own)
        if all_of_them:
            hessian[:] = found
        else:
            hessian[:, every[:, None], every] = found
        if straight:
            return gradient, hessian, square
        for (one, other), c in _swept(self, nodes, slope, summed=True).items():
            if one.result is None and other.result is None:
                i, j = one.number, other.number
                hessian[:, i, j] += c[:, 0]
                if i != j:
                    hessian[:, j, i] += c[:, 0]
                continue
            (rows, first), (columns, second) = _towards(one, known), _towards(other, known)
            at, to = np.array(rows), np.array(columns)
            found = _crossed(first, c, second)
            hessian[:, at[:, None], to] += found
            if one is not other:
                hessian[:, to[:, None], at] += found.transpose(0, 2, 1)
        return gradient, hessian, square

    def chain(self, value: Floats, first: Floats, second: Floats) -> Dual:
        """f(self), given f, f' and f'' at self.value."""
        x = _alone(self)
        bent = {key: first * h for key, h in x.bent.items()}
        for i, g in x.near.items():
            _add(bent, (i, i), second if g is _ONE else second * (g * g))
        return Dual(value, {i: _times(g, first) for i, g in x.near.items()}, bent)

    def gathered(self, starts: NDArray[np.int64]) -> Dual:
        """The sums over pieces of the last axis that begin at `starts`: towards the variables themselves.

        A chain of steps is put together element by element, which a sum over elements ends.
        """

        def summed(values: Floats) -> Floats:
            return np.add.reduceat(np.broadcast_to(values, self.value.shape), starts, axis=-1)

        return Dual(
            summed(self.value),
            {_variable(i): summed(g) for i, g in self.grad.items()},
            {(_variable(i), _variable(j)): summed(h) for (i, j), h in self.hess.items()},
        )

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if ufunc is np.add and method == "reduceat":
            return inputs[0].gathered(inputs[1])
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
        return Dual(-self.value, {i: -g for i, g in self.near.items()}, {k: -h for k, h in self.bent.items()})

    __radd__ = __add__
    __rmul__ = __mul__


# ------------------------------------------------------------------------------------------- putting steps together


def _alone(x: Dual) -> Dual:
    """The same as a variable of its own, where it is of more than one."""
    return x if len(x.near) < 2 else Dual(x.value, {_Node(next(_numbers), x): _ONE})


def _nodes(x: Dual) -> list[_Node]:
    """The intermediate results that x is made of, in the order in which they were made."""
    found: set[_Node] = set()
    left = [x]
    while left:
        for node in left.pop().near:
            if node.result is not None and node not in found:
                found.add(node)
                left.append(node.result)
    return sorted(found, key=lambda node: node.number)


def _gradients(nodes: list[_Node]) -> dict[_Node, _Gradient]:
    """The derivatives of intermediate results towards the variables."""
    known: dict[_Node, _Gradient] = {}
    for node in nodes:
        assert node.result is not None
        known[node] = _gradient(node.result, known)
    return known


def _gradient(x: Dual, known: Mapping[_Node, _Gradient]) -> _Gradient:
    """The derivatives of x towards the variables, from those of the results it is made of."""
    deep = x.value.ndim
    parts = []
    for node, g in x.near.items():
        rows, found = _towards(node, known)
        parts.append((_deep(g, deep), rows, _deep(found, deep, 1)))
    if not parts:
        return (), np.zeros((0, *x.value.shape))
    numbers = tuple(sorted({i for _, rows, _ in parts for i in rows}))
    sizes = [size for g, _, found in parts for size in (g.shape, found.shape[1:])]
    # Each axis is of one or of all: the longest.
    out = np.empty((len(numbers), *map(max, zip(*sizes, strict=True))))
    begun: set[int] = set()
    for g, rows, found in parts:
        for k, i in enumerate(rows):
            at = numbers.index(i)
            if i in begun:
                out[at] += g * found[k]
            else:
                np.multiply(g, found[k : k + 1], out=out[at : at + 1])
        begun.update(rows)
    return numbers, out


def _swept(x: Dual, nodes: list[_Node], slope: Floats, summed: bool) -> dict[tuple[_Node, _Node], Floats]:
    """From slope times x back to what pairs of derivatives are multiplied by in its second derivative.

    That is the sum over those pairs of c * gradient of the one * gradient of the other, and the same with both
    exchanged where they are two. Where it is to be `summed` over rows (the last axis), what belongs to all rows of a
    batch is summed as soon as it is known.
    """
    moved: dict[_Node, Floats] = {}
    curved: dict[tuple[_Node, _Node], Floats] = {}

    def add(into: Any, key: Any, term: Floats, *towards: _Node) -> None:
        if summed and term.shape[-1] > 1 and all(_common(node) for node in towards):
            term = np.sum(term, axis=-1, keepdims=True)
        _add(into, key, term)

    def back(result: Dual, a: Floats) -> None:
        for node, g in result.near.items():
            if node.result is not None:
                add(moved, node, a if g is _ONE else a * g, node)
        for pair, h in result.bent.items():
            add(curved, pair, a * h, *pair)

    back(x, slope)
    for node in reversed(nodes):
        assert node.result is not None
        back(node.result, moved.pop(node))
    return curved


def _common(node: _Node) -> bool:
    """Whether a node is one number for all rows."""
    return node.result is None or node.result.value.shape[-1:] in ((), (1,))


_ITSELF = np.ones((1, 1, 1))


def _towards(node: _Node, known: Mapping[_Node, _Gradient]) -> _Gradient:
    return ((node.number,), _ITSELF) if node.result is None else known[node]


def _deep(x: Floats, deep: int, ahead: int = 0) -> Floats:
    """The array with axes of one put in behind the first `ahead`, so that `deep` follow those."""
    lacking = deep + ahead - x.ndim
    if lacking == 0:
        return x
    if lacking < 0:
        return x.reshape(x.shape[:ahead] + x.shape[ahead - lacking :])
    return x.reshape(x.shape[:ahead] + (1,) * lacking + x.shape[ahead:])


def _summed(found: Floats, weight: Floats) -> Floats:
    """Sums over rows (k, b) of derivatives (k, b, n), or the same for all rows (k, b, 1), times a weight (b, n)."""
    if found.shape[-1] == 1:
        return found[:, :, 0] * np.sum(weight, axis=-1)
    if weight.shape != found.shape[1:]:
        weight = np.broadcast_to(weight, np.broadcast_shapes(weight.shape, found.shape[1:]))
    return np.asarray((found.transpose(1, 0, 2) @ weight[:, :, None])[:, :, 0].T)


def _crossed(first: Floats, c: Floats, second: Floats) -> Floats:
    """Sums over rows (b, k, l) of c times all products of derivatives (k, b, n) and (l, b, n), as for _summed."""
    if first.shape[-1] > 1 and second.shape[-1] > 1:
        return np.asarray((first * c).transpose(1, 0, 2) @ second.transpose(1, 2, 0))
    if first.shape[-1] == 1:
        return first[:, :, 0].T[:, :, None] * _summed(second, c).T[:, None, :]
    return _summed(first, c).T[:, :, None] * second[:, :, 0].T[:, None, :]


# ------------------------------------------------------------------------------------------------------------ rules


def _add(into: Any, key: Any, term: Floats) -> None:
    into[key] = into[key] + term if key in into else term


def _times(g: Floats, factor: Any) -> Floats:
    return np.asarray(factor, dtype=float) if g is _ONE else g * factor


def _sum(x: Any, y: Any, sign: float) -> Dual:
    if not isinstance(x, Dual):
        x, y, sign = (y if sign > 0 else -y), x, 1.0
    if not isinstance(y, Dual):
        return Dual(x.value + sign * y, x.near, x.bent)
    near, bent = dict(x.near), dict(x.bent)
    for i, g in y.near.items():
        _add(near, i, g if sign > 0 else -g)
    for key, h in y.bent.items():
        _add(bent, key, h if sign > 0 else -h)
    return Dual(x.value + y.value if sign > 0 else x.value - y.value, near, bent)


def _product(x: Any, y: Any) -> Dual:
    if not isinstance(x, Dual):
        x, y = y, x
    if not isinstance(y, Dual):
        value = x.value * y
        # One array for each derivative, where one number stood: fewer of them first.
        x = _alone(x) if value.size > x.value.size else x
        return Dual(value, {i: _times(g, y) for i, g in x.near.items()}, {k: h * y for k, h in x.bent.items()})
    x, y = _alone(x), _alone(y)
    near: _Grad = {i: _times(g, y.value) for i, g in x.near.items()}
    bent: _Hess = {k: h * y.value for k, h in x.bent.items()}
    for i, g in y.near.items():
        _add(near, i, _times(g, x.value))
    for key, h in y.bent.items():
        _add(bent, key, x.value * h)
    for i, gx in x.near.items():
        for j, gy in y.near.items():
            pair = (i, j) if i.number <= j.number else (j, i)
            _add(bent, pair, 2.0 * (gx * gy) if i is j else _times(gx, gy))
    return Dual(x.value * y.value, near, bent)


def _flat(x: Any) -> Dual:
    """The same towards the variables themselves, so that nothing hangs on results at places where x is not taken."""
    if not isinstance(x, Dual):
        return Dual(x)
    if all(_common(node) for node in x.near):
        return x
    return Dual(
        x.value,
        {_variable(i): g for i, g in x.grad.items()},
        {(_variable(i), _variable(j)): h for (i, j), h in x.hess.items()},
    )


def _larger(x: Any, y: Any) -> Dual:
    """The larger of the two, with its own derivatives; at a tie those of x."""
    a, b = _flat(x), _flat(y)
    first = a.value >= b.value

    def choose(mine: Any, other: Any, key: Any) -> Floats:
        return np.where(first, mine.get(key, 0.0), other.get(key, 0.0))

    near = {i: choose(a.near, b.near, i) for i in {**a.near, **b.near}}
    bent = {k: choose(a.bent, b.bent, k) for k in {**a.bent, **b.bent}}
    return Dual(np.maximum(a.value, b.value), near, bent)


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
