"""The public tables' splits into small runs to fit and large ones to predict, as their manifests suggest them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from scaling_lab.laws import LAWS


@dataclass(frozen=True)
class Split:
    """One table with a column `held_out` of 0 and 1; several tables may make one `row` of the comparison.

    `reference` is the law of the table's own paper, which a careful plain fit of is what a prediction should beat;
    `objective` and `fix` are the paper's.
    """

    dataset: str
    row: str
    part: str
    reference: str
    table: pd.DataFrame
    objective: Literal["huber", "l2"] = "huber"
    fix: Mapping[str, float] = field(default_factory=dict)


def splits(data: Path) -> Iterator[Split]:
    """Every split of a law of loss, from the tables under `data`."""
    yield from _epoch(data)
    yield from _gadre(data)
    yield from _olmo(data)
    yield from _porian(data)
    yield _steplaw(data)
    yield from _addition(data)
    yield from _repetition(data)
    yield from _routed(data)
    yield from _vocabulary(data)


def unseen(data: Path) -> Iterator[Split]:
    """Other loss columns of two of the tables, on which nothing was tuned: the same runs, other texts."""
    models = pd.read_csv(data / "gadre/models.csv").rename(columns={"params_total": "params"})
    losses = [c for c in models.columns if c.startswith("loss_") and not c.endswith("95")]
    for corpus in ("c4_original", "rpj"):
        part = models[models.train_data == corpus]
        large = (part.params > 4.2e8) | (part.token_multiplier > 320)
        for target in losses:
            if target not in ("loss_c4_val", "loss_openlm"):
                table = part.rename(columns={target: "loss"})
                yield _made("gadre", "N <= 4.2e8, M <= 320", "chinchilla-tied", table, large, f"{corpus}, {target}")
    final = pd.read_csv(data / "olmo_ladder/final.csv")
    for target in (c for c in final.columns if c.startswith("loss_") and c != "loss_c4_en"):
        table = pd.DataFrame(
            {"params": final.params_nonembed_with_head, "tokens": final.tokens, "loss": final[target]}, dtype=float
        )
        for row, large in (
            ("190M-760M to 1B", final["size"] == "1B"),
            ("<= 2xC to 5, 10xC", final.length.isin(["5xC", "10xC"])),
        ):
            yield _made("olmo_ladder", row, "chinchilla", table, large, target)


def _made(dataset: str, row: str, reference: str, table: pd.DataFrame, held_out: pd.Series, part: str = "") -> Split:
    table = table[["params", "tokens", "loss", *(["flops"] if "flops" in table else [])]].astype(float)
    table = table.assign(held_out=np.asarray(held_out, dtype=float)).reset_index(drop=True)
    return Split(dataset, row, part, reference, table)


def _epoch(data: Path) -> Iterator[Split]:
    points = pd.read_csv(data / "epoch_chinchilla/points.csv").query("excluded_by_epoch == 0")
    points = points.rename(columns={"params_total": "params"})
    for above in (1e21, 3e20):
        yield _made("epoch_chinchilla", f"C <= {above:.0e}", "chinchilla", points, points.flops > above)
    kyo = pd.read_csv(data / "kyo_llm/points.csv").rename(columns={"params_total": "params"})
    yield _made("kyo_llm", "C <= 1e+21", "chinchilla", kyo, kyo.flops > 1e21)


def _gadre(data: Path) -> Iterator[Split]:
    """All runs of the four small sizes, and the paper's own five of them, against the larger and longer ones."""
    models = pd.read_csv(data / "gadre/models.csv").rename(columns={"params_total": "params"})
    for corpus in ("c4_original", "rpj"):
        part = models[models.train_data == corpus]
        large = (part.params > 4.2e8) | (part.token_multiplier > 320)
        small = part.params < 4.2e8
        five = ((part.token_multiplier == 20) & small) | ((part.token_multiplier == 320) & (part.params < 2e7))
        for target in ("loss_c4_val", "loss_openlm"):
            table = part.drop(columns="loss", errors="ignore").rename(columns={target: "loss"})
            if target == "loss_c4_val":
                kept = five | large
                row = f"{corpus}, {target}, the paper's 5 runs"
                yield _made("gadre", row, "chinchilla-tied", table[kept], large[kept])
            yield _made("gadre", f"{corpus}, {target}, N <= 4.2e8, M <= 320", "chinchilla-tied", table, large)


def _olmo(data: Path) -> Iterator[Split]:
    final = pd.read_csv(data / "olmo_ladder/final.csv")
    table = pd.DataFrame(
        {"params": final.params_nonembed_with_head, "tokens": final.tokens, "loss": final.loss_c4_en}, dtype=float
    )
    yield _made("olmo_ladder", "190M-760M to 1B", "chinchilla", table, final["size"] == "1B")
    yield _made("olmo_ladder", "<= 2xC to 5, 10xC", "chinchilla", table, final.length.isin(["5xC", "10xC"]))


def _porian(data: Path) -> Iterator[Split]:
    """Ten isoFLOP sets (five recipes, three ways of counting parameters), each a part of two rows."""
    for every in (False, True):
        row = "C <= 1.6e18, all points" if every else "C <= 1.6e18, D/N >= 2"
        for count in ("nonembed", "nonembed_plus_head", "effective_attention"):
            points = pd.read_csv(data / f"porian_rw/isoflop_{count}.csv").rename(columns={f"params_{count}": "params"})
            kept = points if every else points[points.tokens >= 2 * points.params]
            for config, part in kept.groupby("config_id"):
                yield _made("porian_rw", row, "chinchilla", part, part.flops > 1.7e18, f"{config}, {count}")


def _steplaw(data: Path) -> Split:
    points = pd.read_csv(data / "steplaw_dense/points.csv").rename(columns={"params_nonembed": "params"})
    grids = points.groupby(["params", "tokens"], as_index=False).loss.min()
    large = (grids.params > 5.4e8) | (grids.tokens > 3e10)
    return _made("steplaw_dense", "grid minima, N <= 5.4e8, D <= 3e10", "chinchilla", grids, large)


def _addition(data: Path) -> Iterator[Split]:
    """One table against two laws: a power law with a floor, and the paper's own, which bends once."""
    points = pd.read_csv(data / "bnsl_addition/points.csv").rename(columns={"train_examples": "examples"})
    table = points[["examples", "loss"]].assign(held_out=(points.upstream_role == "predict").astype(float))
    for law in ("hestness@examples", "bnsl1@examples"):
        yield Split("bnsl_addition", f"first 14, against {law.partition('@')[0]}", "", law, table, objective="l2")


def _repetition(data: Path) -> Iterator[Split]:
    """The 182 runs of the paper's fit; the reference holds the base that the paper fitted to its single-pass runs."""
    runs = pd.read_csv(data / "datablations_c4/runs.csv").query("in_182_fit == 1")
    runs = runs.rename(columns={"params_total": "params"}).reset_index(drop=True)
    columns = ["params", "tokens", "unique_tokens", "flops", "loss"]
    published = LAWS["data-constrained-tied"].published["muennighoff2023"].values
    base = {name: published[name] for name in ("E", "A", "B", "alpha")}
    for row, large in (("C <= 3e20", runs.flops > 3e20), ("epochs <= 40", runs.epochs > 40)):
        table = runs[columns].astype(float).assign(held_out=large.astype(float))
        yield Split("datablations_c4", row, "", "data-constrained-tied", table, fix=base)


def _routed(data: Path) -> Iterator[Split]:
    """Dense and S-Base runs of one recipe and one budget; every run has the same tokens."""
    final = pd.read_csv(data / "routed_moe/final.csv")
    final = final.query("k == 1 and routing_frequency == 0.5 and flop_increase == 1 and seed == 42")
    final = final.dropna(subset="loss_validation").reset_index(drop=True)
    table = pd.DataFrame(
        {"params_active": final.params_dense, "experts": final.experts, "loss": final.loss_validation}, dtype=float
    )
    large = final.model_size_label.isin(["370M", "1.3B"])
    for row, held_out in (("S-Base, E <= 64", final.experts > 64), ("S-Base, N <= 130M", large)):
        yield Split("routed_moe", row, "", "routed", table.assign(held_out=held_out.astype(float)), objective="l2")


def _vocabulary(data: Path) -> Iterator[Split]:
    """Checkpoints of 60 runs; those of the least compute are left out, as the paper does.

    A cut of compute goes through the runs. There each checkpoint counts as a run of its own, as in the figures that
    others made: to predict a run's later checkpoints from its earlier ones and from other runs.
    """
    points = pd.read_csv(data / "vocab/points.csv").query("flops >= 2.18e17").reset_index(drop=True)
    columns = ["run_id", "params_nonvocab", "params_vocab", "tokens", "flops", "loss_unigram_norm"]
    for row, large in (
        ("C <= 1e20", points.flops > 1e20),
        ("N_nv < 7e8", points.params_nonvocab > 7e8),
        ("V <= 32768", points.vocab_size > 32768),
    ):
        table = points[columns].assign(held_out=large.astype(float))
        yield Split("vocab", row, "", "vocab", table.drop(columns="run_id") if row.startswith("C") else table)
