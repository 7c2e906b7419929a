"""The short forecast of AutoLRS: planted exponentials, spikes, scipy, and its known error far out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import curve_fit

from scaling_lab.autolrs import autolrs_forecast
from scaling_lab.errors import BadInput

T = np.arange(1.0, 201.0)
CLEAN = 3.0 + 1.2 * np.exp(-T / 90.0)


def test_an_exponential_comes_back_and_a_horizon_of_ten_stretches_is_far() -> None:
    found = autolrs_forecast(T, CLEAN, 2000.0)
    assert found.value == pytest.approx(3.0, abs=1e-5)
    assert found.b == pytest.approx(-1 / 90, rel=1e-5)
    assert found.a == pytest.approx(1.2, rel=1e-5)
    assert not found.far
    assert autolrs_forecast(T, CLEAN, 2300.0).far
    assert set(found.params) == {"a", "b", "c"}


@pytest.mark.parametrize("begin", [0.0, 1e3, 2e4, 1e6])
def test_a_stretch_late_in_a_run_gives_the_forecast_of_an_early_one(begin: float) -> None:
    """The gain at step 0 leaves floating point there; the forecast is of the stretch and needs no such number."""
    y = 3.0 + np.exp(-T / 9.0)
    found = autolrs_forecast(begin + T, y, begin + 230.0)
    assert found.value == pytest.approx(autolrs_forecast(T, y, 230.0).value, rel=1e-12)
    assert found.gain == pytest.approx(np.exp(-1 / 9.0), rel=1e-4)
    assert np.isfinite(found.a) == (begin < 2e4)


def test_spikes_of_the_first_half_are_left_out_where_plain_least_squares_follows_them() -> None:
    y = CLEAN + 0.003 * np.random.default_rng(0).standard_normal(200)
    y[[3, 40, 70]] += 0.5
    found = autolrs_forecast(T, y, 400.0)
    want = 3.0 + 1.2 * np.exp(-400 / 90)
    assert not found.kept[[3, 40, 70]].any()
    assert found.kept[100:].all()
    plain, _ = curve_fit(lambda t, a, b, c: a * np.exp(b * t) + c, T, y, p0=(1.0, -0.01, 3.0))
    assert abs(found.value - want) < 0.004
    assert abs(found.value - want) < abs(plain[0] * np.exp(400 * plain[1]) + plain[2] - want)


def test_the_rate_is_that_of_scipy_on_the_same_points() -> None:
    y = CLEAN + 0.01 * np.random.default_rng(1).standard_normal(200)
    # A spline of no smoothing goes through the points, and with validation one of them is left out.
    found = autolrs_forecast(T, y, 300.0, validation=True, smoothing=0.0)
    k = found.kept
    theirs, _ = curve_fit(lambda t, a, b, c: a * np.exp(b * t) + c, T[k], y[k], p0=(1.0, -0.01, 3.0), xtol=1e-14)
    assert k.sum() == 199
    np.testing.assert_allclose([found.a, found.b, found.c], theirs, rtol=1e-5)


def test_a_loss_that_rises_is_its_own_forecast() -> None:
    found = autolrs_forecast(T, 3.0 + 0.001 * T, 1000.0)
    assert found.rose
    assert found.value == pytest.approx(3.2)


@pytest.mark.parametrize(
    ("steps", "losses"),
    [(T[:4], CLEAN[:4]), (T[::-1], CLEAN), (T, np.where(T == 9, np.nan, CLEAN)), (np.ones(200), CLEAN)],
)
def test_what_has_no_forecast_is_refused(steps: np.ndarray, losses: np.ndarray) -> None:
    with pytest.raises(BadInput, match="forecast"):
        autolrs_forecast(steps, losses, 1000.0)


def test_its_error_far_out_is_no_worse_than_what_others_measured(data_dir: Path) -> None:
    """Exponential on the first 24K of 72K steps at a constant rate: mean |error| .082 over three sizes."""
    rows = pd.read_csv(data_dir / "mpl_curves" / "curves.csv")
    errors = []
    for model in ("25M", "100M"):
        one = rows[(rows.model == model) & (rows.schedule_name == "constant_72000")]
        inside, rest = one[one.step <= 24_000], one[one.step > 24_000]
        found = autolrs_forecast(inside.step.to_numpy(), inside.loss.to_numpy(), 72_000.0)
        errors.append(np.mean(np.abs(found.a * np.exp(found.b * rest.step) + found.c - rest.loss)))
    assert np.mean(errors) <= 0.082
