"""Plain text for terminals of any width."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from scaling_lab.decide.allocate import allocate
from scaling_lab.decide.isoflop import isoflop
from scaling_lab.engine.backtest import Backtest
from scaling_lab.engine.predict import Predictions
from scaling_lab.engine.result import Fit, Notice
from scaling_lab.laws import LAWS
from scaling_lab.show import terminal, words


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_nothing_is_wider_than_the_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch, chinchilla: Fit, scored: Backtest, asked: Predictions
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    texts = [terminal.fit(chinchilla), terminal.backtest(scored), terminal.predictions(asked)]
    texts += [
        terminal.laws(LAWS.values()),
        terminal.law(chinchilla.entry),
        terminal.allocation(allocate(chinchilla, 1e22)),
    ]
    wide = [line for text in texts for line in text.splitlines() if len(line) > columns]
    # One word can't be folded.
    assert not [line for line in wide if len(line.split()) > 1], wide


def test_the_same_numbers_stand_in_a_wide_table_and_in_records(
    monkeypatch: pytest.MonkeyPatch, chinchilla: Fit
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    wide = terminal.parameters(chinchilla)
    monkeypatch.setenv("COLUMNS", "40")
    narrow = terminal.parameters(chinchilla)
    for name, estimate in chinchilla.params.items():
        assert estimate.ci is not None
        for text in (wide, narrow):
            assert name in text
            assert words.number(estimate.value) in text
            assert f"{estimate.ci[0]:.5g} to {estimate.ci[1]:.5g}" in text


def test_a_fit_says_what_it_used_and_how_sure_it_is(chinchilla: Fit, bare: Fit) -> None:
    text = terminal.fit(chinchilla)
    assert "30 of 32 rows used; left out: 1 by --where, 1 (loss missing)" in text
    assert "40 bootstrap refits of resampled runs: 0 failed" in text
    assert "no bootstrap" in terminal.fit(bare)


def test_predictions_stand_in_order_with_their_interval(asked: Predictions) -> None:
    head, row = terminal.predictions(asked).splitlines()
    low, high = float(asked.low[0]), float(asked.high[0])
    assert "90 % interval" in head
    assert words.fixed(float(asked.value[0]), low, high) in row
    assert words.span(low, high) in row
    assert "flops" in row


def test_a_backtest_names_what_failed(scored: Backtest) -> None:
    from dataclasses import replace

    text = terminal.backtest(replace(scored, failed={"kaplan-nd": "too few rows\x1b[2J"}))
    assert "not fitted: kaplan-nd: too few rows" in text
    assert "\x1b" not in text
    assert text.index(scored.laws[0].law) < text.index(scored.laws[1].law)


def test_notices_are_a_line_each() -> None:
    assert terminal.notices([Notice("SL201", "warning", "one ratio"), Notice("SL202", "info", "few\nkinds")]) == (
        "warning SL201: one ratio\ninfo SL202: few\ufffdkinds"
    )


def test_isoflop_shows_every_budget_and_both_methods() -> None:
    rows = [(c, np.sqrt(c / 120) * r) for c in (1e18, 1e19, 1e20) for r in np.geomspace(0.15, 6, 9)]
    table = pd.DataFrame(rows, columns=["flops", "params"])
    table["tokens"] = table.flops / 6 / table.params
    table["loss"] = 1.8 + 400 * table.params**-0.34 + 1500 * table.tokens**-0.36
    text = terminal.isoflop(isoflop(table))
    assert all(budget in text for budget in ("1e18", "1e19", "1e20"))
    assert "params by akima" in text
    assert "params by parabola" in text


def test_importing_the_terminal_loads_nothing_heavy() -> None:
    heavy = ("numpy", "pandas", "matplotlib", "scipy", "jinja2", "rich")
    code = f"import sys, scaling_lab.show.terminal; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
