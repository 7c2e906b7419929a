"""Writes the log that docs/schedules.md refines a schedule from: gradients_l1.csv.

It stands in for the log of a run of your own, and is no measurement: the norms fall while the run settles, rise slowly
towards its end, and each is off by a random factor.
"""

import csv
import math
import random
import sys
from collections.abc import Iterable
from pathlib import Path

STEPS, EVERY = 20_000, 50
# FLAT · (1 + FIRST·e^(−x/SETTLES) + RISE·x) · e^(NOISE·z) at the share x of the run
FLAT, FIRST, SETTLES, RISE, NOISE = 40.0, 6.0, 0.03, 0.5, 0.15


def gradients(rng: random.Random) -> Iterable[list[str]]:
    """A row for every fiftieth step: the rate it was run at, and the L1 norm of its gradient."""
    yield ["step", "lr", "grad_l1"]
    for step in range(EVERY, STEPS + 1, EVERY):
        x = step / STEPS
        rate = 3e-4 * min(step / 1000, 1.0)
        norm = FLAT * (1 + FIRST * math.exp(-x / SETTLES) + RISE * x) * math.exp(NOISE * rng.gauss(0, 1))
        yield [str(step), f"{rate:.4g}", f"{norm:.4g}"]


def main(folder: Path) -> None:
    """Writes the table into a folder; the same numbers every time."""
    with (folder / "gradients_l1.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(gradients(random.Random(11)))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
