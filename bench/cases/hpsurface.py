"""The loss over size, tokens, learning rate and batch on Step Law's released grids."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from .case import Case

# Runs this far above the best of their size and tokens have diverged, or nearly so; on both sides of the split.
DIVERGED = 0.25


def grids(folder: Path) -> pd.DataFrame:
    """The runs of the 17 grids but those far above their grid's best."""
    points = pd.read_csv(folder / "steplaw_dense" / "points.csv")
    points["excess"] = points.loss / points.groupby(["params_nonembed", "tokens"]).loss.transform("min") - 1
    kept = points[points.excess <= DIVERGED].rename(columns={"params_nonembed": "params"})
    return kept[["params", "tokens", "lr_max", "batch_tokens", "loss"]].reset_index(drop=True)


CASES = [
    Case(
        "steplaw_dense: N <= 430M, all cells",
        "hp-surface",
        grids,
        "params <= 4.3e8",
        "params > 4.3e8",
        delta=3e-3,
        published="step-law-grids",
        published_rows="params <= 4.3e8",
        reference=0.0172,
    )
]
