"""Smoothing by name: against scipy and pandas, at the ends, de-biased, and refused where it is not one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter1d, median_filter

from scaling_lab.errors import BadInput, UsageError
from scaling_lab.smoothing import Smoothing, smoothed

RNG = np.random.default_rng(0)
NOISY = 3.0 + RNG.standard_normal(301)


def test_an_ema_is_that_of_pandas_which_is_de_biased_too() -> None:
    want = pd.Series(NOISY).ewm(alpha=0.1, adjust=True).mean().to_numpy()
    np.testing.assert_allclose(smoothed(NOISY, "ema:0.9"), want, rtol=1e-12)
    np.testing.assert_allclose(smoothed(np.full(50, 3.0), "ema:0.99"), 3.0, rtol=1e-12)
    np.testing.assert_array_equal(smoothed(NOISY, "ema:0"), NOISY)


def test_away_from_the_ends_gaussian_and_median_are_those_of_scipy() -> None:
    want = gaussian_filter1d(NOISY, 5.0, truncate=4.0)
    np.testing.assert_allclose(smoothed(NOISY, "gaussian:5")[25:-25], want[25:-25], rtol=1e-12)
    want = median_filter(NOISY, 15)
    np.testing.assert_array_equal(smoothed(NOISY, "window:5%")[8:-8], want[8:-8])


@pytest.mark.parametrize("how", ["gaussian:6", "gaussian:3%", "window:9", "window:10%"])
def test_a_straight_line_stays_one_to_its_ends(how: str) -> None:
    line = np.linspace(4.0, 3.0, 101)
    np.testing.assert_allclose(smoothed(line, how), line, rtol=1e-13)
    assert np.std(smoothed(NOISY, how)) < 0.6 * np.std(NOISY)


def test_an_ema_lags_behind_a_falling_loss_and_says_so() -> None:
    line = np.linspace(4.0, 3.0, 1001)
    assert smoothed(line, "ema:0.9")[-1] - line[-1] == pytest.approx(0.001 * 9, rel=1e-6)
    assert "lags behind" in Smoothing.parse("ema:0.9").note


def test_a_spike_moves_no_median_and_short_curves_are_left() -> None:
    spiked = np.linspace(4.0, 3.0, 101)
    spiked[40] = 50.0
    assert np.max(np.abs(smoothed(spiked, "window:5") - np.linspace(4.0, 3.0, 101))) < 0.03
    for count in (0, 1, 2, 3):
        assert len(smoothed(np.arange(float(count)), "window:50%")) == count
        assert len(smoothed(np.arange(float(count)), "gaussian:9")) == count


@pytest.mark.parametrize("text", ["none", "ema:0.9", "gaussian:5", "gaussian:2.5%", "window:5%", "window:7"])
def test_a_smoothing_is_written_as_it_is_read(text: str) -> None:
    assert str(Smoothing.parse(text)) == text
    assert bool(Smoothing.parse(text).note) == (text != "none")


@pytest.mark.parametrize(
    "text", ["emma:0.9", "ema", "ema:1", "ema:90%", "gaussian:0", "window:60%", "window:x", "none:1"]
)
def test_what_is_no_smoothing_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="smoothing"):
        smoothed(NOISY, text)


def test_a_value_that_is_none_is_refused() -> None:
    with pytest.raises(BadInput, match="loss 2 of 3"):
        smoothed(np.array([3.0, 2.9, np.nan]), "none")
