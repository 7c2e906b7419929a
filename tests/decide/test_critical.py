"""Critical batch sizes: the published table to six digits, planted hyperbolas, an independent solver, bad tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import least_squares

from scaling_lab.decide.critical import branched_cbs, cbs, fit_hyperbola, fit_optimum, steps_to
from scaling_lab.decide.trajectory import Constants, published
from scaling_lab.engine.fit import fit
from scaling_lab.errors import BadInput, UsageError

# Steps to each loss at batches of 2**6 to 2**14 sequences of 512 tokens: hlzhang109/critical-batch-size,
# plots/chinchilla.ipynb (the list of the fit cell), arXiv:2410.21676.
ZHANG = {
    85e6: (3.42, (46000, 23000, 13282, 7000, 3840, 2528, 1917, 1600, 1600)),
    151e6: (3.24, (96000, 49000, 24000, 12000, 7128, 4350, 2940, 2400, 2300)),
    302e6: (3.07, (196000, 90000, 46000, 23400, 13300, 7224, 4980, 3400, 2879)),
    604e6: (2.92, (311000, 166000, 81000, 37440, 21320, 11400, 7199, 4700, 3800)),
    1.2e9: (2.736, (642000, 331000, 176000, 94000, 46500, 25000, 15360, 8900, 6500)),
}
BATCHES = 2.0 ** np.arange(15, 24)


def zhang() -> pd.DataFrame:
    rows = [
        {"params": n, "loss": loss, "batch_sequences": 2.0 ** (6 + i), "seq_len": 512, "step": s}
        for n, (loss, steps) in ZHANG.items()
        for i, s in enumerate(steps)
    ]
    return pd.DataFrame(rows)


def test_the_published_table_gives_the_published_law_to_six_digits() -> None:
    found = cbs(zhang(), linear_from=256 * 512)
    sequences = [level.overhead.value / 512 for level in found.levels if level.overhead]
    np.testing.assert_allclose(sequences, (745.32, 955.16, 1393.73, 1888.52, 2533.41), rtol=7e-6)
    twice = [level.batch.value / 512 for level in found.levels if level.batch]
    np.testing.assert_allclose(twice, (2190.6, 3239.8, 5432.6, 7906.6, 11131.1), rtol=1.5e-5)
    assert found.law is not None
    assert found.law.exponent == pytest.approx(0.468278, abs=6e-7)
    # In millions of params and sequences of 512 tokens, as the paper counts.
    assert found.law.coefficient / 512 * 1e6**found.law.exponent == pytest.approx(93.1968, abs=6e-5)


def test_fit_takes_the_table_of_levels_and_finds_the_same_law() -> None:
    levels = cbs(zhang(), linear_from=256 * 512).table()
    found = fit("cbs-params", levels, objective="l2", bootstrap=0)
    assert found.values["kappa"] == pytest.approx(0.468278, abs=1e-6)
    assert found.values["c"] / 512 == pytest.approx(93.1968, abs=1e-3)


def planted(noise: float, seed: int = 0, critical: float = 3e5, least: float = 1e3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.asarray(least * (1 + critical / BATCHES) * np.exp(noise * rng.standard_normal(len(BATCHES))))


@pytest.mark.parametrize("delta", [None, 0.03])
def test_a_planted_hyperbola_comes_back(delta: float | None) -> None:
    found = fit_hyperbola(BATCHES, planted(0.0), delta=delta)
    assert found.critical.value == pytest.approx(3e5, rel=1e-6)
    assert found.min_steps.value == pytest.approx(1e3, rel=1e-6)
    assert found.min_tokens.value == pytest.approx(3e8, rel=1e-6)
    # (S / S_min - 1) * (E / E_min - 1) = 1 at every batch.
    s = planted(0.0)
    product = (s / found.min_steps.value - 1) * (s * BATCHES / found.min_tokens.value - 1)
    np.testing.assert_allclose(product, 1.0, rtol=1e-5)


@pytest.mark.parametrize(("loss", "delta"), [("linear", None), ("huber", 0.03)])
def test_no_scipy_start_finds_a_lower_objective(loss: str, delta: float | None) -> None:
    for seed in range(5):
        steps = planted(0.08, seed)
        found = fit_hyperbola(BATCHES, steps, delta=delta)

        def residual(theta: np.ndarray, steps: np.ndarray = steps) -> np.ndarray:
            return np.log(np.exp(theta[0]) + np.exp(theta[1]) / BATCHES) - np.log(steps)

        rng = np.random.default_rng(seed)
        best = min(
            (
                least_squares(
                    residual, (rng.uniform(3, 12), rng.uniform(15, 25)), loss=loss, f_scale=delta or 1.0, xtol=1e-12
                )
                for _ in range(20)
            ),
            key=lambda got: got.cost,
        )
        assert found.min_steps.value == pytest.approx(np.exp(best.x[0]), rel=1e-4)
        assert found.min_tokens.value == pytest.approx(np.exp(best.x[1]), rel=1e-4)


@pytest.mark.parametrize("delta", [None, 0.05])
def test_intervals_cover_as_often_as_they_say(delta: float | None) -> None:
    truth, held = (3e5, 1e3, 3e8), np.zeros(3)
    for seed in range(200):
        found = fit_hyperbola(BATCHES, planted(0.05, seed), level=0.9, delta=delta)
        intervals = (found.critical.ci, found.min_steps.ci, found.min_tokens.ci)
        held += [low <= want <= high for (low, high), want in zip(intervals, truth, strict=True)]
    # 200 draws of .9 have a standard deviation of .021.
    assert (held / 200 > 0.83).all()
    assert (held / 200 < 0.97).all()


def test_batches_all_on_one_side_of_the_critical_one_leave_an_end_open_or_are_not_used() -> None:
    small, large = BATCHES[:4], BATCHES[-4:]
    below = fit_hyperbola(small, 1e3 * 3e9 / small)
    assert "below the critical one" in below.status
    assert below.critical.ci == ()
    above = fit_hyperbola(large, np.full(4, 1e3))
    assert "beyond the critical one" in above.status
    rng = np.random.default_rng(3)
    hardly = fit_hyperbola(small, 1e3 * (1 + 3e6 / small) * np.exp(0.1 * rng.standard_normal(4)))
    assert hardly.critical.ci == () or np.isinf(hardly.critical.ci[1])


def test_two_batches_are_met_exactly_and_have_no_interval_and_one_is_refused() -> None:
    found = fit_hyperbola(BATCHES[[1, 5]], planted(0.0)[[1, 5]])
    assert found.critical.value == pytest.approx(3e5, rel=1e-6)
    assert found.critical.ci == ()
    assert found.sd is None
    with pytest.raises(BadInput, match="1 batch size tells no critical one"):
        fit_hyperbola(BATCHES[:1], planted(0.0)[:1])


def test_the_batch_of_fewest_tokens_is_the_vertex_and_an_edge_is_not_used() -> None:
    x = np.log(BATCHES / 2e5)
    found, status = fit_optimum(BATCHES, 1e9 * np.exp(0.1 * x**2))
    assert status == "used"
    assert found is not None
    assert found.value == pytest.approx(2e5, rel=1e-9)
    held = 0
    for seed in range(200):
        noise = 0.1 * np.random.default_rng(seed).standard_normal(len(x))
        near, _ = fit_optimum(BATCHES, np.exp(0.1 * x**2 + noise), level=0.9)
        assert near is not None
        held += near.ci[0] <= 2e5 <= near.ci[1]
    assert 0.83 < held / 200 < 0.97
    assert "edge" in fit_optimum(BATCHES, BATCHES**0.1 * np.exp(0.001 * x**2))[1]
    assert "no minimum" in fit_optimum(BATCHES, np.exp(-0.1 * x**2))[1]


def test_steps_to_a_loss_are_read_off_a_curve_and_not_beyond_its_ends() -> None:
    law = Constants.of(published().values)
    step = np.geomspace(300, 1e5, 20)
    loss = law.loss(3e6, step, 2.0**17)
    levels = np.array([5.5, 5.0, 4.6])
    want = law.min_steps(3e6, levels) * (1 + law.critical(levels) / 2**17)
    np.testing.assert_allclose(steps_to(step, loss, levels), want, rtol=1e-4)
    assert np.isnan(steps_to(step, loss, np.array([loss[0] + 0.1, loss[-1] - 0.1]))).all()
    # Noise moves the reading little, and in no direction.
    ratios = [
        steps_to(step, loss * np.exp(0.005 * np.random.default_rng(s).standard_normal(20)), levels) / want
        for s in range(200)
    ]
    assert np.abs(np.mean(np.log(ratios), axis=0)).max() < 0.012


def curves() -> pd.DataFrame:
    """Curves of one size at seven batches by Kaplan's law."""
    law = Constants.of(published().values)
    rows = []
    for batch in BATCHES[:7]:
        step = np.geomspace(200, 2e5, 40)
        for s, loss in zip(step, law.loss(3e6, step, batch), strict=True):
            rows.append({"run_id": f"b{batch:.0f}", "batch_tokens": batch, "step": s, "loss": loss})
    return pd.DataFrame(rows)


def test_levels_of_curves_give_the_planted_law_of_the_loss() -> None:
    found = cbs(curves(), levels=[5.5, 5.2, 4.9, 4.7])
    for level in found.levels:
        assert level.batch is not None
        assert level.batch.value == pytest.approx(2e8 * level.loss ** (-1 / 0.21), rel=2e-3)
    assert found.law is not None
    assert -1 / found.law.exponent == pytest.approx(0.21, rel=3e-3)
    assert found.law.ci is not None
    assert "SL476" in {notice.code for notice in found.warnings}


def test_a_loss_that_few_batches_reach_is_told_and_warm_up_points_are_left_out() -> None:
    table = curves()
    short = table[(table.batch_tokens < 3e5) | (table.loss > 5.0)]
    found = cbs(short.assign(warmup_steps=400), levels=[5.2, 4.9])
    statuses = {level.loss: level.status for level in found.levels}
    assert statuses[5.2] == "used"
    reached = found.levels[1]
    assert len(reached.batches) == sum(BATCHES[:7] < 3e5)
    assert found.rows["dropped"]["in the warm-up"] == int(np.sum(short.step <= 400))
    few = cbs(table[(table.batch_tokens < 5e4) | (table.loss > 5.0)], levels=[5.2, 4.9])
    assert few.levels[1].status.startswith("only")
    assert "SL477" in {notice.code for notice in few.warnings}


def test_bad_tables_say_what_is_wrong() -> None:
    table = curves()
    with pytest.raises(BadInput, match="nothing says of how many tokens"):
        cbs(table.rename(columns={"batch_tokens": "batch_sequences"}), levels=[5.0])
    mixed = table.assign(batch_sequences=table.batch_tokens / 512, seq_len=1024)
    with pytest.raises(BadInput, match="batches are in mixed units"):
        cbs(mixed, levels=[5.0])
    with pytest.raises(BadInput, match="no curve falls to any of the levels"):
        cbs(table, levels=[1.0])
    with pytest.raises(BadInput, match="run_id"):
        cbs(table.drop(columns="run_id"), levels=[5.0])
    grown = table.copy()
    grown.loc[5, "batch_tokens"] *= 2
    with pytest.raises(BadInput, match="batch_tokens changes within run"):
        cbs(grown, levels=[5.0])
    with pytest.raises(UsageError, match="no method 'line'"):
        cbs(table, method="line", levels=[5.0])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="of the hyperbola"):
        cbs(zhang(), method="optimum", linear_from=1e5)
    with pytest.raises(BadInput, match=r"no row can be used \(3 loss impossible\)"):
        cbs(pd.DataFrame({"loss": [-1.0, 0, 0], "batch_tokens": 1e5, "step": 10}), drop_bad=True)
    text = zhang().astype({"batch_sequences": object})
    text.loc[4, "batch_sequences"] = "many"
    with pytest.raises(BadInput, match="many"):
        cbs(text)
    one = cbs(zhang()[zhang().batch_sequences == 64])
    assert {level.status for level in one.levels} == {"only 1 batch size reaches it"}
    assert one.law is None


def test_branches_double_the_batch_where_the_critical_one_is_over_twice_as_large() -> None:
    rows = []
    for tokens, largest in ((1e9, 1), (1e10, 4), (1e11, 8)):
        for k in (1, 2, 4, 8, 16):
            rows.append({"tokens": tokens, "batch_tokens": k * 1e5, "loss": 2.5 + 0.05 * (k > largest)})
    found = branched_cbs(pd.DataFrame(rows))
    assert [c.critical for c in found.checkpoints] == [1e5, 4e5, 8e5]
    # At 1e10 tokens 4e5 is over 2 * 1e5 and not over 2 * 2e5; at 1e11 8e5 is over 2 * 2e5 and not over 2 * 4e5.
    assert [(d.tokens, d.batch_tokens) for d in found.plan] == [(0, 1e5), (1e10, 2e5), (1e11, 4e5)]
    np.testing.assert_allclose([d.lr_factor for d in found.plan], (1, 2**0.5, 2))
    assert {notice.code for notice in found.warnings} == {"SL479"}
    with pytest.raises(BadInput, match="one batch size alone"):
        branched_cbs(pd.DataFrame(rows[:1]))


def test_a_later_branch_must_not_be_worse_than_any_smaller_one() -> None:
    # 4e5 is within the tolerance of 2e5, and not of 1e5.
    rows = [{"tokens": 1e9, "batch_tokens": b, "loss": v} for b, v in ((1e5, 2.5), (2e5, 2.508), (4e5, 2.515))]
    (only,) = branched_cbs(pd.DataFrame(rows)).checkpoints
    assert only.critical == 2e5
    assert not only.open
