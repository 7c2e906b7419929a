"""How often each diagnostic is wrong: false alarms on sound tables and misses on faulty ones, both synthetic.

usage: python bench/diagnostics.py [--tables 200] [--faulty 100] [--out bench/results/diagnostics.json]
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scaling_lab.engine.backtest import backtest
from scaling_lab.engine.codes import CODES
from scaling_lab.engine.fit import Settings, fit_rows, law_rows
from scaling_lab.engine.solve import Objective, one_blas_thread
from scaling_lab.errors import LabError
from scaling_lab.laws import get_law
from scaling_lab.tables import read_table

HERE = Path(__file__).resolve().parent
Rng = np.random.Generator
Truth = Mapping[str, float]

SOUND = (
    "Sound tables: Chinchilla laws with exponents of 0.28 to 0.4, a floor of 1.5 to 2.2 nats and 10 to 40 tokens per "
    "parameter at 1e20 FLOP; noise of 0.2 to 1 %, normal or Student's t with five degrees of freedom; grids of 5 to 7 "
    "sizes by 4 to 6 token counts, 20 to 100 random runs, 5 to 7 isoFLOP profiles of 7 to 9 sizes, or 6 to 8 sizes at "
    "5 ratios of tokens to parameters; every run annealed to 0 to 15 % of its peak rate."
)
FAULTY = (
    "Faulty tables: the same with one fault planted. Codes that follow from a count alone (SL102, SL204, SL307, SL308, "
    "SL314, SL401, SL403 to SL407) can't be wrong about it and are not listed, nor are those of a bootstrap or of "
    "other intervals (SL305, SL310 to SL313), which were not measured. SL301 and SL306 have no fault that can be "
    "planted: only their false alarms are counted, without the audit of random starts."
)


def truth(rng: Rng) -> dict[str, float]:
    """A Chinchilla law whose best ratio of tokens to parameters at 1e20 FLOP is 10 to 40."""
    alpha, beta = rng.uniform(0.28, 0.40, 2)
    B = float(np.exp(rng.uniform(np.log(0.25), np.log(0.7)))) * 1e10**beta  # the data term at 1e10 tokens
    n = np.sqrt(1e20 / 6 / 10 ** rng.uniform(1.0, 1.6))
    d = 1e20 / 6 / n
    # Along a budget the optimum has alpha * A * N**-alpha = beta * B * D**-beta.
    A = beta * B * d**-beta / (alpha * n**-alpha)
    return {"E": rng.uniform(1.5, 2.2), "A": A, "B": B, "alpha": alpha, "beta": beta}


def loss(law: Truth, n: Any, d: Any) -> Any:
    """Nats per token."""
    return law["E"] + law["A"] * n ** -law["alpha"] + law["B"] * d ** -law["beta"]


def best_size(law: Truth, compute: Any) -> Any:
    """The compute-optimal N of 6ND = compute."""
    g = (law["alpha"] * law["A"] / (law["beta"] * law["B"])) ** (1 / (law["alpha"] + law["beta"]))
    return g * (np.asarray(compute) / 6) ** (law["beta"] / (law["alpha"] + law["beta"]))


def grid(rng: Rng, law: Truth, sizes: float = 0.0, kinds: int = 0) -> tuple[Any, Any]:
    """Sizes by token counts; `sizes` is the factor between smallest and largest, 30 to 300 without it."""
    span = sizes or 10 ** rng.uniform(1.5, 2.5)
    low = 10 ** rng.uniform(6.7, 7.5)
    n, d = np.meshgrid(
        np.geomspace(low, low * span, kinds or rng.integers(5, 8)),
        np.geomspace(1, 10 ** rng.uniform(1.5, 2.5), rng.integers(4, 7)) * 10 ** rng.uniform(8.7, 9.3),
    )
    return n.ravel(), d.ravel()


def scattered(rng: Rng, law: Truth) -> tuple[Any, Any]:
    """20 to 100 runs at random sizes and token counts."""
    count = int(rng.integers(20, 101))
    return 10 ** rng.uniform(7, 9.5, count), 10 ** rng.uniform(9, 11, count)


def profiles(rng: Rng, law: Truth, shift: float = 1.0, reach: float = 0.0) -> tuple[Any, Any]:
    """IsoFLOP profiles round the optimum (times `shift`), sizes 3 to 6 times to either side."""
    budgets, kinds = np.geomspace(1e18, 1e21, rng.integers(5, 8)), int(rng.integers(7, 10))
    reach = reach or rng.uniform(3, 6)
    n = shift * best_size(law, budgets)[:, None] * np.geomspace(1 / reach, reach, kinds)
    return n.ravel(), (budgets[:, None] / (6 * n)).ravel()


def ladder(rng: Rng, law: Truth, times: tuple[float, ...] = (0.25, 0.5, 1, 2, 4)) -> tuple[Any, Any]:
    """6 to 8 sizes, each at several multiples of the best ratio of tokens to parameters at its compute."""
    n = np.geomspace(1, 10 ** rng.uniform(1.5, 2.2), rng.integers(6, 9)) * 10 ** rng.uniform(7, 7.5)
    budgets = np.geomspace(1e15, 1e24, 200)
    best = np.interp(np.log(n), np.log(best_size(law, budgets)), np.log(budgets))
    d = np.exp(best)[:, None] / 6 / n[:, None] * np.array(times)
    return np.repeat(n, len(times)), d.ravel()


def table(rng: Rng, law: Truth, n: Any, d: Any) -> pd.DataFrame:
    """Finished runs with noise, compute within 15 % of 6ND, and learning rates that were annealed."""
    sd = float(np.exp(rng.uniform(np.log(0.002), np.log(0.01))))
    z = rng.standard_normal(len(n)) if rng.random() < 0.5 else rng.standard_t(5, len(n)) * np.sqrt(3 / 5)
    return pd.DataFrame(
        {
            "params": n,
            "tokens": d,
            "flops": 6 * n * d * rng.uniform(0.95, 1.15),
            "loss": loss(law, n, d) * np.exp(sd * z),
            "lr_max": 1e-3,
            "lr": 1e-3 * rng.uniform(0, 0.15),
        }
    )


DESIGNS: tuple[Callable[[Rng, Truth], tuple[Any, Any]], ...] = (grid, scattered, profiles, ladder)


def sound(rng: Rng) -> pd.DataFrame:
    """A table with nothing wrong."""
    law = truth(rng)
    return table(rng, law, *DESIGNS[int(rng.integers(len(DESIGNS)))](rng, law))


# ------------------------------------------------------------------------------------------------------------ faults


def other_flops(rng: Rng) -> pd.DataFrame:
    found = sound(rng)
    return found.assign(flops=found.flops * rng.choice([1 / 3, 1e-3, 3.0]))


def in_millions(rng: Rng) -> pd.DataFrame:
    name = str(rng.choice(["params", "tokens"]))
    found = sound(rng).drop(columns="flops")
    return found.assign(**{name: found[name] / (1e9 if name == "tokens" else rng.choice([1e6, 1e9]))})


def perplexity(rng: Rng) -> pd.DataFrame:
    found = sound(rng)
    return found.assign(loss=np.exp(found.loss))


def middle_of_runs(rng: Rng) -> pd.DataFrame:
    found = sound(rng)
    middle = rng.random(len(found)) < rng.uniform(0.2, 0.8)
    progress = rng.uniform(0.2, 0.7, len(found))
    rate = 1e-3 * np.where(middle, 0.5 * (1 + np.cos(np.pi * progress)), 0.1)
    return found.assign(lr=rate, loss=found.loss * np.where(middle, 1.03, 1.0))


def checkpoints(rng: Rng) -> pd.DataFrame:
    law = truth(rng)
    found = table(rng, law, *(grid if rng.random() < 0.5 else ladder)(rng, law)).drop(columns=["lr", "lr_max"])
    return found.assign(run_id=[f"size {n:.6g}" for n in found.params])


def one_ratio(rng: Rng) -> pd.DataFrame:
    n = 10 ** rng.uniform(7, 9.5, int(rng.integers(12, 40)))
    d = n * 10 ** rng.uniform(1, 1.6) * np.exp(0.02 * rng.standard_normal(len(n)))
    return table(rng, truth(rng), n, d)


def few_sizes(rng: Rng) -> pd.DataFrame:
    law = truth(rng)
    return table(rng, law, *grid(rng, law, kinds=int(rng.integers(2, 4))))


def one_side(rng: Rng) -> pd.DataFrame:
    law = truth(rng)
    over = (4.0, 8.0, 16.0, 32.0, 64.0)
    return table(rng, law, *ladder(rng, law, over if rng.random() < 0.5 else tuple(1 / t for t in over)))


def beside_the_minimum(rng: Rng) -> pd.DataFrame:
    law, reach = truth(rng), rng.uniform(3, 5)
    return table(rng, law, *profiles(rng, law, shift=2 * reach if rng.random() < 0.5 else 0.5 / reach, reach=reach))


def no_floor(rng: Rng) -> pd.DataFrame:
    """A law whose floor lies below zero: half of the smallest loss that would stand without a floor is taken off."""
    law = {**truth(rng), "E": 0.0}
    n, d = scattered(rng, law)
    return table(rng, {**law, "E": -0.5 * float(np.min(loss(law, n, d)))}, n, d)


def narrow(rng: Rng) -> pd.DataFrame:
    law = truth(rng)
    return table(rng, law, *grid(rng, law, sizes=rng.uniform(1.5, 2.5)))


def lone_run(rng: Rng) -> pd.DataFrame:
    """One run of 30 times the largest size and tokens of the others together, its loss off by 5 to 10 %."""
    law = truth(rng)
    n, d = scattered(rng, law)
    n, d = np.append(n, n.max() * 6), np.append(d, d.max() * 5)
    found = table(rng, law, n, d)
    found.loc[len(found) - 1, "loss"] *= 1 + rng.choice([-1, 1]) * rng.uniform(0.05, 0.1)
    return found


def largest_off(rng: Rng) -> pd.DataFrame:
    found = sound(rng)
    found.loc[int(np.argmax(found.params * found.tokens)), "loss"] *= 1 + rng.choice([-1, 1]) * rng.uniform(0.05, 0.1)
    return found


def bent(rng: Rng, share: float = 0.5) -> pd.DataFrame:
    """A law that bends: from a quantile of compute on each factor e moves the loss by 1.5 to 3 % of itself."""
    found = sound(rng)
    beyond = np.log(np.maximum(found.flops / found.flops.quantile(share), 1.0))
    return found.assign(loss=found.loss * np.exp(rng.choice([-1, 1]) * rng.uniform(0.015, 0.03) * beyond))


@dataclass(frozen=True)
class Plant:
    """A fault: the code that should come up, words for the table, the tables, and how they are fitted."""

    code: str
    words: str
    make: Callable[[Rng], pd.DataFrame]
    objective: str = "huber"
    by: str = ""  # who tells it: the fit, or the backtest


PLANTS = (
    Plant("SL101", "flops a third, three times or a thousandth of 6ND", other_flops),
    Plant("SL103", "params in millions or billions, tokens in billions", in_millions),
    Plant("SL104", "20 to 80 % of the rows from 20 to 70 % of a cosine", middle_of_runs),
    Plant("SL104", "rows of one size are checkpoints of one run, no rate given", checkpoints),
    Plant("SL105", "perplexities", perplexity),
    Plant("SL201", "one ratio, scattered by 2 %", one_ratio),
    Plant("SL202", "two or three sizes", few_sizes),
    Plant("SL203", "every run 4 to 64 times over, or under, the best ratio", one_side),
    Plant("SL203", "profiles that end a factor 2 to 5 before their minimum", beside_the_minimum),
    Plant("SL302", "a law whose floor lies below zero", no_floor),
    Plant("SL303", "sizes within a factor 1.5 to 2.5", narrow),
    Plant("SL304", "least squares, a lone run of 30 times the compute off by 5 to 10 %", lone_run, "l2"),
    Plant("SL304", "least squares, the largest run off by 5 to 10 %", largest_off, "l2"),
    Plant("SL402", "a loss that bends by 1.5 to 3 % a factor e from the median compute on", bent),
    Plant("SL402", "the same from the split on, told by the backtest", partial(bent, share=0.75), by="backtest "),
)


def codes_of(make: Callable[[Rng], pd.DataFrame], seed: int, objective: str, by: str) -> list[str]:
    """The codes that a fit of the seed's table comes with; a table that can't be fitted gives "refused".

    `by` "backtest " holds the largest quarter out instead and gives what that shows, "both " does both.
    """
    law, runs = get_law("chinchilla"), make(np.random.default_rng(seed))
    settings = Settings(Objective(objective), starts=400, polish=(12, 4), bootstrap=0, audit=0, workers=1)  # type: ignore[arg-type]
    found: list[str] = []
    try:
        with one_blas_thread():
            if by != "backtest ":
                rows = law_rows(law, read_table(runs))
                found += {notice.code for notice in fit_rows(law, rows, settings).warnings}
            if by:
                scored = backtest(runs, "chinchilla", test_fraction=0.25, settings=settings).laws[0]
                found += {f"backtest {notice.code}" for notice in scored.held_out}
    except LabError:
        return ["refused"]
    return found


def count(
    make: Callable[[Rng], pd.DataFrame], seeds: range, objective: str, by: str, pool: ProcessPoolExecutor
) -> Counter[str]:
    """How many of the seeds' tables each code came up on."""
    each = pool.map(partial(codes_of, make, objective=objective, by=by), seeds, chunksize=5)
    return Counter(code for codes in each for code in codes)


def measure(tables: int, faulty: int, workers: int) -> dict[str, Any]:
    """The rates of every plant and of the codes that have none."""
    rates = []
    with ProcessPoolExecutor(workers) as pool:
        alarms = {name: count(sound, range(tables), name, by, pool) for name, by in (("huber", "both "), ("l2", ""))}
        for at, plant in enumerate(PLANTS):
            seen = count(
                plant.make, range(10_000 * (at + 1), 10_000 * (at + 1) + faulty), plant.objective, plant.by, pool
            )
            code = f"{plant.by}{plant.code}"
            rates.append(
                {
                    "code": f"{plant.code} {CODES[plant.code].name}",
                    "false_alarms": alarms[plant.objective][code] / tables,
                    "sound": tables,
                    "misses": 1 - (seen[code] + seen["refused"]) / faulty,
                    "faulty": faulty,
                    "refused": seen["refused"],
                    "planted": plant.words,
                }
            )
            print(rates[-1], flush=True)
        planted = {plant.code for plant in PLANTS}
        for code in ("SL301", "SL306"):
            assert code not in planted
            row = {"code": f"{code} {CODES[code].name}", "false_alarms": alarms["huber"][code] / tables}
            rates.append(row | {"sound": tables, "misses": None, "faulty": 0, "refused": 0, "planted": "nothing"})
    rates.sort(key=lambda row: str(row["code"]))
    return {"sound_designs": SOUND, "faulty_designs": FAULTY, "rates": rates}


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--tables", type=int, default=200)
    ask.add_argument("--faulty", type=int, default=100)
    ask.add_argument("--workers", type=int, default=2)
    ask.add_argument("--out", type=Path, default=HERE / "results" / "diagnostics.json")
    asked = ask.parse_args()
    found = measure(asked.tables, asked.faulty, asked.workers)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"| code | false alarms | misses | planted |\n|{' --- |' * 4}")
    for row in found["rates"]:
        misses = "-" if row["misses"] is None else f"{row['misses']:.1%}"
        print(f"| {row['code']} | {row['false_alarms']:.1%} | {misses} | {row['planted']} |")


if __name__ == "__main__":
    main()
