"""Our optimum against scipy's and lmfit's on every public table that has a law of params, tokens or compute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import lmfit
import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import huber

from scaling_lab.engine.coordinates import Coordinates
from scaling_lab.engine.fit import Settings, law_rows, optimum
from scaling_lab.engine.solve import Objective
from scaling_lab.laws import LAWS, Law
from scaling_lab.tables import Rows, read_table

pytestmark = pytest.mark.data
# Of each table: its file, the columns that are params and loss, and which rows.
TABLES = {
    "epoch_chinchilla": ("points.csv", "params_total", "loss", "excluded_by_epoch == 0"),
    "kyo_llm": ("points.csv", "params_total", "loss", None),
    "datablations_c4": ("runs.csv", "params_total", "loss", "epochs == 1"),
    "gadre": ("models.csv", "params_total", "loss_c4_val", "train_data == 'rpj'"),
    "olmo_ladder": ("final.csv", "params_nonembed_with_head", "loss_c4_en", None),
    "porian_rw": ("isoflop_nonembed_plus_head.csv", "params_nonembed_plus_head", "loss", "config_id == CONFIG"),
    "steplaw_dense": ("points.csv", "params_nonembed", "loss", None),
}
LAW_NAMES = ("chinchilla", "chinchilla-tied", "kaplan-nd", "hestness-flops")
OBJECTIVES = {"huber": Objective(), "l2": Objective("l2")}


def rows_of(data_dir: Path, name: str, law: Law) -> Rows:
    """The rows of a public table, as many as make a test quick (300, evenly)."""
    file, params, loss, where = TABLES[name]
    frame = pd.read_csv(data_dir / name / file)
    if where and "CONFIG" in where:
        frame = frame[frame.config_id == frame.config_id.iloc[-1]]
    elif where:
        frame = frame.query(where)
    frame = pd.DataFrame({"params": frame[params], "tokens": frame["tokens"], "loss": frame[loss]}).dropna()
    frame = frame.iloc[np.unique(np.linspace(0, len(frame) - 1, 300).astype(int))]
    return law_rows(law, read_table(frame))


def residuals_of(coordinates: Coordinates, rows: Rows) -> Callable[[np.ndarray], np.ndarray]:
    """Log residuals (n,) by the law's own formula, with no derivative of ours."""

    def residuals(theta: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            predicted = coordinates.law.predict(dict(rows.x), **coordinates.to_params(theta[None, :]))[0]
            return np.asarray(np.log(predicted) - np.log(rows.y))

    return residuals


def scipys(residuals: Callable[[np.ndarray], np.ndarray], objective: Objective, starts: np.ndarray) -> float:
    """The lowest objective that scipy's BFGS reaches from any start by differences; scaled, lest it stop at once."""

    def value(theta: np.ndarray) -> float:
        r = residuals(theta)
        terms = 0.5 * r * r if objective.name == "l2" else huber(objective.delta, r)
        return 1e6 * float(np.sum(terms)) if np.isfinite(r).all() else 1e12

    return min(minimize(value, start, method="BFGS").fun for start in starts) / 1e6


def lmfits(residuals: Callable[[np.ndarray], np.ndarray], objective: Objective, starts: np.ndarray) -> float:
    """The lowest objective that lmfit's Levenberg-Marquardt reaches, of residuals whose squares are twice the terms."""

    def rooted(parameters: lmfit.Parameters) -> np.ndarray:
        r = residuals(np.array([parameters[f"t{i}"].value for i in range(starts.shape[1])]))
        r = np.where(np.isfinite(r), r, 1e3)
        return r if objective.name == "l2" else np.sign(r) * np.sqrt(2 * huber(objective.delta, r))

    best = np.inf
    for start in starts:
        parameters = lmfit.Parameters()
        for i, value in enumerate(start):
            parameters.add(f"t{i}", value=float(value))
        found = lmfit.minimize(rooted, parameters, ftol=1e-13, xtol=1e-13, max_nfev=4000)
        best = min(best, 0.5 * float(np.sum(found.residual**2)))
    return best


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("law_name", LAW_NAMES)
@pytest.mark.parametrize("name", TABLES)
def test_no_other_solver_ends_lower(data_dir: Path, name: str, law_name: str, objective: str) -> None:
    law, asked = LAWS[law_name], OBJECTIVES[objective]
    rows = rows_of(data_dir, name, law)
    coordinates = Coordinates(law, {})
    ours = optimum(coordinates, rows, Settings(asked))
    best = ours.account["basins"][0]["objective"] if ours.account["basins"] else np.inf
    assert ours.certain
    residuals = residuals_of(coordinates, rows)
    r = residuals(ours.theta)
    reached = float(np.sum(asked.terms(r)))
    assert reached <= best * (1 + 1e-9)
    rng = np.random.default_rng(0)
    near = ours.theta + rng.normal(0, 0.1, (2, len(ours.theta)))
    starts = np.concatenate([near, coordinates.random(2, rng)])
    for theirs in (scipys(residuals, asked, starts), lmfits(residuals, asked, starts)):
        assert reached <= theirs + max(1e-9, 1e-6 * theirs)
