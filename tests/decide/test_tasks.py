"""Pass rates, jumps, the test of the task law, and checkpoints made ready for a ladder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from scaling_lab.decide.tasks import (
    alignment_score,
    checkpoints,
    curvature_of_counts,
    curvature_of_rates,
    emergence,
    final_means,
    mean_pass_rate,
    pass_rate,
    ready,
    smoothness,
)
from scaling_lab.errors import BadInput, NotEnoughData, UsageError

SIZES = np.geomspace(3e7, 2.4e9, 8)


def rates(bend: float = 0.0, log_c: float = np.log(2300), alpha: float = 0.31) -> np.ndarray:
    """Pass rates of SIZES by the task law, bent in the log of the size."""
    x = np.log(SIZES) - np.log(SIZES).mean()
    return np.exp(-np.exp(log_c - alpha * np.log(SIZES) + bend * x**2))


# --------------------------------------------------------------------------------------------------------- pass rates


def test_the_estimator_is_unbiased_where_r_over_k_is_not() -> None:
    rng, p, r = np.random.default_rng(0), 0.02, 2
    draws = r + rng.negative_binomial(r, p, 200_000)
    found = pass_rate(np.full(len(draws), r), draws)
    se = float(found.value.std()) / np.sqrt(len(draws))
    assert not found.censored.any()
    assert found.value.mean() == pytest.approx(p, abs=4 * se)
    assert np.mean(r / draws) > p * 1.5


def test_a_sampling_that_hit_its_cap_is_censored_with_a_limit() -> None:
    found = pass_rate(np.array([0.0, 1.0, 2.0]), np.array([1000.0, 1000.0, 11.0]))
    assert found.censored.tolist() == [True, True, False]
    assert np.isnan(found.value[:2]).all()
    assert found.value[2] == pytest.approx(0.1)
    assert found.upper[0] == pytest.approx(1 - 0.05 ** (1 / 1000))  # the rule of three
    fixed = pass_rate(np.array([1.0, 0.0]), np.array([1000.0, 1000.0]), fixed_draws=True)
    assert fixed.value[0] == 0.001
    assert fixed.censored.tolist() == [False, True]
    for wrong in ((-1, 10), (11, 10), (1.5, 10), (1, 0), (np.nan, 10)):
        with pytest.raises(BadInput, match="is no count"):
            pass_rate(np.array([wrong[0]]), np.array([wrong[1]]))


# ------------------------------------------------------------------------------------------------------------ metrics


def test_metrics_of_a_line_a_jump_and_a_fall() -> None:
    line = smoothness(np.array([0.0, 0.1, 0.2, 0.3, 0.4]))
    assert line.improvement == pytest.approx(0.4)
    assert line.breakthroughness == pytest.approx(4)  # as many as there are steps
    assert line.linearity == pytest.approx(4)
    assert line.linearity_per_step == pytest.approx(2)
    late = smoothness(np.array([0.0, 0.01, 0.02, 0.03, 0.83]))
    assert late.breakthroughness == pytest.approx(83)
    assert late.linearity == pytest.approx(0.83 / np.sqrt((3 * 0.01**2 + 0.8**2) / 4))
    jump = smoothness(np.array([0.0, 0.0, 0.0, 0.5]))
    assert jump.breakthroughness is None  # the median step is 0: nothing to divide by
    assert jump.linearity_per_step == pytest.approx(1)
    fall = smoothness(np.array([0.5, 0.4, 0.2]))
    assert fall.improvement == pytest.approx(-0.3)
    assert fall.largest_fall == pytest.approx(0.3)
    flat = smoothness(np.array([0.2, 0.2, 0.2]))
    assert (flat.improvement, flat.breakthroughness, flat.linearity) == (0, None, None)
    with pytest.raises(NotEnoughData, match="3 scales"):
        smoothness(np.array([0.1, 0.2]))


# ---------------------------------------------------------------------------------------------------------- the test


def test_the_likelihood_s_answer_is_scipy_s() -> None:
    rng = np.random.default_rng(1)
    draws = np.full(8, 50_000.0)
    right = rng.binomial(50_000, rates(-0.1)).astype(float)
    found = curvature_of_counts(SIZES, right, draws)
    x = np.log(SIZES) - np.log(SIZES).mean()

    def minus(f: np.ndarray) -> float:
        m = np.exp(f[0] + f[1] * x + f[2] * x**2)
        return float(np.sum(right * m - (draws - right) * np.log(-np.expm1(-m))))

    best = minimize(minus, [1.5, -0.3, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-9})
    assert found.bend == pytest.approx(best.x[2], abs=1e-5)
    line = minimize(lambda f: minus(np.append(f, 0.0)), [1.5, -0.3], method="Nelder-Mead", options={"fatol": 1e-9})
    assert found.statistic * found.dispersion == pytest.approx(2 * (line.fun - best.fun), rel=1e-4)


@pytest.mark.parametrize(("bend", "verdict"), [(0.0, "line"), (0.12, "convex"), (-0.12, "concave")])
def test_planted_growth_is_told(bend: float, verdict: str) -> None:
    """Of 60 simulated tables: no more than the level's share of lines called bent, most bends told, intervals hold."""
    rng = np.random.default_rng(2)
    found = [
        curvature_of_counts(SIZES, rng.binomial(20_000, rates(bend)).astype(float), np.full(8, 20_000.0))
        for _ in range(60)
    ]
    assert sum(c.verdict == verdict for c in found) >= 54
    assert sum(c.interval[0] <= bend <= c.interval[1] for c in found) >= 54
    assert np.mean([c.bend for c in found]) == pytest.approx(bend, abs=0.01)
    if not bend:
        assert np.mean([c.alpha for c in found]) == pytest.approx(0.31, abs=0.01)
        assert np.mean([c.log_c for c in found]) == pytest.approx(np.log(2300), abs=0.2)


def test_drawing_until_a_success_and_no_success_at_all_count() -> None:
    """Sampling stops at 20 successes or 30,000 draws: the smallest models have few or none, and still inform."""
    rng = np.random.default_rng(3)
    bends = []
    for _ in range(40):
        waits = 20 + rng.negative_binomial(20, rates(0.0))
        capped = waits > 30_000
        right = np.where(capped, rng.binomial(30_000, rates(0.0)), 20).astype(float)
        bends.append(curvature_of_counts(SIZES, right, np.minimum(waits, 30_000).astype(float)))
    assert sum(c.verdict == "line" for c in bends) >= 36
    assert abs(np.mean([c.bend for c in bends])) < 0.03


def test_runs_that_scatter_more_than_draws_widen_the_interval() -> None:
    rng = np.random.default_rng(4)
    wrong = 0
    for _ in range(60):
        noisy = rates(0.0) ** np.exp(0.05 * rng.standard_normal(8))
        found = curvature_of_counts(SIZES, rng.binomial(200_000, noisy).astype(float), np.full(8, 200_000.0))
        assert found.dispersion >= 1
        wrong += found.verdict != "line"
    assert wrong <= 7  # 5 % of 60 is 3; plain binomial errors would call most of them bent


def test_rates_without_counts_are_tested_by_least_squares() -> None:
    rng = np.random.default_rng(5)
    bent = np.exp(-np.exp(np.log(-np.log(rates(-0.1))) + 0.01 * rng.standard_normal(8)))
    assert curvature_of_rates(SIZES, bent).verdict == "concave"
    wrong = 0
    for _ in range(100):
        noisy = np.exp(-np.exp(np.log(-np.log(rates())) + 0.03 * rng.standard_normal(8)))
        wrong += curvature_of_rates(SIZES, noisy).verdict != "line"
    assert wrong <= 11
    with pytest.raises(BadInput, match="successes and draws"):
        curvature_of_rates(SIZES, np.append(bent[:-1], 0.0))
    with pytest.raises(NotEnoughData):
        curvature_of_rates(SIZES[:3], bent[:3])


def counts_table(bends: dict[str, float], seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    parts = [
        pd.DataFrame({"task": task, "params": SIZES, "draws": 20_000, "successes": rng.binomial(20_000, rates(bend))})
        for task, bend in bends.items()
    ]
    return pd.concat(parts, ignore_index=True)


def test_a_table_of_tasks_is_judged_task_by_task() -> None:
    found = emergence(counts_table({"steady": 0.0, "late": -0.2}), fixed_draws=True)
    assert [curve.task for curve in found.tasks] == ["steady", "late"]
    verdicts = [curve.curvature.verdict for curve in found.tasks if curve.curvature]
    assert verdicts == ["line", "concave"]
    told = found.to_dict()
    assert told["schema"] == "scaling-lab/emergence/1"
    assert "unverified" in told["normalisation"]["linearity"]
    assert "SL437" in {n.code for n in found.warnings}
    table = counts_table({"steady": 0.0, "late": -0.2})
    for curve in found.tasks:
        part = table[table.task == curve.task]
        np.testing.assert_allclose(curve.score, part.successes / part.draws)


def test_lines_of_items_averaged_predict_a_test() -> None:
    items = {"easy": (np.log(1500), 0.30), "hard": (np.log(4000), 0.33)}
    big = 7e9
    rng = np.random.default_rng(6)
    parts = [
        pd.DataFrame(
            {"task": name, "params": SIZES, "draws": 10**6, "successes": rng.binomial(10**6, rates(0.0, log_c, alpha))}
        )
        for name, (log_c, alpha) in items.items()
    ]
    found = emergence(pd.concat(parts, ignore_index=True), fixed_draws=True)
    truth = np.mean([np.exp(-np.exp(log_c - alpha * np.log(big))) for log_c, alpha in items.values()])
    assert mean_pass_rate(found, big) == pytest.approx(truth, rel=0.03)
    with pytest.raises(BadInput, match="have no line"):
        mean_pass_rate(emergence(pd.concat(parts), chance=0.25), big)


def test_a_chance_level_refuses_the_test_and_counts_scales_at_chance() -> None:
    accuracy = [0.25, 0.251, 0.252, 0.249, 0.253, 0.26, 0.31, 0.42]
    found = emergence(pd.DataFrame({"params": SIZES, "accuracy": accuracy}), chance=0.25, items=1000)
    curve = found.tasks[0]
    assert curve.curvature is None
    assert "a guess is right" in curve.why
    assert curve.at_chance == 6
    assert "SL438" in {n.code for n in found.warnings}
    plain = emergence(pd.DataFrame({"params": SIZES, "accuracy": accuracy}))
    assert "no pass rates" in plain.tasks[0].why
    assert not plain.warnings


def test_bad_tables_are_one_clear_line() -> None:
    good = pd.DataFrame({"params": SIZES, "accuracy": np.linspace(0.2, 0.6, 8)})
    with pytest.raises(BadInput, match=r"in percent\? give --map accuracy='accuracy / 100'"):
        emergence(good.assign(accuracy=100 * good.accuracy))
    assert emergence(good.assign(accuracy=100 * good.accuracy), mapping={"accuracy": "accuracy / 100"}).tasks
    with pytest.raises(BadInput, match="neither successes and draws nor"):
        emergence(good.rename(columns={"accuracy": "score"}))
    assert emergence(good.rename(columns={"accuracy": "score"}), score="score").score == "score"
    with pytest.raises(BadInput, match="no column 'flops'"):
        emergence(good, by="flops")
    with pytest.raises(BadInput, match="is no size above zero"):
        emergence(good.assign(params=-1.0))
    with pytest.raises(BadInput, match="is no count"):
        emergence(good.assign(successes=3, draws=2))
    with pytest.raises(UsageError, match=r"25 is not a share"):
        emergence(good, chance=25)
    with pytest.raises(NotEnoughData):
        emergence(good.iloc[:2])


# --------------------------------------------------------------------------------------------- ladders and alignment


def curves() -> pd.DataFrame:
    rng = np.random.default_rng(7)
    frame = pd.DataFrame({"run_id": np.repeat(["a", "b"], [20, 7]), "step": [*range(20), *range(7)]})
    return frame.assign(bpb=rng.uniform(0.5, 1.5, 27), accuracy=rng.uniform(0.3, 0.7, 27), size=1)


def test_checkpoints_are_dropped_and_averaged_as_the_ladder_s_authors_do() -> None:
    frame = curves()
    made = checkpoints(frame.sample(frac=1, random_state=0), ["bpb", "accuracy"])
    a = frame[frame.run_id == "a"].bpb.to_numpy()[2:]  # a tenth of 20
    b = frame[frame.run_id == "b"].bpb.to_numpy()[1:]  # a tenth of 7, rounded up
    assert made.groupby("run_id").size().to_dict() == {"a": 18, "b": 6}
    for run, kept in (("a", a), ("b", b)):
        got = made[made.run_id == run].bpb.to_numpy()
        want = [kept[max(0, i - 4) : i + 1].mean() for i in range(len(kept))]
        np.testing.assert_allclose(got, want)
    np.testing.assert_array_equal(made[made.run_id == "a"].step, range(2, 20))


def test_the_last_rows_of_a_run_stand_for_it() -> None:
    frame = curves()
    made = final_means(frame, ["bpb"], last=5)
    assert made.run_id.tolist() == ["a", "b"]
    assert made.step.tolist() == [19, 6]
    np.testing.assert_allclose(made.bpb, [frame.bpb[15:20].mean(), frame.bpb[22:27].mean()])
    np.testing.assert_allclose(made.accuracy, [frame.accuracy[19], frame.accuracy[26]])
    told = ready(frame, ["bpb"], final=3)
    assert told.record == {"mean_of_last": 3, "columns": ["bpb"], "read": 27}
    assert "last 3 rows" in told.sentence


def test_curves_without_the_column_or_with_a_hole_are_refused() -> None:
    with pytest.raises(BadInput, match="no column 'acc'"):
        checkpoints(curves(), ["acc"])
    with pytest.raises(BadInput, match="no finite numbers"):
        checkpoints(curves().assign(bpb=np.nan), ["bpb"])
    for drop in (1.0, -0.1, float("nan")):
        with pytest.raises(UsageError, match="is not a share from 0 to below 1"):
            checkpoints(curves(), ["bpb"], drop=drop)


def test_what_can_t_be_averaged_is_refused_and_not_averaged_in_silence(tmp_path: Path) -> None:
    frame, path = curves(), tmp_path / "curves.csv"
    for bad, column in (("x", "bpb"), ("", "step"), ("x", "step")):
        broken = frame.astype({column: object})
        broken.loc[5, column] = bad
        broken.to_csv(path, index=False)
        with pytest.raises(BadInput, match=rf"curves.csv, line 7, column {column}: .* no finite number"):
            ready(path, ["bpb"])
    for columns in (["bpb", "bpb"], ["run_id"], ["step", "bpb"]):
        with pytest.raises(UsageError, match="once, and neither run_id nor step"):
            ready(frame, columns)
    with pytest.raises(BadInput, match="run a has two rows at step 4; give one row for each"):
        ready(pd.concat([frame, frame.iloc[[4]]]), ["bpb"])
    with pytest.raises(BadInput, match="rows belong to no run"):
        checkpoints(frame.assign(run_id=frame.run_id.where(frame.step > 2)), ["bpb"])
    with pytest.raises(BadInput, match=r"no column 'step'; it has .*--order"):
        ready(frame.drop(columns="step"), ["bpb"])
    for asked in ({"window": 21}, {"final": 21}):
        with pytest.raises(BadInput, match="no run has the 21 rows that are to be averaged, the longest 20"):
            ready(frame, ["bpb"], **asked)
    for asked in ({"window": 0}, {"final": 0}):
        with pytest.raises(UsageError, match="a mean over 0 rows is none"):
            ready(frame, ["bpb"], **asked)


def test_alignment_of_pre_training_data_with_a_translation_task() -> None:
    """The four mixtures of arXiv:2402.04177: both languages, the source alone, the target alone, neither."""
    found = [alignment_score(*shares) for shares in ((0.5, 0.5), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0))]
    assert found == pytest.approx([1.0, 0.7, 0.8, 0.0])
    with pytest.raises(UsageError, match="more than all"):
        alignment_score(0.7, 0.7)
    with pytest.raises(UsageError, match="no share"):
        alignment_score(50, 50)
