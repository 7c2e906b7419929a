"""The choice of laws of curves, its intervals, and backtests of curves."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from scaling_lab.cli import app
from scaling_lab.engine.curve_auto import ALL, LATE
from scaling_lab.engine.curve_backtest import backtest_curves
from scaling_lab.engine.curve_misfit import (
    BEYOND,
    FAR,
    LEAST_SHARE,
    Likeness,
    after_branch,
    calibrated,
    distance,
    inner_splits,
    reach,
)
from scaling_lab.engine.curves import AUTO, CurveFit, fit_curves
from scaling_lab.errors import BadInput, UsageError
from scaling_lab.histories import History
from scaling_lab.laws.curves import CURVE_LAWS
from scaling_lab.schedules import Schedule

from ..conftest import ROOT
from .test_curves import FITTED, PEAK, PLANS, TRUTH, logged, plan_of, world

TEST = ("constant_72000", "cosine_72000", "wsd_20000_24000", "wsdld_20000_24000", "wsdcon_3", "wsdcon_18")


def test_the_choice_foretells_a_schedule_that_it_never_saw() -> None:
    curves = world("multi-power")
    fit = fit_curves(AUTO, curves.only({"constant", "cosine", "drop"}))
    assert fit.law == AUTO
    assert sum(m.weight for m in fit.members) == pytest.approx(1.0)
    assert [m.weight for m in fit.members] == sorted((m.weight for m in fit.members), reverse=True)
    assert {m.variant for m in fit.members} == {ALL, LATE}
    assert fit.entry is fit.members[0].law
    late = next(curve for curve in curves.curves if curve.run == "late")
    told = fit.forecast(late.history, late.step)
    assert np.abs(told.loss - late.loss).mean() < 0.004
    assert np.mean((told.low <= late.loss) & (late.loss <= told.high)) > 0.9


def test_the_blend_is_the_weighted_mean_of_log_losses_and_comes_back_from_its_file(tmp_path: Path) -> None:
    fit = fit_curves("auto", world("annealing").only({"constant", "cosine"}))
    run, steps = fit.history(plan_of("late")), np.arange(300, 3001, 300)
    x = run.at(steps).x
    logs = [m.weight * np.log(m.law.predict(x, **m.values)) for m in fit.members]
    np.testing.assert_allclose(fit.at(run, steps), np.exp(np.sum(logs, axis=0)), rtol=1e-12)
    draws = fit.at_draws(run, steps)
    assert draws.shape == (400, len(steps))
    np.testing.assert_allclose(np.median(draws, axis=0), fit.at(run, steps), rtol=0.02)
    again = CurveFit.load(fit.save(tmp_path / "FIT.json"))
    assert again.law == AUTO
    np.testing.assert_allclose(again.forecast(run, steps).high, fit.forecast(run, steps).high, rtol=1e-12)
    members = json.loads((tmp_path / "FIT.json").read_text())["members"]
    assert {"law", "variant", "weight"} <= set(members[0])


def test_the_same_curves_and_seed_give_the_same_numbers() -> None:
    curves = world("multi-power").only({"constant", "drop"})
    one, other = fit_curves(AUTO, curves, seed=3), fit_curves(AUTO, curves, seed=3)
    run = one.history(plan_of("late"))
    np.testing.assert_array_equal(one.forecast(run, [2500, 3000]).high, other.forecast(run, [2500, 3000]).high)


def test_nothing_can_be_held() -> None:
    with pytest.raises(UsageError, match="takes several"):
        fit_curves(AUTO, world("multi-power"), fix={"alpha": 0.5})


def test_few_points_are_weighed_by_their_odds_alone() -> None:
    curves = world("multi-power").only({"cosine"})
    few = replace(
        curves, curves=tuple(replace(c, step=c.step[::7], loss=c.loss[::7], lines=c.lines[::7]) for c in curves.curves)
    )
    fit = fit_curves(AUTO, few)
    assert "SL323" in [n.code for n in fit.warnings]
    assert {round(m.weight, 3) for m in fit.members} == {round(4 / 6, 3), round(1 / 6, 3)}


# ------------------------------------------------------------------------------------------------------------- misfit


def test_inner_backtests_never_score_what_a_fitted_curve_holds() -> None:
    curves = world("multi-power")
    splits = inner_splits(curves)
    assert [split.name for split in splits][-2:] == ["first 40%", "first 60%"]
    assert len(splits) == len(PLANS) + 2
    for split in splits:
        fitted = {(c.run, s) for c in split.train.curves for s in c.step.tolist()}
        assert not fitted & {(c.run, s) for c in split.test.curves for s in c.step.tolist()}
    dropped = next(c for c in curves.curves if c.run == "drop")
    constant = next(c for c in curves.curves if c.run == "constant")
    assert after_branch(dropped, [constant]).step.min() > 1199
    cosine = next(c for c in curves.curves if c.run == "cosine")
    assert after_branch(cosine, [constant]).step.size == cosine.step.size


def test_a_misfit_is_what_errors_ask_for() -> None:
    like = Likeness(0.8, 0.5, 3.0)
    rng = np.random.default_rng(0)
    apart = rng.uniform(0.01, 0.1, 4000)
    known = np.zeros(4000)
    fitted = History(np.full(400, PEAK)).at([100, 400])
    for size in (0.2, 0.5):
        error = size * apart * rng.standard_normal(4000)
        found = calibrated([(error, apart, known)] * 500, 0.0, like, fitted)
        assert found.far == pytest.approx(size, rel=0.1)
    assert calibrated([], 0.0, like, fitted).far == pytest.approx(FAR)
    assert calibrated([(known, apart, known)] * 50, 0.0, like, fitted).far == pytest.approx(LEAST_SHARE * FAR)
    # An error that is no number asks for nothing.
    assert calibrated([(np.full(5, np.nan), apart[:5], known[:5])], 0.0, like, fitted).cuts == 0


def test_places_are_the_law_s_own_differences() -> None:
    like = Likeness(0.8, 0.5, 3.0)
    lr = np.full(4000, PEAK)
    points = History(lr).at([1000, 4000])
    place = like.places(points)
    assert place[0, 0] - place[1, 0] == pytest.approx(0.8 * (1.0**-0.5 - 4.0**-0.5) / 3.0)
    assert (place[:, 1:] == 0).all()
    assert distance(place, place[:1])[0] == 0
    # Beyond twice the fitted area a distance counts for more.
    assert reach(np.array([1.0, 2.0, 2.0 * np.e]), 1.0) == pytest.approx([1.0, 1.0, 1.0 + BEYOND])


# ------------------------------------------------------------------------------------------------------------ backtest


def test_each_schedule_is_left_out_in_turn() -> None:
    found = backtest_curves(world("multi-power"), ["multi-power", "lr-sum"])
    assert [scored.law for scored in found.laws] == ["multi-power", "lr-sum"]
    best = found.laws[0]
    assert [curve.run for curve in best.curves] == list(PLANS)
    for curve in best.curves:
        assert curve.run not in curve.fitted
    assert best.mean("mae") < 0.2 * found.laws[1].mean("mae")
    entry = found.to_dict()["laws"][0]
    assert {"law", "train", "test", "mae", "rmse", "mape", "r2", "bias", "coverage", "level", "curves"} <= set(entry)
    json.dumps(found.to_dict(), allow_nan=False)


def test_figures_are_those_of_the_forecast() -> None:
    curves = world("annealing")
    held = next(c for c in curves.curves if c.run == "late")
    lines = {int(line) for line in held.lines}
    found = backtest_curves(curves, ["annealing"], held_lines=lines).laws[0]
    fit = fit_curves("annealing", curves.only({"constant", "cosine", "drop"}))
    error = fit.at(held.history, held.step) - held.loss
    score = found.curves[0]
    assert score.metrics.mae == pytest.approx(np.abs(error).mean())
    assert score.worst == pytest.approx(np.abs(error).max())
    assert score.last == pytest.approx(error[held.step >= 0.98 * 3000].mean())
    # The constant run's learning rates are the same until the decay begins.
    assert score.branch.n == np.sum(held.step > 2420)


def test_the_rest_of_a_curve_can_be_held_out(tmp_path: Path) -> None:
    curve = world("multi-power").only({"cosine"}).curves[0]
    frame = pd.DataFrame({"step": curve.step, "loss": curve.loss, "lr": curve.history.lr[curve.step.astype(int) - 1]})
    path = tmp_path / "curve.csv"
    frame.to_csv(path, index=False)
    found = backtest_curves(path, ["annealing"], hold_out="step > 2000")
    score = found.laws[0]
    assert (score.train, score.test) == (int((frame.step <= 2000).sum()), int((frame.step > 2000).sum()))
    assert score.curves[0].metrics.mae < 0.05
    with pytest.raises(BadInput, match="one schedule"):
        backtest_curves(path, ["annealing"])
    with pytest.raises(BadInput, match="nothing to fit"):
        backtest_curves(path, ["annealing"], hold_out="step > 0")


def test_the_commands(tmp_path: Path) -> None:
    curves = world("multi-power")
    frame = pd.concat(
        pd.DataFrame({"run_id": c.run, "step": c.step, "loss": c.loss, "lr": c.history.lr[c.step.astype(int) - 1]})
        for c in curves.curves
    )
    path, out = tmp_path / "curves.csv", tmp_path / "FIT.json"
    frame.to_csv(path, index=False)
    run = CliRunner().invoke
    done = run(app, ["fit", "auto", str(path), "--warmup-steps", "100", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "multi-power-worth" in done.output
    assert CurveFit.load(out).members
    hold = ["--hold-out", "run_id == 'late'", "--warmup-steps", "100"]
    done = run(app, ["backtest", str(path), "--law", "multi-power", "--law", "annealing", *hold, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["schema"] == "scaling-lab/backtest/1"
    assert [c["run"] for c in found["laws"][0]["curves"]] == ["late"]
    done = run(app, ["backtest", str(path), "--law", "annealing", *hold, "--after-branch"])
    assert "after a curve branches" in done.output
    for wrong in (["backtest", str(path), "--law", "annealing", "--by", "flops"], ["laws", "auto-curve"]):
        assert isinstance(run(app, wrong).exception, UsageError)


# ---------------------------------------------------------------------------------------------------- on public curves


@pytest.mark.parametrize("model", ["25M", "100M"])
def test_numbers_to_reach(data_dir: Path, model: str) -> None:
    test = logged(data_dir, model, *TEST)
    held = {int(line) for curve in test.curves for line in curve.lines}
    for fitted, law, most in (
        (FITTED, "multi-power", 0.0041),
        (FITTED, "annealing", 0.0045),
        (FITTED, AUTO, 0.0035),
        (FITTED[:2], AUTO, 0.0035),
        (FITTED[1:2], AUTO, 0.0065),
    ):
        found = backtest_curves(logged(data_dir, model, *fitted, *TEST), [law], held_lines=held).laws[0]
        assert found.mean("mae") < most, (fitted, law)
        if law == AUTO:
            assert np.mean([c.coverage for c in found.curves]) >= 0.85
            assert np.mean([c.last_inside for c in found.curves]) >= 0.8


def test_the_worth_of_a_fall_in_published_fits_is_what_priors_allow() -> None:
    worths = [
        v["C"] * peak / (1 - v["momentum"])
        for name, peak in (("tissue2024-a", 2e-4), ("tissue2024-e", 6e-4))
        for v in [CURVE_LAWS["annealing"].published[name].values]
    ]
    worths += [told.values["B"] * 3e-4 for told in CURVE_LAWS["multi-power-free"].published.values()]
    assert min(worths) == pytest.approx(0.0822, abs=1e-3)
    for law, name, scale in (("annealing", "C", 1e3), ("multi-power", "B", 1.0)):
        prior = CURVE_LAWS[law].priors[name]
        assert prior.per_peak
        assert all(abs(np.log(worth / (prior.center * scale))) < 2 * prior.sd for worth in worths)
    assert Schedule.parse(PLANS["drop"]).total == 3000
    assert set(TRUTH) == set(CURVE_LAWS)


def test_the_page_holds_the_tables_of_its_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    page, bench = (ROOT / "docs" / "curves-accuracy.md").read_text(), importlib.import_module("curves")
    result = json.loads((ROOT / "bench" / "results" / "curves.json").read_text())
    assert bench.markdown(result).strip() == page.split(bench.BEGIN)[1].split(bench.END)[0].strip()
