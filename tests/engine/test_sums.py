"""Kernels of weighted sums say what duals say, with parameters held too, and end where scipy ends."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from scipy.optimize import minimize

from scaling_lab.engine.coordinates import Coordinates
from scaling_lab.engine.fit import fit
from scaling_lab.engine.solve import ByDual, Objective, Pull
from scaling_lab.engine.sums import kernel_of
from scaling_lab.laws import get_law
from tests.laws.worlds.mixtures import WORLDS

SHARES = [world for world in WORLDS if world.law.startswith("mixing")]
OBJECTIVES = [Objective("huber", 0.01), Objective("l2"), Objective("l1"), Objective("huber", 0.01, "plain")]


@pytest.mark.parametrize("world", SHARES, ids=[world.law.partition("@")[0] for world in SHARES])
@pytest.mark.parametrize("objective", OBJECTIVES, ids=[f"{o.name}-{o.on}" for o in OBJECTIVES])
@pytest.mark.parametrize("hold", [False, True], ids=["free", "held"])
def test_a_kernel_has_the_derivatives_of_duals(world, objective: Objective, hold: bool) -> None:
    law = get_law(world.law)
    fixed: Mapping[str, float] = {law.names[-1]: 0.4, law.names[0]: 1.3} if hold else {}
    coordinates = Coordinates(law, fixed)
    assert law.form is not None
    kernel = kernel_of(coordinates, law.form, world.x)
    real = np.array([p.domain == "real" for p in coordinates.free])
    dual = ByDual(lambda t: coordinates.model(world.x, t), real)
    rng = np.random.default_rng(0)
    center = coordinates.from_array(np.array([[world.params[n] for n in law.names]]))
    theta = center + 0.2 * rng.standard_normal((4, center.shape[1]))
    target = objective.scale(world.table(noise=0.05)["loss"].to_numpy())
    weights = rng.uniform(0.5, 2.0, len(target))
    pull = Pull(center[0], np.full(center.shape[1], 0.3))
    got = kernel.derivatives(theta, target, weights, objective, objective.width, pull)
    want = dual.derivatives(theta, target, weights, objective, objective.width, pull)
    for one, other in zip(got, want, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9 * np.abs(other).max())
    np.testing.assert_array_equal(kernel.logs, ~real)


def test_the_exponential_law_ends_no_higher_than_a_hundred_starts_of_scipy() -> None:
    world = next(w for w in SHARES if w.law.startswith("mixing-exp"))
    table, law, objective = world.table(noise=0.01), get_law(world.law), Objective("huber", 1e-3)
    # t_books held: without it, or the prior, the table can't tell k from a number added to every slope.
    law_alone = Coordinates(law, {"t_books": 0.0})
    target = np.log(table["loss"].to_numpy())
    found = fit(world.law, table, bootstrap=0, fix={"t_books": 0.0})
    ours = found.value

    def value(theta: np.ndarray) -> float:
        with np.errstate(all="ignore"):
            r = np.log(np.asarray(law.predict(dict(world.x), **law_alone.to_params(theta[None, :])))[0]) - target
        return float(np.sum(objective.terms(r))) if np.isfinite(r).all() else 1e9

    starts = law_alone.random(100, np.random.default_rng(1))
    best = min(minimize(value, start, method="L-BFGS-B").fun for start in starts)
    # The prior of a standard deviation of 2 moves the fit by less than this.
    assert ours <= best * 1.001
