"""Kaplan's trajectories: golden values, the one root, planted constants from small runs, and bad curves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq, least_squares

from scaling_lab.decide.steps import TrajectoryFit, _curves, _Joint, estimate_trajectory
from scaling_lab.decide.trajectory import NAMES, Constants, Source, frontier, published, trajectory
from scaling_lab.engine.fit import fit
from scaling_lab.errors import BadInput, DidNotConverge, NotIdentified, UsageError
from scaling_lab.files import to_json
from scaling_lab.tables import read_table, rows_for

PF_DAY = 8.64e19
KAPLAN = Constants.of(published().values)
PLANTED = np.array([1.2e14, 0.075, 2.4e3, 0.70, 1.8e8, 0.21])


@pytest.mark.parametrize(
    ("params", "step", "batch", "loss"),
    [
        (1e8, 1e5, 2**19, 2.93339),
        (1e9, 2.5e5, 2**19, 2.45460),
        (1e9, 2.5e5, 2**21, 2.40011),
        (1e9, 2.5e5, np.inf, 2.37389),
    ],
)
def test_golden_losses_of_table_3(params: float, step: float, batch: float, loss: float) -> None:
    """Recomputed by others with Brent's method from Table 3 with B* = 2e8 and alpha_B = .21."""
    assert float(KAPLAN.loss(params, step, batch)) == pytest.approx(loss, abs=6e-6)


def test_golden_batch_and_least_steps() -> None:
    found = trajectory(published(), 1e8, 2**19, steps=[1e5]).moments[0]
    assert found.critical == pytest.approx(1.1898e6, rel=4e-5)
    assert found.min_steps == pytest.approx(30587.8, rel=2e-6)
    assert trajectory(published(), 1e9, 2**19, steps=[2.5e5]).moments[0].min_steps == pytest.approx(39672.3, rel=2e-6)


def test_the_root_is_brents_and_the_only_one() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        n, s, b = 10 ** rng.uniform(4, 11), 10 ** rng.uniform(1, 6), 10 ** rng.uniform(3, 8)

        def gap(loss: float, n: float = n, s: float = s, b: float = b) -> float:
            right = (KAPLAN.S_c * (1 + KAPLAN.critical(loss) / b) / s) ** KAPLAN.alpha_S
            return float(loss - KAPLAN.floor(n) - right)

        low = float(KAPLAN.floor(n))
        high = max(50.0, low + 2 * (low - gap(low)))
        assert float(KAPLAN.loss(n, s, b)) == pytest.approx(brentq(gap, low, high, xtol=1e-13, rtol=1e-14), rel=1e-11)
        assert np.sum(np.diff(np.sign([gap(v) for v in np.geomspace(low, high, 400)])) != 0) == 1


def test_the_law_at_least_steps_is_the_registered_one() -> None:
    found = trajectory(published(), 3e8, 1e6, steps=[4e4]).moments[0]
    from scaling_lab.laws import LAWS

    law = LAWS["kaplan-steps"]
    x = {"params_nonembed": np.array([3e8]), "min_steps": np.array([found.min_steps])}
    assert float(law.predict(x, **law.published["kaplan2020"].values)[0]) == pytest.approx(found.loss.value, rel=1e-12)


def test_a_target_is_reached_where_the_curve_says_and_time_is_traded_for_compute() -> None:
    found = trajectory(published(), 1e9, 2**20, target_loss=2.5)
    goal = found.goal
    assert goal is not None
    assert float(KAPLAN.loss(1e9, goal.steps.value, 2**20)) == pytest.approx(2.5, rel=1e-12)
    # (S / S_min - 1) * (E / E_min - 1) = 1, and twice both at the critical batch.
    product = (goal.steps.value / goal.min_steps.value - 1) * (goal.tokens.value / goal.min_tokens.value - 1)
    assert product == pytest.approx(1.0, rel=1e-9)
    at = trajectory(published(), 1e9, goal.critical.value, target_loss=2.5).goal
    assert at is not None
    assert at.steps.value == pytest.approx(2 * goal.min_steps.value)
    assert at.flops.value == pytest.approx(2 * goal.min_flops.value)
    with pytest.raises(BadInput, match=r"never reaches 2\.3"):
        trajectory(published(), 1e9, 2**20, target_loss=2.3)


def test_golden_frontier_at_one_petaflop_day() -> None:
    found = frontier(KAPLAN, PF_DAY)
    assert found.scale / PF_DAY == pytest.approx(1.53312e8, rel=4e-6)
    assert found.params == pytest.approx(6.0416e8, rel=1e-5)
    assert found.reached == pytest.approx(2.687556, abs=6e-7)
    assert found.min_steps == pytest.approx(13205.1, rel=4e-6)
    assert found.loss == pytest.approx(0.05245, abs=6e-6)
    # It is the least compute of its loss over all sizes.
    sizes = np.geomspace(1e8, 5e9, 4001)
    assert found.reached is not None
    flops = 6 * sizes * KAPLAN.critical(found.reached) * KAPLAN.min_steps(sizes, found.reached)
    assert flops.min() == pytest.approx(PF_DAY, rel=1e-5)
    assert sizes[np.argmin(flops)] == pytest.approx(found.params, rel=2e-3)


def small_runs(noise: float = 0.0, run: float = 0.0, seed: int = 0, points: int = 25) -> pd.DataFrame:
    """Five sizes at 2**19 tokens, and 3M at five more batches, by PLANTED."""
    rng, law = np.random.default_rng(seed), Constants.of(PLANTED)
    runs = [(n, 2.0**19, 4e5) for n in (1e6, 3e6, 8e6, 2e7, 6e7)]
    runs += [(3e6, 2.0**k, 1e5 * 2.0 ** (0.5 * max(0, 18 - k))) for k in (15, 16, 17, 18, 20)]
    rows = []
    for n, b, last in runs:
        step = np.geomspace(500, last, points)
        loss = law.loss(n, step, b) * np.exp(noise * rng.standard_normal(points) + run * rng.standard_normal())
        rows += [(f"{n:.0f}-{b:.0f}", n, b, s, v) for s, v in zip(step, loss, strict=True)]
    return pd.DataFrame(rows, columns=["run_id", "params_nonembed", "batch_tokens", "step", "loss"])


def test_planted_constants_come_back_from_curves_without_noise() -> None:
    found = estimate_trajectory(small_runs(), converged=0.02)
    np.testing.assert_allclose(found.values, PLANTED, rtol=1e-6)
    assert found.error < 1e-9
    assert {f.run for f in found.finals if f.used} == {f"{n:.0f}-524288" for n in (1e6, 3e6, 8e6, 2e7, 6e7)}


def test_the_recipe_comes_near_and_says_what_its_converged_runs_still_lack() -> None:
    found = estimate_trajectory(small_runs(), method="recipe", converged=0.02)
    # It takes the last losses for endless ones, which they exceed by 1 %: the exponents keep a bias.
    assert found.params["alpha_N"].value == pytest.approx(0.075, rel=0.06)
    assert found.params["alpha_S"].value == pytest.approx(0.70, rel=0.10)
    assert found.params["alpha_B"].value == pytest.approx(0.21, rel=0.02)
    assert found.params["B_star"].value == pytest.approx(1.8e8, rel=0.10)
    np.testing.assert_allclose([found.other[name] for name in NAMES], PLANTED, rtol=1e-6)
    whole = {f.run: f.left for f in estimate_trajectory(small_runs()).finals}
    law = Constants.of(PLANTED)
    assert whole["3000000-524288"] == pytest.approx(float(law.loss(3e6, 4e5, 2**19) - law.floor(3e6)), rel=1e-5)


def test_intervals_of_constants_and_predictions_cover() -> None:
    law, held = Constants.of(PLANTED), np.zeros(9)
    for seed in range(25):
        found = estimate_trajectory(small_runs(0.003, 0.003, seed, 16), converged=0.02)
        constants = [found.params[n].ci for n in NAMES]
        at = trajectory(found.source("x"), 1e9, 2**20, steps=[1e5], target_loss=2.8)
        assert at.goal is not None
        asked = [at.floor, at.moments[0].loss, at.goal.steps]
        goal = law.min_steps(1e9, 2.8) * (1 + law.critical(2.8) / 2**20)
        truth = [*PLANTED, law.floor(1e9), float(law.loss(1e9, 1e5, 2**20)), float(goal)]
        ends = [*constants, *(q.ci for q in asked)]
        held += [ci is not None and ci[0] <= want <= ci[1] for ci, want in zip(ends, truth, strict=True)]
    # 25 draws of .9 have a standard deviation of .06.
    assert (held / 25 >= 0.72).all(), held / 25
    assert 0.84 < np.mean(held / 25) <= 0.98


def test_no_scipy_start_ends_lower_and_the_derivatives_are_true() -> None:
    table = small_runs(0.004, 0.002, 1, 15)
    found = estimate_trajectory(table)
    read = read_table(table)
    curves, *_ = _curves(read, rows_for(read, ("params_nonembed", "batch_tokens", "step")), None)
    problem = _Joint(curves)
    logs = np.log(found.values)
    for i in range(len(NAMES)):
        h = np.zeros(len(NAMES))
        h[i] = 1e-6
        numeric = (problem.residual(logs + h) - problem.residual(logs - h)) / 2e-6
        np.testing.assert_allclose(problem.jacobian(logs)[:, i], numeric, rtol=1e-5, atol=1e-8)
    mine = 0.5 * np.sum(problem.residual(logs) ** 2)
    assert mine <= 0.5 * np.sum(problem.residual(np.log(PLANTED)) ** 2)
    rng, best = np.random.default_rng(5), np.inf
    for _ in range(100):
        start = np.log(PLANTED) + 0.5 * rng.standard_normal(len(NAMES))
        with np.errstate(all="ignore"):  # a step too far overflows, and is taken back
            best = min(best, least_squares(problem.residual, start, x_scale="jac", max_nfev=60).cost)
    assert mine <= best * (1 + 1e-8)


def test_least_steps_through_map_give_the_registered_law_its_constants() -> None:
    law = f"step / (1 + {PLANTED[4]} * loss**(-1 / {PLANTED[5]}) / batch_tokens)"
    found = fit("kaplan-steps", small_runs(), mapping={"min_steps": law}, bootstrap=0)
    np.testing.assert_allclose([found.values[n] for n in NAMES[:4]], PLANTED[:4], rtol=1e-5)


def test_the_file_goes_round_and_a_damaged_one_is_told(tmp_path: Path) -> None:
    found = estimate_trajectory(small_runs(0.003, 0.001))
    path = found.save(tmp_path / "fit.json")
    assert to_json(TrajectoryFit.load(path).to_dict()) == to_json(found.to_dict())
    path.write_text(path.read_text().replace('"alpha_S"', '"alpha_T"', 1))
    with pytest.raises(BadInput, match="incomplete or damaged"):
        TrajectoryFit.load(path)
    path.write_text("{}")
    with pytest.raises(BadInput, match="holds no constants of trajectories"):
        TrajectoryFit.load(path)


def test_curves_that_cannot_tell_the_constants_are_refused() -> None:
    table = small_runs()
    with pytest.raises(BadInput, match="1 value of batch_tokens"):
        estimate_trajectory(table[table.batch_tokens == 2**19])
    with pytest.raises(BadInput, match="1 value of params_nonembed"):
        estimate_trajectory(table[table.params_nonembed == 3e6])
    # Batches so far beyond the critical one that none shows it.
    endless = small_runs().assign(batch_tokens=lambda t: t.batch_tokens * 1e12)
    endless["loss"] = Constants.of(PLANTED).loss(endless.params_nonembed, endless.step, endless.batch_tokens)
    with pytest.raises((NotIdentified, BadInput)):
        estimate_trajectory(endless)
    with pytest.raises(BadInput, match="params_nonembed"):
        estimate_trajectory(table.rename(columns={"params_nonembed": "params"}))
    with pytest.raises(BadInput, match="run_id"):
        estimate_trajectory(table.drop(columns="run_id"))


def test_the_recipe_says_which_of_its_steps_fails() -> None:
    table = small_runs()
    short = table[table.step < 3e4]
    with pytest.raises(BadInput, match="sizes have a converged run"):
        estimate_trajectory(short, method="recipe")
    joint = estimate_trajectory(short)
    assert any("the recipe gives no constants" in note for note in joint.notes)
    assert "SL481" in {notice.code for notice in joint.warnings}
    np.testing.assert_allclose(joint.values, PLANTED, rtol=1e-5)
    apart = table[(table.batch_tokens == 2**19) | (table.batch_tokens == 2**20) | (table.loss > 6)]
    apart = apart[(apart.batch_tokens != 2**20) | (apart.loss < 4.5)]
    with pytest.raises(BadInput, match="no loss is reached by all batches"):
        estimate_trajectory(apart, method="recipe", converged=0.02)


def test_warm_up_points_are_left_out_and_counted() -> None:
    table = small_runs()
    table.loc[table.step < 900, "loss"] += 2.0
    found = estimate_trajectory(table, warmup_steps=900)
    np.testing.assert_allclose(found.values, PLANTED, rtol=1e-6)
    assert found.rows["dropped"] == {"in the warm-up": int(np.sum(table.step <= 900))}
    by_column = estimate_trajectory(table.assign(warmup_steps=900))
    np.testing.assert_allclose(by_column.values, found.values)
    assert abs(estimate_trajectory(table).values[3] / PLANTED[3] - 1) > 0.02


def test_few_runs_give_constants_without_intervals() -> None:
    table = small_runs(0.001)
    few = table[table.run_id.isin(table.run_id.unique()[[0, 2, 4, 5, 7, 9]])]
    found = estimate_trajectory(few)
    assert all(e.ci is None for e in found.params.values())
    assert "SL482" in {notice.code for notice in found.warnings}
    assert trajectory(found.source("x"), 1e7, 2**18).floor.ci == ()


def test_questions_that_make_no_sense_are_refused_and_far_ones_told() -> None:
    with pytest.raises(UsageError, match="--batch 0 is not"):
        trajectory(published(), 1e9, 0.0)
    with pytest.raises(UsageError, match="known: kaplan2020"):
        published("kaplan2021")
    with pytest.raises(UsageError, match="no number that a training has"):
        trajectory(published(), 1e-300, 2**19)
    flat = small_runs().assign(loss=3.0)
    with pytest.raises(DidNotConverge, match="check that the losses fall"):
        estimate_trajectory(flat)
    far = trajectory(published(), 1e12, 2**19)
    assert "SL480" in {notice.code for notice in far.warnings}
    assert not trajectory(published(), 1e9, 2**19).warnings


def test_steps_in_any_order_and_the_frontier_are_told_when_they_are_far() -> None:
    """The furthest step need not be the last one named, and compute of the frontier asks for a size too."""
    (order,) = trajectory(published(), 1e9, 2**19, steps=[1e4, 1e9, 1e5]).warnings
    assert order.code == "SL480"
    assert "step 1B by a factor 4e+03" in order.message
    (far,) = trajectory(published(), 1e9, 2**19, flops=1e30).warnings
    assert far.code == "SL480"
    assert "params_nonembed" in far.message
    assert not trajectory(published(), 1e9, 2**19, steps=[1e5, 1e4], flops=PF_DAY).warnings


def test_the_early_stop_is_equation_5_7_by_hand() -> None:
    """S_c / [L(N, D) - L(N, inf)]**(1 / alpha_S), L(N, D) of Table 2 and the rest of Table 3, written out."""
    n, d, batch = 1e9, 1e9, 2.0**19
    loss = ((6.4e13 / n) ** (0.076 / 0.103) + 1.8e13 / d) ** 0.103
    endless = (6.4e13 / n) ** 0.076
    least = 2.1e3 / (loss - endless) ** (1 / 0.76)
    steps = least * (1 + 2e8 * loss ** (-1 / 0.21) / batch)
    found = trajectory(published(), n, batch, unique_tokens=d).early_stop
    assert found is not None
    assert (found.loss, found.endless) == pytest.approx((loss, endless), rel=1e-12)
    assert (found.min_steps, found.steps) == pytest.approx((least, steps), rel=1e-12)
    assert found.epochs == pytest.approx(steps * batch / d, rel=1e-12)
    # The curve of endless data comes that far above its own end by then, which is what the equation says.
    c = Constants.of(published().values)
    assert float(c.loss(n, steps, batch) - c.floor(n)) == pytest.approx(loss - endless, rel=0.02)
    with pytest.raises(UsageError, match="never overfit"):
        trajectory(published(), 1e3, batch, unique_tokens=1e29)
    own = Source(published().values, np.empty((0, 6)), published().inputs, "own.json")
    with pytest.raises(UsageError, match=r"own\.json has none"):
        trajectory(own, n, batch, unique_tokens=d)
