"""Where the public tables are, and small tables that tests plant laws in."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]
# The public measurement tables are not part of the project: they lie beside it, or where the variable says.
DATA = Path(os.environ.get("SCALING_LAB_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prints are as wide as on a pipe, whatever terminal the tests run in; parallel workers inherit a narrow one."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of public tables; the test is skipped where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"the public tables are not at {DATA}; set SCALING_LAB_DATA")
    return DATA


@pytest.fixture(scope="session")
def epoch(data_dir: Path) -> pd.DataFrame:
    """The 240 points of the Chinchilla replication."""
    frame = pd.read_csv(data_dir / "epoch_chinchilla" / "points.csv")
    return frame[frame.excluded_by_epoch == 0]


TRUTH = {"E": 1.8, "A": 400.0, "B": 1500.0, "alpha": 0.34, "beta": 0.36}


def chinchilla_table(noise: float = 0.0, seed: int = 0) -> pd.DataFrame:
    """Runs of 6 sizes and 5 token counts whose losses follow TRUTH, with log-normal noise."""
    n, d = np.meshgrid(np.geomspace(1e7, 3e9, 6), np.geomspace(1e9, 3e11, 5))
    n, d = n.ravel(), d.ravel()
    loss = TRUTH["E"] + TRUTH["A"] * n ** -TRUTH["alpha"] + TRUTH["B"] * d ** -TRUTH["beta"]
    loss = loss * np.exp(noise * np.random.default_rng(seed).standard_normal(len(n)))
    return pd.DataFrame({"run_id": [f"run{i}" for i in range(len(n))], "params": n, "tokens": d, "loss": loss})
