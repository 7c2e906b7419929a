"""Writes the tables that docs/repetition.md works on: repeated.csv, pools.csv and stores.csv.

They stand in for your own, and are no measurement: each follows the law named beside it with a little noise.
"""

import csv
import math
import random
import sys
from collections.abc import Iterable
from pathlib import Path

# A data-constrained law of one exponent: floor, size and data terms, and what repeats and excess size are worth.
E, A, B, ALPHA, R_D, R_N = 1.87, 521.0, 1488.0, 0.353, 12.0, 5.0
POOL = 12.8e6
# Pools by filter: exponent of fresh samples, and the repetitions that halve it.
UTILITY = {"top": (-0.080, 2.0), "middle": (-0.078, 4.0), "rest": (-0.073, 6.0)}
SCALE, FLOOR = 1.0, 0.1


def worn(size: float, unit: float, half: float) -> float:
    """What a size is worth of which all beyond one unit wears off."""
    return unit * (1 - half * math.expm1((1 - size / unit) / half)) if size > unit else size


def repeated(rng: random.Random) -> Iterable[list[str]]:
    """Models of five sizes on four sets of unique tokens, for 1 to 40 passes."""
    yield ["run_id", "params", "tokens", "unique_tokens", "loss"]
    for unique in (4e8, 1.5e9, 6e9, 2.4e10):
        best = unique * (A / B) ** (1 / ALPHA)
        for factor in (0.3, 1, 3, 9, 27):
            for epochs in (1, 3, 10, 40):
                n = best * factor
                size, data = worn(n, best, R_N), worn(unique * epochs, unique, R_D)
                loss = (E + A / size**ALPHA + B / data**ALPHA) * math.exp(0.003 * rng.gauss(0, 1))
                name = f"{n / 1e6:.0f}M-{unique / 1e9:g}B-{epochs}x"
                yield [name, f"{n:.0f}", f"{unique * epochs:.0f}", f"{unique:.0f}", f"{loss:.4f}"]


def error(samples: float, utility: float, half: float) -> float:
    """The error of training on one pool alone, pass by pass."""
    out, done, passes = SCALE, 0.0, 0
    while done < samples:
        upto = min(samples, done + POOL)
        out *= (upto / done if done else upto) ** (utility * 0.5 ** (passes / half))
        done, passes = upto, passes + 1
    return out + FLOOR


def pools(rng: random.Random) -> Iterable[list[str]]:
    """Each pool alone, from a twentieth of a pass to 24 passes."""
    yield ["run_id", "samples", "unique_samples", "w_top", "w_middle", "w_rest", "error"]
    for name, (utility, half) in UTILITY.items():
        for passes in (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 4.5, 6, 8, 12, 16, 24):
            found = error(passes * POOL, utility, half) * math.exp(0.001 * rng.gauss(0, 1))
            shares = ["1" if name == other else "0" for other in UTILITY]
            yield [f"{name}-{passes:g}x", f"{passes * POOL:.0f}", f"{POOL:.0f}", *shares, f"{found:.5f}"]


def stores(rng: random.Random) -> Iterable[list[str]]:
    """Models of five sizes and four lengths, each with datastores of none to 1.4e11 tokens."""
    yield ["run_id", "params", "tokens", "datastore_tokens", "loss"]
    for n in (1.6e8, 4e8, 1e9, 2.8e9, 7e9):
        for d in (5e9, 2e10, 8e10, 3e11):
            for store in (0, 3e8, 3e9, 3e10, 1.4e11):
                base = 1.75 + 420 / n**0.34 + 1600 / d**0.36 - 0.02 * math.log1p(store / 5e8)
                loss = base * math.exp(0.001 * rng.gauss(0, 1))
                yield [f"{n / 1e6:.0f}M-{d / 1e9:g}B", f"{n:.0f}", f"{d:.0f}", f"{store:.0f}", f"{loss:.4f}"]


def main(folder: Path) -> None:
    """Writes every table into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in (("repeated", repeated), ("pools", pools), ("stores", stores)):
        with (folder / f"{name}.csv").open("w", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerows(make(random.Random(0)))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
