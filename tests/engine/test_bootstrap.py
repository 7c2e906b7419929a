"""Bootstraps that say what they don't know: bad optima, saturated tables, few runs of many checkpoints."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pandas as pd
import pytest

from scaling_lab.engine.backtest import backtest
from scaling_lab.engine.coordinates import Coordinates
from scaling_lab.engine.fit import Settings, fit, law_rows
from scaling_lab.engine.predict import predict
from scaling_lab.engine.resample import RESAMPLES, sampler_of
from scaling_lab.engine.solve import Objective, newton
from scaling_lab.errors import NotIdentified
from scaling_lab.laws import LAWS
from scaling_lab.tables import read_table
from tests.conftest import TRUTH, chinchilla_table


def table(rows: int, noise: float, seed: int, **law: float) -> pd.DataFrame:
    """Runs at random sizes and token counts."""
    p = TRUTH | law
    rng = np.random.default_rng(seed)
    n, d = 10 ** rng.uniform(7, 9.5, rows), 10 ** rng.uniform(9, 11, rows)
    loss = p["E"] + p["A"] * n ** -p["alpha"] + p["B"] * d ** -p["beta"]
    return pd.DataFrame({"params": n, "tokens": d, "loss": loss * np.exp(noise * rng.standard_normal(rows))})


def test_refits_leave_an_optimum_at_the_bound() -> None:
    """With E driven to nothing, log E has no gradient there: refits must start elsewhere too."""
    weak = {"E": 0.6, "A": 60.0, "alpha": 0.18, "B": 80.0, "beta": 0.17}
    for seed in range(40, 60):
        found = fit("chinchilla", table(25, 0.02, seed, **weak), bootstrap=100)
        if found.values["E"] < 1e-6:
            break
    assert "SL302" in {w.code for w in found.warnings}
    assert found.bootstrap["missed"] > 0
    assert found.params["E"].ci[1] > 1.0


def test_a_healthy_fit_needs_no_further_starts() -> None:
    found = fit("chinchilla", chinchilla_table(0.005), bootstrap=100)
    assert found.bootstrap["audited"] == 16
    assert found.bootstrap["missed"] == 0


def test_a_saturated_table_gets_wide_intervals_and_a_warning() -> None:
    """Six rows, five parameters: every resample that can be fitted is the table itself."""
    hits = []
    for seed in range(12):
        found = fit("chinchilla", table(6, 0.01, seed), bootstrap=100, starts=400)
        assert found.bootstrap["resample"] == "residuals"
        assert "SL308" in {w.code for w in found.warnings}
        low, high = found.params["E"].ci
        hits.append(low <= TRUTH["E"] <= high)
        assert high - low > 0.05
    assert np.mean(hits) >= 0.75


def test_new_runs_are_covered_from_eight_rows_on() -> None:
    inside = []
    for seed in range(25):
        found = fit("chinchilla", table(8, 0.01, seed), bootstrap=100, starts=400)
        new = table(4, 0.01, 1000 + seed)
        new = new[new.params.between(1e8, 1e9)]
        if len(new):
            p = predict(found, new)
            inside += list((p.low <= new.loss) & (new.loss <= p.high))
    assert np.mean(inside) >= 0.85


def test_three_runs_of_many_checkpoints_say_nothing_of_run_to_run_scatter() -> None:
    rng = np.random.default_rng(0)
    parts = []
    for i, n in enumerate((1e7, 1e8, 1e9)):
        d = np.geomspace(1e9, 1e11, 15)
        loss = TRUTH["E"] + TRUTH["A"] * n ** -TRUTH["alpha"] + TRUTH["B"] * d ** -TRUTH["beta"]
        loss = loss * np.exp(0.005 * rng.standard_normal() + 0.001 * rng.standard_normal(15))
        parts.append(pd.DataFrame({"run_id": f"r{i}", "params": n, "tokens": d, "loss": loss}))
    found = fit("chinchilla", pd.concat(parts), bootstrap=50)
    assert found.params["alpha"].ci is None
    assert found.params["alpha"].se is None
    assert "SL308" in {w.code for w in found.warnings}
    assert "SL405" in {w.code for w in predict(found, {"params": 1e10, "tokens": 1e11}).warnings}


def test_a_resample_of_one_size_is_drawn_again() -> None:
    """Eight runs at three sizes: resamples that miss a size can't tell A from alpha."""
    sizes = np.repeat([1e7, 1e8, 1e9], [6, 1, 1])
    d = np.geomspace(1e9, 1e11, 8)
    loss = TRUTH["E"] + TRUTH["A"] * sizes ** -TRUTH["alpha"] + TRUTH["B"] * d ** -TRUTH["beta"]
    runs = pd.DataFrame({"params": sizes, "tokens": d, "loss": loss * (1 + 0.002 * np.sin(np.arange(8)))})
    found = fit("chinchilla", runs, bootstrap=50)
    assert found.bootstrap["redrawn"] > 0


def test_parameters_that_move_nothing_are_refused() -> None:
    with pytest.raises(NotIdentified, match="alpha can't be told"):
        fit("chinchilla", chinchilla_table(0.01), fix={"A": 0.0})


def test_an_interval_holds_its_value() -> None:
    found = fit("chinchilla", table(14, 0.03, 3), bootstrap=60)
    for p in found.params.values():
        assert p.ci[0] <= p.value <= p.ci[1]


def test_an_exact_fit_has_converged() -> None:
    found = fit("chinchilla", chinchilla_table(), bootstrap=40)
    assert found.starts["at_best"] >= 60
    assert found.bootstrap["missed"] == 0
    assert not {"SL301", "SL305", "SL306"} & {w.code for w in found.warnings}


def test_a_backtest_fit_knows_only_its_own_range() -> None:
    runs = chinchilla_table(0.005)
    small = runs[6 * runs.params * runs.tokens <= 6e20]
    for law in ("chinchilla", "hestness-flops", "hestness"):
        scored = backtest(runs, law, test_above=6e20, settings=Settings(bootstrap=50)).laws[0]
        alone = fit(law, small, bootstrap=50)
        for name, about in scored.fit.inputs.items():
            assert about["max"] == alone.inputs[name]["max"]
        point = [{name: float(values[0]) for name, values in scored.x.items() if name in alone.entry.inputs}]
        by_hand = predict(alone, point)
        assert (scored.low[0], scored.high[0]) == pytest.approx((by_hand.low[0], by_hand.high[0]))


def test_compute_is_counted_one_way_inside_and_outside() -> None:
    """A table whose flops are 1.9 times 6ND: its own rows are not called outside."""
    runs = chinchilla_table(0.005)
    runs["flops"] = 1.9 * 6 * runs.params * runs.tokens
    found = fit("chinchilla", runs, bootstrap=20)
    rows = runs[["params", "tokens"]].to_dict("records")
    assert not any(predict(found, rows).outside)
    assert predict(found, {"params": 6e9, "tokens": 3e11}).outside[0]["flops"] == pytest.approx(2.0)


def test_a_law_of_the_tables_own_flops_says_how_a_point_is_counted() -> None:
    runs = chinchilla_table(0.005)
    runs["flops"] = 1.9 * 6 * runs.params * runs.tokens
    found = fit("hestness-flops", runs, bootstrap=20)
    assert "SL102" in {w.code for w in predict(found, {"params": 1e9, "tokens": 1e11}).warnings}
    assert "SL102" not in {w.code for w in predict(found, {"flops": 1e21}).warnings}


def test_a_small_table_says_that_its_drift_is_assumed() -> None:
    found = fit("chinchilla", table(8, 0.01, 0), bootstrap=20)
    assert found.noise.cuts == 0
    assert "SL307" in {w.code for w in found.warnings}


# ------------------------------------------------------------------------------------- ways to draw, and their seeds


def grouped(runs: int, checkpoints: int, between: float, within: float, seed: int) -> pd.DataFrame:
    """Runs of several checkpoints whose rows share an error."""
    rng = np.random.default_rng(seed)
    n = np.repeat(10 ** rng.uniform(7, 9.5, runs), checkpoints)
    d = 10 ** rng.uniform(9, 11, runs * checkpoints)
    loss = TRUTH["E"] + TRUTH["A"] * n ** -TRUTH["alpha"] + TRUTH["B"] * d ** -TRUTH["beta"]
    shared = np.repeat(between * rng.standard_normal(runs), checkpoints)
    loss = loss * np.exp(shared + within * rng.standard_normal(len(n)))
    return pd.DataFrame({"run_id": np.repeat(np.arange(runs), checkpoints), "params": n, "tokens": d, "loss": loss})


@pytest.mark.parametrize("resample", RESAMPLES)
def test_every_way_to_resample_tells_about_the_same_of_a_clean_table(resample: str) -> None:
    runs = table(60, 0.01, 5)
    found = fit("chinchilla", runs, bootstrap=300, resample=resample, starts=400, objective="l2")
    assert found.bootstrap["resample"] == resample
    assert found.bootstrap["failed"] == found.bootstrap["unconverged"] == 0
    by_theory = fit("chinchilla", runs, bootstrap=300, intervals="covariance", starts=400, objective="l2")
    for name in ("E", "alpha", "beta"):
        assert found.params[name].se == pytest.approx(by_theory.params[name].se, rel=0.5), name


@pytest.mark.parametrize("resample", RESAMPLES)
def test_replicates_depend_on_neither_their_number_nor_the_workers(resample: str) -> None:
    runs = grouped(24, 3, 0.01, 0.003, 0)
    many = fit("chinchilla", runs, bootstrap=150, resample=resample, starts=144)
    few = fit("chinchilla", runs, bootstrap=70, resample=resample, starts=144)
    np.testing.assert_allclose(few.draws, many.draws[:70], rtol=1e-6)
    shared = fit("chinchilla", runs, bootstrap=70, resample=resample, starts=144, workers=3)
    np.testing.assert_allclose(few.draws, shared.draws, rtol=1e-6)


def test_wild_turns_whole_runs_and_parametric_shares_error_as_runs_do() -> None:
    runs = grouped(40, 5, 0.02, 0.002, 1)
    rows = law_rows(LAWS["chinchilla"], read_table(runs))
    coordinates = Coordinates(LAWS["chinchilla"], {})
    theta = np.log([TRUTH[name] for name in ("E", "A", "B", "alpha", "beta")])
    objective = Objective()
    wild, name = sampler_of(coordinates, rows, objective, theta, "wild", 0)
    assert name == "wild"
    weights, target, redrawn = wild.draw(0, 130)
    assert weights.shape == (200,)
    assert target.shape == (130, 200)
    assert redrawn == 0
    fitted = np.log(LAWS["chinchilla"].predict(dict(rows.x), **TRUTH))
    turns = (target - fitted) / (np.log(rows.y) - fitted)
    np.testing.assert_allclose(turns, turns[:, ::5].repeat(5, axis=1), rtol=1e-6)
    np.testing.assert_allclose(np.abs(turns), np.sqrt(200 / 195), rtol=1e-6)
    assert abs(np.mean(turns[:, ::5] > 0) - 0.5) < 0.03
    np.testing.assert_array_equal(wild.draw(60, 70)[1], target[60:70])
    normal, _ = sampler_of(coordinates, rows, objective, theta, "parametric", 0)
    error = (normal.draw(0, 400)[1] - fitted).reshape(400, 40, 5)
    assert np.std(error.mean(axis=2)) == pytest.approx(0.02, rel=0.3)
    assert np.std(error - error.mean(axis=2, keepdims=True)) == pytest.approx(0.002, rel=0.2)


def test_a_checkpoint_table_is_as_uncertain_by_parametric_errors_as_by_runs() -> None:
    runs = grouped(60, 5, 0.02, 0.002, 2)
    by = {r: fit("chinchilla", runs, bootstrap=200, resample=r, starts=144, objective="l2") for r in RESAMPLES}
    se = {r: found.params["alpha"].se for r, found in by.items()}
    assert se["parametric"] == pytest.approx(se["runs"], rel=0.4)
    assert se["wild"] == pytest.approx(se["runs"], rel=0.4)
    assert se["rows"] < 0.75 * se["runs"]


@pytest.mark.parametrize("resample", ["runs", "wild", "parametric"])
def test_one_run_can_not_be_resampled_and_says_so(resample: str) -> None:
    runs = grouped(1, 12, 0.0, 0.003, 0).assign(params=np.geomspace(1e7, 1e9, 12))
    found = fit("chinchilla", runs, bootstrap=50, resample=resample, starts=144)
    assert found.params["alpha"].ci is None
    messages = [w.message for w in found.warnings if w.code == "SL308"]
    assert len(messages) == 1
    assert messages[0].startswith("1 run is too few to resample for 5 free parameters")


# ------------------------------------------------------------------------------------------------------- interrupts


def stop_after(blocks: int):
    """A progress call that interrupts as Ctrl-C does."""
    calls = []

    def progress(what: str, done: int, total: int) -> None:
        calls.append(done)
        if len(calls) == blocks:
            raise KeyboardInterrupt

    return progress


def test_an_interrupted_bootstrap_keeps_what_is_done() -> None:
    runs = table(60, 0.01, 3)
    whole = fit("chinchilla", runs, bootstrap=2500, starts=144)
    found = fit("chinchilla", runs, bootstrap=2500, starts=144, progress=stop_after(1))
    done = found.bootstrap["n"]
    assert 20 <= done < 2500
    assert found.bootstrap["interrupted"] is True
    assert found.bootstrap["asked"] == 2500
    assert [w.message for w in found.warnings if w.code == "SL309"] == [
        f"the bootstrap was interrupted after {done} of 2500 refits: intervals rest on those"
    ]
    assert found.values == whole.values
    assert found.params["alpha"].se == pytest.approx(whole.params["alpha"].se, rel=0.2)


def test_an_interrupt_before_anything_is_of_use_is_an_interrupt() -> None:
    runs = chinchilla_table(0.01)
    with pytest.raises(KeyboardInterrupt):
        fit("chinchilla", runs, bootstrap=19, starts=144, progress=stop_after(1))


def test_a_long_table_is_fitted_on_all_of_its_rows_in_little_memory() -> None:
    """Starts are ranked on some of the rows; the optimum is that of all."""
    runs = table(12_000, 0.01, 0)
    found = fit("chinchilla", runs, bootstrap=4, starts=144)
    rows = law_rows(LAWS["chinchilla"], read_table(runs))
    coordinates = Coordinates(LAWS["chinchilla"], {})
    theta = np.log([[found.values[name] for name in ("E", "A", "B", "alpha", "beta")]])
    again = newton(coordinates.kernel(rows.x), theta, np.log(rows.y), rows.weights, Objective())
    assert found.value == pytest.approx(again.value[0], rel=1e-12)
    assert found.converged
    tracemalloc.start()
    fit("chinchilla", runs, bootstrap=4, starts=144)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6
