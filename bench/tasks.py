"""Two-step predictions of task scores on public tables: errors of each step, of both, and of what they must beat.

usage: python bench/tasks.py [--task NAME]    ($SCALING_LAB_DATA, else ../shared/data)
Writes bench/results/tasks.json and, from it, the section docs/tasks-accuracy.md.

Ladder: the first step is fitted to the means of the last five evaluations of the 190M to 760M runs, the second to their
checkpoints (first tenth left out, moving average of 5, b held at 1), and both are scored on the means of the last five
of the six 1B runs. Over-training models: the first step to five small runs, the second to those and one larger.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402  (the variables above must be set first)
import pandas as pd  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from bench.cases.tasks import TASKS, gadre, ladder  # noqa: E402
from scaling_lab import fit  # noqa: E402
from scaling_lab.decide.tasks import checkpoints, final_means  # noqa: E402
from scaling_lab.engine.chain import Chained, chain  # noqa: E402
from scaling_lab.engine.predict import predict  # noqa: E402
from scaling_lab.engine.result import Fit  # noqa: E402
from scaling_lab.laws import LAWS  # noqa: E402

DATA = Path(os.environ.get("SCALING_LAB_DATA", HERE.parent.parent / "shared" / "data"))
RESULT, PAGE = HERE / "results" / "tasks.json", HERE.parent / "docs" / "tasks-accuracy.md"
LEVEL, BOOTSTRAP = 0.9, 200
# Beside the seven: one part of MMLU, and the two tasks whose noise the ladder's authors found too large.
MORE = ("mmlu_stem_val", "boolq_val", "winogrande_val")
STEPS = ("ladder-bpb", "ladder-bpb-tied", "auto")
WAYS = ("the paper's 5 and 6 points", "both steps on the 6, the second on predicted losses", "auto on all small runs")
# Mean absolute errors on the same held-out runs that shared reference figures have.
REFERENCE = {"ladder": 0.0112, "line": 0.0101, "c4_original": 0.0319, "rpj": 0.0085}


def figures(value: np.ndarray, low: np.ndarray, high: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """Errors and coverage of predictions (m,) beside measurements (m,)."""
    error = value - measured
    return {
        "mae": float(np.mean(np.abs(error))),
        "bias": float(np.mean(error)),
        "coverage": float(np.mean((low <= measured) & (measured <= high))),
        "width": float(np.mean(high - low)),
        "within_2_points": float(np.mean(np.abs(error) < 0.02)),
    }


def through(found: Chained, measured: np.ndarray, first: np.ndarray) -> dict[str, Any]:
    """Figures of both steps, and of the first alone."""
    step = found.first
    return {
        "both": figures(found.value, found.low, found.high, measured),
        "first": figures(step.value, step.low, step.high, first),
        "codes": sorted({n.code for n in found.warnings}),
    }


def first_step(law: str, runs: pd.DataFrame) -> Fit:
    """The first step of a ladder; `auto` weighs every law of a loss, with the bits per byte as one."""
    if law == "auto":
        return fit("auto", runs.rename(columns={"bpb": "loss"}), bootstrap=BOOTSTRAP)
    return fit(law, runs, bootstrap=BOOTSTRAP)


def of_ladder(task: str) -> dict[str, Any]:
    """All figures of one task."""
    curves = ladder(DATA, task)
    small = curves[curves["size"] != "1B"]
    runs, large = (final_means(part, ["bpb", "accuracy"]) for part in (small, curves[curves["size"] == "1B"]))
    measured, bpb = large.accuracy.to_numpy(), large.bpb.to_numpy()
    ready = checkpoints(small, ["bpb", "accuracy"])[["run_id", "flops", "bpb", "accuracy"]]
    second = fit("ladder", ready, objective="l2", fix={"b": 1.0}, bootstrap=BOOTSTRAP)
    points = [{"params": n, "tokens": d} for n, d in zip(large.params, large.tokens, strict=True)]
    columns = runs[["run_id", "params", "tokens", "bpb"]]
    out: dict[str, Any] = {"task": task, "second": {name: p.value for name, p in second.params.items()}}
    for law in STEPS:
        out[law] = through(chain(first_step(law, columns), second, points, LEVEL, "bpb"), measured, bpb)
    given = predict(second, [{"bpb": value} for value in bpb], LEVEL)
    out["measured bpb"] = {"both": figures(given.value, given.low, given.high, measured)}
    largest = runs.sort_values("flops").tail(8)[["run_id", "flops", "accuracy"]]
    line = fit("acc-flops", largest, objective="l2", bootstrap=BOOTSTRAP)
    by = predict(line, [{"flops": value} for value in large.flops], LEVEL)
    out["line"] = {"both": figures(by.value, by.low, by.high, measured)}
    return out


def of_gadre(corpus: str) -> dict[str, Any]:
    """The paper's five and six points, and a first step that weighs laws on all small runs."""
    table = gadre(corpus)(DATA)
    six, large = table[table.fitted == 1], table[table.fitted == 0]
    second = fit("err-loss", six[["flops", "loss", "error"]], objective="l2", bootstrap=BOOTSTRAP)
    plain = replace(LAWS["chinchilla-tied"], residual="plain")
    five = fit(plain, six[six.params < 1e9][["params", "tokens", "loss"]], objective="l2", bootstrap=BOOTSTRAP)
    models = pd.read_csv(DATA / "gadre" / "models.csv").query(f"train_data == '{corpus}' and params_total < 4.2e8")
    models = models.rename(columns={"params_total": "params", "loss_c4_val": "loss"})
    some = fit(
        "auto", models.query("token_multiplier <= 320")[["run_id", "params", "tokens", "loss"]], bootstrap=BOOTSTRAP
    )
    points = [{"params": n, "tokens": d} for n, d in zip(large.params, large.tokens, strict=True)]
    measured, loss = large.error.to_numpy(), large.loss.to_numpy()
    out: dict[str, Any] = {"corpus": corpus, "test": len(large)}
    columns = ["params", "tokens", "loss"]
    all_six = fit("chinchilla-tied", six[columns], bootstrap=BOOTSTRAP)
    foreseen = six.assign(loss=all_six.at({name: six[name].to_numpy(dtype=float) for name in columns[:2]}))
    other = fit("err-loss", foreseen[["flops", "loss", "error"]], objective="l2", bootstrap=BOOTSTRAP)
    for name, first, last in zip(WAYS, (five, all_six, some), (second, other, second), strict=True):
        out[name] = through(chain(first, last, points, LEVEL), measured, loss)
    return out


def run(job: tuple[str, str]) -> dict[str, Any]:
    """One task of the ladder, or one corpus."""
    kind, name = job
    return of_ladder(name) if kind == "ladder" else of_gadre(name)


def mean(found: list[dict[str, Any]], step: str, stage: str, figure: str) -> float:
    """The mean of a figure over tasks."""
    return float(np.mean([task[step][stage][figure] for task in found]))


def page(found: dict[str, Any]) -> str:
    """The section of the accuracy page."""
    core = [task for task in found["ladder"] if task["task"] in TASKS]
    names = {
        "ladder-bpb": "`ladder-bpb` then `ladder` (the paper's)",
        "ladder-bpb-tied": "`ladder-bpb-tied` then `ladder`",
        "auto": "`auto` on the bits per byte, then `ladder`",
        "measured bpb": "`ladder` at the measured bits per byte",
        "line": "`acc-flops` through the 8 largest runs",
    }
    lines = [
        "# Two-step predictions of task scores",
        "",
        "Made by `python bench/tasks.py`. Errors are shares: .01 is one point of accuracy.",
        "",
        "## Ladder of 190M to 760M, asked for six runs of 1B",
        "",
        f"Means over {len(core)} tasks: {', '.join(task['task'] for task in core)}. The reference for the paper's "
        f"two steps is {REFERENCE['ladder']:.4f}, for the line {REFERENCE['line']:.4f}.",
        "",
        "| steps | MAE | within 2 points | coverage of 90 % intervals | width | MAE of the bits per byte |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for step, name in names.items():
        first = f"{mean(core, step, 'first', 'mae'):.4f}" if step in STEPS else ""
        row = [f"{mean(core, step, 'both', key):{form}}" for key, form in
               (("mae", ".4f"), ("within_2_points", ".0%"), ("coverage", ".0%"), ("width", ".3f"))]  # fmt: skip
        lines.append(f"| {name} | {' | '.join(row)} | {first} |")
    lines += [
        "",
        "By task, MAE of the score (of the bits per byte):",
        "",
        f"| task | {' | '.join(STEPS)} | at measured bpb | line |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for task in found["ladder"]:
        cells = [f"{task[s]['both']['mae']:.4f} ({task[s]['first']['mae']:.4f})" for s in STEPS]
        cells += [f"{task[s]['both']['mae']:.4f}" for s in ("measured bpb", "line")]
        lines.append(f"| {task['task']} | {' | '.join(cells)} |")
    lines += [
        "",
        "BoolQ and WinoGrande are too noisy at these sizes: the ladder's authors leave them out, and so do the means.",
        "",
        "## Over-training models: mean error of 17 tasks",
        "",
        "| corpus | steps | MAE | reference | coverage of 90 % intervals | MAE of the loss |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for corpus in found["gadre"]:
        for name in WAYS:
            both, first = corpus[name]["both"], corpus[name]["first"]
            reference = f"{REFERENCE[corpus['corpus']]:.4f}" if name == WAYS[1] else ""
            lines.append(
                f"| {corpus['corpus']} ({corpus['test']} runs) | {name} | {both['mae']:.4f} | {reference} "
                f"| {both['coverage']:.0%} | {first['mae']:.4f} |"
            )
    lines += [
        "",
        "The first way is the paper's own: least squares of the loss, and the errors against measured losses; it gives "
        "the paper's predictions to their digits. The reference figures rest on losses that the first step predicts, "
        "which the second way has. Two runs are few: a tenth of a point between ways says nothing.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Computes what is asked for, and writes the results and the page."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--task", help="one task of the ladder alone; prints its figures")
    options.add_argument("--only", choices=("ladder", "gadre"), help="compute this half, and keep the other's results")
    asked = options.parse_args()
    if asked.task:
        print(json.dumps(of_ladder(asked.task), indent=1))
        return
    jobs = {
        "ladder": [("ladder", task) for task in (*TASKS, *MORE)],
        "gadre": [("gadre", corpus) for corpus in ("c4_original", "rpj")],
    }
    found = json.loads(RESULT.read_text()) if asked.only else {}
    with ProcessPoolExecutor(max_workers=2) as pool:
        for half in (asked.only,) if asked.only else tuple(jobs):
            found[half] = list(pool.map(run, jobs[half]))
    RESULT.write_text(json.dumps(found, indent=1) + "\n")
    PAGE.write_text(page(found))
    print(page(found))


if __name__ == "__main__":
    main()
