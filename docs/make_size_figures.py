"""Draws the figures of sizes.md, experts.md and broken.md from the tables of examples/, which are no measurements.

usage: python docs/make_size_figures.py
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scaling_lab import fit, predict
from scaling_lab.show.plot import draw_loss, save

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
# Figure, law, table, objective, points to predict.
FIGURES = (
    ("overtrained", "overtrain", "huber", [{"params": 7e9, "tokens": 1.4e11}, {"params": 1.4e9, "tokens": 9e11}]),
    ("experts", "routed-floor", "huber", [{"params_active": 7e9, "experts": 64.0}]),
    ("bend", "bnsl1@examples", "l2", [{"examples": 1e5}]),
)


def main() -> None:
    """Writes docs/figures/NAME.png for each of them."""
    for name, law, objective, points in FIGURES:
        found = fit(law, pd.read_csv(EXAMPLES / f"{name}.csv"), objective=objective, bootstrap=200)  # type: ignore[arg-type]
        save(draw_loss(found, predict(found, points)), HERE / "figures" / f"{name}.png")


if __name__ == "__main__":
    main()
