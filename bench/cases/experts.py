"""Laws of mixture-of-experts models on the public routed runs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from .case import Case


def routed(folder: Path) -> pd.DataFrame:
    """The main grid of dense and S-BASE runs: one expert for each token, one seed, one token budget."""
    final = pd.read_csv(folder / "routed_moe" / "final.csv")
    main = final.query("k == 1 and routing_frequency == 0.5 and flop_increase == 1 and seed == 42")
    main = main.rename(columns={"params_dense": "params_active", "loss_validation": "loss"})
    return main[["params_active", "experts", "loss"]].reset_index(drop=True)


CASES = [
    Case(
        f"routed_moe S-Base: {name}",
        law,
        routed,
        train,
        f"not ({train})",
        objective="l2",
        published="clark2022-s-base" if law == "routed" else None,
        reference=reference,
    )
    for name, train, law, reference in (
        ("E <= 64", "experts <= 64", "routed", 0.0225),
        ("N <= 130M", "params_active <= 1.4e8", "routed", 0.0655),
        ("E <= 64", "experts <= 64", "routed-floor", None),
        ("N <= 130M", "params_active <= 1.4e8", "routed-floor", None),
    )
]
