"""Writes lr_sweep.csv: a sweep of learning rates at one batch over nine sizes and tokens, for hparams --lr-sweep.

It stands in for your own, and is no measurement: the loss is a bowl in the log rate whose bottom falls with the size
and the tokens, with 0.1 % of noise; at the smallest size and fewest tokens the sweep stops before the best rate.
"""

import csv
import math
import random
import sys
from collections.abc import Iterable
from pathlib import Path

SIZES, TOKENS = (1e8, 3e8, 1e9), (5e9, 2e10, 8e10)
RATES = [1.25e-4 * 2**i for i in range(8)]
BATCH, NOISE = 524288, 0.001


def loss(n: float, d: float, lr: float) -> float:
    """The planted bowl, in nats per token, steeper where the rate is too high."""
    way = math.log(lr) - math.log(500 * n**-0.24 * d**-0.3)
    return 1.7 + 0.35 * (n / 5e8) ** -0.38 + 0.32 * (d / 2e10) ** -0.3 + 0.02 * way**2 + 0.002 * way**3


def rows(rng: random.Random) -> Iterable[list[str]]:
    """Every run of the sweep."""
    yield ["params", "tokens", "lr_max", "batch_tokens", "loss"]
    for n in SIZES:
        for d in TOKENS:
            for lr in RATES:
                if (n, d) == (SIZES[0], TOKENS[0]) and lr > 3e-3:
                    continue
                value = loss(n, d, lr) * math.exp(NOISE * rng.gauss(0, 1))
                yield [f"{n:.0f}", f"{d:.0f}", f"{lr:.4g}", f"{BATCH}", f"{value:.4f}"]


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    with (folder / "lr_sweep.csv").open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows(random.Random(0)))
