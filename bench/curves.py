"""Laws of loss curves on public curves: error and coverage under other schedules and horizons, and how fast they are.

Fits see the curves that are named as fitted and no others. Tables go to docs/curves-accuracy.md, between its marks.

usage: python bench/curves.py --data DIR [--only accuracy ladder speed] [--out bench/results/curves.json] [--docs FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scaling_lab.engine.curve_backtest import backtest_curves
from scaling_lab.engine.curves import CurveFit, fit_curves
from scaling_lab.errors import LabError
from scaling_lab.histories import History
from scaling_lab.laws.curves import CURVE_LAWS
from scaling_lab.schedules import Schedule
from scaling_lab.tables import Curves, read_curves, read_table

HERE = Path(__file__).resolve().parent
LAWS = ("lr-sum", "annealing", "multi-power", "multi-power-worth", "functional", "forward-momentum", "auto-curve")
FITTED = {
    "constant, cosine, sudden drop": ("constant_24000", "cosine_24000", "wsdcon_9"),
    "constant, cosine": ("constant_24000", "cosine_24000"),
    "cosine": ("cosine_24000",),
    "constant": ("constant_24000",),
}
TEST = ("constant_72000", "cosine_72000", "wsd_20000_24000", "wsdld_20000_24000", "wsdcon_3", "wsdcon_18")
LENGTHS = ("0.5xC", "1xC", "2xC", "5xC", "10xC")
# How many lengths are fitted, and which is predicted.
LADDERS = ((4, 4), (3, 3), (2, 2), (1, 1), (3, 4), (2, 3), (1, 2))
# Chosen on, in what this repository made itself: the law multi-power-worth, the choice's odds and the misfit's size.
CHOSEN_ON = ("25M", "190M", "370M")
ROUNDS, STEPS = 3, 200


def schedule_curves(data: Path, model: str, names: tuple[str, ...]) -> Curves:
    """Curves of arXiv:2503.12811, with the learning rates that they logged."""
    table = read_table(
        data / "mpl_curves" / "curves.csv", mapping={"run_id": "schedule_name"}, where=f"model == '{model}'"
    )
    read = read_curves(table, warmup_steps=2160)
    return read.only(set(names))


def ladder(data: Path, size: str) -> Curves:
    """Runs of five lengths of one size, each with its own cosine (arXiv:2412.04403): loss on C4."""
    frame = pd.read_csv(data / "olmo_ladder" / "curves.csv.gz")
    frame = frame[frame.run_id.isin([f"{size}-{length}" for length in LENGTHS])]
    plans = {}
    for length, part in frame.groupby("length"):
        warmup = round(part.params_nonembed_with_head.iloc[0] / part.batch_tokens.iloc[0])
        spec = f"cosine:total={part.step.max()},warmup={warmup},floor=0.1,lr_max={part.lr_max.iloc[0]:.17g}"
        plans[str(length)] = Schedule.parse(spec)
    table = frame[["length", "step", "loss_c4_en"]].rename(columns={"length": "run_id", "loss_c4_en": "loss"})
    return read_curves(read_table(table), schedule=plans)


def score(
    curves: Curves, fitted: tuple[str, ...], test: tuple[str, ...], laws: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Figures of each law, fitted to some runs and scored on others; one that can't be fitted says why."""
    lines = {int(line) for curve in curves.curves if curve.run in test for line in curve.lines}
    rows = []
    for law in laws:
        begun = time.perf_counter()
        try:
            found = backtest_curves(curves.only({*fitted, *test}), [law], held_lines=lines).laws[0]
        except LabError as fault:
            rows.append({"law": law, "failed": str(fault)})
            continue
        out = found.to_dict()
        fit = next(iter(found.fits.values()))
        out |= {"seconds": round(time.perf_counter() - begun, 2), "far": fit.misfit.far}
        out["members"] = [(m.law.name, m.variant, round(m.weight, 3)) for m in fit.members]
        out.pop("warnings")
        for curve in out["curves"]:
            curve.pop("fitted")
        rows.append(out)
    return rows


def accuracy(data: Path) -> list[dict[str, Any]]:
    """Every law from every set of fitted curves, at both sizes."""
    rows = []
    for model in ("25M", "100M"):
        for name, fitted in FITTED.items():
            curves = schedule_curves(data, model, (*fitted, *TEST))
            laws = tuple(law for law in LAWS if len(fitted) > 1 or law not in ("functional", "forward-momentum"))
            rows += [{"model": model, "fitted": name, **row} for row in score(curves, fitted, TEST, laws)]
            print(model, name, [(r["law"], round(r.get("mae", np.nan), 4)) for r in rows[-len(laws) :]], flush=True)
    return rows


def ladders(data: Path) -> list[dict[str, Any]]:
    """The choice of laws and two of them on ladders of runs, fitted to the shorter."""
    rows = []
    for size in ("190M", "370M", "760M", "1B"):
        curves = ladder(data, size)
        for count, longer in LADDERS:
            fitted, test = LENGTHS[:count], (LENGTHS[longer],)
            laws = ("annealing", "multi-power", "auto-curve") if count > 2 else ("auto-curve",)
            found = score(curves, fitted, test, laws)
            rows += [{"size": size, "fitted": fitted[-1], "runs": count, "predicted": test[0], **r} for r in found]
            print(size, fitted[-1], test[0], [(r["law"], round(r.get("mae", np.nan), 4)) for r in found], flush=True)
    return rows


# ----------------------------------------------------------------------------------------------------------- speed


def usual_way(curves: Curves, steps: int) -> float:
    """The processor seconds of a multi-power fit as it is usually made: AdamW over a loop of points in torch.

    Areas are trapezoids over the logged rates, and every point sums over the drops before it, as arXiv:2503.12811
    describes; learning rates 5e-2 and, for exponents, 5e-3.
    """
    import torch

    torch.set_num_threads(1)
    runs = []
    for curve in curves.curves:
        lr = torch.tensor(curve.history.lr[curve.step.astype(int) - 1], dtype=torch.float64)
        step = torch.tensor(curve.step, dtype=torch.float64)
        area = torch.cat([torch.zeros(1, dtype=torch.float64), torch.cumsum(0.5 * (lr[1:] + lr[:-1]) * step.diff(), 0)])
        runs.append((lr, area, torch.log(torch.tensor(curve.loss, dtype=torch.float64))))
    begun = time.process_time()
    values = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (2.8, 0.6, 500.0, 1.0, 0.5, 0.5, 0.5)]
    floor, height, worth, rate, alpha, beta, gamma = values
    descent = torch.optim.AdamW([{"params": values[:4], "lr": 5e-2}, {"params": values[4:], "lr": 5e-3}])
    for _ in range(steps):
        descent.zero_grad()
        total = torch.zeros((), dtype=torch.float64)
        for lr, area, target in runs:
            losses = []
            for t in range(len(lr)):
                gained = torch.zeros((), dtype=torch.float64)
                if t:
                    since = area[t] - area[:t]
                    gone = 1 - (1 + rate * lr[1 : t + 1] ** -gamma * since) ** -beta
                    gained = worth * ((lr[:t] - lr[1 : t + 1]) * gone).sum()
                losses.append(floor + height * (area[t] + 0.324) ** -alpha - gained)
            residual = torch.log(torch.stack(losses)) - target
            total = total + torch.nn.functional.huber_loss(residual, torch.zeros_like(residual), "sum", 1e-3)
        total.backward()
        descent.step()
    return time.process_time() - begun


def spent(run: Callable[[], Any]) -> float:
    """Processor seconds of one call."""
    begun = time.process_time()
    run()
    return time.process_time() - begun


def speed(data: Path) -> dict[str, Any]:
    """Processor seconds of fits beside the usual way, in turn, and of losses under long schedules."""
    curves = schedule_curves(data, "25M", FITTED["constant, cosine, sudden drop"])
    fitted, bare, usual = [], [], []
    fit_curves("multi-power", curves)
    for _ in range(ROUNDS):
        fitted.append(spent(lambda: fit_curves("multi-power", curves)))
        usual.append(usual_way(curves, STEPS))
        bare.append(spent(lambda: fit_curves("auto-curve", curves)))
    fit = fit_curves("multi-power", curves)
    rng = np.random.default_rng(0)
    knots = np.linspace(0, 100_000, 201)
    free = 3e-4 * np.interp(np.arange(1, 100_001), knots, np.sort(rng.uniform(0, 1, 201))[::-1])
    plans = {
        "cosine": Schedule.parse("cosine:total=100000,warmup=2000,floor=0.1,lr_max=3e-4").updates(),
        "free form, 200 pieces": free,
    }
    long = {name: long_schedule(fit, lr) for name, lr in plans.items()}
    return {
        "multi_power_s": statistics.median(fitted),
        "auto_s": statistics.median(bare),
        "usual_s": statistics.median(usual),
        "ratio": statistics.median(u / f for u, f in zip(usual, fitted, strict=True)),
        "all": {"multi_power": fitted, "auto": bare, "usual": usual},
        "long": long,
    }


def long_schedule(fit: CurveFit, lr: np.ndarray[Any, Any]) -> dict[str, float]:
    """Milliseconds of the last loss and of 1,000 losses, and how far they lie from the sum over all updates.

    Of this process alone: the machine is shared.
    """
    steps = np.round(np.linspace(2_100, len(lr), 1_000))
    last = [spent(lambda: fit.at(History(lr, 2000), [len(lr)])) for _ in range(21)]
    many = [spent(lambda: fit.at(History(lr, 2000), steps)) for _ in range(7)]
    run, some = History(lr, 2000), steps[::25]
    exact = np.concatenate([fit.entry.predict(run.at([s], 1).x, **fit.values) for s in some])
    return {
        "last_ms": 1e3 * statistics.median(last),
        "many_ms": 1e3 * statistics.median(many),
        "last_ms_best": 1e3 * min(last),
        "many_ms_best": 1e3 * min(many),
        "off": float(np.max(np.abs(fit.at(run, steps)[::25] - exact))),
    }


# ------------------------------------------------------------------------------------------------------------ tables


def published_worths() -> list[tuple[str, float, float, str]]:
    """What a whole fall is worth in the published fits whose peak is printed: C * peak / (1 - momentum), B * peak."""
    rows = []
    peaks = {"tissue2024-a": 2e-4, "tissue2024-e": 6e-4}
    for name, peak in peaks.items():
        v = CURVE_LAWS["annealing"].published[name].values
        rows.append((name, peak, v["C"] * peak / (1 - v["momentum"]), CURVE_LAWS["annealing"].published[name].source))
    for name, told in CURVE_LAWS["multi-power-free"].published.items():
        rows.append((name, 3e-4, told.values["B"] * 3e-4, told.source))
    return rows


def markdown(result: dict[str, Any]) -> str:
    """The tables of docs/curves-accuracy.md."""
    out: list[str] = []

    def table(title: str, head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
        out.append(f"### {title}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
        out.extend(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows)
        out.append("")

    def figures(r: dict[str, Any]) -> tuple[str, ...]:
        branch = r["after_branch"]
        return (
            f"{r['mae']:.4f}", f"{branch['mae']:.4f}", f"{r['last']:.4f}", f"{r['worst']:.4f}",
            f"{100 * r['mape']:.2f} %", f"{100 * r['coverage']:.0f}", f"{100 * branch['coverage']:.0f}",
            f"{100 * r['last_coverage']:.0f}", f"{100 * r['width']:.2f} %",
        )  # fmt: skip

    if "accuracy" in result:
        table(
            "Numbers to reach: mean absolute error over six other curves, nats/token",
            ("fitted to", "law", "at most", "25M", "100M", "mean", "in 90 %", "last in"),
            reached(result["accuracy"]),
        )
        table(
            "Coverage of `auto-curve`, all in one",
            ("curves", "curves predicted", "in 90 %", "last in", "width", "MAE"),
            pooled(result),
        )
    names = ("MAE", "after branch", "last 2 %", "worst", "MAPE", "in 90 %", "in, after branch", "last in", "width")
    for name in FITTED if "accuracy" in result else ():
        rows = [
            (r["model"], f"`{r['law']}`", *(figures(r) if "mae" in r else (r["failed"][:60], *[""] * 8)))
            for r in result["accuracy"]
            if r["fitted"] == name
        ]
        table(f"Fitted to {name}: six other curves", ("model", "law", *names), rows)
    if "accuracy" in result:
        auto = [r for r in result["accuracy"] if r["law"] == "auto-curve" and r["model"] == "100M"]
        rows = [
            (r["fitted"], c["run"], f"{c['metrics']['mae']:.4f}", f"{c['last']:+.4f}", f"{100 * c['coverage']:.0f}",
             "yes" if c["last_inside"] else "no", f"{100 * c['width']:.2f} %")
            for r in auto
            for c in r["curves"]
        ]  # fmt: skip
        table(
            "`auto-curve` at 100M, curve by curve",
            ("fitted to", "curve", "MAE", "last 2 %", "in 90 %", "last in", "width"),
            rows,
        )
    if "ladder" in result:
        rows = [
            (
                r["size"],
                f"{r['runs']}, to {r['fitted']}",
                r["predicted"],
                f"`{r['law']}`",
                *(figures(r) if "mae" in r else (r["failed"][:60], *[""] * 8)),
            )
            for r in result["ladder"]
        ]
        table(
            "Ladders: the shorter runs predict a longer one", ("size", "fitted runs", "predicted", "law", *names), rows
        )
    if "speed" in result:
        s = result["speed"]
        rows = [
            (
                "`multi-power`, three curves (437 points), its misfit by inner backtests with it",
                f"{s['multi_power_s']:.2f} s",
            ),
            ("`auto-curve`, the same curves", f"{s['auto_s']:.2f} s"),
            (f"{STEPS} AdamW steps in torch, a loop over points", f"{s['usual_s']:.1f} s"),
            ("the same over `multi-power`", f"{s['ratio']:.0f} times"),
        ]
        for name, found in s["long"].items():
            rows += [
                (
                    f"last loss of 100,000 steps, {name}",
                    f"{found['last_ms']:.1f} ms (best {found['last_ms_best']:.1f})",
                ),
                (f"1,000 losses of it, {name}", f"{found['many_ms']:.0f} ms (best {found['many_ms_best']:.0f})"),
                (f"largest difference to the sum over all updates, {name}", f"{found['off']:.1e} nats"),
            ]
        table(
            f"Speed (one thread, {result['machine']}; processor time, since the machine was shared)",
            ("what", "median"),
            rows,
        )
    table(
        "What a whole fall of the learning rate is worth in published fits",
        ("fit", "peak", "nats", "source"),
        [(name, f"{peak:g}", f"{worth:.3f}", source) for name, peak, worth, source in published_worths()],
    )
    return "\n".join(out)


def reached(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What the project set out to reach, and where it is."""
    three, two, one, _ = FITTED
    asked = [
        (three, "multi-power", "0.0041, each"),
        (three, "annealing", "0.0045, each"),
        (three, "auto-curve", "aim 0.0020 to 0.0035"),
        (two, "auto-curve", "0.0052, mean"),
        (one, "auto-curve", "0.013, mean"),
    ]
    out = []
    for fitted, law, most in asked:
        both = [r for m in ("25M", "100M") for r in rows if (r["model"], r["fitted"], r["law"]) == (m, fitted, law)]
        mae = [r["mae"] for r in both]
        inside, last = (100 * np.mean([r[name] for r in both]) for name in ("coverage", "last_coverage"))
        each = tuple(f"{value:.4f}" for value in (*mae, np.mean(mae)))
        out.append((fitted, f"`{law}`", most, *each, f"{inside:.0f}", f"{last:.0f}"))
    return out


def pooled(result: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Coverage of the choice over kinds of forecast, a curve counting as one."""
    groups = [(f"six curves, from {name}", [r for r in result["accuracy"] if r["fitted"] == name]) for name in FITTED]
    ladder = result.get("ladder", [])
    groups += [
        (f"ladders of four sizes, runs to {LENGTHS[n - 1]} predict {LENGTHS[to]}",
         [r for r in ladder if r["runs"] == n and r["predicted"] == LENGTHS[to]])
        for n, to in LADDERS
    ]  # fmt: skip
    out = []
    for name, rows in groups:
        curves = [c for r in rows if r["law"] == "auto-curve" for c in r["curves"]]
        if curves:
            means = [np.mean([c[key] for c in curves]) for key in ("coverage", "last_inside", "width")]
            mae = np.mean([c["metrics"]["mae"] for c in curves])
            cells = (f"{100 * means[0]:.0f}", f"{100 * means[1]:.0f}", f"{100 * means[2]:.2f} %", f"{mae:.4f}")
            out.append((name, len(curves), *cells))
    return out


BEGIN, END = "<!-- tables: bench/curves.py -->", "<!-- end of tables -->"


def write_docs(path: Path, text: str) -> None:
    """Puts the tables between the marks of a page."""
    page = path.read_text(encoding="utf-8")
    head, rest = page.split(BEGIN)
    path.write_text(f"{head}{BEGIN}\n\n{text}\n{END}{rest.split(END)[1]}", encoding="utf-8")


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data")
    ask.add_argument("--only", nargs="*", default=["accuracy", "ladder", "speed"])
    ask.add_argument("--out", type=Path, default=HERE / "results" / "curves.json")
    ask.add_argument("--docs", type=Path, default=HERE.parent / "docs" / "curves-accuracy.md")
    asked = ask.parse_args()
    made: dict[str, Callable[[Path], Any]] = {"accuracy": accuracy, "ladder": ladders, "speed": speed}
    result = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    for name in asked.only:
        result[name] = made[name](asked.data)
    result |= {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "python": platform.python_version()}
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(result, indent=1) + "\n")
    if asked.docs.exists():
        write_docs(asked.docs, markdown(result))


if __name__ == "__main__":
    main()
