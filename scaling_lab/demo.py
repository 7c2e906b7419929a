"""The main job on the data that ships: fit the small runs, predict the large one, and hold the two side by side."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .accounting import six_nd
from .decide.allocate import Allocation, allocate
from .engine.backtest import Backtest, backtest
from .engine.blend import NAME
from .engine.fit import Progress, fit
from .engine.predict import Predictions, predict
from .engine.result import Fit
from .errors import BadInput
from .files import to_json, write_text
from .quantities import format_quantity
from .show.report import write_report
from .tables import read_table, rows_for

LAWS = (NAME, "chinchilla", "chinchilla-tied", "kaplan-nd", "hestness-flops")
TABLE = "proxy_stdlib/runs.csv"
LEVEL = 0.9


@dataclass(frozen=True)
class Demo:
    """What the demo found and where it wrote it; `held_out` is the large run as measured."""

    fit: Fit
    backtest: Backtest
    predictions: Predictions
    allocation: Allocation
    held_out: Mapping[str, Any]
    report: Path

    def summary(self) -> list[str]:
        """Five lines: the data, the laws, their backtest, the prediction beside the measurement, the next budget."""
        mine = next(s for s in self.backtest.laws if s.asked == NAME)
        others = [s for s in self.backtest.laws if s.asked != NAME]
        best, worst = others[0], others[-1]
        p, loss = self.predictions, self.held_out["loss"]
        inside = "inside" if p.low[0] <= loss <= p.high[0] else "OUTSIDE"
        factor = p.outside[0].get("flops", 1.0)
        n, d = self.fit.inputs["params"], self.fit.inputs["tokens"]
        a = self.allocation
        return [
            f"data: {self.fit.rows['used']} runs, {format_quantity(n['min'])} to {format_quantity(n['max'])} "
            f"parameters, {format_quantity(d['min'])} to {format_quantity(d['max'])} tokens (here: bytes)",
            f"backtest: on the {mine.test} largest of these runs auto is {mine.metrics.mape:.2%} off, and its "
            f"{LEVEL:.0%} intervals hold {mine.coverage:.0%} (single laws: {best.law} {best.metrics.mape:.2%} to "
            f"{worst.law} {worst.metrics.mape:.2%})",
            f"laws: {self._shares()}, weighed by how each predicts the larger of these runs from the smaller",
            f"prediction: {p.value[0]:.3f} [{p.low[0]:.3f}, {p.high[0]:.3f}] nats/token for the held-out run, "
            f"{factor:.3g} times the compute; measured {loss:.3f}, {inside} the interval; "
            f"the prediction is {abs(p.value[0] / loss - 1):.2%} too {'high' if p.value[0] > loss else 'low'}",
            f"next: {a.flops.value:.3g} FLOP go best into {format_quantity(a.params.value)} parameters "
            f"[{format_quantity(a.params.ci[0])}, {format_quantity(a.params.ci[1])}] and "
            f"{format_quantity(a.tokens.value)} tokens",
        ]

    def _shares(self) -> str:
        """The share of each law, with and without a discrepancy together, largest first."""
        shares: dict[str, float] = {}
        for member in self.fit.members:
            shares[member["law"]] = shares.get(member["law"], 0.0) + member["weight"]
        return ", ".join(f"{law} {share:.0%}" for law, share in sorted(shares.items(), key=lambda item: -item[1]))


def shipped_table() -> Path:
    """The path of the runs that ship: inside the installed package, or in the checkout."""
    here = Path(__file__).resolve().parent
    for folder in (here / "_data", here.parent / "data"):
        if (folder / TABLE).is_file():
            return folder / TABLE
    raise BadInput("the data that ships is missing from this installation", file=TABLE, fix="install scaling-lab again")


def demo(out: str | os.PathLike[str] = "out/demo", progress: Progress | None = None) -> Demo:
    """Fits, backtests, predicts and reports the runs that ship, and writes fit.json, backtest.json and report.html."""
    out = Path(out)
    path = shipped_table()
    tested = backtest(path, LAWS, where="role == 'fit'", test_fraction=0.25, level=LEVEL, progress=progress)
    # The laws are weighed on the small runs alone.
    fitted = fit(NAME, path, where="role == 'fit'", progress=progress)
    rows = rows_for(read_table(path, where="role == 'held-out'"), ("params", "tokens"))
    large = {name: float(values[0]) for name, values in rows.x.items()}
    held_out = {"run_id": str(rows.group[0]), "loss": float(rows.y[0]), **large}
    found = predict(fitted, large, LEVEL)
    split = allocate(fitted, six_nd(large["params"], large["tokens"]))
    fitted.save(out / "fit.json")
    for name, result in (("backtest", tested.to_dict()), ("predict", found.to_dict())):
        write_text(out / f"{name}.json", to_json({**result, "seed": fitted.seed, "made_by": fitted.made_by}) + "\n")
    factor = found.outside[0].get("flops", 1.0)
    report = write_report(
        out / "report.html",
        [fitted],
        backtests=[tested],
        predictions=found,
        measured=held_out,
        allocation=split,
        question=(
            f"What will a model of {format_quantity(large['params'])} parameters reach on "
            f"{format_quantity(large['tokens'])} tokens, {factor:.3g} times the compute of any run it was fitted to?"
        ),
        title="scaling-lab demo",
    )
    return Demo(fitted, tested, found, split, held_out, report)
