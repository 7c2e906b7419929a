"""Minima of isoFLOP profiles and envelopes: planted optima, published exponents, edges reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scaling_lab.decide.isoflop import envelope, isoflop, power_law
from scaling_lab.errors import BadInput, NotEnoughData, UsageError
from scaling_lab.show import terminal
from tests.conftest import TRUTH


def loss(n: np.ndarray, d: np.ndarray) -> np.ndarray:
    return TRUTH["E"] + TRUTH["A"] * n ** -TRUTH["alpha"] + TRUTH["B"] * d ** -TRUTH["beta"]


def profiles(budgets: np.ndarray, sizes: int = 15, reach: float = 4.0) -> pd.DataFrame:
    a = TRUTH["beta"] / (TRUTH["alpha"] + TRUTH["beta"])
    g = (TRUTH["alpha"] * TRUTH["A"] / (TRUTH["beta"] * TRUTH["B"])) ** (1 / (TRUTH["alpha"] + TRUTH["beta"]))
    parts = []
    for c in budgets:
        n = g * (c / 6) ** a * np.geomspace(1 / reach, reach, sizes)
        parts.append(pd.DataFrame({"params": n, "tokens": c / (6 * n), "flops": c, "loss": loss(n, c / (6 * n))}))
    return pd.concat(parts, ignore_index=True)


def test_akima_and_parabola_find_the_planted_exponent() -> None:
    found = isoflop(profiles(np.geomspace(1e18, 1e21, 7)))
    a = TRUTH["beta"] / (TRUTH["alpha"] + TRUTH["beta"])
    assert found.params.exponent == pytest.approx(a, abs=2e-3)
    assert found.params.exponent + found.tokens.exponent == pytest.approx(1, abs=1e-9)
    assert found.others["parabola"]["params"].exponent == pytest.approx(a, abs=2e-3)
    assert {p.status for p in found.profiles} == {"used"}


def test_akima_gives_the_published_exponents(data_dir: Path) -> None:
    """All ten weighted exponents within .009, and at least nine inside the published percentiles."""
    folder = data_dir / "porian_rw"
    reported = pd.read_csv(folder / "reported_fits.csv").query("fit_kind == 'weighted'")
    assert len(reported) == 10
    inside = 0
    for row in reported.itertuples():
        found = isoflop(
            folder / f"isoflop_{row.counting}.csv",
            params_column=f"params_{row.counting}",
            where=f"config_id == '{row.config_id}'",
        )
        assert found.params.exponent == pytest.approx(row.n_exponent, abs=0.009)
        inside += row.n_exponent_p2_5 <= found.params.exponent <= row.n_exponent_p97_5
    assert inside >= 9


def test_minima_at_an_edge_are_reported_and_not_used() -> None:
    table = profiles(np.geomspace(1e18, 1e21, 5))
    first = table.flops.min()
    lowest = table[table.flops == first].loss.idxmin()
    cut = table[(table.flops != first) | (table.index <= lowest)]
    for method in ("akima", "parabola"):
        found = isoflop(cut, method=method)
        assert [p.status for p in found.profiles] == ["minimum at the edge", "used", "used", "used", "used"]
        assert found.params.n == 4


def test_budgets_may_be_named_and_rows_off_them_are_counted() -> None:
    table = profiles(np.array([1e18, 1e19, 1e20]))
    table["flops"] *= np.exp(np.random.default_rng(0).uniform(-0.03, 0.03, len(table)))
    stray = pd.DataFrame({"params": [1e8], "tokens": [3e9], "flops": [1.8e18], "loss": [3.0]})
    found = isoflop(pd.concat([table, stray]), budgets=[1e18, 1e19, 1e20])
    assert len(found.profiles) == 3
    assert found.rows["dropped"] == {"near no budget": 1}


def test_too_few_minima_say_what_is_missing() -> None:
    with pytest.raises(BadInput, match="2 of 2 profiles have a minimum to use"):
        isoflop(profiles(np.array([1e18, 1e19])))
    with pytest.raises(UsageError, match="no method 'cubic'"):
        isoflop(profiles(np.array([1e18])), method="cubic")


def test_the_t_interval_of_a_power_law_is_scipys() -> None:
    from scipy.stats import linregress, t

    rng = np.random.default_rng(0)
    c = np.geomspace(1e18, 1e22, 8)
    n = 0.1 * c**0.5 * np.exp(0.05 * rng.standard_normal(8))
    found, line = power_law(c, n), linregress(np.log(c), np.log(n))
    assert found.exponent == pytest.approx(line.slope)
    assert found.ci[1] - found.exponent == pytest.approx(t.ppf(0.975, 6) * line.stderr)
    assert found.at(1e20) == pytest.approx(np.exp(line.intercept + line.slope * np.log(1e20)))


def curves() -> pd.DataFrame:
    parts = []
    for n in np.geomspace(1e7, 3e9, 10):
        d = np.geomspace(2e8, 3e11, 60)
        parts.append(pd.DataFrame({"run_id": f"{n:g}", "params": n, "tokens": d, "loss": loss(np.array(n), d)}))
    return pd.concat(parts, ignore_index=True)


def test_the_envelope_finds_the_planted_exponent_within_its_interval() -> None:
    found = envelope(curves(), bootstrap=50)
    a = TRUTH["beta"] / (TRUTH["alpha"] + TRUTH["beta"])
    assert found.params_law.exponent == pytest.approx(a, abs=0.03)
    assert found.params_law.ci[0] < a < found.params_law.ci[1]
    assert found.params_law.exponent + found.tokens_law.exponent == pytest.approx(1, abs=0.01)
    assert found.rows["curves"] == 10
    assert not found.used.all()


def test_an_envelope_without_run_ids_takes_sizes_as_curves_and_says_so() -> None:
    found = envelope(curves().drop(columns="run_id"), bootstrap=0)
    assert any("rows of one size" in note for note in found.notes)
    assert found.rows["curves"] == 10


def test_an_envelope_of_two_curves_is_refused() -> None:
    table = curves()
    with pytest.raises(NotEnoughData, match="2 usable rows"):
        envelope(table[table.params < 2e7])


def test_one_or_two_budgets_say_that_three_are_needed() -> None:
    with pytest.raises(BadInput, match=r"2 of 2 profiles have a minimum to use, and .* needs 3; add budgets"):
        isoflop(profiles(np.array([1e18, 1e19])))


def test_budgets_that_gaps_do_not_tell_apart_are_refused() -> None:
    table = profiles(np.geomspace(3e18, 3e20, 140), sizes=7)
    with pytest.raises(BadInput, match=r"980 rows from 3e\+18 to 3e\+20 FLOP lie too close .* name the budgets"):
        isoflop(table)
    assert len(isoflop(table, budgets=[3e18, 3e19, 3e20]).profiles) == 3


@pytest.mark.parametrize(
    ("budgets", "says"),
    [
        ([1e18, 1.05e18, 1e20], "overlap"),
        ([1e18, 1e18], "overlap"),
        ([0.0], "not a number above zero"),
        ([float("nan")], "not a number above zero"),
        ([float("inf")], "not a number above zero"),
        ([], "names none"),
    ],
)
def test_budgets_that_can_not_be_are_refused(budgets: list[float], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        isoflop(profiles(np.array([1e18, 1e19, 1e20])), budgets=budgets)


@pytest.mark.parametrize("bootstrap", [0, 1])
def test_an_envelope_without_resamples_has_no_interval(bootstrap: int) -> None:
    found = envelope(curves(), bootstrap=bootstrap)
    assert found.params_law.ci is None
    assert found.to_dict()["tokens"]["ci"] is None
    assert any("no intervals" in note for note in found.notes)
    assert "  -  " in terminal.envelope(found)


def test_an_envelope_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="--points 0: an envelope needs at least 3"):
        envelope(curves(), points=0)
    with pytest.raises(UsageError, match="--bootstrap -5 is below zero"):
        envelope(curves(), bootstrap=-5)
