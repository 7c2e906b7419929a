"""Writes lr_batch_grid.csv: grids of learning rate and batch at six sizes and tokens, for fit step-law and hpgrid.

It stands in for your own, and is no measurement: the loss is a bowl in log rate and log batch whose bottom moves with
the size and tokens, with 0.05 % of noise; too high a rate diverges.
"""

import csv
import math
import random
import sys
from collections.abc import Iterable
from pathlib import Path

SIZES_AND_TOKENS = ((1e8, 2e9), (1e8, 8e9), (1e8, 3.2e10), (3e8, 6e9), (3e8, 2.4e10), (1e9, 2e10))
RATES = [2.5e-4 * 2 ** (i / 2) for i in range(13)]
BATCHES = [32768 * 2**i for i in range(7)]
NOISE = 0.0005


def linex(slope: float, way: float) -> float:
    """Half the square of a way, steeper on the side of the slope's sign."""
    return (math.exp(slope * way) - 1 - slope * way) / slope**2


def loss(n: float, d: float, lr: float, batch: float) -> float:
    """The planted surface, in nats per token."""
    v = math.log(batch / 4e5) - 0.6 * math.log(d / 2e10)
    u = math.log(lr / 1.5e-3) + 0.6 * math.log(n / 5e8) - 0.25 * math.log(d / 2e10) - 0.35 * v
    floor = 1.7 + 0.35 * (n / 5e8) ** -0.38 + 0.32 * (d / 2e10) ** -0.3
    return floor + 0.035 * linex(0.7, u) + 0.03 * linex(0.4, v)


def grid(rng: random.Random) -> Iterable[list[str]]:
    """Every cell of every grid; what diverged has the loss at which it was stopped."""
    yield ["params_nonembed", "tokens", "lr_max", "batch_sequences", "seq_len", "loss"]
    for n, d in SIZES_AND_TOKENS:
        for lr in RATES:
            for batch in BATCHES:
                value = loss(n, d, lr, batch) * math.exp(NOISE * rng.gauss(0, 1))
                if lr > 1e-2 and batch < 1e5:
                    value = 6.5 + rng.random()
                yield [f"{n:.0f}", f"{d:.0f}", f"{lr:.4g}", f"{batch // 2048}", "2048", f"{value:.4f}"]


def main(folder: Path) -> None:
    """Writes the table into a folder."""
    with (folder / "lr_batch_grid.csv").open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(grid(random.Random(0)))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
