"""Fits of one run's curve resample blocks of neighbours, whose errors go together."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.signal import lfilter

from scaling_lab import fit
from scaling_lab.engine.resample import CURVE_BLOCKS, curve_blocks
from scaling_lab.laws import LAWS
from scaling_lab.show.report import _runs
from scaling_lab.tables import Rows, read_table, rows_for

STEP = np.arange(100.0, 20_001.0, 100.0)


def wandering(seed: int) -> pd.DataFrame:
    """A power law whose noise of 0.3 % carries over from row to row with a factor 0.8."""
    noise = lfilter([0.6], [1.0, -0.8], np.random.default_rng(seed).standard_normal(len(STEP) + 50))[50:]
    return pd.DataFrame({"step": STEP, "loss": (3.0 + 46.0 * STEP**-0.52) * np.exp(0.003 * noise)})


def test_intervals_of_a_curve_with_wandering_noise_hold_what_was_planted_where_single_rows_do_not() -> None:
    """Rows as if independent would be right of an error 2.4 times smaller than noise of this kind leaves."""
    held = {"runs": 0, "rows": 0}
    width = {"runs": 0.0, "rows": 0.0}
    for seed in range(12):
        for way in held:
            found = fit("lc:pow3", wandering(seed), objective="l2", starts=100, bootstrap=150, resample=way)  # type: ignore[arg-type]
            alpha = found.params["alpha"]
            assert alpha.ci is not None
            held[way] += alpha.ci[0] <= 0.52 <= alpha.ci[1]
            width[way] += alpha.ci[1] - alpha.ci[0]
    assert width["runs"] > 1.7 * width["rows"]
    assert held["runs"] >= 10
    assert held["rows"] <= 9


def test_blocks_are_of_neighbours_along_the_curve_and_only_of_one_run() -> None:
    frame = wandering(0)
    law = LAWS["lc:pow3"]

    def rows(table: pd.DataFrame) -> Rows:
        return rows_for(read_table(table), ["step"], "loss")

    found = curve_blocks(law, rows(frame.iloc[::-1]))
    assert found is not None
    assert found.runs == CURVE_BLOCKS
    assert (np.diff(found.group[::-1]) >= 0).all()
    assert set(np.bincount(found.group)) == {len(STEP) // CURVE_BLOCKS}
    one = curve_blocks(law, rows(frame.assign(run_id="a")))
    assert one is not None
    assert one.runs == CURVE_BLOCKS
    few = curve_blocks(law, rows(frame[:10]))
    assert few is not None
    assert few.runs == 10
    assert curve_blocks(law, rows(frame.assign(run_id=["a", "b"] * 100))) is None
    assert curve_blocks(LAWS["bnsl1"], rows(frame)) is None


@pytest.mark.parametrize("named", [False, True])
def test_the_fit_says_what_it_resampled(named: bool) -> None:
    frame = wandering(1).assign(run_id="a") if named else wandering(1)
    found = fit("lc:pow3", frame, starts=100, bootstrap=40)
    assert found.bootstrap["resample"] == "blocks"
    assert found.rows["runs"] == 1
    assert "blocks of neighbours" in _runs(found)
    said = {w.code: w.message for w in found.warnings}
    assert "run of line" not in said.get("SL304", "")
