"""Laws of one size, of shapes and of over-training on tables of final losses."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pandas as pd

from .case import Case


def gadre(folder: Path, *, corpus: str, loss: str) -> pd.DataFrame:
    """The models of one corpus with one evaluation's loss."""
    models = pd.read_csv(folder / "gadre" / "models.csv")
    columns = {"params_total": "params", "token_multiplier": "tokens_per_param", loss: "loss"}
    models = models[models.train_data == corpus].rename(columns=columns)
    return models[["params", "tokens", "flops", "tokens_per_param", "loss"]]


def shapes(folder: Path) -> pd.DataFrame:
    """Each shape at its best warm-up, 20 tokens per parameter."""
    grid = pd.read_csv(folder / "gadre" / "shape_grid.csv").rename(columns={"params_total_at_20": "params"})
    best = grid.loc[grid.groupby(["width", "depth", "heads"]).loss.idxmin()]
    return best[["width", "depth", "params", "tokens", "loss"]].reset_index(drop=True)


SMALL = "params < 4.2e8"
# The paper's own five: four sizes at M = 20, and the smallest at M = 320.
FIVE = f"{SMALL} and tokens_per_param == 20 or params < 2e7 and tokens_per_param == 320"
SUGGESTED = f"{SMALL} and tokens_per_param <= 320"

CASES = [
    *(
        Case(
            f"gadre {corpus} {loss}: {name}",
            "overtrain",
            partial(gadre, corpus=corpus, loss=loss),
            train,
            f"not ({SUGGESTED})",
            published=published,
            published_rows=FIVE,
            reference=reference,
        )
        for corpus, loss, name, train, published, reference in (
            ("c4_original", "loss_c4_val", "the paper's 5 runs", FIVE, "gadre2024-c4", 0.0392),
            ("c4_original", "loss_c4_val", "N <= 4.2e8, M <= 320", SUGGESTED, None, 0.0752),
            ("c4_original", "loss_openlm", "N <= 4.2e8, M <= 320", SUGGESTED, None, 0.0750),
            ("rpj", "loss_c4_val", "the paper's 5 runs", FIVE, "gadre2024-redpajama", 0.0264),
            ("rpj", "loss_c4_val", "N <= 4.2e8, M <= 320", SUGGESTED, None, 0.0422),
            ("rpj", "loss_openlm", "N <= 4.2e8, M <= 320", SUGGESTED, None, 0.0443),
        )
    ),
    *(
        Case(
            "gadre shape_grid: N <= 1.5e8, best warm-up",
            law,
            shapes,
            "params <= 1.5e8",
            "params > 1.5e8",
            reference=reference,
        )
        for law, reference in (("hestness-params", 0.0331), ("width-depth", None))
    ),
]
