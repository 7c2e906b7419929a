"""Splits of budgets over laws of more inputs, against scipy and closed forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import differential_evolution, minimize

from scaling_lab.decide.split import Plan, budget_of, least_flops, plan_of, splits
from scaling_lab.errors import UsageError
from scaling_lab.laws import LAWS, Budget, Law, Param

UNIT = Param("E", "", (0.1, 3.0), "")


def _sparse(x, E, A, B, alpha, beta, k, g):
    active = 1.0 - x["sparsity"]
    return (
        E
        + A * x["params"] ** -alpha * active**-g
        + B * x["tokens"] ** -beta
        + k * (x["granularity"] ** -0.3 + active**-0.5)
    )


NAMES = ("E", "A", "B", "alpha", "beta", "k", "g")
SPARSE = Law(
    name="test-sparse",
    title="",
    source="",
    inputs=("params", "tokens", "sparsity", "granularity"),
    params=tuple(replace(UNIT, name=n) for n in NAMES),
    formula="",
    predict=_sparse,
    budget=Budget(
        per_token=lambda x: 6.0 * x["params"] * (1.0 - x["sparsity"]) * (1.0 + 0.02 * x["granularity"]),
        per_served=lambda x: 2.0 * x["params"] * (1.0 - x["sparsity"]),
        fixed=lambda x: 1e18 * x["granularity"],
        further=("sparsity", "granularity"),
        free=("sparsity", "granularity"),
    ),
)
TRUE = {"E": 1.5, "A": 420.0, "B": 1600.0, "alpha": 0.34, "beta": 0.36, "k": 0.02, "g": 0.1}
NAMED = {name: np.array([[value]]) for name, value in TRUE.items()}
RANGES = {"sparsity": {"min": 0.0, "max": 0.98}, "granularity": {"min": 1.0, "max": 64.0}}


def loss_of(u: np.ndarray, flops: float, served: float = 0.0) -> float:
    """The loss at (log size, sparsity, log granularity) along the budget, written anew."""
    n, s, g = np.exp(u[0]), u[1], np.exp(u[2])
    d = (flops - 1e18 * g - 2 * n * (1 - s) * served) / (6 * n * (1 - s) * (1 + 0.02 * g))
    if d <= 0:
        return 1e3
    return float(_sparse({"params": n, "tokens": d, "sparsity": s, "granularity": g}, **TRUE))


@pytest.mark.parametrize(("flops", "served"), [(1e21, 0.0), (1e22, 1e12)])
def test_several_open_inputs_end_where_scipy_does(flops: float, served: float) -> None:
    plan = plan_of(SPARSE, {}, RANGES, served)
    found = splits(plan, NAMED, np.array([flops]))
    bounds = [(np.log(1e7), np.log(1e13)), (0.0, 0.98), (0.0, np.log(64.0))]
    best = differential_evolution(loss_of, bounds, args=(flops, served), seed=1, tol=1e-12, maxiter=400)
    best = minimize(
        loss_of,
        best.x,
        args=(flops, served),
        method="Nelder-Mead",
        bounds=bounds,
        options={"xatol": 1e-9, "fatol": 1e-15},
    )
    assert found.loss[0] == pytest.approx(best.fun, abs=2e-10)
    place = [np.log(found.params[0]), found.further["sparsity"][0], np.log(found.further["granularity"][0])]
    np.testing.assert_allclose(place, best.x, atol=2e-3)
    assert loss_of(np.array(place), flops, served) == pytest.approx(found.loss[0], abs=1e-12)
    assert not found.edge[0]
    assert not any(ended[0] for ended in found.ended.values())


def test_an_input_whose_best_value_is_an_end_says_so() -> None:
    plan = plan_of(SPARSE, {"granularity": 4.0}, {**RANGES, "sparsity": {"min": 0.0, "max": 0.3}})
    found = splits(plan, NAMED, np.array([1e21]))
    assert found.further["sparsity"][0] == pytest.approx(0.3, abs=1e-4)
    assert found.ended["sparsity"][0]


def test_a_held_input_is_the_law_without_it() -> None:
    """At sparsity 0 and granularity 1 without its costs: Chinchilla's closed form with 6.12*N*D."""
    plan = plan_of(
        replace(SPARSE, budget=replace(SPARSE.budget, fixed=None)), {"sparsity": 0.0, "granularity": 1.0}, {}
    )
    found = splits(plan, NAMED, np.array([1e21, 1e23]))
    a, b = TRUE["alpha"], TRUE["beta"]
    g = (a * TRUE["A"] / (b * TRUE["B"])) ** (1 / (a + b))
    np.testing.assert_allclose(found.params, g * (np.array([1e21, 1e23]) / 6.12) ** (b / (a + b)), rtol=1e-6)


def test_a_cap_on_tokens_holds_with_open_inputs() -> None:
    free = splits(plan_of(SPARSE, {}, RANGES), NAMED, np.array([1e22]))
    cap = float(free.tokens[0]) / 4
    held = splits(plan_of(SPARSE, {}, RANGES, 0.0, cap), NAMED, np.array([1e22]))
    assert held.held[0]
    assert held.tokens[0] == cap
    assert held.loss[0] > free.loss[0]

    def at_cap(u: np.ndarray) -> float:
        s, g = u[0], np.exp(u[1])
        n = (1e22 - 1e18 * g) / (cap * 6 * (1 - s) * (1 + 0.02 * g))
        return float(_sparse({"params": n, "tokens": cap, "sparsity": s, "granularity": g}, **TRUE))

    best = differential_evolution(at_cap, [(0.0, 0.98), (0.0, np.log(64.0))], seed=1, tol=1e-12)
    assert held.loss[0] == pytest.approx(best.fun, abs=1e-8)


def test_the_least_compute_for_a_loss_is_that_of_the_split_at_it() -> None:
    plan = plan_of(SPARSE, {}, RANGES)
    loss = splits(plan, NAMED, np.array([3e21])).loss[0]
    assert least_flops(plan, NAMED, loss)[0] == pytest.approx(3e21, rel=1e-6)


def test_every_draw_is_split_alone() -> None:
    many = {name: np.repeat(value, 5, axis=0) * (1 + 0.05 * np.arange(5))[:, None] for name, value in NAMED.items()}
    plan = plan_of(SPARSE, {}, RANGES)
    together = splits(plan, many, np.full(5, 1e21))
    for i in range(5):
        alone = splits(plan, {name: value[[i]] for name, value in many.items()}, np.array([1e21]))
        assert together.loss[i] == pytest.approx(alone.loss[0], abs=1e-13)
        assert together.params[i] == pytest.approx(alone.params[0], rel=1e-9)


def test_a_price_that_is_affine_in_the_size_is_inverted() -> None:
    budget = Budget(per_token=lambda x: 6.0 * (x["params"] + x["params_vocab"]), further=("params_vocab",))
    plan = Plan(SPARSE, budget, {"params_vocab": 1e8})
    size = plan.size_for(np.array([1e21]), 1e11, {})
    assert 6 * (size[0] + 1e8) * 1e11 == pytest.approx(1e21, rel=1e-9)
    assert plan.tokens_for(np.array([1e21]), size, {})[0] == pytest.approx(1e11, rel=1e-9)


def test_what_a_law_cannot_be_asked_is_refused() -> None:
    chinchilla = LAWS["chinchilla"]
    with pytest.raises(UsageError, match="the further inputs of chinchilla are none"):
        plan_of(chinchilla, {"sparsity": 0.5}, {})
    closed = replace(SPARSE, budget=replace(SPARSE.budget, free=("sparsity",), per_served=None))
    with pytest.raises(UsageError, match="splits a budget for one granularity: give --given granularity=NUMBER"):
        plan_of(closed, {}, RANGES)
    with pytest.raises(UsageError, match="does not say how large the model is that serves"):
        plan_of(closed, {"granularity": 2.0}, RANGES, 1e12)
    repeats = replace(SPARSE, budget=replace(SPARSE.budget, unique="granularity"))
    with pytest.raises(UsageError, match="give one of the two"):
        plan_of(repeats, {"granularity": 2.0}, RANGES, 0.0, 3.0)


def test_a_law_of_a_shape_has_no_budget_of_its_own() -> None:
    assert budget_of(replace(SPARSE, budget=None, inputs=("params", "tokens", "width"))) is None
    found = budget_of(replace(SPARSE, budget=None))
    assert found is not None
    assert found.further == ("sparsity", "granularity")
    assert budget_of(replace(SPARSE, budget=None, inputs=("flops",))) is None


def test_a_blend_spends_as_its_member_of_all_inputs() -> None:
    member = LAWS["data-constrained"]
    blend = replace(member, name="blend", budget=None)
    assert budget_of(blend, (LAWS["chinchilla"], member)) is member.budget
    plan = plan_of(blend, {}, {}, 0.0, 25e9, (LAWS["chinchilla"], member))
    assert plan.given == {"unique_tokens": 25e9}
    # Of more distinct tokens than are seen, those that are seen.
    x = plan.inputs(np.array([1e9, 1e9]), np.array([1e9, 1e11]), {})
    assert x["unique_tokens"].tolist() == [1e9, 25e9]
