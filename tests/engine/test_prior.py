"""Exponents borrowed from another family: how far they draw a fit, what that costs in doubt, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from scaling_lab.engine.coordinates import Coordinates
from scaling_lab.engine.discrepancy import LEAST_NOISE
from scaling_lab.engine.fit import Settings, fit, fit_rows, law_rows, optimum
from scaling_lab.engine.predict import predict
from scaling_lab.engine.prior import FAMILY_SD, Borrowed, information, objective_unit, with_centers_anew
from scaling_lab.engine.result import Fit
from scaling_lab.engine.solve import Objective, Pull
from scaling_lab.errors import BadInput, NotEnoughData, NotIdentified, UsageError
from scaling_lab.laws import get_law
from scaling_lab.tables import read_table

from ..conftest import chinchilla_table

CHINCHILLA = get_law("chinchilla")


def family(alpha: float, beta: float, runs: int, noise: float, seed: int, floor: float = 1.8) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    n, d = 10 ** rng.uniform(7, 9, runs), 10 ** rng.uniform(9, 11, runs)
    loss = (floor + 400 * n**-alpha + 1500 * d**-beta) * np.exp(noise * rng.standard_normal(runs))
    return pd.DataFrame({"params": n, "tokens": d, "loss": loss})


@pytest.fixture(scope="module")
def other() -> Fit:
    return fit("chinchilla", family(0.34, 0.36, 60, 0.002, 1), bootstrap=200)


SMALL = family(0.36, 0.34, 8, 0.004, 2, floor=2.0)


def test_a_pull_is_the_penalty_that_scipy_minimises() -> None:
    rows = law_rows(CHINCHILLA, read_table(chinchilla_table(0.01, 3)))
    coordinates, objective = Coordinates(CHINCHILLA, {}), Objective("l2")
    center = np.array([0.0, 0.0, 0.0, np.log(0.5), np.log(0.25)])
    pull = Pull(center, np.array([0.0, 0.0, 0.0, 2e-3, 5e-3]))
    found = optimum(coordinates, rows, Settings(objective), pull).theta

    def cost(theta: np.ndarray) -> float:
        predicted = np.asarray(CHINCHILLA.predict(dict(rows.x), **coordinates.to_params(theta[None, :])))[0]
        r = np.log(predicted / rows.y)
        return float(0.5 * np.sum(r * r) + 0.5 * np.sum(pull.precision * (theta - center) ** 2))

    rival = minimize(cost, found + 0.02, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-15, "maxiter": 9000})
    assert cost(found) <= rival.fun * (1 + 1e-9)
    alone = optimum(coordinates, rows, Settings(objective)).theta
    assert alone[3] < found[3] < center[3]


def test_the_unit_is_a_likelihoods_scale() -> None:
    rng = np.random.default_rng(0)
    normal = 0.02 * rng.standard_normal(20_000)
    ones = np.ones(len(normal))
    assert objective_unit(Objective("l2"), normal, ones, 0) == pytest.approx(0.02**2, rel=0.03)
    # Lines far from the kink: delta times the mean size, as for a Laplace density.
    assert objective_unit(Objective("huber", 1e-4), normal, ones, 0) == pytest.approx(
        1e-4 * np.mean(abs(normal)), rel=0.01
    )
    assert objective_unit(Objective("l2"), 0 * normal, ones, 0) == pytest.approx(LEAST_NOISE**2)


def test_a_small_table_moves_towards_the_other_family_and_a_large_one_does_not(other: Fit) -> None:
    alone = fit("chinchilla", SMALL, bootstrap=0)
    drawn = fit("chinchilla", SMALL, bootstrap=0, prior=other, prior_sd=0.02)
    there = other.params["alpha"].value
    lent = drawn.prior["params"]["alpha"]
    assert abs(drawn.params["alpha"].value - there) < 0.3 * abs(alone.params["alpha"].value - there)
    assert lent["alone"] == pytest.approx(alone.params["alpha"].value, rel=1e-6)
    assert lent["borrowed"] == there
    assert lent["share"] > 0.5
    assert "SL315" in {w.code for w in drawn.warnings}
    many = family(0.30, 0.40, 400, 0.002, 5)
    free, held = (fit("chinchilla", many, bootstrap=0, prior=p) for p in (None, other))
    assert held.params["alpha"].value == pytest.approx(free.params["alpha"].value, rel=0.005)
    assert held.prior["params"]["alpha"]["share"] < 0.01


def test_an_endless_doubt_is_no_prior(other: Fit) -> None:
    alone, wide = (fit("chinchilla", SMALL, bootstrap=0, prior=p, prior_sd=s) for p, s in ((None, None), (other, 1e6)))
    for name, estimate in alone.params.items():
        assert wide.params[name].value == pytest.approx(estimate.value, rel=1e-4)


def test_a_table_that_can_not_tell_alone_is_told_by_the_prior(other: Fit) -> None:
    four = SMALL.iloc[:4]
    with pytest.raises(NotEnoughData):
        fit("chinchilla", four, bootstrap=0)
    found = fit("chinchilla", four, bootstrap=0, prior=other)
    assert found.prior["params"]["alpha"]["alone"] is None
    assert found.params["alpha"].value == pytest.approx(other.params["alpha"].value, rel=0.5)
    # What no exponent can tell, a prior on exponents does not hide.
    with pytest.raises((NotEnoughData, NotIdentified)):
        fit("chinchilla", SMALL.assign(params=1e8), bootstrap=0, prior=other)


def test_the_priors_own_doubt_is_in_the_draws(other: Fit) -> None:
    rows = law_rows(CHINCHILLA, read_table(family(0.36, 0.34, 30, 0.001, 4)))
    borrowed = replace(Borrowed.of(other, 0.1), sd={"alpha": 0.1, "beta": 0.1})
    coordinates = Coordinates(CHINCHILLA, {})
    theta = optimum(coordinates, rows, Settings()).theta
    precision = borrowed.pull(coordinates, 1.0).precision
    share = information(coordinates, rows, theta, 0.004, precision)
    # Against a brute-force posterior: the data's part and the prior's part add up to the whole covariance.
    jac = np.empty((rows.used, 5))
    for i in range(5):
        step = np.zeros(5)
        step[i] = 1e-5
        ends = [
            np.log(np.asarray(CHINCHILLA.predict(dict(rows.x), **coordinates.to_params((theta + s)[None, :])))[0])
            for s in (step, -step)
        ]
        jac[:, i] = (ends[0] - ends[1]) / 2e-5
    data = jac.T @ jac / 0.004**2
    whole = np.linalg.inv(data + np.diag(precision))
    # To first order, each center that moves by its deviation moves the fit by a column of this.
    factor = whole * np.sqrt(precision)
    np.testing.assert_allclose(whole @ data @ whole + factor @ factor.T, whole, rtol=1e-3)
    for i in np.flatnonzero(precision):
        normal = np.eye(5)[[i]] * 0.01
        moved = with_centers_anew(coordinates, rows, theta[None, :], 0.004, precision, normal)[0] - theta
        np.testing.assert_allclose(moved, 0.01 * factor[:, i], rtol=0.05, atol=1e-6)
    np.testing.assert_allclose(share, np.diag(whole) * precision, rtol=1e-3)


def test_moved_priors_leave_no_draw_off_its_data() -> None:
    """Farseer's ridge is bent: along its tangent draws of the priors' doubt miss the very runs by a tenth and more."""
    table = family(0.36, 0.34, 30, 0.004, 4)
    found = fit("farseer", table, bootstrap=60)
    x = {name: np.asarray(found.points[name]) for name in ("params", "tokens")}
    off = np.log(found.at_draws(x) / np.asarray(found.points["loss"]))
    rms = np.sqrt(np.mean(off**2, axis=1))
    own = np.sqrt(np.mean(np.log(found.at(x) / np.asarray(found.points["loss"])) ** 2))
    assert np.median(rms) < 1.5 * own
    assert np.quantile(rms, 0.95) < 5 * own
    # And yet what the runs do not tell is as doubtful as the priors: b, that of a logarithm's logarithm, has .5.
    b = np.log(-found.draws[:, found.entry.names.index("b")])
    assert 0.25 < np.std(b) < 0.7


def test_intervals_with_a_prior_are_wider_than_resampling_alone_says(other: Fit) -> None:
    found = fit("chinchilla", SMALL, bootstrap=300, prior=other, prior_sd=0.05)
    assert found.params["alpha"].se is not None
    # Refits that are all drawn to one value hardly move; the value itself is in doubt by 5 %.
    assert found.params["alpha"].se > 0.6 * 0.05 * found.params["alpha"].value
    ahead = predict(found, {"params": 7e9, "tokens": 1e12})
    truth = 2.0 + 400 * 7e9**-0.36 + 1500 * 1e12**-0.34
    assert ahead.low[0] < truth < ahead.high[0]


@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_the_weights_own_size_lends_nothing_and_takes_nothing(other: Fit, size: float) -> None:
    plain = fit("chinchilla", SMALL, prior=other, prior_sd=0.05, bootstrap=40)
    scaled = fit("chinchilla", SMALL.assign(w=size), weights="w", prior=other, prior_sd=0.05, bootstrap=40)
    for name in ("alpha", "beta"):
        assert scaled.params[name].value == pytest.approx(plain.params[name].value, rel=1e-6)
        assert scaled.params[name].ci == pytest.approx(plain.params[name].ci, rel=1e-5)
        assert scaled.prior["params"][name]["share"] == pytest.approx(plain.prior["params"][name]["share"], rel=1e-5)


def test_a_fit_with_a_prior_is_read_back_whole(other: Fit, tmp_path: Path) -> None:
    found = fit("chinchilla", SMALL, bootstrap=50, prior=other)
    back = Fit.load(found.save(tmp_path / "fit.json"))
    assert back.prior == found.prior
    assert back.prior["source"]["law"] == "chinchilla"
    text = (tmp_path / "fit.json").read_text()
    (tmp_path / "bad.json").write_text(text.replace('"share"', '"part"', 1))
    with pytest.raises(BadInput, match="share"):
        Fit.load(tmp_path / "bad.json")


def test_what_can_not_be_borrowed_is_refused(other: Fit) -> None:
    with pytest.raises(UsageError, match="alpha, beta"):
        fit("kaplan-nd", SMALL, prior=other)
    with pytest.raises(UsageError, match="above zero"):
        fit("chinchilla", SMALL, prior=other, prior_sd=0.0)
    with pytest.raises(UsageError, match="several"):
        fit("auto", chinchilla_table(), prior=other)
    with pytest.raises(UsageError, match="prior"):
        fit("chinchilla", SMALL, prior=other, intervals="covariance")


def test_a_held_exponent_borrows_nothing(other: Fit) -> None:
    rows = law_rows(CHINCHILLA, read_table(SMALL))
    borrowed = Borrowed.of(other, FAMILY_SD)
    found = fit_rows(CHINCHILLA, rows, Settings(fix={"alpha": 0.3}, prior=borrowed, bootstrap=0))
    assert found.params["alpha"].value == 0.3
    assert set(found.prior["params"]) == {"beta"}
