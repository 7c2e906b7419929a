"""What laws of loss curves promise of one schedule over another, what came true of it, and what they like best.

usage: python bench/best_schedule.py    ($SCALING_LAB_DATA, else ../shared/data)
Writes bench/results/best_schedule.json, and its tables into docs/best-schedule.md between the marks there.

Every law is fitted to three of the nine schedules of mpl_curves (constant_24000, cosine_24000, wsdcon_9); the others
are only scored. A gain's interval on a size rests on the other sizes' published differences and the three curves, but
for one number: gains.LAW_SD is of the small differences of both sizes.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import pandas as pd  # noqa: E402  (the checkout must be importable first)

from scaling_lab import Schedule, optimize_schedule  # noqa: E402
from scaling_lab.decide.gains import PUBLISHED, gain, measure_bias, off_law  # noqa: E402
from scaling_lab.engine.curves import CurveFit, fit_curves  # noqa: E402

DATA = Path(os.environ.get("SCALING_LAB_DATA", HERE.parent.parent / "shared" / "data"))
RESULT, PAGE = HERE / "results" / "best_schedule.json", HERE.parent / "docs" / "best-schedule.md"
MARKS = ("<!-- made by bench/best_schedule.py -->", "<!-- end -->")
SIZES, LAWS = ("25M", "100M"), ("multi-power", "annealing", "auto-curve")
TRAIN = ("constant_24000", "cosine_24000", "wsdcon_9")
PEAK, WARMUP, LEVEL = 3e-4, 2160, 0.9
# A schedule, the one that it is measured against, and the last step at which both were logged.
PAIRS = (
    ("wsd_20000_24000", "cosine_24000"),
    ("wsdld_20000_24000", "cosine_24000"),
    ("wsdcon_3", "cosine_24000"),
    ("wsdcon_18", "cosine_24000"),
    ("wsdcon_3", "wsdcon_9"),
    ("wsdcon_18", "wsdcon_9"),
    ("wsd_20000_24000", "wsdld_20000_24000"),
    ("cosine_72000", "constant_72000"),
)
# The end of a curve, over which losses are averaged.
END = 0.02


def schedule(name: str) -> Schedule:
    """The schedule of a curve, as its paper defines it."""
    fixed: dict[str, Any] = {"lr_max": PEAK, "warmup_steps": WARMUP}
    kind, *numbers = name.split("_")
    if kind == "wsdcon":
        return Schedule("two-stage", 16_000, settings={"switch": 8000, "second": float(numbers[0]) / 30}, **fixed)
    total = int(numbers[-1])
    if kind in ("constant", "cosine"):
        return Schedule(kind, total, floor=0.1, **fixed)
    share = 4000 / (total - WARMUP)
    return Schedule("wsd-exp" if kind == "wsd" else "wsd", total, floor=0.1, decay=share, **fixed)


def fitted(law: str, size: str) -> CurveFit:
    """The law fitted to the three schedules of a size."""
    names = " or ".join(f"schedule_name == '{name}'" for name in TRAIN)
    path = DATA / "mpl_curves" / "curves.csv"
    where = f"model == '{size}' and ({names})"
    plans = {name: schedule(name) for name in TRAIN}
    return fit_curves(law, str(path), where=where, mapping={"run_id": "schedule_name"}, schedule=plans)


def differences(fit: CurveFit, curves: dict[str, pd.DataFrame], size: str) -> list[dict[str, Any]]:
    """Of each pair how much lower the first ended: measured, by the law, and likely with its interval."""
    at = SIZES.index(size)
    bias = measure_bias(fit, [pair for i, pair in enumerate(PUBLISHED) if i != at])
    rows = []
    for run, against in PAIRS:
        step = float(min(curves[name].step.max() for name in (run, against)))
        ends, drawn, seen = [], [], []
        for name in (run, against):
            last = curves[name][(curves[name].step <= step) & (curves[name].step >= (1 - END) * step)]
            history = fit.history(schedule(name))
            steps = last.step.to_numpy(float)
            ends.append(float(fit.at(history, steps).mean()))
            drawn.append(fit.at_draws(history, steps).mean(axis=1))
            seen.append(float(last.loss.mean()))
        less = gain(ends[1] - ends[0], drawn[1] - drawn[0], bias, LEVEL, off_law(fit, ends[0]), fit.seed)
        rows.append(
            {"run": run, "against": against, "step": int(step), "measured": seen[1] - seen[0], **less.to_dict()}
        )
    return [{**row, "bias": {"share": bias.share, "sd": bias.sd, "measured_share": bias.measured}} for row in rows]


def optimum(fit: CurveFit) -> dict[str, Any]:
    """The best schedules of 24,000 steps."""
    found = optimize_schedule(fit, 24_000)
    best, free = found.best[0], found.free
    assert free is not None
    return {
        "best": str(best.schedule),
        "loss": best.loss,
        "gain": best.gain.to_dict(),
        "last_rate": best.last_rate,
        "decay": best.schedule.decay,
        "free": {"loss": free.loss, "last_rate": free.last_rate, "like": str(free.like), "off": free.off,
                 "sudden": free.sudden, "idle": free.idle, "q": free.like["q"] if free.like else None},
        "staircase": None if found.steep is None else {"loss": found.steep.loss, "sudden": found.steep.sudden},
    }  # fmt: skip


def measure() -> dict[str, Any]:
    """Everything, by law and size."""
    frame = pd.read_csv(DATA / "mpl_curves" / "curves.csv")
    found: dict[str, Any] = {}
    for law in LAWS:
        for size in SIZES:
            curves = dict(list(frame[frame.model == size].groupby("schedule_name")))
            fit = fitted(law, size)
            found[f"{law} {size}"] = {"pairs": differences(fit, curves, size), "optimum": optimum(fit)}
            print(law, size, flush=True)
    return found


def page(found: dict[str, Any]) -> str:
    """The tables, in words between them."""
    out = ["| schedule less the other | size | measured |" + "".join(f" {law} | likely |" for law in LAWS)]
    out.append("| --- | --- | --- |" + " --- | --- |" * len(LAWS))
    held = total = 0
    for i, (run, against) in enumerate(PAIRS):
        for size in SIZES:
            rows = [found[f"{law} {size}"]["pairs"][i] for law in LAWS]
            cells = [f"{row['raw']:.4f} | {row['expected']:.4f} ({row['interval'][0]:.4f} to {row['interval'][1]:.4f})"
                     for row in rows]  # fmt: skip
            label = f"{run} over {against}, step {rows[0]['step']:,}"
            out.append(f"| {label} | {size} | {rows[0]['measured']:.4f} | {' | '.join(cells)} |")
            held += sum(row["interval"][0] <= row["measured"] <= row["interval"][1] for row in rows)
            total += len(rows)
    shares = [row["measured"] / row["raw"] for entry in found.values() for row in entry["pairs"][:2]]
    small = {
        size: [
            r["raw"] - r["measured"]
            for law in LAWS
            for r in found[f"{law} {size}"]["pairs"]
            if abs(r["measured"]) < 0.01
        ]
        for size in SIZES
    }
    errors = {size: (sum(e * e for e in values) / len(values)) ** 0.5 for size, values in small.items()}
    told = " and ".join(f"{error:.4f} ({len(small[size])} at {size})" for size, error in errors.items())
    out += [
        "",
        f"How much lower the first schedule ended (nats/token, mean of the last 2 % of steps that both have). {held} of"
        f" {total} intervals (90 %) hold what was measured. Of the gains of the two WSD schedules over the cosine"
        f" {100 * min(shares):.0f} to {100 * max(shares):.0f} % came true: predictions were {1 / max(shares):.2f} to"
        f" {1 / min(shares):.2f} times the measured gains. Of measured differences below .01 nats laws were wrong by"
        f" {told}, root mean square.",
        "",
        "| law | size | best of 24,000 steps | by the law | likely gain | free form: last rate / peak, exponent |"
        " lower than the best family by | staircase lower still by |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for law in LAWS:
        for size in SIZES:
            best = found[f"{law} {size}"]["optimum"]
            free, steep, less = best["free"], best["staircase"], best["gain"]
            name = best["best"].split(":")[0]
            shape = "to zero at once" if free["idle"] > 1 else f"{free['last_rate']:.3f}, {free['q']:.2f}"
            out.append(
                f"| {law} | {size} | {name}, decay {100 * best['decay']:.0f} %, to {best['last_rate']:.3f} of the"
                f" peak | {less['raw']:.4f} | {less['expected']:.4f} ({less['interval'][0]:.4f} to "
                f"{less['interval'][1]:.4f}) | {shape} | {best['loss'] - free['loss']:.4f} | "
                f"{'-' if steep is None else format(free['loss'] - steep['loss'], '.4f')} |"
            )
    return "\n".join(out)


def main() -> None:
    """Measures, writes the results and the tables."""
    found = measure()
    RESULT.write_text(json.dumps(found, indent=1, default=float) + "\n", encoding="utf-8")
    text = PAGE.read_text(encoding="utf-8")
    begin, end = (text.index(mark) for mark in MARKS)
    PAGE.write_text(f"{text[: begin + len(MARKS[0])]}\n\n{page(found)}\n\n{text[end:]}", encoding="utf-8")


if __name__ == "__main__":
    main()
