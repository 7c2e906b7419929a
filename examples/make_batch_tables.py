"""Writes the tables that docs/batch-size.md and docs/trajectory.md work on.

They stand in for your own, and are no measurement: each follows the law named beside it with noise.
"""

import csv
import math
import random
import sys
from collections.abc import Iterable
from pathlib import Path

# Kaplan's law with constants of this script's own: N_c, alpha_N, S_c, alpha_S, B_star, alpha_B.
N_C, ALPHA_N, S_C, ALPHA_S, B_STAR, ALPHA_B = 1.2e14, 0.075, 2.4e3, 0.70, 1.8e8, 0.21
# The squared gradient falls and its noise stays: tr(Sigma) = NOISE, |G|^2 = GRADIENT / (1 + step / 500).
NOISE, GRADIENT, RANK, RANKS = 900.0, 1.2, 16, 32
# What is left of a fact after t steps: LEFT - LOST * log10(t).
LEFT, LOST = 0.95, 0.17


def loss_after(params: float, step: float, batch: float) -> float:
    """The root of L = floor + (S_c (1 + B_crit(L) / B) / S)**alpha_S, by halving."""
    floor = (N_C / params) ** ALPHA_N
    low, high = floor, floor + (S_C * (1 + B_STAR * floor ** (-1 / ALPHA_B) / batch) / step) ** ALPHA_S
    for _ in range(60):
        at = (low + high) / 2
        right = floor + (S_C * (1 + B_STAR * at ** (-1 / ALPHA_B) / batch) / step) ** ALPHA_S
        low, high = (at, high) if at < right else (low, at)
    return (low + high) / 2


def spaced(low: float, high: float, count: int) -> list[float]:
    """Numbers at equal ratios."""
    return [low * (high / low) ** (i / (count - 1)) for i in range(count)]


def reached(rng: random.Random) -> Iterable[list[str]]:
    """Steps to four losses at eight batches, each run annealed to its loss: McCandlish's hyperbola, 4 % of noise."""
    yield ["loss", "batch_tokens", "step"]
    for loss in (4.0, 3.6, 3.2, 2.9):
        critical = B_STAR * loss ** (-1 / ALPHA_B)
        least = 900 * (4.0 / loss) ** 9
        for batch in (2**15 * 2**i for i in range(8)):
            steps = least * (1 + critical / batch) * math.exp(0.04 * rng.gauss(0, 1))
            yield [f"{loss:g}", str(batch), f"{steps:.0f}"]


def small_runs(rng: random.Random) -> Iterable[list[str]]:
    """Curves of five sizes at one batch, and of one size at five more batches: Kaplan's law, 0.3 % of noise."""
    yield ["run_id", "params_nonembed", "batch_tokens", "warmup_steps", "step", "loss"]
    runs = [(n, 2**19, 4e5) for n in (1e6, 3e6, 8e6, 2e7, 6e7)]
    runs += [(3e6, 2**k, 1e5 * 2 ** max(0, 18 - k) ** 0.5) for k in (15, 16, 17, 18, 20)]
    for params, batch, last in runs:
        shift = 0.002 * rng.gauss(0, 1)
        for step in spaced(300, last, 18):
            # A warming-up run lags behind the law.
            loss = loss_after(params, step, batch) * math.exp(shift + 0.003 * rng.gauss(0, 1)) + 2 * (step < 500)
            name = f"{params / 1e6:.0f}M-{batch // 1024}k"
            yield [name, f"{params:.0f}", str(batch), "500", f"{step:.0f}", f"{loss:.4f}"]


def gradients(rng: random.Random) -> Iterable[list[str]]:
    """Squared gradient norms of a rank (mean over ranks) and of the whole batch, in 64 directions."""
    yield ["step", "grad_sq_small", "grad_sq_big"]
    for step in range(10, 4001, 10):
        size = GRADIENT / (1 + step / 500)
        # Of 64 equal directions: the mean of the ranks, and their scatter about it.
        whole = sum((math.sqrt(size / 64) + rng.gauss(0, math.sqrt(NOISE / 64 / RANK / RANKS))) ** 2 for _ in range(64))
        free = 64 * (RANKS - 1)
        scatter = NOISE / RANK / 64 * rng.gammavariate(free / 2, 2) / RANKS
        yield [str(step), f"{whole + scatter:.4f}", f"{whole:.4f}"]


def probes(rng: random.Random) -> Iterable[list[str]]:
    """Twenty probes of facts that are trained on three times, 100 steps apart, and then never again."""
    yield ["probe", "step", "injection", "logprob"]
    for probe in range(20):
        start, base, gain = 1000, -9 + rng.gauss(0, 1), 1.2 + 0.3 * rng.random()
        known = 0.0
        for at in (start, start + 100, start + 200):
            yield [f"fact{probe}", str(at), "1", f"{base + known:.3f}"]
            known = 0.6 * known + gain
            for since, share in ((10, 0.8), (20, 1.0)):
                yield [f"fact{probe}", str(at + since), "0", f"{base + share * known + 0.04 * rng.gauss(0, 1):.3f}"]
            last, known = known, known * 0.7
        for since in (20, 40, 80, 160, 320, 640, 1280, 2560):
            left = (LEFT - LOST * math.log10(since)) * last
            yield [f"fact{probe}", str(start + 220 + since), "0", f"{base + left + 0.08 * rng.gauss(0, 1):.3f}"]


def branches(rng: random.Random) -> Iterable[list[str]]:
    """Losses of branches of six batches off five checkpoints, which rise beyond a critical batch that grows."""
    yield ["tokens", "batch_sequences", "seq_len", "loss"]
    for tokens in (2e9, 2e10, 8e10, 2e11, 5e11):
        critical = 300 * (tokens / 1e9) ** 0.42
        for batch in (256 * 2**i for i in range(6)):
            loss = 2.6 + 0.035 * max(0.0, math.log2(batch / critical)) + 0.001 * rng.gauss(0, 1)
            yield [f"{tokens:.0f}", str(batch), "2048", f"{loss:.4f}"]


def write(path: Path, rows: Iterable[list[str]]) -> None:
    """Writes one CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)


def main(folder: Path) -> None:
    """Writes every table into `folder`."""
    tables = {"reached": reached, "small_runs": small_runs, "gradients": gradients, "probes": probes}
    for name, make in (tables | {"branches": branches}).items():
        write(folder / f"{name}.csv", make(random.Random(0)))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
