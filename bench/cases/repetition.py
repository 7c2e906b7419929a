"""Laws of repeated data on the runs that they were published with."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from .case import Case

# The published base, fitted to single-pass runs: its unrounded logarithms (huggingface/datablations).
BASE = {
    "E": math.exp(0.6254804),
    "A": math.exp(6.255414),
    "B": math.exp(7.3049974),
    "alpha": 0.3526596,
    "beta": 0.3526596,
}


def c4(folder: Path) -> pd.DataFrame:
    """The 182 runs of the published fit."""
    frame = pd.read_csv(folder / "datablations_c4" / "runs.csv").query("in_182_fit == 1")
    frame = frame.rename(columns={"params_total": "params"})
    return frame[["run_id", "params", "tokens", "unique_tokens", "epochs", "flops", "loss"]]


SPLITS = (
    ("C <= 3e20", "flops <= 3e20", "flops > 3e20", 0.2355),
    ("epochs <= 40", "epochs <= 40", "epochs > 40", 0.3244),
)

FREE = {
    "C <= 3e20": "all parameters are free here, where the reference holds the published base: fitted to the small "
    "runs of many sizes and passes, they come nearer to the large ones",
    "epochs <= 40": "all parameters are free here, where the reference holds the published base: up to 40 passes the "
    "runs show no wear that the other parameters can't stand for (R_D runs to infinity), so that 41 and more are "
    "taken for fresh data",
}

CASES = [
    Case(
        f"datablations_c4: {name}{', published base' if fix else ''}",
        law,
        c4,
        train,
        test,
        fix=fix,
        published="muennighoff2023",
        reference=mae,
        explain="" if fix else FREE[name],
    )
    for law, fix in (("data-constrained", BASE), ("data-constrained", {}), ("data-constrained-tied", {}))
    for name, train, test, mae in SPLITS
]
