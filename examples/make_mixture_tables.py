"""Writes mixtures.csv, corpora.csv, mixed_small.csv and mixed_large.csv, on which docs/mixtures.md works.

They stand in for your own, and are no measurement: mixtures.csv follows the exponential mixing law for two validation
domains, the mixed ones its mean over both at two sizes of model, corpora.csv the D-CPT law for a domain and a general
corpus, all with 0.2 % of noise.
"""

import csv
import math
import random
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

NOISE = 0.002
Law = tuple[float, float, tuple[float, float, float]]
# c, k and the slopes of code, web and books, for losses on code and on prose.
CODE = (1.0, 0.9, (-2.0, 1.2, 0.8))
PROSE = (2.2, 0.7, (1.4, -0.8, -0.6))
# The same for a model of a tenth of the size, and what the mean over both domains is at each.
SMALL = ((1.5, 1.2, (-1.8, 1.1, 0.7)), (2.8, 0.9, (1.3, -0.7, -0.6)))
LARGE = (CODE, PROSE)


def noisy(loss: float, rng: random.Random) -> str:
    """A loss in nats per token, with noise."""
    return f"{loss * math.exp(NOISE * rng.gauss(0, 1)):.4f}"


def shares(rng: random.Random) -> list[float]:
    """Shares of three sources, evenly over the simplex."""
    drawn = [rng.expovariate(1.0) for _ in range(3)]
    w = [round(part / sum(drawn), 4) for part in drawn[:2]]
    return [*w, round(1 - sum(w), 4)]


def mixing(law: Law, w: list[float]) -> float:
    """The exponential mixing law."""
    c, k, ts = law
    return c + k * math.exp(sum(t * s for t, s in zip(ts, w, strict=True)))


def mixtures(rng: random.Random) -> Iterable[list[str]]:
    """Thirty mixtures of three sources, with the loss on code and on prose."""
    yield ["run_id", "w_code", "w_web", "w_books", "loss_code", "loss_prose"]
    for i in range(30):
        w = shares(rng)
        yield [f"mix{i}", *map(str, w), *(noisy(mixing(law, w), rng) for law in (CODE, PROSE))]


def mixed(rng: random.Random, laws: Sequence[Law], count: int) -> Iterable[list[str]]:
    """Mixtures of three sources at one size of model, with the mean loss of two domains, which follows no one law."""
    yield ["run_id", "w_code", "w_web", "w_books", "loss"]
    for i in range(count):
        w = shares(rng)
        yield [f"mix{i}", *map(str, w), noisy(sum(mixing(law, w) for law in laws) / len(laws), rng)]


def dcpt(n: float, d: float, r: float, floor: float, share: float) -> float:
    """The D-CPT law."""
    return floor + 300 / n**0.33 + 200 * r**0.2 / d**0.3 + share / (r + 0.08) ** 0.45


def corpora(rng: random.Random) -> Iterable[list[str]]:
    """Three sizes, four lengths and seven ratios, with the loss on the domain and on the general corpus."""
    yield ["run_id", "params", "tokens", "ratio", "loss_domain", "loss_general"]
    for n in (5e8, 1.8e9, 4e9):
        for d in (1e9, 3e9, 1e10, 3e10):
            for r in (0.05, 0.1, 0.2, 0.33, 0.5, 0.67, 0.8, 0.9, 0.95):
                pair = noisy(dcpt(n, d, r, 1.0, 0.35), rng), noisy(dcpt(n, d, 1 - r, 2.0, 0.25), rng)
                yield [f"{n:.0f}-{d:.0f}-{r}", f"{n:.0f}", f"{d:.0f}", str(r), *pair]


def main(folder: Path) -> None:
    """Writes the four tables into a folder."""
    rng = random.Random(4)
    tables = {
        "mixtures.csv": mixtures(rng),
        "corpora.csv": corpora(rng),
        "mixed_small.csv": mixed(rng, SMALL, 64),
        "mixed_large.csv": mixed(rng, LARGE, 16),
    }
    for name, rows in tables.items():
        with (folder / name).open("w", newline="", encoding="utf-8") as out:
            csv.writer(out, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
