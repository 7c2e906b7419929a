"""The batched solver against scipy, and its typed statuses."""

from __future__ import annotations

import os
import platform

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize, nnls
from scipy.special import huber

from scaling_lab.engine import solve
from scaling_lab.engine.coordinates import Coordinates
from scaling_lab.engine.dual import Dual
from scaling_lab.engine.powers import PowerSum
from scaling_lab.engine.solve import Objective, Pull, Solutions, newton, nonnegative_least_squares
from scaling_lab.laws import LAWS, Law


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


@pytest.mark.data
def test_resamples_are_never_worse_than_scipys_best_of_twenty_starts(epoch: pd.DataFrame) -> None:
    """Ours is at most 1e-9 above the best of 20 random starts of scipy's BFGS.

    SCALING_LAB_RESAMPLES says of how many resamples; all 50 (twenty seconds and more) pass.
    """
    count = int(os.environ.get("SCALING_LAB_RESAMPLES", "15"))
    coordinates = Coordinates(LAWS["chinchilla"], {})
    x = {"params": epoch.params_total.to_numpy(), "tokens": epoch.tokens.to_numpy()}
    log_n, log_d, y = np.log(x["params"]), np.log(x["tokens"]), np.log(epoch.loss.to_numpy())
    rng = np.random.default_rng(5)
    weights = rng.multinomial(240, np.ones(240) / 240, count).astype(float)
    best = np.log([1.817218, 477.826, 2143.42, 0.3473105, 0.3671724])
    found = newton(coordinates.kernel(x), np.tile(best, (count, 1)), y, weights, Objective())

    def both(t: np.ndarray, w: np.ndarray) -> tuple[float, np.ndarray]:
        e, a, b = t[:3]
        alpha, beta = np.exp(t[3:])
        parts = np.stack([np.full(240, e), a - alpha * log_n, b - beta * log_d])
        top = parts.max(0)
        total = top + np.log(np.exp(parts - top).sum(0))
        share = np.exp(parts - total)
        r = total - y
        pull = w * np.clip(r, -1e-3, 1e-3)
        slopes = [*(share @ pull), -alpha * np.sum(pull * share[1] * log_n), -beta * np.sum(pull * share[2] * log_d)]
        return 1e6 * float(np.sum(w * huber(1e-3, r))), 1e6 * np.array(slopes)

    starts = coordinates.random(20, rng)
    assert (found.status == solve.CONVERGED).all()
    for b in range(count):
        # Steps of its line search overflow now and then; it comes back from them.
        with np.errstate(over="ignore", invalid="ignore"):
            ends = [minimize(both, s, (weights[b],), jac=True, method="BFGS").fun / 1e6 for s in starts]
        assert found.value[b] <= np.nanmin(ends) + 1e-9


SUMS = pytest.mark.parametrize("law", [law for law in LAWS.values() if law.powers], ids=lambda law: law.name)
OBJECTIVES = [
    Objective(),
    Objective("l2"),
    Objective("l1"),
    Objective("huber", 0.1, "plain"),
    Objective("l2", on="plain"),
]


def objectives(law: Law) -> list[Objective]:
    """Those that hold of a law: what a constant is taken away from may have no logarithm.

    A width of tenths is one of losses: a batch in tokens or a learning rate has its errors in logarithms.
    """
    found = [o for o in OBJECTIVES if o.on == "plain" or not any(power.minus for power in law.powers)]
    return found if law.target == "loss" or law.residual == "plain" else [o for o in found if o.on == "log"]


@SUMS
@pytest.mark.parametrize("held", ["nothing", "a coefficient", "an exponent"])
def test_a_sum_of_powers_has_the_derivatives_of_its_duals(law: Law, held: str) -> None:
    """Value exact, gradient and Hessian in the kernel's own coordinates by differences of value and gradient."""
    rng = np.random.default_rng(0)
    n, width, h = 40, 0.3, 1e-5
    x = {name: 10 ** rng.uniform(7, 12, n) for name in law.inputs}
    if "loss" in x:
        x["loss"] = rng.uniform(1.5, 5.0, n)
    fix = {"nothing": {}, "a coefficient": {law.powers[-1].coefficient: 1.5}, "an exponent": {}}[held]
    if held == "an exponent":
        exponent = next(power.exponent for power in law.powers if power.exponent)
        fix = {exponent: -0.3 if law.param(exponent).domain == "negative" else 0.3}
    coordinates = Coordinates(law, fix)
    theta = coordinates.random(6, rng)
    # Differences of an objective tell its slope only where the targets are of about the size that is predicted.
    near = law.target == "loss" or law.residual == "plain"
    around = np.ones(n) if near else coordinates.model(x, theta[:1]).value[0]
    kernel = coordinates.kernel(x, float(np.median(around)))
    plain = solve.ByDual(lambda theta: coordinates.model(x, theta))
    assert isinstance(kernel, PowerSum)
    own = kernel.inward(theta)
    np.testing.assert_allclose(kernel.outward(own), theta, atol=1e-12)
    np.testing.assert_allclose(kernel.predictions(theta), coordinates.model(x, theta).value, rtol=1e-12)
    weights = rng.integers(0, 3, (6, n)).astype(float)
    pull = Pull(theta[0] + 0.1, np.arange(1.0, theta.shape[1] + 1))
    for objective in objectives(law):
        target = objective.scale(around * 10 ** rng.uniform(0.2, 0.6, n))
        for held_to in (None, pull):
            rest = (target, weights, objective, width, held_to)
            total, gradient, hessian, _ = kernel.derivatives(own, *rest)
            np.testing.assert_allclose(total, plain.derivatives(theta, *rest)[0], rtol=1e-10)
            for i in range(theta.shape[1]):
                step = np.zeros(theta.shape[1])
                step[i] = h
                up, down = kernel.derivatives(own + step, *rest), kernel.derivatives(own - step, *rest)
                size = np.abs(gradient).max()
                np.testing.assert_allclose((up[0] - down[0]) / (2 * h) / size, gradient[:, i] / size, atol=1e-4)
                # A row that crosses the Huber width inside the difference bends the gradient by its own share of it.
                # Where all rows lie outside the width and the terms are searched as they are, nothing bends at all.
                size = np.abs(hessian).max(axis=(1, 2))[:, None]
                size = np.maximum(size, 1e-2 * np.abs(gradient).max(axis=1)[:, None])
                np.testing.assert_allclose((up[1] - down[1]) / (2 * h) / size, hessian[:, i] / size, atol=2e-3)


@SUMS
def test_a_sum_of_powers_has_the_hessian_of_its_duals(law: Law) -> None:
    """Where the kernel's coordinates are theta but for a shift: terms of geometric mean one, targets of huge size."""
    if any(callable(power.factor) for power in law.powers):
        pytest.skip("of no input alone: the test of derivatives above holds of it")
    rng = np.random.default_rng(1)
    coordinates = Coordinates(law, {})
    units = {power.factor: power.unit for power in law.powers}
    x = {name: units[name] * 10 ** (v - v.mean()) for name in law.inputs for v in [rng.uniform(-1.5, 1.5, 30)]}
    theta = np.log(rng.uniform(0.2, 2.0, (5, len(coordinates.free))))
    kernel, plain = coordinates.kernel(x, size=1e12), solve.ByDual(lambda t: coordinates.model(x, t))
    for objective in objectives(law):
        target, weights = objective.scale(10 ** rng.uniform(0.1, 0.6, 30)), rng.uniform(0.0, 2.0, (5, 30))
        ours = kernel.derivatives(kernel.inward(theta), target, weights, objective, 0.2, None)
        theirs = plain.derivatives(theta, target, weights, objective, 0.2, None)
        for part, want in zip(ours[:3], theirs[:3], strict=True):
            np.testing.assert_allclose(part, want, rtol=1e-9, atol=1e-10 * np.abs(want).max())


def test_a_held_coefficient_of_nothing_leaves_its_term_out() -> None:
    coordinates = Coordinates(LAWS["chinchilla"], {"E": 0.0})
    x = {"params": np.geomspace(1e7, 1e10, 9), "tokens": np.geomspace(1e9, 1e12, 9)}
    theta = coordinates.random(3, np.random.default_rng(0))
    target, weights = np.log(np.linspace(4.0, 2.0, 9)), np.ones(9)
    ours = coordinates.kernel(x).derivatives(theta, target, weights, Objective(), 0.1, None)
    assert all(np.isfinite(part).all() for part in ours)


def test_a_parameter_that_runs_away_is_at_its_bound() -> None:
    """A term that the data lack: its logarithm goes to minus infinity and the start has settled there."""
    coordinates = Coordinates(LAWS["hestness"], {})
    x = {"tokens": np.geomspace(1e8, 1e12, 12)}
    y = np.log(300.0 * x["tokens"] ** -0.25)
    found = newton(coordinates.kernel(x), np.log([[200.0, 0.2, 0.5]]), y, np.ones(12), Objective("l2"), max_steps=200)
    assert found.status.tolist() == [solve.AT_BOUND]
    assert solve.settled(found.status).all()
    assert np.exp(found.theta[0, 2]) < 1e-6


def test_small_positive_matrices_are_solved_and_others_are_told() -> None:
    rng = np.random.default_rng(0)
    root = rng.normal(size=(7, 4, 6))
    matrix, right = root @ root.transpose(0, 2, 1), rng.normal(size=(7, 4))
    matrix[3] -= 20 * np.eye(4)
    found, pivot = solve.solve_positive(matrix, right)
    assert (pivot > 0).tolist() == [True] * 3 + [False] + [True] * 3
    good = pivot > 0
    np.testing.assert_allclose(found[good], np.linalg.solve(matrix[good], right[good][:, :, None])[:, :, 0], rtol=1e-9)
    assert (found[3] == 0).all()


def test_a_curvature_that_lapack_can_do_nothing_with_gives_no_step_uphill() -> None:
    """The second derivatives of a term that was driven to 1e-140, against its first, as the fuzz of tables met them."""
    small = 1e-7 * np.array(
        [
            [-1.0, -1.0, -1.0, 0.707106781, 0.999367149],
            [-1.0, 15.2458396, -1.0, -24.4476004, 0.999367149],
            [-1.0, -1.0, 14.7811174, 0.707106781, -34.0047801],
            [0.707106781, -24.4476004, 0.707106781, -1.46579620e77, 0.903460892],
            [0.999367149, 0.999367149, -34.0047801, 0.903460892, -1.59012611e147],
        ]
    )
    both = np.stack([small, np.diag([2.0, 1.0, 1.0, 1.0, 1.0])])
    step, promised, _ = solve._damped_steps(
        np.ones((2, 5)), both, np.ones((2, 5)), np.full(2, 1e-7), np.full((2, 5), 1e300)
    )
    assert (np.isfinite(step[0]).all() and promised[0] >= 0) or (not step[0].any() and promised[0] == -1)
    assert np.allclose(step[1], [-0.5, -1, -1, -1, -1], rtol=1e-6)


@pytest.mark.parametrize("count", [1, 2])
def test_a_bent_matrix_is_stepped_downhill_alone_as_among_others(count: int) -> None:
    """The elimination of a single matrix once ran in place, and its shift was taken of what that had left."""
    bent = np.array([[1.0, 2.0, 0.0], [2.0, 1.0, 0.5], [0.0, 0.5, -3.0]])
    gradient = np.array([1.0, -2.0, 0.5])
    values = np.linalg.eigvalsh(bent)
    shifted = bent + (1e-2 * abs(values[-1]) - values[0]) * np.eye(3)
    many = (np.tile(gradient, (count, 1)), np.tile(bent, (count, 1, 1)), np.ones((count, 3)))
    step, _, pivot = solve._damped_steps(*many, np.zeros(count), np.full((count, 3), 1e300))
    assert np.allclose(step, np.linalg.solve(shifted, -gradient), rtol=1e-10)
    assert (pivot == 0).all()
    before = many[1].copy()
    solve.solve_positive(many[1], -many[0])
    assert np.array_equal(many[1], before)


@pytest.mark.parametrize("spread", [0.0, 1e-9, 3e-6])
def test_l1_goes_down_from_where_most_rows_are_met(spread: float) -> None:
    assert solve.widths(Objective("l1"), spread) == (1e-6,)
    assert len(solve.widths(Objective("l1"), 0.1)) == 24


@pytest.mark.parametrize("points", [3, 5_000, 5_001, 9_999, 10_000, 40_000, 1_000_003])
def test_thinned_rows_are_in_order_and_each_once(points: int) -> None:
    kept = solve.thinned(points)
    assert len(kept) == min(points, 5_000)
    assert (np.diff(kept) > 0).all()
    assert 0 <= kept[0] <= kept[-1] < points
    # A row from every stretch: none is passed over.
    assert np.diff(np.concatenate([[-1], kept, [points]])).max() <= max(2, 2 * -(-points // 5_000))


@pytest.mark.parametrize("period", [2, 3, 8])
def test_thinned_rows_see_every_kind_of_rows_that_alternate(period: int) -> None:
    share = np.bincount(solve.thinned(5_000 * period) % period, minlength=period) / 5_000
    assert share == pytest.approx(1 / period, abs=0.03)


def test_a_parameter_that_moves_nothing_stops_no_other() -> None:
    # A limit of laws whose terms wear off: the derivatives towards the first cancel, but for what rounding leaves.
    gradient, hessian = np.array([[1e-20, -1.0]]), np.array([[[-1e-9, 1e-9], [1e-9, 2.0]]])
    step, promised, _ = solve._damped_steps(
        gradient, hessian, np.array([[0.0, 2.0]]), np.array([1e-3]), np.full((1, 2), 3.0)
    )
    np.testing.assert_allclose(step, [[0.0, 1.0 / (2.0 * 1.001)]])
    assert promised[0] == pytest.approx(0.25, rel=1e-5)


@pytest.mark.skipif("glibc" not in platform.libc_ver(), reason="mallopt is glibc's")
def test_freed_memory_is_kept() -> None:
    resource = pytest.importorskip("resource")
    assert solve.keep_freed_memory()

    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(20):
            np.ones(500_000)
        return int(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

    faults()
    assert faults() < 1000  # of the 20,000 pages of 4 kB that were written


def test_only_starts_low_enough_go_on() -> None:
    target, weights = np.log(np.array([3.0, 2.0, 1.0])), np.ones(3)

    def model(theta: np.ndarray) -> Dual:
        return np.exp(Dual.variable(theta[:, [0]], 0)) * np.ones(3)

    short = newton(model, np.array([[4.0], [4.0]]), target, weights, Objective("l2"), max_steps=1)
    assert (short.status == solve.MAX_ITERATIONS).all()
    ended = solve.gone_on(model, short, target, weights, Objective("l2"), below=short.value * np.array([1.0, 0.5]))
    np.testing.assert_allclose(ended.theta[0], np.mean(target), rtol=1e-9)
    assert ended.status[0] == solve.CONVERGED
    assert ended.steps[0] > short.steps[0]
    assert ended.status[1] == solve.MAX_ITERATIONS
    assert ended.theta[1] == short.theta[1]
