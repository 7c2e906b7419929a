"""Broken power laws on the addition task, which bends once."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from .case import Case


def addition(folder: Path) -> pd.DataFrame:
    """Loss of 4-digit addition against the examples trained on (also as tokens, for a law of those)."""
    points = pd.read_csv(folder / "bnsl_addition" / "points.csv").rename(columns={"train_examples": "examples"})
    return points.assign(tokens=points.examples)[["examples", "tokens", "loss"]]


CASES = [
    Case(
        "bnsl_addition: the first 14",
        law,
        addition,
        "examples <= 736",
        "examples > 736",
        objective="l2",
        published=published,
        published_rows="examples <= 736" if published else None,
        reference=reference,
    )
    for law, published, reference in (
        ("hestness", None, 0.7883),
        ("bnsl1@examples", "caballero2022-addition", 0.0061),
    )
]
