"""Laws of model size and data on tables of final losses."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from .case import Case


def epoch(folder: Path) -> pd.DataFrame:
    """The 240 points of the Chinchilla replication."""
    frame = pd.read_csv(folder / "epoch_chinchilla" / "points.csv").query("excluded_by_epoch == 0")
    return frame.rename(columns={"params_total": "params"})[["params", "tokens", "flops", "loss"]]


def kyo(folder: Path) -> pd.DataFrame:
    """The same figure, read by another reader."""
    frame = pd.read_csv(folder / "kyo_llm" / "points.csv").rename(columns={"params_total": "params"})
    return frame.assign(flops=6.0 * frame.params * frame.tokens)[["params", "tokens", "flops", "loss"]]


def olmo(folder: Path) -> pd.DataFrame:
    """Final losses of the ladder."""
    frame = pd.read_csv(folder / "olmo_ladder" / "final.csv")
    frame = frame.rename(columns={"params_nonembed_with_head": "params", "loss_c4_en": "loss"})
    return frame[["run_id", "params", "tokens", "flops", "loss", "size", "length"]]


CASES = [
    *(
        Case(
            f"epoch_chinchilla: C <= {cut:g}",
            law,
            epoch,
            f"flops <= {cut}",
            f"flops > {cut}",
            published=published,
            reference=reference,
        )
        for cut, law, published, reference in (
            (1e21, "chinchilla", "epoch-notebook", 0.0238),
            (3e20, "chinchilla", "epoch-notebook", 0.0230),
            (1e21, "chinchilla-tied", None, 0.0187),
            (3e20, "chinchilla-tied", None, 0.0183),
            (1e21, "kaplan-nd", None, 0.0476),
            (3e20, "kaplan-nd", None, 0.0453),
        )
    ),
    Case("kyo_llm: C <= 1e21", "chinchilla", kyo, "flops <= 1e21", "flops > 1e21", reference=0.0231),
    Case("olmo_ladder: 190M-760M, 1B", "chinchilla", olmo, "size != '1B'", "size == '1B'", reference=0.0201),
    Case(
        "olmo_ladder: up to 2xC, 5 and 10xC",
        "chinchilla",
        olmo,
        "length not in ('5xC', '10xC')",
        "length in ('5xC', '10xC')",
        reference=0.0563,
    ),
]
