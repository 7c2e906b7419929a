"""The batched solver against scipy, and its typed statuses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize, nnls
from scipy.special import huber

from scaling_lab.engine import solve
from scaling_lab.engine.coordinates import Coordinates
from scaling_lab.engine.dual import Dual
from scaling_lab.engine.solve import Objective, Solutions, newton, nonnegative_least_squares
from scaling_lab.laws import LAWS


def test_objective_terms_are_scipys_huber() -> None:
    r = np.linspace(-0.01, 0.01, 41)
    np.testing.assert_allclose(Objective("huber", 1e-3).terms(r), huber(1e-3, r), rtol=1e-12)
    np.testing.assert_allclose(Objective("l2").terms(r), r**2 / 2)
    narrow = Objective("l1").terms(r)
    np.testing.assert_allclose(narrow, np.abs(r), atol=1e-6)


@pytest.mark.parametrize("name", ["huber", "l2", "l1"])
def test_slopes_are_derivatives_of_terms(name: str) -> None:
    objective = Objective(name, 1e-3)
    r = np.array([-5e-3, -4e-4, 3e-4, 2e-3])
    first, second = objective.slopes(r, 1e-3)
    h = 1e-7
    up, here, down = (objective.terms(r + step, 1e-3) for step in (h, 0.0, -h))
    np.testing.assert_allclose(first, (up - down) / (2 * h), rtol=1e-5)
    numeric = (up - 2 * here + down) / h**2
    np.testing.assert_allclose(second, numeric, rtol=0.02, atol=0.05)


def test_nonnegative_least_squares_is_scipys() -> None:
    rng = np.random.default_rng(0)
    basis = rng.uniform(0.1, 1.0, (50, 3, 20))
    target = rng.normal(0.5, 1.0, 20)
    weights = rng.uniform(0.5, 2.0, 20)
    found, error = nonnegative_least_squares(basis, target, weights)
    for g in range(50):
        want, norm = nnls((basis[g] * np.sqrt(weights)).T, target * np.sqrt(weights))
        np.testing.assert_allclose(found[g], want, atol=1e-7)
        assert error[g] == pytest.approx(norm**2, rel=1e-7)


def test_least_squares_agrees_with_scipy_on_exponential_decay() -> None:
    x = np.linspace(0, 4, 30)
    y = 2.0 * np.exp(-0.7 * x) + 0.1 * np.sin(9 * x)

    def model(theta: np.ndarray) -> Dual:
        a, k = Dual.variable(theta[:, [0]], 0), Dual.variable(theta[:, [1]], 1)
        return a * np.exp(-k * x)

    starts = np.array([[1.0, 0.2], [5.0, 2.0], [0.5, 1.0]])
    found = newton(model, starts, y, np.ones(30), Objective("l2", on="plain"))
    want = minimize(lambda t: 0.5 * np.sum((t[0] * np.exp(-t[1] * x) - y) ** 2), [1.0, 0.5], tol=1e-14)
    assert (found.status == solve.CONVERGED).all()
    np.testing.assert_allclose(found.theta, np.tile(want.x, (3, 1)), rtol=1e-5)


def test_statuses_are_typed_and_one_bad_start_leaves_the_others_alone() -> None:
    def model(theta: np.ndarray) -> Dual:
        return np.exp(Dual.variable(theta[:, [0]], 0)) * np.ones(5)

    starts = np.array([[0.0], [np.nan], [5.0]])
    found = newton(model, starts, np.log(np.full(5, 3.0)), np.ones(5), Objective("l2"))
    assert found.status.tolist() == [solve.CONVERGED, solve.NOT_FINITE, solve.CONVERGED]
    np.testing.assert_allclose(found.theta[[0, 2], 0], np.log(3.0), atol=1e-9)
    few = newton(model, np.array([[5.0]]), np.log(np.full(5, 3.0)), np.ones(5), Objective("huber"), max_steps=1)
    assert few.status.tolist() == [solve.MAX_ITERATIONS]


def test_workers_and_chunks_do_not_change_the_numbers(epoch: pd.DataFrame) -> None:
    coordinates = Coordinates(LAWS["chinchilla"], {})
    x = {"params": epoch.params_total.to_numpy(), "tokens": epoch.tokens.to_numpy()}
    y = np.log(epoch.loss.to_numpy())
    starts = np.tile(np.log([1.8, 480.0, 2100.0, 0.35, 0.37]), (40, 1))
    weights = np.random.default_rng(0).multinomial(240, np.ones(240) / 240, 40).astype(float)

    def run(size: int, workers: int) -> Solutions:
        return solve.in_chunks(
            lambda part: newton(lambda t: coordinates.model(x, t), starts[part], y, weights[part], Objective()),
            40,
            size,
            workers,
        )

    one, many = run(40, 1), run(7, 3)
    np.testing.assert_allclose(one.theta, many.theta, rtol=1e-10)
    np.testing.assert_allclose(one.value, many.value, rtol=1e-12)


def test_resamples_are_never_worse_than_scipys_best_of_several_starts(epoch: pd.DataFrame) -> None:
    """50 resamples, scipy L-BFGS-B then BFGS from 20 starts each: ours is at most 1e-9 above."""
    coordinates = Coordinates(LAWS["chinchilla"], {})
    x = {"params": epoch.params_total.to_numpy(), "tokens": epoch.tokens.to_numpy()}
    log_n, log_d, y = np.log(x["params"]), np.log(x["tokens"]), np.log(epoch.loss.to_numpy())
    rng = np.random.default_rng(5)
    weights = rng.multinomial(240, np.ones(240) / 240, 50).astype(float)
    best = np.log([1.817218, 477.826, 2143.42, 0.3473105, 0.3671724])
    found = newton(lambda t: coordinates.model(x, t), np.tile(best, (50, 1)), y, weights, Objective())

    def both(t: np.ndarray, w: np.ndarray) -> tuple[float, np.ndarray]:
        e, a, b, alpha, beta = np.exp(t)
        parts = np.stack([np.full(240, e), a * np.exp(-alpha * log_n), b * np.exp(-beta * log_d)])
        share = parts / parts.sum(0)
        r = np.log(parts.sum(0)) - y
        pull = w * np.clip(r, -1e-3, 1e-3)
        slopes = [*(share @ pull), -alpha * np.sum(pull * share[1] * log_n), -beta * np.sum(pull * share[2] * log_d)]
        return 1e6 * float(np.sum(w * huber(1e-3, r))), 1e6 * np.array(slopes)

    for b in range(0, 50, 5):  # every fifth here; bench/ and the notebook in docs/LOG.md ran all fifty
        starts = best + rng.normal(0, 0.3, (6, 5))
        scipys = min(minimize(both, s, (weights[b],), jac=True, method="BFGS").fun / 1e6 for s in starts)
        assert found.value[b] <= scipys + 1e-9
