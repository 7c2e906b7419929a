"""How the time and memory of a fit grow with points, resamples and parameters.

Each figure is a process of its own, so that its peak memory is its own; every fit has one BLAS thread, 2,304 starts
and an audit of 100 random ones. Planted Chinchilla tables with 1 % noise; kaplan-nd, which is no sum of powers and does
not fit them, goes through the slower general kernel.

usage: python bench/growth.py [--quick] [--out bench/results/growth.json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ONE = """
import json, resource, sys, time
import numpy as np, pandas as pd
from scaling_lab.engine.fit import fit
law, points, resamples = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng = np.random.default_rng(0)
n, d = 10 ** rng.uniform(7, 10, points), 10 ** rng.uniform(9, 12, points)
loss = (1.8 + 400 * n**-0.34 + 1500 * d**-0.36) * np.exp(0.01 * rng.standard_normal(points))
table = pd.DataFrame({"params": n, "tokens": d, "loss": loss})
begun, spent = time.perf_counter(), time.process_time()
found = fit(law, table, bootstrap=resamples)
print(json.dumps({
    "seconds": round(time.perf_counter() - begun, 2),
    "cpu_seconds": round(time.process_time() - spent, 2),
    "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    "converged": found.converged,
    "unsettled": found.bootstrap["failed"] + found.bootstrap["unconverged"],
}))
"""
POINTS = (100, 1_000, 10_000, 100_000, 1_000_000)
RESAMPLES = (100, 1_000, 10_000, 100_000)
# Laws by the number of their parameters.
LAWS = {"hestness-flops": 3, "chinchilla-tied": 4, "kaplan-nd": 4, "chinchilla": 5}


def measure(law: str, points: int, resamples: int) -> dict[str, object]:
    """Seconds and peak memory of one fit in a process of its own."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, "-c", ONE, law, str(points), str(resamples)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **threads},
    )
    return {"law": law, "points": points, "resamples": resamples, **json.loads(done.stdout)}


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--quick", action="store_true", help="leave out what takes minutes")
    ask.add_argument("--out", type=Path, default=HERE / "results" / "growth.json")
    asked = ask.parse_args()
    points = [n for n in POINTS if n <= 10_000 or not asked.quick]
    resamples = [n for n in RESAMPLES if n <= 10_000 or not asked.quick]
    tables = {
        "points": [measure("chinchilla", n, 20) for n in points],
        "resamples": [measure("chinchilla", 240, n) for n in resamples],
        "parameters": [measure(law, 240, 1_000) for law in LAWS],
    }
    for what, rows in tables.items():
        print(f"\n{what}\n\n| law | points | resamples | s | CPU s | peak MB |\n| --- | --- | --- | --- | --- | --- |")
        for row in rows:
            cells = (row[key] for key in ("law", "points", "resamples", "seconds", "cpu_seconds", "peak_mb"))
            print(f"| {' | '.join(f'{c:,}' if isinstance(c, int) else str(c) for c in cells)} |")
    result = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "python": platform.python_version(), **tables}
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
