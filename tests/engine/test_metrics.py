"""Figures of merit, against scipy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from scaling_lab.engine.backtest import backtest
from scaling_lab.engine.fit import Settings
from scaling_lab.engine.metrics import band, coverage, interval_score, metrics, rank_correlation
from scaling_lab.show import terminal
from tests.conftest import chinchilla_table


@pytest.mark.parametrize("ties", [False, True])
def test_rank_correlation_is_scipys(ties: bool) -> None:
    rng = np.random.default_rng(0)
    for n in (2, 3, 10, 57):
        a, b = rng.standard_normal((2, n))
        if ties and n > 3:
            a, b = np.round(a), np.round(b)
        assert rank_correlation(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)


def test_rank_correlation_of_what_is_all_alike_or_single_is_none() -> None:
    assert rank_correlation(np.ones(5), np.arange(5.0)) is None
    assert rank_correlation(np.arange(5.0), np.ones(5)) is None
    assert rank_correlation(np.array([2.0]), np.array([3.0])) is None
    assert metrics(np.array([2.0]), np.array([2.5])).spearman is None


def test_figures_by_hand() -> None:
    found = metrics(np.array([2.2, 3.0, 3.6]), np.array([2.0, 3.0, 4.0]))
    assert found.mape == pytest.approx((0.1 + 0 + 0.1) / 3)
    assert found.mae == pytest.approx(0.2)
    assert found.rmse == pytest.approx(np.sqrt(0.2 / 3))
    assert found.bias == pytest.approx(-0.2 / 3)
    assert found.r2 == pytest.approx(1 - 0.2 / 2)
    assert found.spearman == pytest.approx(1.0)
    assert metrics(np.array([3.0, 2.0]), np.array([2.0, 3.0])).spearman == pytest.approx(-1.0)


@pytest.mark.parametrize(
    ("error", "word"),
    [(0.0, "noise"), (0.04, "noise"), (0.0401, "useful"), (0.2, "useful"), (0.21, "poor"), (np.nan, "poor")],
)
def test_bands_of_the_field(error: float, word: str) -> None:
    assert band(error) == word


def test_the_interval_score_by_hand() -> None:
    low, high = np.array([1.0, 1.0, 1.0]), np.array([2.0, 2.0, 2.0])
    # Inside costs the width; .1 outside a 90 % interval costs 20 * .1 more.
    assert interval_score(np.array([1.5, 0.9, 2.3]), low, high, 0.9) == pytest.approx((1 + 3 + 7) / 3)
    assert coverage(np.array([1.5, 0.9, 2.3]), low, high) == pytest.approx(1 / 3)


def test_the_interval_score_is_least_at_the_true_quantiles() -> None:
    y = np.random.default_rng(1).standard_normal(100_000)

    def score(z: float) -> float:
        return interval_score(y, np.full(len(y), -z), np.full(len(y), z), 0.9)

    best = score(stats.norm.ppf(0.95))
    assert best < min(score(1.3), score(2.0))


def test_a_backtest_says_its_band_rank_and_score() -> None:
    found = backtest(
        chinchilla_table(0.003), ["chinchilla"], test_fraction=0.3, settings=Settings(starts=144, bootstrap=40)
    )
    entry, scored = found.to_dict()["laws"][0], found.laws[0]
    assert entry["band"] == band(scored.metrics.mape) == "noise"
    assert entry["spearman"] == pytest.approx(stats.spearmanr(scored.predicted, scored.measured).statistic)
    want = interval_score(scored.measured, scored.low, scored.high, scored.level)
    assert entry["interval_score"] == pytest.approx(want)
    shown = terminal.backtest(found)
    assert "band" in shown
    assert "noise" in shown
