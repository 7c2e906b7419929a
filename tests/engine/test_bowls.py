"""The kernel of two bowls says what duals say, with parameters held and skews near and at zero too."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from scaling_lab.engine.bowls import BowlKernel
from scaling_lab.engine.coordinates import Coordinates, outward
from scaling_lab.engine.dual import Dual
from scaling_lab.engine.fit import fit
from scaling_lab.engine.solve import ByDual, Objective, Pull
from scaling_lab.laws import get_law
from tests.laws.worlds.hpsurface import WORLDS

WORLD = WORLDS[0]
LAW = get_law("hp-surface")
OBJECTIVES = [Objective("huber", 0.01), Objective("l2"), Objective("l1"), Objective("huber", 0.01, "plain")]
HELD: list[Mapping[str, float]] = [
    {},
    {"E": 1.5, "lr_n": -0.3, "skew_lr": 0.6, "C_batch": 0.02},
    {"B": 0.0, "tilt": 0.0, "batch_0": 5e5},
]


def both(fixed: Mapping[str, float], convex: bool = False) -> tuple[Coordinates, BowlKernel, ByDual]:
    """The kernel, and duals of the law in the kernel's own coordinates."""
    coordinates = Coordinates(LAW, fixed)
    kernel = coordinates.kernel(WORLD.x, 2.5)
    assert isinstance(kernel, BowlKernel)
    free = [p.name for p in coordinates.free]

    def model(own: np.ndarray) -> Dual:
        logs = {name: Dual.variable(own[:, [i]], i) for i, name in enumerate(free)}
        if "E" in logs:
            logs["E"] = np.log(0.05) + np.log(np.logaddexp(0.0, logs["E"]))
        for height, power in (("A", "alpha"), ("B", "beta")):
            if height in logs and power in logs:
                logs[power] = -np.log(np.logaddexp(0.0, logs[power]))
                logs[height] = logs[height] - logs[power]
        values = {p.name: outward(p, logs[p.name]) for p in coordinates.free}
        return LAW.predict(dict(WORLD.x), **values, **{n: np.full((1, 1), v) for n, v in fixed.items()})

    real = np.array([p.domain == "real" for p in coordinates.free])
    return coordinates, kernel, ByDual(model, real, convex)


def places(coordinates: Coordinates, count: int) -> np.ndarray:
    """Theta (count, p) about the planted parameters."""
    center = coordinates.from_array(np.array([[WORLD.params[n] for n in LAW.names]]))
    rng = np.random.default_rng(0)
    return np.asarray(center + 0.2 * rng.standard_normal((count, center.shape[1])))


@pytest.mark.parametrize("fixed", HELD, ids=["free", "held", "held at zero"])
def test_its_own_coordinates_lead_back(fixed: Mapping[str, float]) -> None:
    coordinates, kernel, dual = both(fixed)
    theta = 3.0 * places(coordinates, 50)
    own = kernel.inward(theta)
    np.testing.assert_allclose(kernel.outward(own), theta, rtol=1e-9, atol=1e-9)
    with np.errstate(all="ignore"):
        direct = np.asarray(LAW.predict(dict(WORLD.x), **coordinates.to_params(theta)))
        np.testing.assert_allclose(dual.model(own).value, direct, rtol=1e-7)
    far = np.full((1, theta.shape[1]), -690.0)
    np.testing.assert_allclose(kernel.outward(kernel.inward(far)), far, rtol=1e-9)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=[f"{o.name}-{o.on}" for o in OBJECTIVES])
@pytest.mark.parametrize("fixed", HELD, ids=["free", "held", "held at zero"])
def test_the_kernel_has_the_derivatives_of_duals(objective: Objective, fixed: Mapping[str, float]) -> None:
    coordinates, kernel, dual = both(fixed)
    own = kernel.inward(places(coordinates, 4))
    target = objective.scale(WORLD.table(noise=0.05)["loss"].to_numpy())
    weights = np.random.default_rng(1).uniform(0.5, 2.0, (4, len(target)))
    got = kernel.derivatives(own, target, weights, objective, objective.width, None)
    want = dual.derivatives(own, target, weights, objective, objective.width, None)
    for one, other in zip(got, want, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9 * np.abs(other).max())
    np.testing.assert_array_equal(kernel.logs, ~dual.real)


@pytest.mark.parametrize("objective", [OBJECTIVES[0], OBJECTIVES[3]], ids=["log", "plain"])
def test_on_the_way_the_hessian_is_the_gauss_newton_one(objective: Objective) -> None:
    coordinates, kernel, dual = both({}, convex=True)
    own = kernel.inward(places(coordinates, 4))
    target = objective.scale(WORLD.table(noise=0.05)["loss"].to_numpy())
    weights = np.random.default_rng(1).uniform(0.5, 2.0, len(target))
    got = kernel.derivatives(own, target, weights, objective, 0.03, None)
    want = dual.derivatives(own, target, weights, objective, 0.03, None)
    for one, other in zip(got, want, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9 * np.abs(other).max())


@pytest.mark.parametrize("fixed", HELD, ids=["free", "held", "held at zero"])
def test_a_pull_is_on_theta(fixed: Mapping[str, float]) -> None:
    coordinates, kernel, _ = both(fixed)
    theta = places(coordinates, 1)
    own, p = kernel.inward(theta), theta.shape[1]
    rng = np.random.default_rng(5)
    pull = Pull(theta[0] + 0.3 * rng.standard_normal(p), rng.uniform(0.1, 1.0, p))
    target, weights = np.log(WORLD.table()["loss"].to_numpy()), np.zeros(len(WORLD.x["params"]))

    def derive(place: np.ndarray) -> tuple[np.ndarray, ...]:
        return kernel.derivatives(place, target, weights, Objective("l2"), 1.0, pull)

    value, gradient, hessian, diagonal = derive(own)
    np.testing.assert_allclose(value, pull.value(theta), rtol=1e-9)
    step = 1e-5
    turn = np.empty((p, p))
    for k in range(p):
        ahead, back = own.copy(), own.copy()
        ahead[:, k] += step
        back[:, k] -= step
        np.testing.assert_allclose((derive(ahead)[0] - derive(back)[0]) / (2 * step), gradient[:, k], rtol=1e-5)
        moved = (derive(ahead)[1] - derive(back)[1]) / (2 * step)
        np.testing.assert_allclose(moved, hessian[:, k], rtol=1e-5, atol=1e-8)
        turn[:, k] = (kernel.outward(ahead) - kernel.outward(back))[0] / (2 * step)
    np.testing.assert_allclose(diagonal[0], pull.precision @ turn**2, rtol=1e-5)


@pytest.mark.parametrize("skew", [0.0, 1e-9, 1e-4, 0.02, -0.02, 0.0301])
def test_derivatives_at_small_skews_are_differences_of_the_surface(skew: float) -> None:
    """Duals lose digits there; differences of exact values towards the skew, of gradients towards everything."""
    coordinates, kernel, _ = both({})
    objective = Objective("l2")
    theta = places(coordinates, 1)
    at = [LAW.names.index("skew_lr"), LAW.names.index("skew_batch")]
    theta[:, at] = skew
    theta = kernel.inward(theta)
    target = np.log(WORLD.table(noise=0.05)["loss"].to_numpy())
    weights = np.ones(len(target))

    def derive(place: np.ndarray) -> tuple[np.ndarray, ...]:
        return kernel.derivatives(place, target, weights, objective, 1.0, None)

    _, gradient, hessian, _ = derive(theta)
    step = 1e-4
    for k in range(theta.shape[1]):
        ahead, back = theta.copy(), theta.copy()
        ahead[:, k] += step
        back[:, k] -= step
        up, down = derive(ahead), derive(back)
        np.testing.assert_allclose((up[0] - down[0]) / (2 * step), gradient[:, k], rtol=1e-5, atol=1e-7)
        scale = np.abs(hessian).max()
        np.testing.assert_allclose((up[1] - down[1]) / (2 * step), hessian[:, k], rtol=1e-5, atol=1e-6 * scale)


def test_a_bowl_held_without_skew_is_a_parabola() -> None:
    values = {**WORLD.params, "skew_lr": 0.0, "skew_batch": 0.0}
    flat = np.asarray(LAW.predict(dict(WORLD.x), **values))
    near = np.asarray(LAW.predict(dict(WORLD.x), **{**values, "skew_lr": 1e-6, "skew_batch": -1e-6}))
    np.testing.assert_allclose(flat, near, rtol=1e-5)
    found = fit(LAW, WORLD.table(noise=0.003, seed=1), fix={"skew_lr": 0.0, "skew_batch": 0.0}, bootstrap=0)
    assert found.converged
    free = fit(LAW, WORLD.table(noise=0.003, seed=1), bootstrap=0)
    assert free.value < found.value


def test_blocks_of_rows_say_what_all_rows_say() -> None:
    coordinates, kernel, _ = both({})
    theta = kernel.inward(places(coordinates, 3))
    target = np.log(WORLD.table(noise=0.05)["loss"].to_numpy())
    weights = np.random.default_rng(2).uniform(0.5, 2.0, len(target))
    whole = kernel.derivatives(theta, target, weights, Objective(), 1e-3, None)
    kernel.block = 50
    parts = kernel.derivatives(theta, target, weights, Objective(), 1e-3, None)
    for one, other in zip(parts, whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12 * np.abs(other).max())
