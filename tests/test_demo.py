"""The demo: the large run was kept out of the fit, and its prediction stands beside its measurement."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from scaling_lab.demo import demo, shipped_table


def test_the_data_that_ships_is_a_table_of_our_own_runs() -> None:
    runs = pd.read_csv(shipped_table())
    small, large = runs[runs.role == "fit"], runs[runs.role == "held-out"]
    grid = small.drop_duplicates(["params", "tokens"]).groupby("params").tokens.nunique()
    assert len(grid) >= 5
    assert (grid >= 4).all()
    assert len(large) == 1
    compute = 6.0 * runs.params * runs.tokens
    assert compute[large.index[0]] >= 8 * compute[small.index].max()
    seeds = small.groupby(["params", "tokens"]).loss.agg(["count", np.ptp])
    assert (seeds["count"] >= 2).any()
    spread = seeds[seeds["count"] >= 2]["ptp"].max()
    assert small.loc[compute[small.index].idxmin(), "loss"] - large.loss.iloc[0] >= 10 * spread


def test_the_demo_holds_prediction_and_measurement_side_by_side(tmp_path: Path) -> None:
    found = demo(tmp_path / "out")
    small = pd.read_csv(shipped_table()).query("role == 'fit'")
    assert found.fit.rows["used"] == len(small)
    assert (
        found.fit.inputs["flops"]["max"]
        < found.predictions.inputs["params"][0] * found.predictions.inputs["tokens"][0] * 6
    )
    assert len(found.summary()) == 5
    page = found.report.read_text()
    assert f"{found.predictions.value[0]:.3f}" in page
    assert f"{found.held_out['loss']:.3f}" in page
    saved = json.loads((tmp_path / "out" / "fit.json").read_text())
    assert saved["rows"]["dropped"] == {"--where": 1}
    for name in ("fit", "backtest", "predict"):
        made_by = json.loads((tmp_path / "out" / f"{name}.json").read_text())["made_by"]
        assert made_by["version"]
        assert made_by["inputs"]
