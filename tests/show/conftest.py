"""Small fits, a backtest and predictions that the tests of figures, pages and text share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scaling_lab.engine.backtest import Backtest, backtest
from scaling_lab.engine.fit import Settings, fit
from scaling_lab.engine.predict import Predictions, predict
from scaling_lab.engine.result import Fit
from tests.conftest import chinchilla_table

FEW = {"starts": 144, "bootstrap": 40}
TARGET = {"params": 7e9, "tokens": 1.4e12}


@pytest.fixture(scope="session")
def table() -> pd.DataFrame:
    """Thirty noisy runs, two of which can't be used."""
    frame = chinchilla_table(noise=0.004)
    broken = frame.iloc[:2].assign(run_id=["lost", "tiny"], loss=[np.nan, 3.0], tokens=[1e9, 1e6])
    return pd.concat([frame, broken], ignore_index=True)


@pytest.fixture(scope="session")
def chinchilla(table: pd.DataFrame) -> Fit:
    return fit("chinchilla", table, where="tokens > 1e8", **FEW)


@pytest.fixture(scope="session")
def hestness(table: pd.DataFrame) -> Fit:
    """A law of one input, from a table that knows neither compute nor runs."""
    return fit("hestness", table[["tokens", "loss"]].dropna(), **FEW)


@pytest.fixture(scope="session")
def bare(table: pd.DataFrame) -> Fit:
    """A fit without a bootstrap."""
    return fit("chinchilla", table.dropna(), starts=144, bootstrap=0)


@pytest.fixture(scope="session")
def warned(table: pd.DataFrame) -> Fit:
    """A fit to runs of one ratio of tokens to params, which is warned of."""
    n = np.geomspace(1e7, 1e9, 9)
    ladder = pd.DataFrame({"params": n, "tokens": 20 * n * np.linspace(0.98, 1.02, 9)})
    ladder["loss"] = 1.8 + 400 * ladder.params**-0.34 + 1500 * ladder.tokens**-0.36
    return fit("chinchilla", ladder, **FEW)


@pytest.fixture(scope="session")
def crowded(bare: Fit) -> Fit:
    """The fit as if it rested on 5,000 rows."""
    rng = np.random.default_rng(0)
    n, d = 10 ** rng.uniform(7, 9.5, 5000), 10 ** rng.uniform(9, 11.5, 5000)
    loss = bare.at({"params": n, "tokens": d}) * np.exp(0.004 * rng.standard_normal(5000))
    ids = np.array([f"r{i}" for i in range(5000)], dtype=object)
    points = {"params": n, "tokens": d, "loss": loss, "flops": 6 * n * d, "run_id": ids}
    return replace(bare, points=points, rows={"read": 5000, "used": 5000, "dropped": {}})


@pytest.fixture(scope="session")
def scored(table: pd.DataFrame) -> Backtest:
    laws = ["chinchilla", "hestness"]
    return backtest(table, laws, where="tokens > 1e8", settings=Settings(starts=144, bootstrap=20))


@pytest.fixture(scope="session")
def asked(chinchilla: Fit) -> Predictions:
    return predict(chinchilla, TARGET)
