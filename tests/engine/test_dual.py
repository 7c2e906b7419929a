"""Exact derivatives against finite differences, ufunc by ufunc, and a clear refusal of the others."""

from __future__ import annotations

import numpy as np
import pytest

from scaling_lab.engine.dual import Dual

EXPRESSIONS = {
    "exp": lambda a, b: np.exp(a * b),
    "expm1": lambda a, b: np.expm1(a) - b,
    "log": lambda a, b: np.log(a + b * b),
    "log1p": lambda a, b: np.log1p(a * b),
    "sqrt": lambda a, b: np.sqrt(a / b),
    "square": lambda a, b: np.square(a - 2 * b),
    "tanh": lambda a, b: np.tanh(a) * b,
    "negative": lambda a, b: np.negative(a) * (-b),
    "power of dual by dual": lambda a, b: a**b,
    "power of array by dual": lambda a, b: np.array([2.0, 3.0]) ** (a * b),
    "power of dual by number": lambda a, b: (a + b) ** 2.5 + a**-1,
    "quotients": lambda a, b: 1.0 / a + a / b - np.divide(b, 3.0) + np.array([1.0, 2.0]) / b,
    "sums with arrays": lambda a, b: np.array([1.0, 2.0]) - a + (3.0 - b) - np.array([0.5, 0.1]) * a,
    "array first ufuncs": lambda a, b: np.multiply(np.array([2.0, 5.0]), a) + np.subtract(np.ones(2), np.add(1.0, b)),
    "the larger and the smaller": lambda a, b: np.maximum(a, b * b) * np.minimum(a * b, 3.0) + np.maximum(0.5, a),
    "sum in logarithms": lambda a, b: np.logaddexp(3 * a, b) + np.logaddexp(1.0, a * b) + np.logaddexp(b, 2.0),
    "same variable twice": lambda a, b: a * a * b + a * (a + b) * a,
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_derivatives(name: str) -> None:
    f = EXPRESSIONS[name]
    at = np.array([0.7, 1.3])
    found = f(Dual.variable(at[0], 0), Dual.variable(at[1], 1))
    h = 1e-4

    def value(a: float, b: float) -> np.ndarray:
        return np.asarray(f(np.float64(a), np.float64(b)))

    def shift(*steps: float) -> np.ndarray:
        return value(at[0] + h * steps[0], at[1] + h * steps[1])

    np.testing.assert_allclose(found.value, value(*at), rtol=1e-14)
    first = [(shift(1, 0) - shift(-1, 0)) / (2 * h), (shift(0, 1) - shift(0, -1)) / (2 * h)]
    for i in range(2):
        np.testing.assert_allclose(found.grad[i] + 0 * found.value, first[i] + 0 * found.value, rtol=1e-6, atol=1e-7)
    second = {
        (0, 0): (shift(1, 0) - 2 * shift(0, 0) + shift(-1, 0)) / h**2,
        (1, 1): (shift(0, 1) - 2 * shift(0, 0) + shift(0, -1)) / h**2,
        (0, 1): (shift(1, 1) - shift(1, -1) - shift(-1, 1) + shift(-1, -1)) / (4 * h**2),
    }
    for key, want in second.items():
        got = found.hess.get(key, 0.0) + 0 * found.value
        np.testing.assert_allclose(got, want + 0 * found.value, rtol=1e-5, atol=1e-6)


def test_a_ufunc_without_a_derivative_is_named() -> None:
    with pytest.raises(TypeError, match=r"numpy\.arcsinh"):
        np.arcsinh(Dual.variable(1.0, 0))


# Of three parameters and rows x: results for all rows at once, for each row, and of both kinds towards one variable.
SUMMED = {
    "a power law with a floor": lambda x, a, b, c: np.exp(a - np.exp(b) * x) + np.exp(c),
    "common results used by rows": lambda x, a, b, c: np.exp((a / b) * x) * np.log(1.0 + np.exp(a * c)) + (a / b) ** 2,
    "a variable bent alone and with others": lambda x, a, b, c: np.log1p(np.exp(a * x + b)) * c + np.exp(c) * b + a * a,
    "the larger of rows": lambda x, a, b, c: np.maximum(np.exp(a * x * b), c) * np.tanh(b * c),
    "not of every parameter": lambda x, a, b, c: np.exp(b * x) * b,
    "of no row": lambda x, a, b, c: np.exp(a * b) + c * c,
}


@pytest.mark.parametrize("name", SUMMED)
@pytest.mark.parametrize("rows", [1, 7])
def test_sums_over_rows(name: str, rows: int) -> None:
    rng = np.random.default_rng(0)
    theta, x = rng.uniform(0.3, 1.2, (4, 3)), np.linspace(0.2, 2.0, rows)
    f = SUMMED[name](x, *(Dual.variable(theta[:, [i]], i) for i in range(3)))
    slope, curve, weight = rng.uniform(-1.0, 1.0, (3, 4, rows))
    grad = np.stack([np.broadcast_to(f.grad.get(i, 0.0), (4, rows)) for i in range(3)], axis=1)
    bent = np.zeros((4, 3, 3, rows))
    for (i, j), h in f.hess.items():
        bent[:, i, j] = bent[:, j, i] = h
    gauss = np.einsum("bin,bn,bjn->bij", grad, curve, grad)
    gradient, hessian, square = f.sums(slope, curve, weight, 3)
    np.testing.assert_allclose(gradient, np.einsum("bin,bn->bi", grad, slope), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(square, np.einsum("bin,bn->bi", grad**2, weight), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(hessian, gauss + np.einsum("bijn,bn->bij", bent, slope), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(f.sums(slope, curve, weight, 3, straight=True)[1], gauss, rtol=1e-11, atol=1e-13)
    # And against differences of the function itself.
    at, h = theta[0], 1e-4

    def total(shift: np.ndarray) -> float:
        values = np.asarray(SUMMED[name](x, *((at + h * shift)[:, None])))
        return float(np.sum(slope[0] * values))

    one = np.eye(3)
    for i in range(3):
        assert (total(one[i]) - total(-one[i])) / (2 * h) == pytest.approx(gradient[0, i], rel=1e-6, abs=1e-7)
        for j in range(3):
            signs = [(s, t, s * t) for s in (1, -1) for t in (1, -1)]
            second = sum(sign * total(s * one[i] + t * one[j]) for s, t, sign in signs) / (4 * h**2)
            assert second == pytest.approx((hessian - gauss)[0, i, j], rel=1e-5, abs=2e-6)


def test_a_result_that_is_not_taken_spoils_no_derivative() -> None:
    a, x = Dual.variable(np.array([[2.0]]), 0), np.array([0.0, 3.0])
    with np.errstate(all="ignore"):  # log 0 and its slope are infinite where the other is the larger
        f = np.maximum(np.log(a * x) * a, a) * a
        gradient, hessian, _ = f.sums(np.ones((1, 2)), np.zeros((1, 2)), np.ones((1, 2)), 1)
    # a² where x is 0; where it is 3 a² log(3 a), as log 6 is above one.
    assert gradient[0, 0] == pytest.approx(2 * 2.0 + 2 * 2.0 * np.log(6.0) + 2.0)
    assert hessian[0, 0, 0] == pytest.approx(2.0 + 2 * np.log(6.0) + 3.0)
