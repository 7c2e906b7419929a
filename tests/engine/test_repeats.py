"""What is published of many passes over little data is told where a point goes there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scaling_lab.decide.allocate import allocate
from scaling_lab.engine.auto import choice
from scaling_lab.engine.fit import fit
from scaling_lab.engine.predict import predict
from scaling_lab.engine.repeats import FEW_UNIQUE, MANY_EPOCHS, repeats
from scaling_lab.engine.result import Fit
from scaling_lab.laws import LAWS
from scaling_lab.tables import read_table
from tests.laws.worlds.repetition import REPEATED, TIED


def point(params: float, unique: float, epochs: float) -> dict[str, np.ndarray]:
    return {
        "params": np.array([params]),
        "tokens": np.array([unique * epochs]),
        "unique_tokens": np.array([unique]),
    }


@pytest.mark.parametrize(
    ("params", "unique", "epochs", "codes"),
    [
        (1e9, 1e10, 1, []),
        (1e9, 1e10, 4, []),
        (1e9, 1e10, 4.1, ["SL420"]),
        (1e9, 1e10, 64, ["SL420"]),
        (1e9, 1.4e9, 63, ["SL420"]),
        (1e9, 1.4e9, 64, ["SL420", "SL421"]),
    ],
)
def test_passes_are_told_by_number_and_by_tokens_a_parameter(
    params: float, unique: float, epochs: float, codes: list[str]
) -> None:
    assert [notice.code for notice in repeats(point(params, unique, epochs))] == codes


def test_points_that_know_nothing_of_repetition_are_left_alone() -> None:
    assert repeats({"params": np.array([1e9]), "tokens": np.array([1e12])}) == ()


@pytest.fixture(scope="module")
def tied() -> Fit:
    loss = LAWS["data-constrained-tied"].predict(dict(REPEATED), **TIED)
    noisy = loss * np.exp(0.002 * np.random.default_rng(0).standard_normal(len(loss)))
    return fit("data-constrained-tied", pd.DataFrame({**REPEATED, "loss": noisy}), bootstrap=40)


def test_predict_and_allocate_tell_it(tied: Fit) -> None:
    asked = {"params": 1e9, "tokens": 1e11, "unique_tokens": 1e9}
    codes = {notice.code: notice.severity for notice in predict(tied, asked).warnings}
    assert codes["SL420"] == "info"
    assert codes["SL421"] == "warning"
    split = allocate(tied, 1e21, unique_tokens=1e9)
    assert split.epochs is not None
    assert split.epochs.value > 4
    assert "SL420" in {notice.code for notice in split.warnings}


def test_the_public_runs_turn_up_again_where_the_warning_stands(data_dir: Path) -> None:
    """Series of one size and one set of unique tokens: those it warns of end above their lowest loss, others do not."""
    frame = pd.read_csv(data_dir / "datablations_c4" / "runs.csv").query("variant == 'standard'")
    worn, sound = 0, 0
    for (params, unique), series in frame.groupby(["params_total", "unique_tokens"]):
        ordered = series.sort_values("epochs")
        if len(ordered) < 4 or ordered.epochs.iloc[-1] < MANY_EPOCHS:
            continue
        rise = ordered.loss.iloc[-1] / ordered.loss.min() - 1
        if unique < FEW_UNIQUE * params:
            worn += 1
            assert rise > 0.01
        else:
            sound += 1
            assert rise < 0.002
    assert worn >= 10
    assert sound >= 5


def test_auto_weighs_laws_of_repetition_only_where_something_is_repeated() -> None:
    loss = LAWS["data-constrained-tied"].predict(dict(REPEATED), **TIED)
    table = pd.DataFrame({**REPEATED, "loss": loss})
    repeated = {law.name for law in choice(read_table(table))}
    assert {"data-constrained", "data-constrained-tied"} <= repeated
    once = {law.name for law in choice(read_table(table.assign(unique_tokens=table.tokens * 1.001)))}
    assert "chinchilla" in once
    assert not any("unique_tokens" in LAWS[name].inputs for name in once)
