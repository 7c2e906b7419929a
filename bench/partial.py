"""How much the first part of a run's own curve adds to a law's prediction of its end; writes docs/partial.md's tables.

usage: python bench/partial.py    ($SCALING_LAB_DATA, else ../shared/data; about three minutes on two cores)

Laws are fitted to the finished small (or short) runs; each held-out run is predicted from 10, 20, 30 and 50 % of its
own curve and the curves of the small runs alone.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scaling_lab.engine.fit import fit
from scaling_lab.engine.partial import Curve, predict_gap, predict_partial
from scaling_lab.errors import LabError

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("SCALING_LAB_DATA", HERE.parent.parent / "shared" / "data"))
OWN = HERE.parent / "data" / "proxy_stdlib"
RESULT, PAGE = HERE / "results" / "partial.json", HERE.parent / "docs" / "partial.md"
MARK = "<!-- made by bench/partial.py; don't edit below -->"
FRACTIONS = (0.1, 0.2, 0.3, 0.5)
LAWS = ("chinchilla", "auto")
BOOTSTRAP = 300

Job = tuple[str, str, pd.DataFrame, list[str]]


def jobs() -> Iterator[Job]:
    """Name of the split, of the loss, the curves, and the runs held out."""
    curves = pd.read_csv(DATA / "olmo_ladder" / "curves.csv.gz").sort_values(["run_id", "tokens"])
    curves = curves.rename(columns={"params_nonembed_with_head": "params"})
    about = ["run_id", "params", "tokens", "lr", "lr_max"]
    small = curves[curves["size"] != "1B"]
    for loss in [name for name in curves if name.startswith("loss_")]:
        for split, part, held in (
            ("olmo_ladder: 190M-760M to 1B", curves, curves["size"] == "1B"),
            ("olmo_ladder: <= 2xC to 5, 10xC", curves, curves.length.isin(["5xC", "10xC"])),
            ("olmo_ladder: 190M, 370M to 760M", small, small["size"] == "760M"),
        ):
            yield split, loss, part[[*about, loss]].rename(columns={loss: "loss"}), list(part.run_id[held].unique())
    runs = pd.read_csv(OWN / "runs.csv")
    own = pd.read_csv(OWN / "curves.csv").merge(runs[["run_id", "params", "role"]], on="run_id")
    yield "proxy_stdlib: to 627K", "loss", own.drop(columns=["role", "train_loss"]), ["627K-6.5M-s0-12f5d93d98"]
    own = own[own.role == "fit"]
    largest = list(own.run_id[own.params == own.params.max()].unique())
    yield "proxy_stdlib: 14K-96K to 167K", "loss", own.drop(columns=["role", "train_loss"]), largest


def score(job: Job) -> list[dict[str, Any]]:
    """A line for each law, held-out run and fraction: log errors and log half widths of law, curve and both."""
    split, loss, curves, held = job
    finals = curves.groupby("run_id").last().reset_index()[["run_id", "params", "tokens", "loss"]]
    known, out = curves[~curves.run_id.isin(held)], []
    for law in LAWS:
        try:
            found = fit(law, finals[~finals.run_id.isin(held)], bootstrap=BOOTSTRAP)
        except LabError as fault:
            out.append({"split": split, "loss": loss, "law": law, "failed": str(fault)})
            continue
        for end in finals[finals.run_id.isin(held)].itertuples():
            for fraction in FRACTIONS:
                mine = curves[(curves.run_id == end.run_id) & (curves.tokens <= fraction * end.tokens)]
                line: dict[str, Any] = {"split": split, "loss": loss, "law": law, "run": end.run_id, "asked": fraction}
                try:
                    p = predict_partial(
                        found, {"params": end.params, "tokens": end.tokens}, pd.concat([mine, known]), run=end.run_id
                    )
                except LabError as fault:
                    out.append(line | {"failed": str(fault)})
                    continue
                both = (float(p.combined.low[0]), float(p.combined.high[0]))
                parts = {"law": (p.law.value, p.law.interval), "run": (p.run.value, p.run.interval)}
                parts["both"] = (float(p.combined.value[0]), both)
                line |= {
                    "fraction": p.fraction,
                    "weight": p.run.weight,
                    "widened": p.widened,
                    "form": p.gap.forms[0].name,
                }
                for name, (value, (low, high)) in parts.items():
                    line[f"{name}_error"] = float(np.log(value / end.loss))
                    line[f"{name}_half"] = float(np.log(high / low) / 2)
                    line[f"{name}_hit"] = bool(low <= end.loss <= high)
                out.append(line)
    return out


def summary(lines: pd.DataFrame) -> pd.DataFrame:
    """A line for each split, law and fraction."""
    made = []
    order = {split: i for i, split in enumerate(lines["split"].unique())}
    lines = lines.assign(order=lines["split"].map(order)).sort_values(["order", "law", "asked"], kind="stable")
    for (split, law, asked), part in lines.groupby(["split", "law", "asked"], sort=False):
        line: dict[str, Any] = {"split": split, "law": law, "asked": asked, "predictions": len(part)}
        for name in ("law", "run", "both"):
            line[f"{name}_error"] = part[f"{name}_error"].abs().mean()
            line[f"{name}_hit"] = part[f"{name}_hit"].mean()
            line[f"{name}_half"] = part[f"{name}_half"].mean()
        line["ratio"] = line["both_error"] / line["law_error"]
        line["weight"] = part.weight.mean()
        together = float(np.sum(part.law_error * part.run_error))
        line["cosine"] = together / float(np.sqrt(np.sum(part.law_error**2) * np.sum(part.run_error**2)))
        made.append(line)
    return pd.DataFrame(made)


# ------------------------------------------------------------------------------------------------- several schedules


def schedules() -> list[dict[str, Any]]:
    """mpl_curves: nine schedules of two sizes, each held out in turn; no law can be fitted to two sizes.

    The curve alone, from the runs of its own kind of schedule, and from all runs whatever their schedule.
    """
    table = pd.read_csv(DATA / "mpl_curves" / "curves.csv")
    curves = []
    for (model, name), part in table.groupby(["model", "schedule_name"], sort=False):
        params = {"25M": 25e6, "100M": 100e6}[str(model)]
        kind = str(part.schedule.iloc[0])
        # The batch is one for all runs: steps stand for tokens.
        curves.append(
            Curve(f"{model} {name}", params, part.step.to_numpy(float), np.log(part.loss.to_numpy()),
                  np.full(len(part), np.nan), 0, kind)
        )  # fmt: skip
    out = []
    for target in curves:
        for others in ("same", "all"):
            like = [c for c in curves if c is not target and (others == "all" or c.schedule == target.schedule)]
            if len(like) < 3:
                continue
            for fraction in FRACTIONS:
                kept = [c for c in like if np.isfinite(c.at(fraction * c.end, 0.0))]
                seen = target.at(fraction * target.end, 0.0)
                if len(kept) < 3 or not np.isfinite(seen):
                    continue
                gap = predict_gap(None, kept, target, fraction, 0.0)
                error = float(seen + gap.value - target.log_loss[-1])
                half = gap.half_width(0.9)
                out.append({"run": target.run_id, "kind": target.schedule, "from": others, "asked": fraction,
                            "error": error, "half": half, "hit": abs(error) <= half})  # fmt: skip
    return out


# --------------------------------------------------------------------------------------------------------------- page


def page(table: pd.DataFrame, mixed: pd.DataFrame, failed: list[dict[str, Any]], lines: pd.DataFrame) -> str:
    """The tables of docs/partial.md."""
    show = lambda v: f"{100 * v:.2f}"  # noqa: E731
    out = [
        "### Against the law alone",
        "",
        "Mean absolute relative error, coverage of 90 % intervals, and mean half width, all in %.",
        "",
        "| split | law | own curve | predictions | error: law | curve | both | both / law | covered: law | curve "
        "| both | half width: law | curve | both | weight of curve |",
        f"|{' --- |' * 15}",
    ]
    for r in table.to_dict("records"):
        cells = [r["split"], r["law"], f"{r['asked']:.0%}", str(r["predictions"])]
        cells += [show(r[f"{n}_error"]) for n in ("law", "run", "both")] + [f"{r['ratio']:.2f}"]
        cells += [f"{100 * r[f'{n}_hit']:.0f}" for n in ("law", "run", "both")]
        cells += [show(r[f"{n}_half"]) for n in ("law", "run", "both")] + [f"{r['weight']:.2f}"]
        out.append(f"| {' | '.join(cells)} |")
    out += [
        "",
        "### Pooled",
        "",
        "| law | own curve | error: law | both | covered: law | curve | both |",
        f"|{' --- |' * 7}",
    ]
    for (law, asked), part in lines.groupby(["law", "asked"]):
        cells = [str(law), f"{asked:.0%}", show(part.law_error.abs().mean()), show(part.both_error.abs().mean())]
        cells += [f"{100 * part[f'{n}_hit'].mean():.0f}" for n in ("law", "run", "both")]
        out.append(f"| {' | '.join(cells)} |")
    out += [
        "",
        "### Several schedules (mpl_curves), the curve alone",
        "",
        "| finished runs | own curve | runs predicted | mean error % | covered % | mean half width % |",
        f"|{' --- |' * 6}",
    ]
    for (others, asked), part in mixed.groupby(["from", "asked"], sort=False):
        word = "of its own kind of schedule" if others == "same" else "of all schedules"
        cells = [word, f"{asked:.0%}", str(len(part)), show(part.error.abs().mean())]
        out.append(f"| {' | '.join([*cells, f'{100 * part.hit.mean():.0f}', show(part.half.mean())])} |")
    if failed:
        kinds = pd.Series([f"{one['split']}, {one['law']}: {one['failed']}" for one in failed if "run" not in one])
        kinds = list(kinds.unique()) if len(kinds) else []
        warm = sum("run" in one for one in failed)
        out += ["", "Not predicted:", "", *(f"- {kind}" for kind in kinds)]
        out += [f"- {warm} predictions at 10 %: the run is still in its warm-up"] if warm else []
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    with ProcessPoolExecutor(2) as pool:
        every = [line for lines in pool.map(score, jobs()) for line in lines]
    good = [line for line in every if "failed" not in line]
    bad = [line for line in every if "failed" in line]
    strange = {line["failed"] for line in bad if "run" in line and "warm-up" not in line["failed"]}
    if strange:
        raise RuntimeError(f"predictions failed: {strange}")
    frame, mixed = pd.DataFrame(good), pd.DataFrame(schedules())
    table = summary(frame)
    result = {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "table": table.to_dict("records"),
        "schedules": mixed.to_dict("records"),
        "not_predicted": len(bad),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    text = PAGE.read_text() if PAGE.exists() else f"{MARK}\n"
    PAGE.write_text(text[: text.index(MARK) + len(MARK)] + "\n\n" + page(table, mixed, bad, frame))
    print(table.round(4).to_string())
