"""One run's loss along steps, tokens or anything else that only rises, read from a table and checked."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput, UsageError
from ..quantities import ALIASES, format_quantity
from ..tables import Table, check_rising, column_numbers, read_table, rows_for

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]

CLOCKS = ("step", "tokens", "flops", "examples", "samples", "epochs")
# A learning rate within this share of its peak is at the peak.
STEADY = 0.01


@dataclass(frozen=True)
class OneCurve:
    """Losses (n,) at rising places x (n,) of one input; `lr` (n,) where the table has it, NaN where a row has none.

    `lines` are the table's. `dropped` counts rows left out by reason. `schedule` is its name, empty where not told.
    """

    input: str
    x: Floats
    loss: Floats
    lines: NDArray[np.int64]
    lr: Floats | None
    schedule: str
    name: str
    sha256: str
    read: int
    dropped: Mapping[str, int]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.x)

    def keep(self, keep: NDArray[np.bool_], why: str = "") -> OneCurve:
        """The rows of a mask (n,), the others counted under a reason where there is one."""
        gone = int((~keep).sum())
        dropped = dict(Counter(self.dropped) + Counter({why: gone})) if why and gone else self.dropped
        return replace(
            self,
            x=self.x[keep],
            loss=self.loss[keep],
            lines=self.lines[keep],
            lr=None if self.lr is None else self.lr[keep],
            dropped=dropped,
        )

    def place(self, value: float) -> str:
        """A place of the input as people write it: step 72K, 1.4T tokens."""
        return (
            f"{format_quantity(value)} tokens" if self.input == "tokens" else f"{self.input} {format_quantity(value)}"
        )


def read_curve(
    source: str | os.PathLike[str] | pd.DataFrame | Table | OneCurve,
    along: str = "step",
    *,
    mapping: Mapping[str, str] | None = None,
    where: str | None = None,
    drop_bad: bool = False,
) -> OneCurve:
    """The one curve of a table, its warm-up left out where the learning rate shows it.

    Raises BadInput with the line for places that go back or stand still, and for several runs.
    """
    if isinstance(source, OneCurve):
        return source
    table = read_table(source, mapping=mapping, where=where)
    name = ALIASES.get(along, along)
    _check_clock(table, name)
    _check_one_run(table)
    _check_order(table, name)
    rows = rows_for(table, [name], "loss", drop_bad=drop_bad)
    at = np.isin(table.lines, rows.lines)
    lr = column_numbers(table, "lr")[0][at] if table.has("lr") else None
    named = sorted({text.strip() for text in table.text("schedule")[at]} - {""}) if table.has("schedule") else []
    found = OneCurve(
        input=name,
        x=rows.x[name],
        loss=rows.y,
        lines=rows.lines,
        lr=None if lr is None or not np.isfinite(lr).any() else lr,
        schedule=", ".join(named),
        name=table.name,
        sha256=table.sha256,
        read=rows.read,
        dropped=rows.dropped,
        notes=rows.notes,
    )
    found = found.keep(found.x > 0, f"at {name} 0")
    after = _after_warmup(found.lr, len(found))
    if len(found) > 1 and after.sum() == 1:
        raise BadInput(
            "the learning rate rises to the last row: all of the curve is its warm-up",
            file=table.name,
            column=table.columns.get("lr", "lr"),
            fix="give rows of the time after it",
        )
    return found.keep(after, "in the warm-up")


def _check_clock(table: Table, name: str) -> None:
    if table.has(name):
        return
    others = [other for other in CLOCKS if other != name and table.has(other)]
    if others:
        raise BadInput(f"no column {name!r}", file=table.name, fix=f"take --x {others[0]}, which it has")


def _check_one_run(table: Table) -> None:
    """Raises BadInput where several runs stand in the table."""
    if not table.has("run_id"):
        return
    runs = list(dict.fromkeys(text.strip() for text in table.text("run_id")))
    if len(runs) > 1:
        shown = ", ".join(runs[:3]) + (", …" if len(runs) > 3 else "")
        column = table.columns.get("run_id", "run_id")
        fix = f"choose one with --where \"{column} == '{runs[0]}'\""
        raise BadInput(f"{len(runs)} runs ({shown}), and a curve is of one", file=table.name, column=column, fix=fix)


def _check_order(table: Table, name: str) -> None:
    """Raises BadInput at the first row with a loss that lies behind, or again at, the place of one before."""
    x, loss = column_numbers(table, name)[0], column_numbers(table, "loss")[0]
    there = np.isfinite(x) & np.isfinite(loss)
    lines, column = np.asarray(table.lines)[there], table.columns.get(name, name)
    check_rising(x[there], lines, name, file=table.name, column=column)


def _after_warmup(lr: Floats | None, count: int) -> NDArray[np.bool_]:
    """Which rows (n,) come after a warm-up: all, unless the learning rate rises to its peak from the first row on."""
    keep = np.ones(count, dtype=bool)
    if lr is None or count == 0 or not np.isfinite(lr).all():
        return keep
    top = int(np.argmax(lr >= lr.max() * (1 - 1e-9)))
    if top and (np.diff(lr[: top + 1]) >= 0).all():
        keep[:top] = False
    return keep


def steady_until(curve: OneCurve) -> float | None:
    """The place from which on the learning rate is no longer at its peak; None where it stays, or isn't known."""
    if curve.lr is None:
        return None
    known = np.isfinite(curve.lr)
    moved = known & (np.abs(curve.lr - np.max(curve.lr[known])) > STEADY * np.max(curve.lr[known]))
    return float(curve.x[np.argmax(moved)]) if moved.any() else None


@dataclass(frozen=True)
class DropFirst:
    """How much of a curve's beginning is left out: a share of its length, or everything before a place."""

    share: float = 0.0
    place: float | None = None

    @classmethod
    def parse(cls, text: str | float | DropFirst) -> DropFirst:
        """What 10% or 2000 (of the input) leaves out; raises UsageError on others."""
        from ..quantities import parse_number

        if isinstance(text, DropFirst):
            return text
        written = str(text).strip()
        try:
            if written.endswith("%"):
                share = parse_number(written[:-1]) / 100
                if 0 <= share < 1:
                    return cls(share=share)
            elif (place := parse_number(written)) >= 0:
                return cls(place=place)
        except ValueError:
            pass
        raise UsageError(f"--drop-first {written!r} is neither a share as 10% nor a place of the curve as 2000")

    def __str__(self) -> str:
        return f"{100 * self.share:g}%" if self.place is None else f"{self.place:g}"

    def begin(self, x: Floats) -> float:
        """The place from which on rows at x (n,), rising, are used."""
        return float(x[0] + self.share * (x[-1] - x[0])) if self.place is None else self.place
