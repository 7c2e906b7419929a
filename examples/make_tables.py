"""Writes the tables that the README works on: runs.csv, isoflop.csv, curves.csv, logs/ and constant_curve.csv.

They stand in for your own, and are no measurement: all follow the Chinchilla law below with 0.4 % of noise, but for
constant_curve.csv, a power law in steps whose noise carries over from row to row.
"""

import csv
import math
import random
import sys
from collections.abc import Iterable
from pathlib import Path

E, A, B, ALPHA, BETA, NOISE = 1.75, 420.0, 1600.0, 0.34, 0.36, 0.004


def loss(params: float, tokens: float, rng: random.Random) -> str:
    """The law's loss in nats per token, with noise."""
    return f"{(E + A / params**ALPHA + B / tokens**BETA) * math.exp(NOISE * rng.gauss(0, 1)):.4f}"


def spaced(low: float, high: float, count: int) -> list[float]:
    """Numbers at equal ratios."""
    return [low * (high / low) ** (i / (count - 1)) for i in range(count)]


def runs(rng: random.Random) -> Iterable[list[str]]:
    """A ladder of sizes, each trained on 5 to 320 tokens per parameter until the budget ended."""
    yield ["run_id", "params", "tokens", "val_loss"]
    for n in (20e6, 45e6, 100e6, 220e6, 500e6, 1.1e9, 2.4e9):
        for ratio in (5, 10, 20, 40, 80, 160, 320):
            if 6 * n * n * ratio <= 2.5e21:
                yield [f"{n / 1e6:.0f}M-{ratio}x", f"{n:.0f}", f"{n * ratio:.0f}", loss(n, n * ratio, rng)]


def isoflop(rng: random.Random) -> Iterable[list[str]]:
    """Nine sizes round the best one of six budgets."""
    yield ["params", "tokens", "flops", "loss"]
    for c in spaced(1e18, 1e20, 6):
        for factor in spaced(1 / 8, 8, 9):
            n = 0.12 * c**0.5 * factor
            yield [f"{n:.0f}", f"{c / (6 * n):.0f}", f"{c:.4g}", loss(n, c / (6 * n), rng)]


def curves(rng: random.Random) -> Iterable[list[str]]:
    """Eight sizes, each with a curve of 30 points."""
    yield ["run_id", "params", "tokens", "loss"]
    for n in spaced(10e6, 2e9, 8):
        for d in spaced(3e8, 2e11, 30):
            yield [f"{n / 1e6:.0f}M", f"{n:.0f}", f"{d:.0f}", loss(n, d, rng)]


def log(seed: int) -> Iterable[list[str]]:
    """What a trainer leaves behind: step, learning rate and loss, no tokens and no parameters."""
    rng, steps = random.Random(seed), 2000
    yield ["step", "lr", "loss"]
    for step in range(50, steps + 1, 50):
        lr = 3e-4 * (0.1 + 0.45 * (1 + math.cos(math.pi * step / steps)))
        yield [str(step), f"{lr:.3g}", loss(124e6, 524288 * step, rng)]


def constant_curve(rng: random.Random) -> Iterable[list[str]]:
    """One run at a constant learning rate after 500 steps of warm-up, logged every 50 steps of 20,000."""
    yield ["step", "lr", "loss"]
    drift = 0.0
    for step in range(50, 20001, 50):
        drift = 0.8 * drift + 0.0012 * rng.gauss(0, 1)
        value = 3.05 + 46.0 / (step + 120.0) ** 0.52
        yield [str(step), f"{3e-4 * min(1.0, step / 500):.3g}", f"{value * math.exp(drift):.4f}"]


def write(path: Path, rows: Iterable[list[str]]) -> None:
    """Writes one CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)


def main(folder: Path) -> None:
    """Writes every table into `folder`."""
    for name, make in (("runs", runs), ("isoflop", isoflop), ("curves", curves)):
        write(folder / f"{name}.csv", make(random.Random(0)))
    for seed in (1, 2, 3):
        write(folder / "logs" / f"seed{seed}.csv", log(seed))
    write(folder / "constant_curve.csv", constant_curve(random.Random(0)))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
