"""The runs and curves tables of a sweep's finished runs, in the columns that every other command reads."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import files
from ..errors import BadInput
from .folder import read_record
from .plan import FLOPS_CONVENTION, Sweep

CURVE_COLUMNS = ("run_id", "step", "tokens", "lr", "loss", "train_loss")
RUN_COLUMNS = (
    "run_id",
    "params",
    "params_nonembed",
    "params_nonembed_head",
    "params_vocab",
    "width",
    "depth",
    "heads",
    "mlp_width",
    "vocab_size",
    "seq_len",
    "tokens",
    "unique_tokens",
    "flops",
    "loss",
    "lr_max",
    "warmup_steps",
    "schedule",
    "batch_tokens",
    "seed",
    "status",
    "role",
    "wall_s",
)


@dataclass(frozen=True)
class Export:
    """What was written: rows of each table, and the runs left out because they have not finished."""

    runs: int
    points: int
    unfinished: tuple[str, ...]


def export_sweep(sweep: Sweep, runs: Path, curves: Path) -> Export:
    """Writes both tables, each with its .meta.json; raises BadInput where no run has finished."""
    for path in (runs, curves):
        files.check_writable(path)
    records = [(plan, read_record(sweep, plan)) for plan in sweep.plans]
    finished = [(plan, record) for plan, record in records if record is not None]
    if not finished:
        raise BadInput("no run has finished", file=str(sweep.out), fix=f"scaling-lab proxy run {sweep.file}")
    run_rows = [run_row(record, sweep.roles[plan.run_id]) for plan, record in finished]
    curve_rows = [{"run_id": record["run_id"], **point} for _, record in finished for point in record["curve"]]
    inputs = {"sweep": sweep.sha256, "corpus": finished[0][1]["corpus"]["sha256"]}
    for path, columns, rows, schema in (
        (runs, RUN_COLUMNS, run_rows, "scaling-lab/runs/1"),
        (curves, CURVE_COLUMNS, curve_rows, "scaling-lab/curves/1"),
    ):
        files.write_text(path, csv_text(columns, rows))
        files.write_meta(path, schema, inputs, rows=len(rows), flops_convention=FLOPS_CONVENTION)
    unfinished = tuple(plan.run_id for plan, record in records if record is None)
    return Export(len(run_rows), len(curve_rows), unfinished)


def run_row(record: dict[str, Any], role: str) -> dict[str, Any]:
    """One finished run under the canonical column names."""
    plan = record["plan"]
    made_by = record["made_by"]
    return {**plan, **record["counts"], **record, "lr_max": plan["lr"], "role": role, "wall_s": made_by["wall_s"]}


def csv_text(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> str:
    """The rows as CSV; a number keeps every digit, except losses and rates, which keep seven."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(["" if row[name] is None else _cell(name, row[name]) for name in columns])
    return text.getvalue()


def _cell(name: str, value: Any) -> Any:
    if name in ("loss", "train_loss", "lr"):
        return f"{value:.7g}"
    return int(value) if isinstance(value, float) and value == int(value) and abs(value) < 1e18 else value
