"""Writes the tables that docs/sizes.md, docs/experts.md and docs/broken.md work on: overtrained, experts and bend.

They stand in for your own, and are no measurement: each follows the law named beside it with a little noise.
"""

import csv
import math
import random
import sys
from collections.abc import Iterable
from pathlib import Path

# One exponent for model and data: loss = E + (a * M**eta + b * M**-eta) * C**-eta.
E, A, B, ETA = 1.70, 160.0, 250.0, 0.128
# A floor under routed experts: loss = FLOOR + SCALE * N**-SIZE * experts**-ROUTED.
FLOOR, SCALE, SIZE, ROUTED = 1.50, 34.0, 0.18, 0.07
# One bend: a slow fall, then a steep one, over 1 / WIDTH factors e about the place.
REST, START, SLOW, STEEP, PLACE, WIDTH = 0.40, 2.4, 0.06, 2.2, 12_000.0, 0.25


def overtrained(rng: random.Random) -> Iterable[list[str]]:
    """Four sizes, each at 10 to 320 tokens for each parameter."""
    yield ["run_id", "params", "tokens", "loss"]
    for n in (1.2e7, 7.9e7, 1.5e8, 4.1e8):
        for ratio in (10, 20, 40, 80, 160, 320):
            flops = 6 * n * n * ratio
            loss = E + (A * ratio**ETA + B * ratio**-ETA) * flops**-ETA
            loss *= math.exp(0.003 * rng.gauss(0, 1))
            yield [f"{n / 1e6:.0f}M-{ratio}x", f"{n:.0f}", f"{n * ratio:.0f}", f"{loss:.4f}"]


def experts(rng: random.Random) -> Iterable[list[str]]:
    """Five dense sizes, each with 1 to 256 experts, at one token budget."""
    yield ["run_id", "params_active", "experts", "loss"]
    for n in (1.5e7, 5.5e7, 1.3e8, 3.7e8, 1.3e9):
        for count in (1, 4, 16, 64, 256):
            loss = (FLOOR + SCALE * n**-SIZE * count**-ROUTED) * math.exp(0.002 * rng.gauss(0, 1))
            yield [f"{n / 1e6:.0f}M-{count}e", f"{n:.0f}", str(count), f"{loss:.4f}"]


def bend(rng: random.Random) -> Iterable[list[str]]:
    """Training sets of 1,000 to 60,000 examples of one task, which is understood at about PLACE of them."""
    yield ["examples", "loss"]
    for i in range(24):
        m = 1000 * 60 ** (i / 23)
        loss = REST + START * m**-SLOW * (1 + (m / PLACE) ** (1 / WIDTH)) ** (-STEEP * WIDTH)
        yield [f"{m:.0f}", f"{loss * math.exp(0.003 * rng.gauss(0, 1)):.4f}"]


def write(path: Path, rows: Iterable[list[str]]) -> None:
    """Writes one CSV."""
    with path.open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)


def main(folder: Path) -> None:
    """Writes every table into `folder`."""
    for name, make in (("overtrained", overtrained), ("experts", experts), ("bend", bend)):
        write(folder / f"{name}.csv", make(random.Random(0)))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
