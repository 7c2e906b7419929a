"""Writes the table that docs/vocabulary.md works on: vocabularies.csv.

It stands in for your own, and is no measurement: the losses follow the law below with a little noise for each run.
"""

import csv
import random
import sys
from collections.abc import Iterable
from pathlib import Path

from scaling_lab.accounting import tokens_per_character, width_of

# -E + A1 / (N / 1e6)**ALPHA + A2 / (V * width / 1e6)**ALPHA2 + B / (tokens / 1e9)**ALPHA
E, A1, A2, B, ALPHA, ALPHA2, NOISE = 5.6, 1.9, 0.5, 1.4, 0.45, 0.5, 0.004


def vocabularies(rng: random.Random) -> Iterable[list[str]]:
    """Five sizes with eight vocabularies each, five checkpoints of every run; all runs of a size end at one compute."""
    yield ["run_id", "params_nonvocab", "vocab_size", "width", "characters", "loss_unigram_norm"]
    for n in (3e7, 7.2e7, 1.7e8, 4.2e8, 1e9):
        for v in (2048, 4096, 8192, 16384, 32768, 65536, 131072, 196608):
            width, shift = width_of(n), NOISE * rng.gauss(0, 1)
            for share in (0.2, 0.4, 0.6, 0.8, 1.0):
                tokens = share * 120 * n * n / (6 * (n + v * width))
                loss = -E + A1 / (n / 1e6) ** ALPHA + A2 / (v * width / 1e6) ** ALPHA2 + B / (tokens / 1e9) ** ALPHA
                characters = tokens / float(tokens_per_character(v))
                name = f"{n / 1e6:.0f}M-{v}"
                yield [name, f"{n:.0f}", str(v), str(width), f"{characters:.4g}", f"{loss + shift:.4f}"]


def main(folder: Path) -> None:
    """Writes the table into a folder; the same numbers every time."""
    with (folder / "vocabularies.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(vocabularies(random.Random(7)))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
