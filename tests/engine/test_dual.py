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
