"""How well `auto` predicts held-out large runs, against careful plain fits; writes docs/accuracy.md.

usage: python bench/accuracy.py [--fresh | --page]    ($SCALING_LAB_DATA, else ../shared/data)

Each split's figures are kept under out/accuracy, by the sha256 of its rows and of the package's own source: a second
run computes what has changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from catalogue import section
from splits import Split, splits, unseen

import scaling_lab
from scaling_lab.engine.backtest import Backtest, backtest
from scaling_lab.engine.fit import Settings
from scaling_lab.engine.metrics import interval_score
from scaling_lab.engine.solve import Objective

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("SCALING_LAB_DATA", HERE.parent.parent / "shared" / "data"))
KEPT = HERE.parent / "out" / "accuracy"
CURVES, HPARAMS = HERE / "results" / "curves.json", HERE / "results" / "hparams.json"
RESULT, PAGE = HERE / "results" / "accuracy.json", HERE.parent / "docs" / "accuracy.md"
LEVEL, BOOTSTRAP = 0.9, 300
# What others reached on the same splits, in the order of splits(): the error of a careful plain fit of the paper's law,
# that of an elaborate blend (four to nine laws in several variants), and the full width of its 90 % intervals in % of
# the loss.
OTHERS = {
    "epoch_chinchilla: C <= 1e+21": (0.0238, 0.0162, 2.4),
    "epoch_chinchilla: C <= 3e+20": (0.0230, 0.0163, 2.9),
    "kyo_llm: C <= 1e+21": (0.0231, 0.0163, 2.2),
    "gadre: c4_original, loss_c4_val, the paper's 5 runs": (0.0392, 0.0392, 6.8),
    "gadre: c4_original, loss_c4_val, N <= 4.2e8, M <= 320": (0.0752, 0.0602, 8.2),
    "gadre: c4_original, loss_openlm, N <= 4.2e8, M <= 320": (0.0750, 0.0825, 10.1),
    "gadre: rpj, loss_c4_val, the paper's 5 runs": (0.0264, 0.0264, 8.1),
    "gadre: rpj, loss_c4_val, N <= 4.2e8, M <= 320": (0.0422, 0.0271, 5.6),
    "gadre: rpj, loss_openlm, N <= 4.2e8, M <= 320": (0.0443, 0.0324, 6.5),
    "olmo_ladder: 190M-760M to 1B": (0.0201, 0.0141, 0.8),
    "olmo_ladder: <= 2xC to 5, 10xC": (0.0563, 0.0244, 2.1),
    "porian_rw: C <= 1.6e18, D/N >= 2": (0.1304, 0.0587, 7.3),
    "porian_rw: C <= 1.6e18, all points": (0.2240, 0.0708, 12.6),
    "steplaw_dense: grid minima, N <= 5.4e8, D <= 3e10": (0.0165, 0.0038, 1.8),
    "bnsl_addition: first 14, against hestness": (0.7883, 0.5216, 198.3),
    "bnsl_addition: first 14, against bnsl1": (0.0061, 0.0071, 5.1),
    "datablations_c4: C <= 3e20": (0.2355, 0.0757, 21.3),
    "datablations_c4: epochs <= 40": (0.3244, 0.1826, 30.2),
    "routed_moe: S-Base, E <= 64": (0.0225, 0.0134, 1.8),
    "routed_moe: S-Base, N <= 130M": (0.0655, 0.0318, 5.7),
    "vocab: C <= 1e20": (0.1508, 0.0306, 4.2),
    "vocab: N_nv < 7e8": (0.1475, 0.0791, 3.2),
    "vocab: V <= 32768": (0.1413, 0.0697, 5.8),
}
# The last lines of the page: the one figure that is of the machine.
TIMED = "Seconds of fitting and backtesting"
# The row that auto can't fail to win: it may take a law that bends, and this reference may not.
UNEVEN = "bnsl_addition: first 14, against hestness"
# What bench/catalogue.py measured, which the page ends with.
CATALOGUE = HERE / "results" / "catalogue.json"


def score(split: Split) -> dict[str, Any]:
    """Figures of the reference law and of auto, fitted to the small runs of one split and scored on its large ones."""
    own = Settings(bootstrap=BOOTSTRAP, objective=Objective(split.objective), fix=split.fix)
    found = {
        "reference": _backtest(split, split.reference, own),
        "auto": _backtest(split, "auto", Settings(bootstrap=BOOTSTRAP)),
    }
    out: dict[str, Any] = {"dataset": split.dataset, "row": f"{split.dataset}: {split.row}", "part": split.part}
    for name, backtested in found.items():
        # Where the rows are too few for a choice, auto is a plain fit of one law.
        scored = backtested.laws[0]
        out[name] = {
            "law": scored.law,
            "mae": scored.metrics.mae,
            "mape": scored.metrics.mape,
            "coverage": scored.coverage,
            "width": scored.width,
            "score": interval_score(scored.measured, scored.low, scored.high, LEVEL),
        }
        if name == "auto":
            out[name]["weights"] = {f"{m['law']}, {m['variant']}": round(m["weight"], 4) for m in scored.fit.members}
        out |= {"train": scored.train, "test": scored.test}
    out["baselines"] = {name: figures.mae for name, figures in found["auto"].baselines.items()}
    return out


def _backtest(split: Split, law: str, settings: Settings) -> Backtest:
    return backtest(split.table, law, by="held_out", test_above=0.5, settings=settings)


def cached(split: Split) -> dict[str, Any]:
    """The figures of one split, kept from an earlier run of the same code on the same rows."""
    rows = split.table.to_csv(index=False).encode()
    key = hashlib.sha256(rows + _code() + split.reference.encode()).hexdigest()[:24]
    place = KEPT / f"{key}.json"
    if place.exists():
        return json.loads(place.read_text())
    begun = time.perf_counter()
    found = score(split) | {"seconds": 0.0}
    found["seconds"] = round(time.perf_counter() - begun, 2)
    KEPT.mkdir(parents=True, exist_ok=True)
    waiting = place.with_suffix(f".{os.getpid()}")
    waiting.write_text(json.dumps(found))
    waiting.replace(place)
    return found


def _code() -> bytes:
    source = Path(scaling_lab.__file__).parent
    parts = [
        path.read_bytes() for room in ("engine", "laws", "tables") for path in sorted((source / room).glob("*.py"))
    ]
    return hashlib.sha256(b"".join(parts)).digest()


def summary(found: list[dict[str, Any]]) -> pd.DataFrame:
    """A line for each row of the comparison: means over its parts, coverage over all its held-out points."""
    lines = []
    frame = pd.DataFrame(found)
    for row, part in frame.groupby("row", sort=False):
        line: dict[str, Any] = {"row": row, "dataset": part.dataset.iloc[0], "parts": len(part)}
        line |= {"train": part.train.mean(), "test": int(part.test.sum())}
        for name in ("reference", "auto"):
            figures = pd.DataFrame(list(part[name]))
            line |= {f"{name}_{column}": figures[column].mean() for column in ("mae", "mape", "width", "score")}
            line[f"{name}_coverage"] = float(np.average(figures.coverage, weights=part.test))
        others = pd.DataFrame(list(part.baselines)).mean()
        line |= {name: others.get(name, np.nan) for name in ("power law in compute", "last point")}
        line["ratio"] = line["auto_mae"] / line["reference_mae"]
        line["noted"], line["blend"], blend_width = OTHERS[str(row)]
        line["noted_ratio"] = line["auto_mae"] / line["noted"]
        line["width_ratio"] = 100 * line["auto_width"] / blend_width
        line["blend_width"] = blend_width
        lines.append(line)
    return pd.DataFrame(lines)


INTRODUCTION = """\
# How accurate predictions are

Made by `make accuracy` (`python bench/accuracy.py`); don't edit. Laws are fitted to the small runs of public tables and
scored on their large ones, with the splits that the tables' manifests suggest. *Reference* is the law of the table's
own paper, fitted plainly by this tool to the global optimum of the paper's objective (Huber 1e-3 on log loss; least
squares for the routed and the broken law; Huber on the plain loss for vocab): *others* is what careful plain fits by
others reach with the same law. *auto* is `backtest --law auto`: the choice among laws is made on the small runs alone
(docs/auto.md). Where a row has several parts (ten isoFLOP sets of porian_rw), errors are means.

What was chosen by hand was chosen with these tables in sight: which laws are candidates, their priors, the power of the
compute weights, the least widths of intervals and their factor 1.1 on the first 14 rows; on the other nine the factor
1.3 where cuts go along several inputs, that `routed`, which has no floor, is no candidate, and that `vocab-drift` is
one. Expect somewhat larger errors and somewhat lower coverage on other tables.

## Errors
"""
INTERVALS = """
## 90 % intervals

Coverage is the share of held-out points inside; width is full width in % of the loss; the interval score (lower is
better) is width plus 20 times what lies outside, in nats. *Earlier blend* is the width that a more elaborate procedure
reached with 91 % coverage.
"""
UNSEEN = """
## Columns on which nothing was tuned

The same runs, scored on other texts: the other losses of gadre and olmo_ladder, some far from the training text (code,
German). Neither priors nor constants were chosen with these in sight, so this is the fairer guess of what to expect
elsewhere.
"""


NOTES = (
    "",
    "Both rows of bnsl_addition are one prediction of auto's, against two references. The cut of vocab by compute goes",
    "through runs: there every checkpoint counts as a run of its own, on both sides, as in the figures of others; the",
    "other two hold out whole runs. The optimum of `vocab` on true tokens is ours; others' fits of it end elsewhere.",
)


def _told(value: float) -> str:
    return f"{value:.4f}" if np.isfinite(value) else "–"


def _header(names: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]


def _others(found: list[dict[str, Any]]) -> list[str]:
    """The section on columns that nothing was tuned on."""
    frame = pd.DataFrame(found)
    frame["ratio"] = [f["auto"]["mae"] / f["reference"]["mae"] for f in found]
    for name in ("auto", "reference"):
        frame[f"{name}_coverage"] = [f[name]["coverage"] for f in found]
        frame[f"{name}_width"] = [100 * f[name]["width"] for f in found]
    heads = (
        "table, split", "columns", "auto / reference, geometric mean", "worst", "no worse in", "auto covers", "width %",
        "reference law covers", "width %",
    )  # fmt: skip
    out = [UNSEEN, *_header(heads)]
    every = [(str(row), part) for row, part in frame.groupby("row", sort=False)]
    for name, part in [*every, ("all", frame)]:
        worst = part.loc[part.ratio.idxmax()]
        own, plain = (np.average(part[f"{k}_coverage"], weights=part.test) for k in ("auto", "reference"))
        out.append(
            f"| {name} | {len(part)} | {np.exp(np.mean(np.log(part.ratio))):.2f} | {worst.ratio:.2f} ({worst.part}) | "
            f"{int(np.sum(part.ratio <= 1))} | {own:.0%} | {part.auto_width.mean():.1f} | {plain:.0%} | "
            f"{part.reference_width.mean():.1f} |"
        )
    return out


# Of bench/curves.py: what a law is fitted to, the law, and the error it was to stay below.
TO_REACH = (
    ("constant, cosine, sudden drop", "multi-power", "0.0041 each"),
    ("constant, cosine, sudden drop", "annealing", "0.0045 each"),
    ("constant, cosine, sudden drop", "auto-curve", ""),
    ("constant, cosine", "auto-curve", "0.0052 as the mean"),
    ("cosine", "auto-curve", "0.013 as the mean"),
)


def _curves(found: Mapping[str, Any]) -> list[str]:
    """Loss curves under other schedules, from what bench/curves.py measured."""
    heads = ("fitted to", "law", "at most", "MAE 25M", "after the branch", "MAE 100M", "after the branch",
             "90 % intervals hold")  # fmt: skip
    out = [
        "",
        "## Loss curves under other schedules",
        "",
        "Fitted to the curves named and scored on the six other schedules of mpl_curves, mean over those; more, with",
        "what was chosen on what, on [curves-accuracy.md](curves-accuracy.md) (`python bench/curves.py`). Runs still",
        "going on: [forecast.md](forecast.md) (`python bench/forecast.py`); what of a predicted gain comes true:",
        "[best-schedule.md](best-schedule.md) (`python bench/best_schedule.py`); curves whose schedule nobody knows:",
        "[learning-curves-accuracy.md](learning-curves-accuracy.md) (`python bench/learning_curves.py`).",
        "",
        *_header(heads),
    ]
    for fitted, law, most in TO_REACH:
        small, large = (
            next(r for r in found["accuracy"] if (r["fitted"], r["law"], r["model"]) == (fitted, law, model))
            for model in ("25M", "100M")
        )
        held = 0.5 * (small["coverage"] + large["coverage"])
        out.append(
            f"| {fitted} | {law} | {most or '–'} | {small['mae']:.4f} | {small['after_branch']['mae']:.4f} | "
            f"{large['mae']:.4f} | {large['after_branch']['mae']:.4f} | {held:.0%} |"
        )
    ratio = found["speed"]["ratio"]
    return [*out, "", f"A multi-power fit of three curves takes 1/{ratio:.0f} of 200 AdamW steps of the usual kind."]


def _rates(found: Mapping[str, Any]) -> list[str]:
    """Learning rate and batch, from what bench/hparams.py measured."""
    out = [
        "",
        "## Learning rate and batch size",
        "",
        "On the 17 grids of steplaw_dense; more on [hparams-accuracy.md](hparams-accuracy.md) (`python",
        "bench/hparams.py`). Loss above the best cell of a grid, at the cell nearest to each rule:",
        "",
        *_header(("rule", "mean", "largest")),
        *(f"| {r['name']} | {r['mean_excess']:.3%} | {r['max_excess']:.2%} |" for r in found["looked"]["regret"]),
    ]
    far, plain = found["far"], found["plain"]
    return [
        *out,
        "",
        f"The joint surface `hp-surface`, fitted to the {far['train']:,} runs up to 430M parameters and scored on the",
        f"{far['test']} larger ones: MAE {far['0.003']['mae']:.4f} nats (a Chinchilla law of the same runs",
        f"{plain['all']['mae']:.4f}), and the cell it picks loses {100 * far['0.003']['argmin'][0]:.3f} % on average.",
    ]


def page(found: list[dict[str, Any]], others: list[dict[str, Any]], table: pd.DataFrame) -> str:
    """docs/accuracy.md."""
    better = int(np.sum(table.ratio <= 1.0 + 1e-9))
    gm = lambda values: float(np.exp(np.mean(np.log(values))))  # noqa: E731
    heads = (
        "table, split", "train / test", "reference MAE", "others", "auto MAE", "auto / reference", "earlier blend",
        "power law in compute", "last point",
    )  # fmt: skip
    even = table[table.row != UNEVEN]
    seconds = sum(f.get("seconds", 0.0) for f in (*found, *others))
    out = [INTRODUCTION, *_header(heads)]
    for r in table.to_dict("records"):
        out.append(
            f"| {r['row']} | {r['train']:.0f} / {r['test']:,} | {r['reference_mae']:.4f} | {r['noted']:.4f} | "
            f"{r['auto_mae']:.4f} | {r['ratio']:.2f} | {r['blend']:.4f} | {_told(r['power law in compute'])} | "
            f"{_told(r['last point'])} |"
        )
    heads = (
        "table, split", "auto covers", "width %", "score", "earlier blend's width %", "reference law covers", "width %",
        "score",
    )  # fmt: skip
    out += [
        "",
        f"Geometric mean of auto / reference over the {len(table)} rows: **{gm(table.ratio):.2f}**; no worse than the",
        f"reference in {better} of {len(table)}; worst {table.ratio.max():.2f}. Without the row of the broken law",
        f"against a power law, which can't be lost: **{gm(even.ratio):.2f}**. Against the plain fits of others:",
        f"{gm(table.noted_ratio):.2f}, and {gm(even.noted_ratio):.2f} without that row.",
        *NOTES,
        INTERVALS,
        *_header(heads),
    ]
    for r in table.to_dict("records"):
        out.append(
            f"| {r['row']} | {r['auto_coverage']:.0%} | {100 * r['auto_width']:.1f} | {r['auto_score']:.3f} | "
            f"{r['blend_width']:.1f} | {r['reference_coverage']:.0%} | {100 * r['reference_width']:.1f} | "
            f"{r['reference_score']:.3f} |"
        )
    out += ["", "| table | held-out points | auto covers | reference law covers |", "| --- | --- | --- | --- |"]
    for dataset, part in table.groupby("dataset", sort=False):
        own, plain = (np.average(part[f"{k}_coverage"], weights=part.test) for k in ("auto", "reference"))
        out.append(f"| {dataset} | {part.test.sum():,} | {own:.0%} | {plain:.0%} |")
    own, plain = (np.average(table[f"{k}_coverage"], weights=table.test) for k in ("auto", "reference"))
    apart = even[even.dataset != "olmo_ladder"]
    out += [
        f"| all | {table.test.sum():,} | **{own:.1%}** | {plain:.1%} |",
        "",
        "Geometric mean of auto's width over the earlier blend's, without the first row of bnsl_addition, where that",
        f"blend knew no law that bends: **{gm(even.width_ratio):.2f}**",
        f"({gm(apart.width_ratio):.2f} without olmo_ladder too, where it covered 17 and 75 %).",
        *_others(others),
        *(["", section(json.loads(CATALOGUE.read_text()))] if CATALOGUE.exists() else []),
        *_curves(json.loads(CURVES.read_text())),
        *_rates(json.loads(HPARAMS.read_text())),
        "",
        "## Tasks, mixtures and isoFLOP optima",
        "",
        "Predictions in two steps: [tasks-accuracy.md](tasks-accuracy.md), made by `python bench/tasks.py`. Mixtures",
        "and isoFLOP optima: [mixtures-accuracy.md](mixtures-accuracy.md), made by `python bench/mixtures.py`.",
        "",
        f"{TIMED}, summed over {len(found) + len(others)} splits: {seconds:.0f}",
        f"on {platform.machine()}, two cores shared by two processes.",
        "",
    ]
    return "\n".join(out)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--fresh", action="store_true", help="forget what earlier runs kept")
    ask.add_argument("--page", action="store_true", help="only write the page anew, from the figures of the last run")
    asked = ask.parse_args()
    if asked.page:
        stored = json.loads(RESULT.read_text())
        made = page(stored["splits"], stored["unseen"], summary(stored["splits"]))
        PAGE.write_text(made.split(TIMED)[0] + TIMED + PAGE.read_text().split(TIMED)[1])
        return
    if asked.fresh:
        for kept in KEPT.glob("*.json"):
            kept.unlink()
    tuned, rest = list(splits(DATA)), list(unseen(DATA))
    found = []
    with ProcessPoolExecutor(2) as pool:
        for one in pool.map(cached, [*tuned, *rest]):
            found.append(one)
            ratio = one["auto"]["mae"] / one["reference"]["mae"]
            told = f"{one['row']} {one['part']}: {ratio:.2f} in {one['seconds']:.0f} s"
            print(f"{len(found):2}/{len(tuned) + len(rest)} {told}", flush=True)
    split = {"splits": found[: len(tuned)], "unseen": found[len(tuned) :]}
    kept = {name: [{k: v for k, v in f.items() if k != "seconds"} for f in part] for name, part in split.items()}
    RESULT.write_text(json.dumps(kept, indent=1) + "\n")
    PAGE.write_text(page(split["splits"], split["unseen"], summary(split["splits"])))
    print(f"{PAGE} written")


if __name__ == "__main__":
    main()
