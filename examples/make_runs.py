"""Writes runs.csv: 44 made-up runs that follow a Chinchilla law with 0.4 % of run-to-run noise.

They stand in for your own table in the README, and are no measurement: the law behind them is the line below.
"""

import csv
import itertools
import math
import random
import sys
from pathlib import Path

E, A, B, ALPHA, BETA, NOISE = 1.75, 420.0, 1600.0, 0.34, 0.36, 0.004


def main(path: Path) -> None:
    """Writes the table to `path`."""
    rng = random.Random(0)
    sizes = [20e6, 45e6, 100e6, 220e6, 500e6, 1.1e9, 2.4e9]
    ratios = [5, 10, 20, 40, 80, 160, 320]
    with path.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["run_id", "params", "tokens", "val_loss"])
        for n, ratio in itertools.product(sizes, ratios):
            d = n * ratio
            if 6 * n * d > 2.5e21:  # the budget ended here
                continue
            loss = (E + A / n**ALPHA + B / d**BETA) * math.exp(NOISE * rng.gauss(0, 1))
            table.writerow([f"{n / 1e6:.0f}M-{ratio}x", f"{n:.0f}", f"{d:.0f}", f"{loss:.4f}"])


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("runs.csv"))
