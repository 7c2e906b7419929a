"""How often 90 % intervals of parameters hold the planted truth, by method, objective, size of table and kind of noise,
and the methods side by side on a public table; the tables of docs/intervals.md.

usage: python bench/intervals.py [--tables 300] [--profiles 40] [--out bench/results/intervals.json]
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scaling_lab.engine.coordinates import Coordinates
from scaling_lab.engine.fit import Settings, fit, law_rows, optimum
from scaling_lab.engine.likelihood import doubt
from scaling_lab.engine.solve import Objective
from scaling_lab.laws import LAWS
from scaling_lab.tables import read_table

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("SCALING_LAB_DATA", HERE.parent.parent / "shared" / "data"))
LAW = LAWS["chinchilla"]
TRUTH = {"E": 1.8, "A": 400.0, "B": 1500.0, "alpha": 0.34, "beta": 0.36}
LEVEL = 0.9


def tables(shape: tuple[int, int], uneven: bool, count: int) -> Iterator[pd.DataFrame]:
    """Tables of sizes times token counts; uneven noise is some eight times larger in the corners than in the middle."""
    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(1e7, 3e9, shape[0]), np.geomspace(1e9, 3e11, shape[1])))
    far = sum(np.abs(np.log(a) - np.log(a).mean()) / np.log(a).std() for a in (n, d))
    loss = LAW.predict({"params": n, "tokens": d}, **TRUTH)
    for seed in range(count):
        noise = 0.004 * np.random.default_rng([seed, *shape]).standard_normal(len(n))
        noise = noise * np.exp(0.8 * (far - 1.7)) if uneven else noise
        yield pd.DataFrame({"params": n, "tokens": d, "loss": loss * np.exp(noise)})


def covered(method: str, objective: str, shape: tuple[int, int], uneven: bool, count: int) -> dict[str, Any]:
    """The share of tables whose interval holds the truth, for each parameter."""
    coordinates, chosen = Coordinates(LAW, {}), Objective(objective)  # type: ignore[arg-type]
    settings = Settings(chosen, starts=400, polish=(12, 4), audit=0, bootstrap=0)
    hits, begun = [], time.perf_counter()
    for table in tables(shape, uneven, count):
        rows = law_rows(LAW, read_table(table))
        theta = optimum(coordinates, rows, settings).theta
        found = doubt(
            coordinates, rows, chosen, theta, method=method, count=0, resample="runs", seed=0, level=LEVEL
        ).estimates
        hits.append([_holds(found[name].ci, value) for name, value in TRUTH.items()])
    share = np.mean(hits, axis=0)
    return {
        "method": method, "objective": objective, "rows": shape[0] * shape[1], "uneven": uneven, "tables": count,
        **dict(zip(TRUTH, share.tolist(), strict=True)), "mean": float(share.mean()),
        "seconds": round((time.perf_counter() - begun) / count, 3),
    }  # fmt: skip


def _holds(ci: tuple[float, float] | None, value: float) -> bool:
    """No interval holds nothing: it counts as a miss."""
    return ci is not None and ci[0] <= value <= ci[1]


def side_by_side() -> list[dict[str, Any]]:
    """The four methods on the 240 points of the Chinchilla replication."""
    path = DATA / "epoch_chinchilla" / "points.csv"
    out = []
    for objective in ("huber", "l2"):
        for method in ("bootstrap", "covariance", "profile", "emcee"):
            begun = time.perf_counter()
            found = fit(
                "chinchilla",
                path,
                where="excluded_by_epoch == 0",
                objective=objective,
                intervals=method,  # type: ignore[arg-type]
            )
            row: dict[str, Any] = {"objective": objective, "method": method}
            row |= {f"se_{name}": found.params[name].se for name in ("alpha", "beta")}
            row |= {f"ci_{name}": found.params[name].ci for name in ("alpha", "beta")}
            out.append(row | {"seconds": round(time.perf_counter() - begun, 1)})
    return out


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--tables", type=int, default=300, help="for the covariance")
    ask.add_argument("--profiles", type=int, default=40, help="for the profile, which takes a hundred times as long")
    ask.add_argument("--out", type=Path, default=HERE / "results" / "intervals.json")
    given = ask.parse_args()
    rows = []
    for method, count in (("covariance", given.tables), ("profile", given.profiles)):
        for shape in ((6, 5), (4, 3)):
            for uneven in (False, True):
                for objective in ("huber", "l2"):
                    rows.append(covered(method, objective, shape, uneven, count))
                    print(rows[-1], flush=True)
    compared = side_by_side() if DATA.is_dir() else []
    for row in compared:
        print(row)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    record = {"level": LEVEL, "truth": TRUTH, "coverage": rows, "epoch_chinchilla": compared}
    given.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
