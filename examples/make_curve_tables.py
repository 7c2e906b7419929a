"""Writes the tables of docs/curves.md and docs/forecast.md: loss_curves.csv (three runs) and running.csv (a cut run).

They stand in for your own, and are no measurement: all follow the multi-power law below, with noise of 0.0008 nats and
a slow wander of about 0.002.
"""

import csv
import math
import random
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

L0, A, ALPHA, B, C = 2.78, 0.60, 0.45, 520.0, 1.6
PEAK, WARMUP, NOISE, EVERY = 3e-4, 400, 0.0008, 100


def cosine(step: int, total: int) -> float:
    """A cosine down to a tenth of the peak."""
    return PEAK * (0.1 + 0.45 * (1 + math.cos(math.pi * (step - WARMUP) / (total - WARMUP))))


def constant(step: int, total: int) -> float:
    """The peak all along."""
    return PEAK


def two_stage(step: int, total: int) -> float:
    """The peak up to half of the run, then three tenths of it."""
    return PEAK if step < total // 2 else 0.3 * PEAK


def curve(rate: Callable[[int, int], float], total: int, rng: random.Random) -> Iterable[tuple[int, float, float]]:
    """(step, learning rate, loss) every EVERY steps behind the warm-up."""
    rates = [PEAK * s / WARMUP if s < WARMUP else rate(s, total) for s in range(1, total + 1)]
    area, areas = 0.0, []
    for lr in rates:
        area += lr
        areas.append(area)
    drops = [(s, rates[s - 1] - rates[s]) for s in range(WARMUP, total) if rates[s - 1] > rates[s]]
    wander = 0.0
    for step in range(WARMUP + EVERY, total + 1, EVERY):
        wander += 0.0002 * rng.gauss(0, 1)
        gain = sum(
            drop * (1 - 1 / math.sqrt(1 + C * (areas[step - 1] - areas[s - 1]) / math.sqrt(rates[s])))
            for s, drop in drops
            if s < step
        )
        # The warm-up counts as an area of half its length, which is what the sum of a line is but for half a step.
        loss = L0 + A * (areas[step - 1] - PEAK / 2) ** -ALPHA - B * gain
        yield step, rates[step - 1], loss + wander + NOISE * rng.gauss(0, 1)


def loss_curves(rng: random.Random) -> Iterable[list[str]]:
    """Three finished runs of 8,000 steps."""
    yield ["run_id", "step", "lr", "loss"]
    for name, rate in (("constant", constant), ("cosine", cosine), ("two-stage", two_stage)):
        for step, lr, loss in curve(rate, 8000, rng):
            yield [name, str(step), f"{lr:.6g}", f"{loss:.4f}"]


def running(rng: random.Random) -> Iterable[list[str]]:
    """The first 9,600 steps of a cosine of 16,000, with the seconds since its start."""
    yield ["step", "lr", "loss", "wall_time"]
    for step, lr, loss in curve(cosine, 16000, rng):
        if step <= 9600:
            yield [str(step), f"{lr:.6g}", f"{loss:.4f}", f"{0.42 * step:.1f}"]


def write(path: Path, rows: Iterable[list[str]]) -> None:
    """Writes one CSV."""
    with path.open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)


def main(folder: Path) -> None:
    """Writes both tables into `folder`."""
    write(folder / "loss_curves.csv", loss_curves(random.Random(1)))
    write(folder / "running.csv", running(random.Random(2)))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
