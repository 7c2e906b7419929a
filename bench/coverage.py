"""How many held-out large runs the 90 % intervals hold, on the public tables; prints the table of docs/intervals.md.

usage: python bench/coverage.py [--out bench/results/coverage.json]    ($SCALING_LAB_DATA, else ../shared/data)
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from scaling_lab.engine.backtest import Scored, backtest
from scaling_lab.engine.fit import Settings
from scaling_lab.engine.metrics import coverage

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("SCALING_LAB_DATA", HERE.parent.parent / "shared" / "data"))
LAWS = ("chinchilla", "chinchilla-tied")


def splits() -> Iterator[tuple[str, str, pd.DataFrame]]:
    """(family, name, table) with a column `held_out` of 0 and 1."""
    epoch = pd.read_csv(DATA / "epoch_chinchilla/points.csv").query("excluded_by_epoch == 0")
    epoch = epoch.rename(columns={"params_total": "params"})[["params", "tokens", "flops", "loss"]]
    for above in (1e21, 3e20):
        yield "epoch_chinchilla", f"C <= {above:g}", epoch.assign(held_out=(epoch.flops > above) * 1.0)
    gadre = pd.read_csv(DATA / "gadre/models.csv")
    for data in ("c4_original", "rpj"):
        part = gadre[(gadre.train_data == data) & gadre.loss_c4_val.notna()]
        held_out = ((part.params_total > 4.2e8) | (part.token_multiplier > 320)) * 1.0
        table = pd.DataFrame({"params": part.params_total, "tokens": part.tokens, "loss": part.loss_c4_val})
        yield "gadre", f"{data}, N <= 4.2e8, M <= 320", table.assign(held_out=held_out)
    olmo = pd.read_csv(DATA / "olmo_ladder/final.csv")
    table = pd.DataFrame({"params": olmo.params_nonembed_with_head, "tokens": olmo.tokens, "loss": olmo.loss_c4_en})
    yield "olmo_ladder", "190M-760M to 1B", table.assign(held_out=(olmo["size"] == "1B") * 1.0)
    yield "olmo_ladder", "<= 2xC to 5, 10xC", table.assign(held_out=olmo.length.isin(["5xC", "10xC"]) * 1.0)
    for count in ("nonembed", "nonembed_plus_head", "effective_attention"):
        porian = pd.read_csv(DATA / f"porian_rw/isoflop_{count}.csv").rename(columns={f"params_{count}": "params"})
        porian = porian[porian.tokens >= 2 * porian.params]
        for config, part in porian.groupby("config_id"):
            table = part[["params", "tokens", "flops", "loss"]]
            yield "porian_rw", f"{config}, {count}", table.assign(held_out=(table.flops > 1.7e18) * 1.0)
    grids = (
        pd.read_csv(DATA / "steplaw_dense/points.csv").groupby(["params_nonembed", "tokens"], as_index=False).loss.min()
    )
    grids = grids.rename(columns={"params_nonembed": "params"})
    small = (grids.params <= 5.4e8) & (grids.tokens <= 3e10)
    yield "steplaw_dense", "grid minima, N <= 5.4e8, D <= 3e10", grids.assign(held_out=(~small) * 1.0)


def parameters_alone(scored: Scored) -> float:
    """The share of held-out runs inside the usual interval: bootstrap quantiles of the law and nothing else."""
    inputs = {name: scored.x[name] for name in scored.fit.entry.inputs}
    low, high = np.quantile(scored.fit.at_draws(inputs), [0.05, 0.95], axis=0)
    return coverage(scored.measured, low, high)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--out", type=Path, default=HERE / "results" / "coverage.json")
    out = ask.parse_args().out
    rows = []
    for family, name, table in splits():
        found = backtest(table, LAWS, by="held_out", test_above=0.5, settings=Settings(bootstrap=300))
        for scored in found.laws:
            alone = parameters_alone(scored)
            rows.append({"family": family, "split": name, **scored.to_dict(), "coverage_parameters_alone": alone})
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(rows, indent=1) + "\n")
    frame = pd.DataFrame(rows)
    print(f"| table | splits | law | MAE | covered | width % | parameters alone |\n|{' --- |' * 7}")
    for (family, law), part in frame.groupby(["family", "law"]):
        covered = np.average(part.coverage, weights=part.test)
        width = 100 * part.width.mean()
        alone = np.average(part.coverage_parameters_alone, weights=part.test)
        print(f"| {family} | {len(part)} | {law} | {part.mae.mean():.4f} | {covered:.0%} | {width:.1f} | {alone:.0%} |")
    pooled = np.average(frame.coverage, weights=frame.test)
    families = frame.groupby("family").apply(lambda g: np.average(g.coverage, weights=g.test))
    mean = families.mean()
    print(f"\nPooled over {frame.test.sum()} held-out rows: {pooled:.0%}; mean of {len(families)} tables: {mean:.0%}.")


if __name__ == "__main__":
    main()
