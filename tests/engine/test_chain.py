"""Predictions through two fits: exact where both are, wider than either step, and right as often as they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scaling_lab.engine.chain import backtest_chain, chain
from scaling_lab.engine.fit import Settings, fit
from scaling_lab.engine.result import Fit
from scaling_lab.engine.solve import Objective
from scaling_lab.errors import BadInput, UsageError
from tests.conftest import chinchilla_table

EPS, K, GAMMA = 0.85, 2.1, 0.75
POINTS = [{"params": 1e9, "tokens": 1e11}, {"params": 7e9, "tokens": 1.4e12}]
SETTINGS = (Settings(bootstrap=200), Settings(Objective("l2"), bootstrap=200))


def scored(noise: float, error_noise: float, seed: int) -> pd.DataFrame:
    """Runs of a Chinchilla world, with the error that follows the loss that was measured."""
    table = chinchilla_table(noise, seed)
    rng = np.random.default_rng(seed + 1000)
    error = EPS - K * np.exp(-GAMMA * table.loss) + error_noise * rng.standard_normal(len(table))
    return table.assign(error=error)


@pytest.fixture(scope="module")
def fits() -> tuple[Fit, Fit]:
    table = scored(0.004, 0.004, 0)
    return fit("chinchilla", table, bootstrap=300), fit("err-loss", table, objective="l2", bootstrap=300)


def test_without_noise_the_chain_is_the_two_formulas() -> None:
    table = scored(0.0, 0.0, 0)
    first, second = fit("chinchilla", table, bootstrap=0), fit("err-loss", table, objective="l2", bootstrap=0)
    found = chain(first, second, POINTS)
    loss = [1.8 + 400 * p["params"] ** -0.34 + 1500 * p["tokens"] ** -0.36 for p in POINTS]
    np.testing.assert_allclose(found.first.value, loss, rtol=1e-6)
    np.testing.assert_allclose(found.value, EPS - K * np.exp(-GAMMA * np.array(loss)), rtol=1e-5)


def test_the_interval_holds_the_doubt_of_both_steps(fits: tuple[Fit, Fit]) -> None:
    first, second = fits
    found = chain(first, second, POINTS)
    width = found.high - found.low
    assert (found.low <= found.value).all()
    assert (found.value <= found.high).all()
    # Wider than the second step alone, and than the first step's own interval mapped through the curve.
    assert (width > found.second_high - found.second_low).all()
    mapped = second.at({"loss": found.first.high}) - second.at({"loss": found.first.low})
    assert (width > mapped).all()
    # About the root of the sum of the squares of the two.
    both = np.hypot(found.second_high - found.second_low, mapped)
    np.testing.assert_allclose(width, both, rtol=0.15)


def test_more_doubt_in_either_step_is_more_in_the_chain(fits: tuple[Fit, Fit]) -> None:
    first, second = fits
    wide = chain(first, second, POINTS, 0.95)
    usual = chain(first, second, POINTS, 0.8)
    assert (wide.low < usual.low).all()
    assert (wide.high > usual.high).all()
    noisy = fit("chinchilla", scored(0.02, 0.004, 0), bootstrap=300)
    assert (np.ptp([(c := chain(noisy, second, POINTS)).low, c.high], axis=0) > usual.high - usual.low).all()
    drifting = replace(second, noise=replace(second.noise, drift=0.5))
    far = chain(first, drifting, POINTS, 0.95)
    assert far.high[1] - far.low[1] > 1.5 * (wide.high[1] - wide.low[1])


def test_the_same_fits_give_the_same_numbers_whatever_stands_beside_a_point(
    fits: tuple[Fit, Fit], tmp_path: Path
) -> None:
    one, many = chain(*fits, POINTS[:1]), chain(*fits, POINTS)
    assert (one.low[0], one.high[0]) == (many.low[0], many.high[0])
    first, second = (Fit.load(fit.save(tmp_path / f"{fit.law}.json")) for fit in fits)
    again = chain(first, second, POINTS)
    np.testing.assert_array_equal(again.low, many.low)


def test_both_stages_are_in_the_json(fits: tuple[Fit, Fit]) -> None:
    found = chain(*fits, POINTS).to_dict()
    assert found["schema"] == "scaling-lab/predict/1"
    point = found["points"][1]
    assert point["target"] == "error"
    assert point["interval"][0] < point["value"] < point["interval"][1]
    assert point["via"]["target"] == "loss"
    assert point["via"]["feeds"] == "loss"
    assert point["outside"]["loss"] > 1
    assert set(point["outside"]) > set(point["via"]["outside"])
    assert {"SL435"} <= {w["code"] for w in found["warnings"]}


def test_a_blend_goes_through_with_its_calibrated_interval(fits: tuple[Fit, Fit]) -> None:
    table = chinchilla_table(0.004, 3)
    first = fit("auto", table, bootstrap=50)
    assert first.calibration is not None
    found = chain(first, fits[1], POINTS)
    mapped = fits[1].at({"loss": found.first.high}) - fits[1].at({"loss": found.first.low})
    assert (found.high - found.low >= 0.9 * mapped).all()
    # With a second step that is nearly exact, what is left is the first step's interval, mapped.
    exact = fit("err-loss", scored(0.0, 1e-7, 4), objective="l2", bootstrap=50)
    sharp = chain(first, replace(exact, noise=replace(exact.noise, drift=0.0)), POINTS)
    np.testing.assert_allclose(sharp.low, exact.at({"loss": sharp.first.low}), rtol=0.02)
    np.testing.assert_allclose(sharp.high, exact.at({"loss": sharp.first.high}), rtol=0.02)


def test_steps_that_do_not_fit_together_are_refused(fits: tuple[Fit, Fit]) -> None:
    first, second = fits
    x = np.linspace(0.5, 1.5, 20)
    bpb = fit("ladder", pd.DataFrame({"bpb": x, "accuracy": 1 - 0.7 / (1 + np.exp(-5 * (x - 0.9)))}), bootstrap=0)
    with pytest.raises(UsageError, match="say so with --feeds bpb"):
        chain(first, bpb, POINTS)
    assert chain(first, bpb, POINTS, feeds="bpb").feeds == "bpb"
    with pytest.raises(UsageError, match="takes loss, not 'bpb'"):
        chain(first, second, POINTS, feeds="bpb")
    with pytest.raises(UsageError, match="takes params, tokens"):
        chain(second, first, {"loss": 2.0})


def test_losses_of_two_names_are_told() -> None:
    table = scored(0.004, 0.004, 0).rename(columns={"loss": "loss_c4"})
    table["loss_pile"] = table.loss_c4 + 0.1
    first = fit("chinchilla", table, mapping={"loss": "loss_c4"}, bootstrap=0)
    same = fit("err-loss", table, mapping={"loss": "loss_c4"}, bootstrap=0)
    other = fit("err-loss", table, mapping={"loss": "loss_pile"}, bootstrap=0)
    assert "SL436" not in {n.code for n in chain(first, same, POINTS).warnings}
    assert "SL436" in {n.code for n in chain(first, other, POINTS).warnings}


def test_draws_below_the_second_law_s_floor_leave_its_interval_open(fits: tuple[Fit, Fit]) -> None:
    x = np.linspace(2.05, 4.0, 25)
    noise = np.exp(0.002 * np.random.default_rng(0).standard_normal(25))
    table = pd.DataFrame({"source_loss": x, "loss": (0.5 + 1.2 * (x - 2.0) ** 1.2) * noise})
    second = fit("loss-to-loss", table, fix={"E_0": 2.0}, bootstrap=100)
    first = fits[0]
    near = chain(first, second, {"params": 1e9, "tokens": 1e11}, feeds="source_loss")
    assert np.isfinite([near.low[0], near.high[0]]).all()
    with pytest.raises(BadInput, match="gives no finite loss"):
        chain(first, second, {"params": 7e12, "tokens": 1.4e14}, feeds="source_loss")
    # The prediction lies above the floor, and a good part of what it may come to below.
    edge = chain(first, second, {"params": 1.0e10, "tokens": 2.0e12}, feeds="source_loss")
    assert edge.first.low[0] < 2.0 < edge.first.value[0]
    assert "SL439" in {n.code for n in edge.warnings}
    assert not np.isfinite(edge.low[0])


def test_chained_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Twelve worlds, each fitted to its small runs and asked about its seven largest: 80 % intervals."""
    held, asked = 0, 0
    for seed in range(12):
        found = backtest_chain(scored(0.004, 0.004, seed), ("chinchilla", "err-loss"), level=0.8, settings=SETTINGS)
        inside = (found.predictions.low <= found.measured) & (found.measured <= found.predictions.high)
        held, asked = held + int(inside.sum()), asked + len(inside)
        assert found.both.coverage == pytest.approx(inside.mean())
    assert asked >= 80
    # Of one world the held-out runs share the parameters' error, so the count spreads more than a binomial's.
    assert 0.7 <= held / asked <= 0.99


def test_a_backtest_leaves_the_held_out_runs_out_of_the_checkpoints() -> None:
    table = scored(0.004, 0.004, 5)
    ends = pd.concat([table.assign(step=s, loss=table.loss + 0.1 * (3 - s)) for s in (1, 2, 3)])
    ends["error"] = EPS - K * np.exp(-GAMMA * ends.loss) + 0.002 * np.random.default_rng(0).standard_normal(len(ends))
    found = backtest_chain(
        table, ("chinchilla", "err-loss"), second_table=ends[["run_id", "loss", "error", "step"]], settings=SETTINGS
    )
    away = set(table.run_id) - set(found.fits[0].points["run_id"])
    assert away
    assert not away & set(found.fits[1].points["run_id"])
    assert found.fits[1].metrics.n == 3 * found.fits[0].metrics.n
    stages = found.to_dict()
    assert stages["both"]["mae"] == pytest.approx(float(np.mean(np.abs(found.predictions.value - found.measured))))
    assert {"first", "second", "both", "points"} <= set(stages)
    with pytest.raises(BadInput, match="says no run_id"):
        backtest_chain(table, ("chinchilla", "err-loss"), second_table=ends[["loss", "error"]], settings=SETTINGS)
