"""Numbers and sentences as people read them."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest

from scaling_lab.engine.backtest import Backtest
from scaling_lab.engine.fit import fit
from scaling_lab.engine.predict import predict
from scaling_lab.engine.result import Fit
from scaling_lab.show import report, words


def test_a_range_of_any_input_is_two_numbers_and_a_unit() -> None:
    assert words.reach("params", 5.73e7, 1.62e10) == "57.3M to 16.2B"
    assert words.reach("flops", 1.4e18, 1.3e22) == "1.4e18 to 1.3e22 FLOP"
    assert words.reach("experts", 1, 512) == "1 to 512"
    assert words.reach("tokens_per_param", 5, 640) == "5 to 640 tokens/param"


def test_rows_are_accounted_for_in_one_sentence() -> None:
    account = {"read": 245, "used": 240, "dropped": {"--where": 5}}
    assert words.rows(account) == "240 of 245 rows used; left out: 5 by --where"
    assert words.rows({"read": 1, "used": 1, "dropped": {}}) == "1 of 1 row used"
    assert words.rows({"read": 9, "used": 6, "dropped": {"--where": 1, "loss missing": 2}}).endswith(
        "1 by --where, 2 (loss missing)"
    )


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [(1.97312, 1.843, 2.111, "1.973"), (1.97312, 1.9729, 1.9734, "1.97312"), (61.25, 58.0, 64.0, "61.25")],
)
def test_a_value_has_the_digits_that_its_interval_deserves(value: float, low: float, high: float, text: str) -> None:
    assert words.fixed(value, low, high) == text


def test_a_value_without_width_or_at_zero_is_still_written() -> None:
    assert words.fixed(2.0, 2.0, 2.0) == "2.000"
    assert words.fixed(0.0, 0.0, 0.0) == "0.0000"
    assert words.fixed(math.nan, 1.0, 2.0) == "-"


def test_counts_and_compute_are_written_as_people_type_them() -> None:
    assert words.amount("params", 7e9) == "7B parameters"
    assert words.amount("flops", 5.88e23) == "5.88e23 FLOP"
    assert words.amounts({"params": 7e9, "tokens": 1.4e12}) == "7B parameters and 1.4T tokens"
    assert words.reach("flops", 1.4e18, 1.3e22) == "1.4e18 to 1.3e22 FLOP"
    assert words.reach("params", 5.73e7, 1.62e10) == "57.3M to 16.2B"


def test_powers_of_ten_are_raised() -> None:
    assert words.scientific(1e18) == "10¹⁸"
    assert words.scientific(3e-5) == "3·10⁻⁵"
    assert words.scientific(0.0) == "0"


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0047, "0.47 %"),
        (0.9, "90 %"),
        (0.9667, "96.7 %"),
        (0.999, "99.9 %"),
        (0.9995, "99.95 %"),
        (0.999999, "99.9999 %"),
        (1.0, "100 %"),
        (None, "-"),
    ],
)
def test_percent(share: float | None, text: str) -> None:
    assert words.percent(share) == text


def test_how_far_outside_names_the_worst_first() -> None:
    assert words.outside({}) == "inside the fitted range"
    text = words.outside({"params": 4.3, "flops": 45.4})
    assert text == "outside the fitted range: compute by a factor 45, parameters by a factor 4.3"


def test_control_characters_can_not_steer_a_terminal() -> None:
    assert "\x1b" not in words.clean("run\x1b[31m\u202ered")


def test_a_held_out_sentence_counts_what_lay_inside(scored: Backtest) -> None:
    best = scored.laws[0]
    sentence = words.held_out(best, "flops")
    inside = sum((best.low <= best.measured) & (best.measured <= best.high))
    assert f"{inside} of them" in sentence
    assert words.percent(best.metrics.mape) in sentence


def test_a_table_without_a_name_is_called_the_table(chinchilla: Fit) -> None:
    assert words.table_name(chinchilla) == "the table"
    named = replace(chinchilla, made_by={"inputs": {"/home/me/my runs.csv": "00"}})
    assert words.table_name(named) == "my runs.csv"


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (1e-8, 0.99e-8, 1.02e-8, "1.000e-08"),
        (3.2e-5, 3.1e-5, 3.4e-5, "0.00003200"),
        (2.0, 2.0 - 1e-12, 2.0 + 1e-12, "2.000000"),
        (0.001, -1.0, 1.5, "0.0010"),
    ],
)
def test_a_small_value_keeps_its_digits(value: float, low: float, high: float, text: str) -> None:
    assert words.fixed(value, low, high) == text


@pytest.mark.parametrize("resample", ["runs", "rows", "wild", "parametric"])
def test_a_bootstrap_says_what_was_fitted_again(table: pd.DataFrame, resample: str) -> None:
    made = fit("chinchilla", table.dropna(), starts=144, bootstrap=8, resample=resample)  # type: ignore[arg-type]
    said = words.bootstrap(made)
    assert said.startswith(f"8 bootstrap refits {words.REFITS[resample]}: ")
    assert ("resampled" in said) == (resample in ("runs", "rows"))


def test_runs_too_few_for_a_bootstrap_are_no_refits(table: pd.DataFrame) -> None:
    """Six runs of five rows each for five parameters: nothing could be drawn."""
    runs = table.dropna().assign(run_id=lambda t: t.params.rank(method="dense"))
    made = fit("chinchilla", runs.loc[runs.run_id <= 6], starts=144, bootstrap=8)
    assert words.bootstrap(made).startswith("no bootstrap: the runs are too few")
    page = report.html([made], predictions=predict(made, {"params": 7e9, "tokens": 1e12}))
    assert "left out here: the runs are too few to resample" in page
