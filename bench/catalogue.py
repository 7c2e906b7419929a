"""Every law on the public tables it was published with: our optimum, the published one, scipy's, the extrapolation.

For each case of bench/cases: the objective of our fit of all its rows, of the published coefficients on the same rows
and of the best of 100 scipy starts (L-BFGS-B on the same objective from random starts of the law's start ranges, with
numeric gradients); the seconds that a fit with 200 bootstrap refits takes, one BLAS thread; and the error on the held
out side of the case's split, with the coverage of its 90 % intervals.

usage: python bench/catalogue.py [--only ROW] [--starts 100]
Reads the tables from $SCALING_LAB_DATA, else ../shared/data; writes bench/results/catalogue.json, from which
bench/accuracy.py makes its part of docs/accuracy.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import textwrap
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402  (the variables above must be set first)
import pandas as pd  # noqa: E402
from scipy.optimize import minimize  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from bench.cases import Case, cases  # noqa: E402
from scaling_lab.engine.coordinates import Coordinates  # noqa: E402
from scaling_lab.engine.fit import Settings, fit_rows, law_of, law_rows  # noqa: E402
from scaling_lab.engine.metrics import metrics  # noqa: E402
from scaling_lab.engine.predict import interval  # noqa: E402
from scaling_lab.engine.solve import Objective  # noqa: E402
from scaling_lab.errors import LabError  # noqa: E402
from scaling_lab.laws import get_law  # noqa: E402
from scaling_lab.tables import Rows, read_table  # noqa: E402

DATA = Path(os.environ.get("SCALING_LAB_DATA", HERE.parent.parent / "shared" / "data"))
RESULT = HERE / "results" / "catalogue.json"
REFITS, LEVEL = 200, 0.9
# Within this share our objective is no higher than another's: what is left is the last digits of two sums.
SAME = 1e-6
# Beyond so many parameters scipy is given the gradient.
MANY = 9


def chosen(frame: pd.DataFrame, which: Any) -> np.ndarray:
    """Which rows (n,) of a table a query or a function says."""
    if callable(which):
        return np.asarray(which(frame), dtype=bool)
    return frame.index.isin(frame.query(which).index)


def rows_of(case: Case, frame: pd.DataFrame) -> Rows:
    """The rows that the case's law can use."""
    table = read_table(frame)
    return law_rows(law_of(case.law, table), table)


def objective_at(rows: Rows, law: Any, objective: Objective, params: dict[str, np.ndarray]) -> float:
    """The sum over rows at parameters by name."""
    with np.errstate(all="ignore"):
        predicted = np.asarray(law.predict(dict(rows.x), **params))
        residual = objective.residual(np.broadcast_to(predicted, (1, rows.used)), objective.scale(rows.y))
        value = float((objective.terms(residual) @ rows.weights)[0])
    return value if np.isfinite(value) else np.inf


def best_of_scipy(coordinates: Coordinates, rows: Rows, objective: Objective, starts: int) -> float:
    """The least objective that scipy reaches from random starts."""
    theta = coordinates.random(starts, np.random.default_rng(0))
    kernel, target = coordinates.kernel(rows.x), objective.scale(rows.y)
    # Differences of a law of shares cost an evaluation for each of its parameters: there the gradient is ours.
    exact = theta.shape[1] > MANY

    def slope(t: np.ndarray, scale: float) -> np.ndarray:
        found = kernel.derivatives(t[None, :], target, rows.weights, objective, objective.width, None)[1][0]
        return scale * np.nan_to_num(found)

    def at(t: np.ndarray) -> float:
        with np.errstate(over="ignore"):
            return min(objective_at(rows, coordinates.law, objective, coordinates.to_params(t[None, :])), 1e12)

    best = np.inf
    for start in theta:
        # L-BFGS-B stops on differences of 1e-9 of the value, or of one: sums of 1e-3 must be brought to size.
        first = at(start)
        scale = 1.0 / first if 0 < first < 1e12 else 1.0
        found = minimize(
            lambda t, s=scale: s * at(t),
            start,
            jac=(lambda t, s=scale: slope(t, s)) if exact else None,
            method="L-BFGS-B",
            options={"maxiter": 500, "ftol": 1e-14},
        )
        best = min(best, at(found.x))
    return best


def measured(number: int, starts: int) -> dict[str, Any]:
    """All figures of one case, by its number: some cases can't be sent to another process.

    Without `starts` scipy is left out: another case has the same law on the same rows.
    """
    case = cases()[number]
    frame = case.table(DATA).reset_index(drop=True)
    train, test = chosen(frame, case.train), chosen(frame, case.test)
    rows = rows_of(case, frame[train | test])
    law = law_of(case.law, read_table(frame))
    objective = Objective(case.objective, case.delta, law.residual)
    settings = Settings(objective=objective, bootstrap=REFITS, fix=case.fix)
    began = time.process_time()
    found = fit_rows(law, rows, settings)
    seconds = time.process_time() - began
    out: dict[str, Any] = {
        "row": case.row,
        "law": law.name,
        "rows": rows.used,
        "objective": case.objective,
        "ours": found.value,
        "seconds": round(seconds, 3),
        "published": None,
        "published_ours": None,
        "params": {name: p.value for name, p in found.params.items()},
    }
    coordinates = Coordinates.of(law, case.fix, rows.x)
    # A law with priors of its own is no minimum of the plain sum: scipy's would be another thing.
    out["scipy"] = best_of_scipy(coordinates, rows, objective, starts) if starts and not law.needs_priors else None
    if case.published is not None:
        some = rows if case.published_rows is None else rows_of(case, frame.query(case.published_rows))
        values = {name: np.array([[v]]) for name, v in get_law(case.law).published[case.published].values.items()}
        out["published"] = objective_at(some, law, objective, values)
        out["published_ours"] = found.value if some is rows else fit_rows(law, some, settings).value
    out |= split_figures(case, frame[train], frame[test], settings)
    return out


def same(one: Case, other: Case) -> bool:
    """Whether two cases are of one law on one table, cut at different places."""
    mine, theirs = ((c.law, c.row.partition(":")[0], c.objective, c.delta, dict(c.fix)) for c in (one, other))
    return mine == theirs


def split_figures(case: Case, below: pd.DataFrame, above: pd.DataFrame, settings: Settings) -> dict[str, Any]:
    """Errors on the held-out side of a fit to the other one, and the coverage and width of its intervals."""
    train, test = rows_of(case, below), rows_of(case, above)
    law = law_of(case.law, read_table(below))
    try:
        fit = fit_rows(law, train, settings)
    except LabError as fault:
        return {"train": train.used, "test": test.used, "fault": str(fault)}
    predicted = fit.at(test.x)
    low, high = interval(fit, test.x, LEVEL)
    error = metrics(predicted, test.y)
    return {
        "train": train.used,
        "test": test.used,
        "mae": error.mae,
        "rmse": error.rmse,
        "r2": error.r2,
        "coverage": float(np.mean((low <= test.y) & (test.y <= high))),
        "width": float(np.mean(high - low)),
        "reference": case.reference,
        "explain": case.explain,
    }


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.7g}"


LEAD = (
    "Made by `python bench/catalogue.py`. *Objective*: the sum over all rows of the case that our fit ends at, that "
    "the published coefficients have on the same rows (on those they were fitted to, with ours there in brackets), "
    "and the best of 100 scipy starts. *Seconds*: CPU time of the whole fit with 200 bootstrap refits, one "
    "thread. The right half is the split: fitted below, scored above; *reference* is the error that "
    "careful plain fits of the same law have on it."
)
HEADS = (
    *("table, split", "law", "rows", "objective", "published", "best of scipy", "seconds"),
    *("train / test", "MAE", "reference", "90 % covers"),
)


def section(found: list[dict[str, Any]]) -> str:
    """The part of docs/accuracy.md about the laws one by one."""
    lines = [
        "## Every law on the table it was published with",
        "",
        *textwrap.wrap(LEAD, 118),
        "",
        f"| {' | '.join(HEADS)} |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    notes = []
    for f in found:
        if f.get("explain"):
            notes.append(f"- {f['row']}: {f['explain']}")
        published = _text(f["published"]) + (
            f" ({_text(f['published_ours'])})"
            if f["published"] is not None and f["published_ours"] != f["ours"]
            else ""
        )
        errors = (
            f"{f['train']} / {f['test']} | {f['mae']:.4f} | {'' if f['reference'] is None else f['reference']} | "
            f"{f['coverage']:.0%}"
            if "mae" in f
            else f"{f['train']} / {f['test']} | {f['fault']} | |"
        )
        lines.append(
            f"| {f['row']} | `{f['law'].partition('@')[0]}` | {f['rows']:,} | {_text(f['ours'])} | {published} | "
            f"{_text(f['scipy'])} | {f['seconds']:.2f} | {errors} |"
        )
    times = sorted(f["seconds"] for f in found)
    higher = [f for f in found if f["scipy"] is not None and f["ours"] > f["scipy"] * (1 + SAME)]
    worse = [f for f in found if f["published"] is not None and f["published_ours"] > f["published"] * (1 + SAME)]
    lines += [
        "",
        f"Of {len(found)} cases our objective is above the best of scipy in {len(higher)}, above the published one in "
        f"{len(worse)}. A fit with",
        f"200 refits takes {median(times):.2f} s in the median and {times[-1]:.1f} s at most.",
    ]
    return "\n".join([*lines, *(["", *dict.fromkeys(notes)] if notes else []), ""])


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--only", default="", help="cases whose row or law has this in it; nothing is written")
    ask.add_argument("--starts", type=int, default=100)
    asked = ask.parse_args()
    every = [i for i, case in enumerate(cases()) if asked.only in case.row or asked.only in case.law]
    found: list[dict[str, Any]] = []
    first = [min(other for other in every if same(cases()[other], cases()[i])) for i in every]
    starts = [asked.starts if i == own else 0 for i, own in zip(every, first, strict=True)]
    with ProcessPoolExecutor(2) as pool:
        for one in pool.map(measured, every, starts):
            own = found[every.index(first[len(found)])] if first[len(found)] != every[len(found)] else one
            if own["ours"] == one["ours"]:
                one["scipy"] = own["scipy"]
            found.append(one)
            print(f"{len(found)}/{len(every)} {one['row']}: {one['law']} {one['seconds']:.2f} s", flush=True)
    if asked.only:
        print(section(found))
        return
    RESULT.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{RESULT} written: now python bench/accuracy.py")


if __name__ == "__main__":
    main()
