"""Laws of vocabulary on the paper's checkpoints."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from .case import Case


def vocab(folder: Path) -> pd.DataFrame:
    """The 1,054 checkpoints of 2.18e17 FLOP and more that the paper fits its law to."""
    return pd.read_csv(folder / "vocab" / "points.csv").query("flops >= 2.18e17").drop(columns="params_total")


EXPLAIN = (
    "lower: the law with its exponents free or within the paper's limits, tied or not, on true tokens or with the slip "
    "of units, by Huber or squares, gives .09 to .136 here; scipy's optimum is ours, and none of these is the reference"
)
SPLITS = (
    ("C <= 1e20", "flops <= 1e20", "flops > 1e20", 0.1508),
    ("N_nv < 7e8", "params_nonvocab < 7e8", "params_nonvocab >= 7e8", 0.1475),
    ("V <= 32768", "vocab_size <= 32768", "vocab_size > 32768", 0.1413),
)

CASES = [
    Case(
        f"vocab: {name}",
        law,
        vocab,
        train,
        test,
        published=published,
        reference=reference,
        explain=explain,
    )
    for law, published, explains in (
        ("vocab", "refit-true-tokens", (EXPLAIN, EXPLAIN, "")),
        ("vocab-published", "tao2024", (EXPLAIN, EXPLAIN, "lower: with the slip of units, .1171")),
    )
    for (name, train, test, reference), explain in zip(SPLITS, explains, strict=True)
]
