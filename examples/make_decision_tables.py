"""Writes the tables that docs/decisions.md and docs/growth.md work on: two recipes, fine experts, and grown models.

They stand in for your own, and are no measurement: each follows the law named beside it with a little noise.
"""

import csv
import math
import random
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

# loss = FLOOR + HEIGHT * (C / 1e20)**-EXPONENT: the second recipe begins behind and gains more from compute.
RECIPES = {"recipe_a": (1.90, 0.50, 0.10), "recipe_b": (1.88, 0.55, 0.14)}
# loss = c + (g / G**gamma + a) / N**alpha + b / D**beta.
FLOOR, COARSE, FINE, SIZE, ALPHA, DATA, BETA = 0.47, 2.1, 0.58, 18.1, 0.115, 30.8, 0.147
# loss = 20 * (gain * C)**-.05: a grown model trains as if it had gain times the compute.
GROWN = {"scratch": 1.0, "grown": 1.5}


def recipe(name: str) -> Iterable[list[str]]:
    """Twelve budgets, three seeds each."""
    rng, (floor, height, exponent) = random.Random(name), RECIPES[name]
    yield ["run_id", "flops", "loss"]
    for i in range(12):
        flops = 1e18 * 10 ** (4 * i / 11)
        for seed in range(3):
            loss = (floor + height * (flops / 1e20) ** -exponent) * math.exp(0.003 * rng.gauss(0, 1))
            yield [f"{i}-{seed}", f"{flops:.4g}", f"{loss:.4f}"]


def fine(_: str) -> Iterable[list[str]]:
    """Models of four sizes and three token counts, whose experts are 1 to 16 times finer than a dense layer."""
    rng = random.Random(0)
    yield ["run_id", "params", "tokens", "granularity", "loss"]
    for n in (1e8, 4e8, 1.6e9, 6.4e9):
        for d in (4e9, 2e10, 1e11):
            for g in (1, 2, 4, 8, 16):
                loss = FLOOR + (COARSE / g**FINE + SIZE) / n**ALPHA + DATA / d**BETA
                loss *= math.exp(0.002 * rng.gauss(0, 1))
                yield [f"{n / 1e6:.0f}M-{d / 1e9:g}B-g{g}", f"{n:.0f}", f"{d:.0f}", str(g), f"{loss:.4f}"]


def grown(name: str) -> Iterable[list[str]]:
    """Eight budgets, three seeds each; those of grown models hold the small model's share."""
    rng = random.Random(name)
    yield ["run_id", "flops", "loss"]
    for i in range(8):
        flops = 1e19 * 10 ** (3 * i / 7)
        for seed in range(3):
            loss = 20 * (GROWN[name] * flops) ** -0.05 * math.exp(0.001 * rng.gauss(0, 1))
            yield [f"{i}-{seed}", f"{flops:.4g}", f"{loss:.4f}"]


def timing(_: str) -> Iterable[list[str]]:
    """The best tokens before growing, for four sizes at five budgets."""
    rng = random.Random(0)
    yield ["run_id", "params", "flops", "growth_tokens"]
    for n in (4.1e8, 1.1e9, 3e9, 7e9):
        for flops in (1e20, 3e20, 1e21, 3e21, 1e22):
            best = n**0.9 * 10 ** (160 / math.log10(flops) - 5.8) * math.exp(0.15 * rng.gauss(0, 1))
            yield [f"{n / 1e6:.0f}M-{flops:.0e}", f"{n:.0f}", f"{flops:.0f}", f"{best:.4g}"]


TABLES: dict[str, Callable[[str], Iterable[list[str]]]] = {
    "recipe_a": recipe, "recipe_b": recipe, "fine": fine, "scratch": grown, "grown": grown, "timing": timing,
}  # fmt: skip


def main(folder: Path) -> None:
    """Writes every table into `folder`."""
    for name, make in TABLES.items():
        with (folder / f"{name}.csv").open("w", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerows(make(name))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
