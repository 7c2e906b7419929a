"""lmfit meets the same optimum, and intervals by profile, covariance and emcee hold what they say."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import lmfit
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scaling_lab.engine.coordinates import Coordinates
from scaling_lab.engine.fit import Settings, fit, fit_rows, law_rows, optimum
from scaling_lab.engine.likelihood import Likelihood, doubt, values
from scaling_lab.engine.predict import predict
from scaling_lab.engine.result import Fit
from scaling_lab.engine.sandwich import NoCovariance, sandwich
from scaling_lab.engine.solve import Objective
from scaling_lab.errors import BadInput, UsageError
from scaling_lab.files import to_json
from scaling_lab.laws import LAWS
from scaling_lab.show import terminal
from scaling_lab.tables import Rows, read_table
from tests.conftest import TRUTH, chinchilla_table

CHINCHILLA = LAWS["chinchilla"]
QUICK = Settings(starts=400, polish=(12, 4), audit=0, bootstrap=0, workers=1)


def rows_of(table: Any, law: str = "chinchilla") -> Rows:
    return law_rows(LAWS[law], read_table(table))


def tokens_table(noise: float = 0.003, seed: int = 0) -> pd.DataFrame:
    """Thirty runs that follow hestness in tokens, with log-normal noise."""
    tokens = np.geomspace(1e7, 1e11, 30)
    loss = LAWS["hestness"].predict({"tokens": tokens}, alpha=300.0, beta=-0.28, gamma=1.6)
    return pd.DataFrame(
        {"tokens": tokens, "loss": loss * np.exp(noise * np.random.default_rng(seed).standard_normal(30))}
    )


def curves() -> pd.DataFrame:
    """Eight runs of five checkpoints each; a run's checkpoints share most of its error."""
    rng = np.random.default_rng(5)
    table = pd.concat([chinchilla_table().iloc[i : i + 1] for i in range(0, 30, 4) for _ in range(5)])
    table["tokens"] *= np.tile([0.2, 0.4, 0.6, 0.8, 1.0], 8)
    loss = CHINCHILLA.predict({k: table[k].to_numpy() for k in ("params", "tokens")}, **TRUTH)
    shared, own = np.repeat(rng.standard_normal(8), 5), rng.standard_normal(40)
    return table.assign(loss=loss * np.exp(0.004 * shared + 0.0005 * own))


# ------------------------------------------------------------------------------------------------------------- lmfit


@pytest.mark.parametrize("objective", ["huber", "l2", "l1"])
def test_lmfit_has_the_same_objective_and_stays_at_our_optimum(objective: Any) -> None:
    found = fit("chinchilla", chinchilla_table(0.003), objective=objective, starts=144, bootstrap=0)
    there = found.to_lmfit()
    assert isinstance(there, lmfit.model.ModelResult)
    # l1 is minimised as a Huber of width 1e-7: each row differs from |r| by half of that at most.
    assert there.chisqr == pytest.approx(2 * found.value, rel=1e-9, abs=30 * 1e-7 if objective == "l1" else 0)
    for name, want in found.values.items():
        assert there.params[name].value == pytest.approx(want, rel=1e-4), name
    assert there.params["E"].min == 0
    assert "chi-square" in there.fit_report()
    x = {"params": np.array([7e9, 7e10]), "tokens": np.array([1.4e11, 1.4e12])}
    np.testing.assert_allclose(there.eval(x=x), CHINCHILLA.predict(x, **there.best_values), rtol=1e-12)
    np.testing.assert_allclose(there.eval(x=x), found.at(x), rtol=1e-4)


@pytest.mark.parametrize("objective", ["huber", "l2"])
def test_lmfit_from_elsewhere_reaches_nothing_lower(objective: Any) -> None:
    # A Gauss-Newton of a Huber sum stops in its kinks, up to some percent above the minimum.
    found = fit("chinchilla", chinchilla_table(0.003), objective=objective, starts=400, bootstrap=0)
    there, rng, reached = found.to_lmfit(), np.random.default_rng(0), []
    for _ in range(6):
        begun = there.params.copy()
        for name in begun:
            begun[name].value = found.values[name] * np.exp(0.2 * rng.standard_normal())
        reached.append(there.minimize(method="leastsq", params=begun).chisqr)
    assert min(reached) >= 2 * found.value * (1 - 1e-9)
    assert min(reached) == pytest.approx(2 * found.value, rel=0.03 if objective == "huber" else 1e-6)


def test_lmfit_on_a_law_with_other_bounds_and_a_held_parameter() -> None:
    found = fit("hestness", chinchilla_table(0.003), starts=144, bootstrap=0, fix={"gamma": 1.9})
    there = found.to_lmfit()
    assert not there.params["gamma"].vary
    assert there.params["gamma"].value == 1.9
    assert there.params["beta"].max == 0
    assert there.chisqr == pytest.approx(2 * found.value, rel=1e-6)
    assert there.params["beta"].stderr > 0


def test_lmfit_takes_the_weights_of_the_rows() -> None:
    table = chinchilla_table(0.003).assign(counts=np.geomspace(1, 5, 30))
    found = fit("chinchilla", table, weights="counts", starts=144, bootstrap=0)
    assert found.to_lmfit().chisqr == pytest.approx(2 * found.value, rel=1e-9)
    assert found.value != pytest.approx(fit("chinchilla", table, starts=144, bootstrap=0).value, rel=0.1)


def test_lmfit_carries_the_fits_own_covariance() -> None:
    found = fit("chinchilla", chinchilla_table(0.003), starts=144, intervals="covariance", bootstrap=50)
    there = found.to_lmfit()
    for name, estimate in found.params.items():
        assert there.params[name].stderr == pytest.approx(estimate.se, rel=1e-3)
    assert np.sqrt(np.diag(there.covar)) == pytest.approx([there.params[n].stderr for n in there.var_names])
    assert -1 < there.params["A"].correl["alpha"] <= 1
    assert there.params["A"].correl["alpha"] > 0.9


def test_lmfit_is_refused_where_the_fit_keeps_only_some_rows() -> None:
    found = fit("chinchilla", chinchilla_table(0.003), starts=64, bootstrap=0)
    part = replace(found, points={name: column[:10] for name, column in found.points.items()})
    with pytest.raises(BadInput, match="10 of its 30 rows"):
        part.to_lmfit()


def test_emcee_of_the_lmfit_result_is_scaled_as_the_fit_is() -> None:
    found = fit("hestness", tokens_table(), objective="l2", starts=64, bootstrap=0)
    there = found.to_lmfit()
    rng = np.random.default_rng(0)
    names = there.var_names
    spread = rng.multivariate_normal([there.params[n].value for n in names], there.covar, 32)
    sampled = there.emcee(steps=1500, burn=400, nwalkers=32, pos=spread, seed=1, progress=False)
    # The largest dispersion counts for all parameters, so no standard deviation is below the sandwich's.
    for name in names:
        assert 0.8 < sampled.params[name].stderr / there.params[name].stderr < 3.5, name
    assert there.chisqr == pytest.approx(2 * found.value, rel=1e-9)


# ------------------------------------------------------------------------------------------------------------ profile


def test_the_profile_is_lmfits_own_for_least_squares() -> None:
    """Against conf_interval with its plain F test, our ends rescaled to the dispersion s² that it assumes."""
    rows = rows_of(chinchilla_table(0.003))
    coordinates, objective = Coordinates(CHINCHILLA, {}), Objective("l2")
    found = fit_rows(CHINCHILLA, rows, replace(QUICK, objective=objective, audit=20))
    there = found.to_lmfit()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        plain = lmfit.conf_interval(there, there, sigmas=[0.9])
    theta = coordinates.to_theta({n: np.array([v]) for n, v in found.values.items()})[0]
    shape = sandwich(coordinates, rows.x, rows.y, rows.weights, rows.group, objective, theta)
    s2 = 2 * found.value / (rows.used - 5)
    classic = replace(shape, covariance=s2 * np.linalg.inv(shape.hessian))
    lowest = float(values(coordinates, rows, objective, theta[None])[0])
    from scaling_lab.engine.likelihood import _profiled

    ours, unsettled, _ = _profiled(Likelihood(coordinates, rows, objective, theta, lowest, classic), 0.9)
    assert unsettled <= 20
    for name in CHINCHILLA.names:
        (_, low), _, (_, high) = plain[name]
        assert ours[name].ci == pytest.approx((low, high), rel=2e-3), name


def test_conf_interval_of_the_lmfit_result_agrees_with_the_profile_of_a_huber_fit() -> None:
    found = fit("hestness", tokens_table(), starts=144, intervals="profile", bootstrap=50)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        theirs = found.to_lmfit().conf_interval(sigmas=[0.95])
    for name, estimate in found.params.items():
        (_, low), _, (_, high) = theirs[name]
        # leastsq on a Huber sum stops short of each constrained minimum, which narrows its interval a little.
        width = estimate.ci[1] - estimate.ci[0]
        assert abs(low - estimate.ci[0]) < 0.15 * width, name
        assert abs(high - estimate.ci[1]) < 0.15 * width, name


def test_an_end_that_the_data_leave_open_is_null_and_said(tmp_path: Path) -> None:
    """Losses that fall by hardly more than their noise: no exponent is ruled out, nor a term or a floor of nothing."""
    x = {"tokens": np.geomspace(1e8, 1e10, 12)}
    noise = np.exp(0.02 * np.random.default_rng(3).standard_normal(12))
    table = pd.DataFrame({**x, "loss": LAWS["hestness"].predict(x, alpha=30.0, beta=-0.25, gamma=1.7) * noise})
    found = fit("hestness", table, objective="l2", starts=144, intervals="profile", bootstrap=100)
    assert found.params["beta"].ci == (-np.inf, 0)
    assert found.params["alpha"].ci == (0, np.inf)
    assert found.params["gamma"].ci[0] == 0
    assert 1.7 < found.params["gamma"].ci[1] < 2.5
    assert any(n.code == "SL310" and "beta" in n.message for n in found.warnings)
    written = json.loads(to_json(found.to_dict()))
    assert written["params"]["beta"]["ci"][0] is None
    again = Fit.load(found.save(tmp_path / "fit.json"))
    assert again.params["beta"].ci == found.params["beta"].ci
    assert "no bound to" in terminal.fit(again)


def test_a_parameter_driven_to_nothing_has_no_covariance_but_a_profile() -> None:
    x = {"tokens": np.geomspace(1e8, 1e10, 12)}
    loss = LAWS["hestness"].predict(x, alpha=30.0, beta=-0.1, gamma=0.0) * (1 - 1e-2 * np.linspace(-1, 1, 12) ** 2)
    table = pd.DataFrame({**x, "loss": loss})
    flat = fit("hestness", table, starts=144, intervals="covariance", bootstrap=100)
    assert any(n.code == "SL302" for n in flat.warnings)
    assert flat.params["gamma"].ci is None
    assert flat.params["gamma"].se is None
    assert flat.params["beta"].ci is not None
    assert any(n.code == "SL312" and "gamma" in n.message for n in flat.warnings)
    profiled = fit("hestness", table, starts=144, intervals="profile", bootstrap=100)
    assert profiled.params["gamma"].ci[0] == 0
    assert 0 < profiled.params["gamma"].ci[1] < 3
    assert flat.to_lmfit().params["beta"].stderr is None


# ------------------------------------------------------------------------------------------- covariance, degenerate


def test_the_least_squares_covariance_is_the_textbooks_where_noise_is_even() -> None:
    """Over 40 tables the HC3 variances average to s² (J'J)^-1, a little above."""
    coordinates, objective = Coordinates(LAWS["hestness"], {}), Objective("l2")
    ratios = []
    for seed in range(40):
        rows = rows_of(tokens_table(seed=seed), "hestness")
        theta = optimum(coordinates, rows, replace(QUICK, objective=objective)).theta
        shape = sandwich(coordinates, rows.x, rows.y, rows.weights, rows.group, objective, theta)
        s2 = 2 * float(values(coordinates, rows, objective, theta[None])[0]) / (rows.used - 3)
        ratios.append(np.diag(shape.covariance) / np.diag(s2 * np.linalg.inv(shape.hessian)))
        assert shape.df == 27
    assert 0.75 < np.mean(ratios) < 1.35


def test_checkpoints_of_one_run_share_its_error() -> None:
    table = curves()
    by_run, by_row = (
        fit("hestness", table, starts=144, intervals="covariance", bootstrap=100, resample=r) for r in ("runs", "rows")
    )
    assert by_run.intervals["groups"] == 8
    assert by_run.intervals["df"] == 5
    assert by_row.intervals["groups"] == 40
    with pytest.raises(UsageError, match="wild"):
        fit("hestness", table, starts=144, intervals="covariance", bootstrap=100, resample="wild")
    assert by_run.params["gamma"].se > 1.3 * by_row.params["gamma"].se


@pytest.mark.parametrize("method", ["covariance", "profile", "emcee"])
def test_too_few_runs_have_no_interval_and_say_so(method: Any) -> None:
    table = curves()
    few = table[table.run_id.isin(table.run_id.unique()[:6])]
    found = fit("chinchilla", few, starts=144, intervals=method, bootstrap=100)
    assert all(e.ci is None and e.se is None for e in found.params.values())
    assert any(n.code == "SL312" and "6 runs are too few" in n.message for n in found.warnings)
    assert len(found.draws) == 1
    assert "no intervals by" in terminal.fit(found)
    said = predict(found, {"params": 7e9, "tokens": 1e11})
    assert any(n.code == "SL405" and method in n.message for n in said.warnings)


@pytest.mark.parametrize("method", ["covariance", "profile", "emcee"])
def test_a_table_that_the_law_meets_exactly_leaves_no_doubt(method: Any) -> None:
    found = fit("chinchilla", chinchilla_table(), objective="l2", starts=144, intervals=method, bootstrap=20)
    assert found.intervals["exact"]
    assert all(e.ci == (e.value, e.value) for e in found.params.values())


def test_derivatives_that_tell_nothing_raise() -> None:
    table = chinchilla_table(0.003)
    coordinates, rows = Coordinates(CHINCHILLA, {}), rows_of(table)
    gone = np.log([1.8, 1e-30, 1e-30, 0.3, 0.3])
    shape = sandwich(coordinates, rows.x, rows.y, rows.weights, rows.group, Objective(), gone)
    assert shape.alive.tolist() == [True, False, False, False, False]
    with pytest.raises(NoCovariance, match="not finite"):
        sandwich(coordinates, rows.x, rows.y, rows.weights, rows.group, Objective(), np.full(5, 800.0))


def test_unknown_methods_and_impossible_counts_are_refused() -> None:
    with pytest.raises(UsageError, match="no intervals by 'jackknife'"):
        Settings(intervals="jackknife")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--bootstrap 2 or more"):
        Settings(intervals="emcee", bootstrap=0)


# --------------------------------------------------------------------------------------------------- draws, whole fits


@pytest.mark.parametrize("method", ["covariance", "profile", "emcee"])
def test_draws_scatter_as_the_intervals_say_and_predict(method: Any, tmp_path: Path) -> None:
    table = chinchilla_table(0.003)
    found = fit("chinchilla", table, starts=144, intervals=method, bootstrap=400)
    assert found.intervals["method"] == method
    assert found.bootstrap["n"] == 0
    assert found.draws.shape == (400, 5)
    for i, (name, e) in enumerate(found.params.items()):
        low, high = np.quantile(found.draws[:, i], [0.025, 0.975])
        width = e.ci[1] - e.ci[0]
        assert e.ci[0] <= e.value <= e.ci[1]
        assert abs(low - e.ci[0]) < 0.3 * width, name
        assert abs(high - e.ci[1]) < 0.3 * width, name
    # Inside the table parameters trade, and predictions are far better known than any of them.
    inside = found.at_draws({"params": np.array([2e8]), "tokens": np.array([2e10])})
    assert np.std(np.log(inside)) < 0.003
    assert np.std(np.log(found.draws[:, 1])) > 0.05
    again = Fit.load(found.save(tmp_path / "fit.json"))
    assert to_json(again.to_dict()) == to_json(found.to_dict())
    point = {"params": 7e9, "tokens": 1e12}
    wide = predict(again, point)
    narrow = predict(replace(again, draws=again.optimum_row()), point)
    assert wide.high - wide.low > narrow.high - narrow.low
    same = fit("chinchilla", table, starts=144, intervals=method, bootstrap=400)
    np.testing.assert_array_equal(same.draws, found.draws)
    other = fit("chinchilla", table, starts=144, intervals=method, bootstrap=400, seed=1)
    assert not np.array_equal(other.draws, found.draws)


def test_walkers_move_the_same_alone_and_in_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """emcee's pool works out all walkers in one call; without it lmfit asks for each through its own Parameters."""
    from scaling_lab.engine import bridge

    monkeypatch.setattr(bridge, "FIRST_STEPS", 30)
    monkeypatch.setattr(bridge, "MOST_STEPS", 30)
    batched = fit("chinchilla", chinchilla_table(0.003), starts=64, intervals="emcee", bootstrap=500)
    monkeypatch.setattr(bridge, "_Batch", lambda posterior: 1)
    alone = fit("chinchilla", chinchilla_table(0.003), starts=64, intervals="emcee", bootstrap=500)
    np.testing.assert_allclose(alone.draws, batched.draws, rtol=1e-9)


def test_a_short_chain_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from scaling_lab.engine import bridge

    monkeypatch.setattr(bridge, "FIRST_STEPS", 100)
    monkeypatch.setattr(bridge, "MOST_STEPS", 100)
    found = fit("chinchilla", chinchilla_table(0.003), starts=64, intervals="emcee", bootstrap=100)
    assert any(n.code == "SL311" for n in found.warnings)
    assert found.intervals["steps"] == 100
    assert capsys.readouterr().out == ""


def test_the_chain_is_long_enough_by_its_own_rule() -> None:
    found = fit("chinchilla", chinchilla_table(0.003), starts=64, intervals="emcee", bootstrap=100)
    assert not any(n.code == "SL311" for n in found.warnings)
    assert found.intervals["steps"] >= 50 * found.intervals["autocorrelation"]
    assert 0.2 < found.intervals["acceptance"] < 0.8


def test_the_posterior_of_least_squares_is_the_t_of_bayes() -> None:
    """Flat priors and a line in the logarithm (gamma held at 0): scipy's t in closed form, at the dispersion used."""
    rows = rows_of(tokens_table(), "hestness")
    law = LAWS["hestness"]
    coordinates, objective = Coordinates(law, {"gamma": 0.0}), Objective("l2")
    theta = optimum(coordinates, rows, replace(QUICK, objective=objective, fix={"gamma": 0.0})).theta
    shape = sandwich(coordinates, rows.x, rows.y, rows.weights, rows.group, objective, theta)
    lowest = float(values(coordinates, rows, objective, theta[None])[0])
    found = Likelihood(coordinates, rows, objective, theta, lowest, shape)
    places = theta + 1e-3 * np.random.default_rng(0).standard_normal((20, 2))
    spread = float(np.max(shape.dispersion)) * np.linalg.inv(shape.hessian)
    want = stats.multivariate_t(theta, spread, df=shape.df)
    np.testing.assert_allclose(
        found.log_posterior(places) - found.log_posterior(theta[None]),
        want.logpdf(places) - want.logpdf(theta),
        atol=2e-2,
        rtol=2e-2,
    )


def test_an_older_file_has_bootstrap_intervals_and_no_rank(tmp_path: Path) -> None:
    found = fit("chinchilla", chinchilla_table(0.003), starts=64, bootstrap=6)
    old = json.loads(to_json(found.to_dict()))
    del old["intervals"], old["metrics"]["spearman"]
    again = Fit.from_dict(old)
    assert again.intervals == {"method": "bootstrap"}
    assert again.metrics.spearman is None
    old["intervals"] = {"method": "guess"}
    with pytest.raises(BadInput, match=r"intervals\.method"):
        Fit.from_dict(old)


# -------------------------------------------------------------------------------------------------- coverage, compared


@pytest.mark.parametrize(
    ("method", "objective", "tables"),
    [("covariance", "huber", 100), ("covariance", "l2", 100), ("profile", "huber", 60)],
)
def test_intervals_of_90_percent_hold_the_truth_nine_times_in_ten(method: str, objective: Any, tables: int) -> None:
    """No more than 2.6 binomial standard errors below 90 %, and not always; bench/intervals.py has more."""
    law, truth = LAWS["hestness"], {"alpha": 300.0, "beta": -0.28, "gamma": 1.6}
    x = {"tokens": np.geomspace(1e7, 1e11, 30)}
    coordinates, chosen = Coordinates(law, {}), Objective(objective)
    hits = []
    for seed in range(tables):
        noise = np.exp(0.004 * np.random.default_rng([seed, 17]).standard_normal(30))
        rows = rows_of(pd.DataFrame({**x, "loss": law.predict(x, **truth) * noise}), "hestness")
        theta = optimum(coordinates, rows, replace(QUICK, objective=chosen)).theta
        count = {"count": 0, "resample": "runs", "seed": 0, "level": 0.9}
        found = doubt(coordinates, rows, chosen, theta, method=method, **count)
        hits.append([found.estimates[n].ci[0] <= v <= found.estimates[n].ci[1] for n, v in truth.items()])
    covered = np.mean(hits, axis=0)
    assert (covered >= 0.9 - 2.6 * np.sqrt(0.9 * 0.1 / tables)).all(), covered
    assert (covered < 1.0).all(), covered


@pytest.mark.data
def test_four_methods_on_the_240_points(epoch: pd.DataFrame) -> None:
    """The bootstrap's .0152 and .0212 (1,000 resamples, seed 0): the others within 30 % of it.

    The noise of this table is uneven, five times as large at its edges, and each method guesses that from 240 residuals
    in a way of its own.
    """
    table = epoch.rename(columns={"params_total": "params"})[["params", "tokens", "loss"]]
    for method in ("bootstrap", "covariance", "profile", "emcee"):
        found = fit("chinchilla", table, intervals=method, starts=576)  # type: ignore[arg-type]
        assert found.params["alpha"].se == pytest.approx(0.0152, rel=0.3), method
        assert found.params["beta"].se == pytest.approx(0.0212, rel=0.3), method
        low, high = found.params["alpha"].ci
        assert low < 0.33 < 0.36 < high


def test_an_optimum_on_a_ridge_has_no_covariance_and_no_crash() -> None:
    """A held coefficient too small for the data: beta stands where the rows' derivatives are parallel."""
    table = pd.DataFrame(
        {
            "tokens": np.repeat([1e9, 3e11], 5),
            "loss": [4.3306, 3.69, 3.2955, 3.0526, 2.903, 3.5782, 2.9376, 2.5431, 2.3001, 2.1505],
        }
    )
    for method in ("covariance", "profile"):
        found = fit("hestness", table, starts=16, bootstrap=5, intervals=method, fix={"alpha": 0.34})
        assert found.params["beta"].ci is None, "not an interval of no width"
        assert "SL312" in {notice.code for notice in found.warnings}


def test_l1_profiles_where_most_rows_are_met_exactly() -> None:
    found = fit("chinchilla-tied", chinchilla_table()[::5], starts=4, bootstrap=2, objective="l1", intervals="profile")
    assert all(p.ci is not None and p.ci[0] <= p.value <= p.ci[1] for p in found.params.values())
