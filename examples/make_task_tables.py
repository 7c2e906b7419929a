"""Writes the tables that docs/tasks.md works on: scored.csv (runs with an error) and answers.csv (sampled answers).

They stand in for your own, and are no measurement: each follows the law named beside it with noise.
"""

import csv
import math
import random
import sys
from collections.abc import Iterable
from pathlib import Path

# Loss by Chinchilla's form, and an error of EPS - K * exp(-GAMMA * loss).
E, A, B, ALPHA, BETA = 1.75, 420.0, 1600.0, 0.34, 0.36
EPS, K, GAMMA = 0.86, 2.1, 0.72
# log(-log(pass rate)) = LEVEL - SLOPE * x + bend * x**2 with x = log(params / MIDDLE).
MIDDLE, LEVEL, SLOPE = 3e8, 1.55, 0.31
BENDS = {"arithmetic": 0.0, "proofs": -0.12}
DRAWS = 20_000


def scored(rng: random.Random) -> Iterable[list[str]]:
    """Six sizes at 10 to 160 tokens for each parameter, with the loss and the mean error over a suite of tasks."""
    yield ["run_id", "params", "tokens", "loss", "error"]
    for n in (2e7, 4.5e7, 1e8, 2.2e8, 5e8, 1.1e9):
        for ratio in (10, 20, 40, 80, 160):
            loss = (E + A / n**ALPHA + B / (n * ratio) ** BETA) * math.exp(0.004 * rng.gauss(0, 1))
            error = EPS - K * math.exp(-GAMMA * loss) + 0.004 * rng.gauss(0, 1)
            yield [f"{n / 1e6:.0f}M-{ratio}x", f"{n:.0f}", f"{n * ratio:.0f}", f"{loss:.4f}", f"{error:.4f}"]


def answers(rng: random.Random) -> Iterable[list[str]]:
    """Right ones among DRAWS sampled answers of eight models to two kinds of questions."""
    yield ["task", "params", "draws", "successes"]
    for task, bend in BENDS.items():
        for i in range(8):
            n = 3e7 * 80 ** (i / 7)
            x = math.log(n / MIDDLE)
            rate = math.exp(-math.exp(LEVEL - SLOPE * x + bend * x * x))
            yield [task, f"{n:.0f}", str(DRAWS), str(sum(rng.random() < rate for _ in range(DRAWS)))]


def write(path: Path, rows: Iterable[list[str]]) -> None:
    """Writes a CSV."""
    with path.open("w", newline="") as handle:
        csv.writer(handle, lineterminator="\n").writerows(rows)


def main(folder: Path) -> None:
    """Writes all of them into a folder; the same bytes each time."""
    for name, rows in {"scored": scored, "answers": answers}.items():
        write(folder / f"{name}.csv", rows(random.Random(name)))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
