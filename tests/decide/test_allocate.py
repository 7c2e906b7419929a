"""Allocation against closed forms and published goldens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scaling_lab.decide.allocate import allocate, best_split
from scaling_lab.decide.split import least_flops, plan_of
from scaling_lab.engine.fit import fit
from scaling_lab.engine.result import Fit
from scaling_lab.errors import LabError, UsageError
from scaling_lab.laws import LAWS
from tests.conftest import TRUTH, chinchilla_table

CHINCHILLA = LAWS["chinchilla"]


def named(published: str) -> dict[str, np.ndarray]:
    return {k: np.array([[v]]) for k, v in CHINCHILLA.published[published].values.items()}


@pytest.mark.parametrize(
    ("published", "params", "ratio", "loss"),
    [
        ("hoffmann2022-unrounded", 4.0361e10, 58.93, 1.918412),
        ("hoffmann2022", 3.2190e10, 92.65, None),
        ("epoch-notebook", 7.2353e10, 18.34, 1.973973),
    ],
)
def test_goldens_at_gopher_compute(published: str, params: float, ratio: float, loss: float | None) -> None:
    n, d, found = best_split(CHINCHILLA, named(published), np.array([5.76e23]))
    assert n[0] == pytest.approx(params, rel=1e-4)
    assert d[0] / n[0] == pytest.approx(ratio, abs=0.01)
    if loss:
        assert found[0] == pytest.approx(loss, abs=1e-6)


def test_the_closed_form_of_the_chinchilla_optimum() -> None:
    p = TRUTH
    flops = np.array([1e21])
    n, d, _ = best_split(CHINCHILLA, {k: np.array([[v]]) for k, v in p.items()}, flops)
    g = (p["alpha"] * p["A"] / (p["beta"] * p["B"])) ** (1 / (p["alpha"] + p["beta"]))
    a = p["beta"] / (p["alpha"] + p["beta"])
    assert n[0] == pytest.approx(g * (1e21 / 6) ** a, rel=1e-6)
    assert d[0] == pytest.approx((1e21 / 6) ** (1 - a) / g, rel=1e-6)


@pytest.mark.parametrize(
    ("n0", "d0", "inference", "n", "d", "saving"),
    [
        (7e9, 2.9549e11, 1e11, 6.0547e9, 3.4397e11, 0.0075),
        (7e9, 2.9549e11, 1e12, 3.7898e9, 6.3086e11, 0.1698),
        (3e10, 1.6708e12, 1e13, 1.3934e10, 4.5764e12, 0.2659),
        (7e10, 4.5813e12, 1e13, 4.2460e10, 8.2818e12, 0.1098),
    ],
)
def test_inference_aware_goldens(n0: float, d0: float, inference: float, n: float, d: float, saving: float) -> None:
    """Equal-quality form with the unrounded constants (surfaces.md section 15)."""
    p = named("hoffmann2022-unrounded")
    loss = CHINCHILLA.predict({"params": np.array([n0]), "tokens": np.array([d0])}, **p)[0, 0]
    budget = least_flops(plan_of(CHINCHILLA, {}, {}, inference), p, loss)
    got_n, got_d, _ = best_split(CHINCHILLA, p, budget, inference)
    assert got_n[0] == pytest.approx(n, rel=1e-3)
    assert got_d[0] == pytest.approx(d, rel=1e-3)
    assert 1 - budget[0] / (6 * n0 * d0 + 2 * n0 * inference) == pytest.approx(saving, abs=2e-4)


def test_the_budget_is_spent_and_the_interval_encloses_the_truth() -> None:
    found = allocate(fit("chinchilla", chinchilla_table(0.003), bootstrap=200), 1e23)
    assert 6 * found.params.value * found.tokens.value == pytest.approx(1e23, rel=1e-9)
    truth, _, _ = best_split(CHINCHILLA, {k: np.array([[v]]) for k, v in TRUTH.items()}, np.array([1e23]))
    assert found.params.ci[0] < truth[0] < found.params.ci[1]
    assert found.near_optimal_params[0] < found.params.value < found.near_optimal_params[1]
    assert found.outside["flops"] == pytest.approx(1e23 / (6 * 3e9 * 3e11))


def test_the_flat_optimum_of_the_replication(data_dir) -> None:
    """240 points at 5.76e23 FLOP: 17.9 tokens per parameter, with the wide interval that belongs to it."""
    path = data_dir / "epoch_chinchilla" / "points.csv"
    fitted = fit("chinchilla", path, where="excluded_by_epoch == 0", bootstrap=400)
    found = allocate(fitted, 5.76e23, level=0.8)
    assert found.tokens_per_param.value == pytest.approx(17.9, abs=0.2)
    assert found.params.value == pytest.approx(7.3190e10, rel=1e-3)
    assert found.tokens_per_param.ci[0] < 13
    assert found.tokens_per_param.ci[1] > 23
    # A size twice too big costs .24 % of the loss at this budget.
    n, d = 2 * found.params.value, found.tokens.value / 2
    worse = fitted.at({"params": np.array([n]), "tokens": np.array([d])})[0]
    assert worse / found.loss.value - 1 == pytest.approx(0.0024, abs=3e-4)


def test_all_points_move_the_ratio_to_seven(data_dir) -> None:
    fitted = fit("chinchilla", data_dir / "epoch_chinchilla" / "points.csv", bootstrap=0)
    assert allocate(fitted, 5.76e23).tokens_per_param.value == pytest.approx(6.8, abs=0.1)


def test_target_loss_is_reached_and_an_unreachable_one_is_refused() -> None:
    fitted = fit("chinchilla", chinchilla_table(), bootstrap=0)
    found = allocate(fitted, target_loss=2.2)
    assert found.loss.value == pytest.approx(2.2, abs=1e-8)
    with pytest.raises(LabError, match="no amount of compute"):
        allocate(fitted, target_loss=1.7)


def test_unique_tokens_cap_data_with_a_warning() -> None:
    found = allocate(fit("chinchilla", chinchilla_table(), bootstrap=0), 1e23, unique_tokens=1e11)
    assert found.tokens.value == 1e11
    assert found.params.value == pytest.approx(1e23 / 6e11)
    assert [w.code for w in found.warnings] == ["SL405", "SL401", "SL403", "SL404"]


@pytest.mark.parametrize("law", ["chinchilla-tied", "kaplan-nd"])
def test_other_laws_of_params_and_tokens_allocate_too(law: str) -> None:
    found = allocate(fit(law, chinchilla_table(), bootstrap=0), 1e22)
    assert found.params.value > 1e6
    assert found.tokens.value > 1e6


def test_what_makes_no_sense_is_refused() -> None:
    two = fit("chinchilla", chinchilla_table(), bootstrap=0)
    one = fit("hestness", chinchilla_table(), bootstrap=0)
    with pytest.raises(UsageError, match="one of the two"):
        allocate(two)
    with pytest.raises(UsageError, match="not a number above zero"):
        allocate(two, -1.0)
    with pytest.raises(UsageError, match="can't tell one split from another"):
        allocate(two, 1e300)
    with pytest.raises(UsageError, match="needs one of params and tokens"):
        allocate(one, 1e22)


@pytest.fixture(scope="module")
def noisy() -> Fit:
    return fit("chinchilla", chinchilla_table(0.003), starts=144, bootstrap=200)


@pytest.fixture(scope="module")
def plain() -> Fit:
    return fit("chinchilla", chinchilla_table(), starts=144, bootstrap=0)


def test_a_target_loss_with_unique_tokens_is_reached_within_them(plain: Fit) -> None:
    found = allocate(plain, target_loss=2.0, unique_tokens=2e11)
    assert found.tokens.value == 2e11
    assert found.loss.value == pytest.approx(2.0, abs=1e-8)
    free = allocate(plain, target_loss=2.0)
    assert free.tokens.value > 2e11
    assert found.flops.value > free.flops.value
    with pytest.raises(LabError, match=r"reaches a loss of 1.9 from 1e\+10 unique tokens"):
        allocate(plain, target_loss=1.9, unique_tokens=1e10)


def test_unique_tokens_cap_every_draw_and_the_near_optimal_sizes(noisy: Fit) -> None:
    free = allocate(noisy, 1e23)
    cap = (free.tokens.value + free.tokens.ci[1]) / 2
    found = allocate(noisy, 1e23, unique_tokens=cap)
    assert found.tokens.value == pytest.approx(free.tokens.value)
    assert found.tokens.ci[1] == cap
    assert found.params.ci[0] == pytest.approx(1e23 / (6 * cap))
    assert found.near_optimal_params[0] == pytest.approx(1e23 / (6 * cap), rel=2e-3)
    assert found.near_optimal_params[1] == pytest.approx(free.near_optimal_params[1])
    held = allocate(noisy, 1e23, unique_tokens=1e11)
    assert held.tokens.ci == (1e11, 1e11)
    assert held.near_optimal_params[0] == pytest.approx(1e23 / 6e11)


@pytest.mark.parametrize("target", [500.0, 1e9])
def test_a_loss_above_any_trained_model_is_refused(plain: Fit, target: float) -> None:
    with pytest.raises(LabError, match="lies above all that this fit gives for a trained model"):
        allocate(plain, target_loss=target)


@pytest.mark.parametrize("flops", [1e-5, 1.0, 7.0, 100.0])
def test_a_budget_of_less_than_one_token_is_refused(plain: Fit, flops: float) -> None:
    with pytest.raises(LabError, match="no best split into at least one parameter and one token"):
        allocate(plain, flops)


def test_a_budget_far_outside_carries_its_warning(plain: Fit) -> None:
    assert [w.code for w in allocate(plain, 1e23).warnings] == ["SL405", "SL404"]
    assert [w.code for w in allocate(plain, 1e26).warnings] == ["SL405", "SL401", "SL404"]


def test_draws_without_a_best_split_widen_the_interval_and_are_counted(noisy: Fit) -> None:
    draws = noisy.draws.copy()
    draws[:30, noisy.entry.names.index("A")] = 1e-300
    found = allocate(replace(noisy, draws=draws), 1e22)
    assert [w.message for w in found.warnings if w.code == "SL406"] == [
        "30 of 200 bootstrap draws have no best split of their own: each counts beyond both ends of the intervals of "
        "params and tokens"
    ]
    assert found.params.to_dict()["ci"] == found.tokens.to_dict()["ci"] == [None, None]
    few = noisy.draws.copy()
    few[:3, noisy.entry.names.index("A")] = 1e-300
    found = allocate(replace(noisy, draws=few), 1e22)
    assert found.params.ci[0] > 1e8


def test_without_draws_there_is_no_interval(plain: Fit) -> None:
    found = allocate(plain, 1e22).to_dict()
    assert found["params"]["ci"] == found["tokens"]["ci"] == found["tokens_per_param"]["ci"] == found["flops_ci"] == []
    assert len(found["loss"]["ci"]) == 2


def test_too_few_draws_for_the_level_are_warned_of(noisy: Fit) -> None:
    assert "SL407" not in [w.code for w in allocate(noisy, 1e22, level=0.9).warnings]
    assert "SL407" in [w.code for w in allocate(noisy, 1e22, level=0.99).warnings]


def test_runs_that_all_have_one_loss_tell_no_split() -> None:
    n, d = (v.ravel() for v in np.meshgrid(np.geomspace(1e8, 1e9, 4), [1e9, 1e10]))
    table = pd.DataFrame({"params": n, "tokens": d, "loss": 2.5})
    with pytest.raises(LabError, match=r"all 8 rows of this fit have one loss, 2.5: nothing in them tells"):
        allocate(fit("chinchilla-tied", table, bootstrap=20), 1e21)


def test_a_law_that_explains_no_more_than_chance_is_told() -> None:
    n, d = (v.ravel() for v in np.meshgrid(np.geomspace(1e8, 1e10, 5), np.geomspace(1e9, 1e11, 4)))
    noise = 0.02 * np.random.default_rng(2).standard_normal(20)
    table = pd.DataFrame({"params": n, "tokens": d, "loss": 2.5 + 2.4 * n**-0.3 + 3 * d**-0.3 + noise})
    found = fit("chinchilla-tied", table, starts=144, bootstrap=20, fix={"alpha": 0.3})
    assert "SL440" in [w.code for w in allocate(found, 1e21).warnings]
    assert "SL440" not in [
        w.code for w in allocate(fit("chinchilla", chinchilla_table(0.003), bootstrap=0), 1e21).warnings
    ]


def test_rules_of_thumb_spend_the_same_budget() -> None:
    found = allocate(fit("chinchilla", chinchilla_table(), starts=144, bootstrap=0), 1e21)
    assert [round(r.tokens / r.params) for r in found.references] == [5, 20]
    for rule in found.references:
        assert 6 * rule.params * rule.tokens == pytest.approx(1e21)
        assert rule.loss > found.loss.value
        want = TRUTH["E"] + TRUTH["A"] * rule.params ** -TRUTH["alpha"] + TRUTH["B"] * rule.tokens ** -TRUTH["beta"]
        assert rule.loss == pytest.approx(want, rel=1e-6)
