"""How good forecasts of running curves are: all 18 curves of mpl_curves cut at 30, 50 and 70 %, and planted departures.

Ends: each curve cut, forecast to its last logged step with the schedule known. Alone: priors of published coefficients
only. With a fit: multi-power fitted to constant_24000, cosine_24000 and wsdcon_9 of the same size, for the six others.
Watch: every whole curve from a tenth and from 30 % of its steps (how many are told to have left), then with a jump, a
drift, a divergence and a spike planted at 55 % of the run. Writes bench/results/forecast.json and the tables of
docs/forecast.md.

usage: python bench/forecast.py [--data DIR] [--out bench/results/forecast.json] [--page docs/forecast.md]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scaling_lab.decide import watch
from scaling_lab.decide.forecast import forecast
from scaling_lab.engine.curves import CurveFit, fit_curves
from scaling_lab.schedules import Schedule

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("SCALING_LAB_DATA", HERE.parents[1] / "shared" / "data"))
MODELS, CUTS, LEVEL = ("25M", "100M"), (0.3, 0.5, 0.7), 0.9
FITTED = ("constant_24000", "cosine_24000", "wsdcon_9")
KINDS = ("constant", "cosine", "wsd", "two stages")
# What is planted at PLACE of a run, as a function of how far behind it (as a share of the run).
PLACE, UNTIL = 0.55, 0.75
PLANTED = {
    "jump of 0.01": lambda x: np.full_like(x, 0.01),
    "jump of 0.03": lambda x: np.full_like(x, 0.03),
    "jump of -0.02": lambda x: np.full_like(x, -0.02),
    "drift of 0.02 in a tenth of the run": lambda x: 0.2 * x,
    "divergence, e-fold in 4 % of the run": lambda x: 0.02 * np.expm1(x / 0.04),
    "spike of 0.3 over 0.6 % of the run": lambda x: np.where(x < 0.006, 0.3, 0.0),
}


def plans(data: Path) -> dict[str, str]:
    """The schedule of every curve by its name, as --schedule takes it."""
    found = {}
    for row in pd.read_csv(data / "mpl_curves" / "schedules.csv").itertuples():
        head = f"total={row.total_steps},warmup={row.warmup_steps},lr_max={row.lr_max}"
        floor = row.lr_min / row.lr_max
        steps = row.total_steps - row.decay_start_step
        found[row.schedule_name] = {
            "constant": f"constant:{head}",
            "cosine": f"cosine:{head},floor={floor}",
            "wsd_linear": f"wsd:{head},floor={floor},decay_steps={steps}",
            "wsd_exponential": f"wsd-exp:{head},floor={floor},decay_steps={steps}",
            "two_stage": f"two-stage:{head},switch={row.decay_start_step},second={floor}",
        }[row.schedule]
    return found


def kind_of(name: str) -> str:
    """Which of KINDS a curve's schedule is."""
    return "two stages" if name.startswith("wsdcon") else name.split("_")[0].replace("wsdld", "wsd")


def cut_curves(
    curves: dict[Any, pd.DataFrame], specs: dict[str, str], fits: dict[str, CurveFit]
) -> list[dict[str, Any]]:
    """Every curve cut and forecast to its last logged step, alone and, where it was not fitted, with the fit."""
    rows = []
    for (model, name), curve in curves.items():
        last, loss = float(curve.step.iloc[-1]), float(curve.loss.iloc[-1])
        for share in CUTS:
            part = curve[curve.step <= share * last].reset_index(drop=True)
            for how in ("alone", "with a fit"):
                if how == "with a fit" and name in FITTED:
                    continue
                begun = time.perf_counter()
                found = forecast(
                    part, specs[name], fit=fits[model] if how == "with a fit" else None, at=[last], level=LEVEL
                )
                at = int(np.flatnonzero(found.asked)[0])
                rows.append(
                    {
                        "model": model, "curve": name, "kind": kind_of(name), "cut": share, "how": how,
                        "measured": loss, "forecast": round(float(found.loss[at]), 5),
                        "low": round(float(found.low[at]), 5), "high": round(float(found.high[at]), 5),
                        "seconds": round(time.perf_counter() - begun, 2),
                    }
                )  # fmt: skip
    return rows


def false_alarms(curves: dict[Any, pd.DataFrame], specs: dict[str, str]) -> list[dict[str, Any]]:
    """Every whole curve watched from a tenth and from 30 % of its steps."""
    rows, usual = [], watch.BEGIN_SHARE
    for begin in (usual, 0.3):
        watch.BEGIN_SHARE = begin
        for (model, name), curve in curves.items():
            found = forecast(curve, specs[name])
            scores = [stretch.score for stretch in found.watch.stretches]
            rows.append(
                {
                    "model": model, "curve": name, "from": begin, "stretches": len(scores),
                    "sd": round(float(np.std(scores)), 2), "largest": round(float(np.abs(scores).max()), 2),
                    "left": None if found.left is None else found.left.kind,
                }
            )  # fmt: skip
    watch.BEGIN_SHARE = usual
    return rows


def detections(curves: dict[Any, pd.DataFrame], specs: dict[str, str]) -> list[dict[str, Any]]:
    """Departures planted in the curves of 24,000 and 72,000 steps; how soon they are told, and as what."""
    rows = []
    for what, added in PLANTED.items():
        for (model, name), curve in curves.items():
            if name.startswith("wsdcon"):
                continue
            total = Schedule.parse(specs[name]).total
            part = curve[curve.step <= UNTIL * total].reset_index(drop=True).drop(columns="lr")
            x = part.step.to_numpy() / total - PLACE
            part["loss"] += np.where(x > 0, added(np.maximum(x, 0.0)), 0.0)
            # A divergence is told long before its losses are thousands.
            part = part[part.loss < 12].reset_index(drop=True)
            left = forecast(part, specs[name]).left
            rows.append(
                {
                    "planted": what, "model": model, "curve": name, "left": None if left is None else left.kind,
                    "after": None if left is None else round(left.told / total - PLACE, 4),
                    "since": None if left is None else round(left.since / total - PLACE, 4),
                }
            )  # fmt: skip
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Mean error, coverage and width of the ends by how, cut and kind."""
    frame = pd.DataFrame(rows)
    frame["error"] = frame.forecast - frame.measured
    frame["inside"] = (frame.low <= frame.measured) & (frame.measured <= frame.high)
    frame["width"] = frame.high - frame.low
    lines = [
        "| forecast | cut at | curves | MAE of the end | bias | largest | in the 90 % interval | median width |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for how in ("alone", "with a fit"):
        for share in CUTS:
            part = frame[(frame.how == how) & (frame["cut"] == share)]
            for label, some in [("all", part), *[(kind, part[part.kind == kind]) for kind in KINDS]]:
                if len(some) and (how == "alone" or label == "all"):
                    error, said = some.error, f"{how} | {share:.0%} | {label} ({len(some)})"
                    lines.append(
                        f"| {said} | {error.abs().mean():.4f} | {error.mean():+.4f} "
                        f"| {error.abs().max():.4f} | {some.inside.sum()} of {len(some)} | {some.width.median():.3f} |"
                    )
    return "\n".join(lines)


def watch_tables(quiet: list[dict[str, Any]], planted: list[dict[str, Any]]) -> str:
    """False alarms, then what of the planted was found."""
    lines = ["| watched from | curves | told to have left | stretches | sd of their scores | largest score |",
             "| --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    frame = pd.DataFrame(quiet)
    for begin, part in frame.groupby("from"):
        told = part[part.left.notna()]
        names = "" if told.empty else f" ({', '.join(f'{r.model} {r.curve}: {r.left}' for r in told.itertuples())})"
        sd = np.sqrt(np.average(part.sd**2, weights=part.stretches))
        lines.append(
            f"| {begin:.0%} of the steps | {len(part)} | {len(told)}{names} | {part.stretches.sum()} | {sd:.2f} "
            f"| {part.largest.max():.1f} |"
        )
    lines += ["", "| planted at 55 % of the run | curves | found | named | told after, median (latest) |",
              "| --- | --- | --- | --- | --- |"]  # fmt: skip
    frame = pd.DataFrame(planted)
    for what in PLANTED:
        part = frame[frame.planted == what]
        told = part[part.left.notna()]
        kinds = ", ".join(f"{kind} {count}" for kind, count in told.left.value_counts().items()) or "-"
        after = "-" if told.empty else f"{told.after.median():.1%} ({told.after.max():.1%}) of the run"
        lines.append(f"| {what} | {len(part)} | {len(told)} | {kinds} | {after} |")
    return "\n".join(lines)


def put(page: Path, name: str, text: str) -> None:
    """Replaces what stands between the page's marks of that name."""
    old = page.read_text(encoding="utf-8")
    new = re.sub(
        rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)", lambda m: m[1] + text + "\n" + m[2], old, flags=re.DOTALL
    )
    page.write_text(new, encoding="utf-8")


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--data", type=Path, default=DATA)
    ask.add_argument("--out", type=Path, default=HERE / "results" / "forecast.json")
    ask.add_argument("--page", type=Path, default=HERE.parent / "docs" / "forecast.md")
    asked = ask.parse_args()
    specs = plans(asked.data)
    points = pd.read_csv(asked.data / "mpl_curves" / "curves.csv")
    # The last point of a warm-up lies at its end, where the schedule is at its peak already.
    curves = {
        (model, name): points[(points.model == model) & (points.schedule_name == name)][
            ["step", "lr", "loss"]
        ].reset_index(drop=True)
        for model in MODELS
        for name in specs
    }
    fits = {}
    for model in MODELS:
        shown = pd.concat([curves[model, name].assign(run_id=name) for name in FITTED], ignore_index=True)
        fits[model] = fit_curves("multi-power", shown, schedule={name: Schedule.parse(specs[name]) for name in FITTED})
    ends = cut_curves(curves, specs, fits)
    print(table(ends), flush=True)
    quiet = false_alarms(curves, specs)
    planted = detections(curves, specs)
    print(watch_tables(quiet, planted))
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "schema": "scaling-lab/bench-forecast/1",
        "level": LEVEL,
        "ends": ends,
        "watch": quiet,
        "planted": planted,
    }
    asked.out.write_text(json.dumps(result, indent=1) + "\n")
    if asked.page.exists():
        put(asked.page, "ends", table(ends))
        put(asked.page, "watch", watch_tables(quiet, planted))


if __name__ == "__main__":
    main()
