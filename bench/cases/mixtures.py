"""Laws of mixtures on the public tables of mixtures."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pandas as pd

from .case import Case

WEIGHTS = [f"w{i}" for i in range(1, 8)]


def regmix(target: str, folder: Path) -> pd.DataFrame:
    """The 1M runs, shares divided by their sums (three decimals leave them at .996 to 1.003)."""
    frame = pd.read_csv(folder / "regmix" / "runs.csv").query("model == '1M'").reset_index(drop=True)
    frame["loss_mean"] = frame[[c for c in frame if c.startswith("loss_")]].mean(axis=1)
    shares = [c for c in frame if c.startswith("w_")]
    frame[shares] = frame[shares].div(frame[shares].sum(axis=1), axis=0)
    return frame[[*shares, "upstream_split"]].assign(loss=frame[target])


def redpajama(target: str, model: str, folder: Path) -> pd.DataFrame:
    """The twenty mixtures of one size at step 30,000, each in one of four folds."""
    frame = pd.read_csv(folder / "mixinglaws" / "redpajama.csv")
    number = frame.run_id.str.split("_").str[1].astype(int)
    frame = frame[(number < 900) & (frame.step == 30000) & (frame.model == model)]
    frame = frame.sort_values("mixture").reset_index(drop=True)
    shares = frame[WEIGHTS].rename(columns={w: f"w_{w[1:]}" for w in WEIGHTS})
    return shares.assign(loss=frame[target], fold=frame.index % 4)


def two(folder: Path) -> pd.DataFrame:
    """Two-domain mixtures of two sizes as rows of the D-CPT law: the share of GitHub and the loss there."""
    frame = pd.read_csv(folder / "mixinglaws" / "mix2.csv")
    names = {"params_nonembed": "params", "w1": "ratio", "loss_Github": "loss"}
    return frame.rename(columns=names)[["run_id", "params", "tokens", "ratio", "step", "loss"]]


CASES = [
    *(
        Case(f"regmix {target}: 1M 512 -> 256", law, partial(regmix, target), *splits)
        for target in ("loss_mean", "loss_pile_cc")
        for law in ("mixing-exp", "mixing-linear", "mixing-quadratic")
        for splits in [("upstream_split == 'train'", "upstream_split == 'test'")]
    ),
    *(
        Case(f"mixinglaws {model} {target}: 15 -> 5 mixtures", law, partial(redpajama, target, model), *splits)
        for model in ("160M", "410M")
        for target in ("loss_Github", "loss_Pile_CC")
        for law in ("mixing-exp", "mixing-linear", "mixing-quadratic")
        for splits in [("fold != 0", "fold == 0")]
    ),
    # Two sizes can't tell alpha from A: it is held at the exponent that fits of this family have.
    Case(
        "mixinglaws mix2 GitHub: steps <= 20000 -> 24000",
        "dcpt",
        two,
        "step <= 20000",
        "step >= 24000",
        fix={"alpha": 0.34},
    ),
]
