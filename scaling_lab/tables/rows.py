"""The rows of a table that a law can use, with an account of those that it can't."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..accounting import DERIVED, six_nd
from ..domains import allowed
from ..errors import BadInput
from ..quantities import DOMAINS, QUANTITIES, Domain, quantity
from .expressions import compute_column
from .table import Floats, Skipped, Table, column_numbers


@dataclass(frozen=True)
class Rows:
    """Numbers ready for a law: `x` maps each input to (n,), `y` the target (n,), `group` the run of each row (n,).

    `flops` is the table's compute, or 6 * params * tokens, or None where neither is there. `weights` (n,) say how much
    each row counts in an objective. `dropped` counts rows left out by reason; `read` = used + dropped. `annealing` (n,)
    is each row's learning rate as a share of its run's peak, NaN where unknown; None where the table tells none.
    """

    x: Mapping[str, Floats]
    y: Floats
    group: NDArray[Any]
    grouped: bool
    lines: NDArray[np.int64]
    flops: Floats | None
    weights: Floats
    inputs: Mapping[str, Mapping[str, Any]]
    read: int
    dropped: Mapping[str, int]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    name: str
    sha256: str
    annealing: Floats | None = None

    @property
    def runs(self) -> int:
        """The number of distinct runs."""
        return len(set(self.group.tolist()))

    @property
    def used(self) -> int:
        """The number of rows."""
        return len(self.y)

    def without(self, broken: Mapping[int, str]) -> Rows:
        """The rows but those of {row: why}, which are counted."""
        keep = np.ones(self.used, dtype=bool)
        keep[list(broken)] = False
        gone = tuple(Skipped(int(self.lines[row]), why) for row, why in sorted(broken.items()))
        dropped = dict(Counter([s.why for s in gone]) + Counter(self.dropped))
        return replace(self.take(keep), skipped=(*self.skipped, *gone), dropped=dropped)

    def take(self, keep: NDArray[Any]) -> Rows:
        """The rows of a mask or an index, with nothing said of the others."""
        return replace(
            self,
            x={name: values[keep] for name, values in self.x.items()},
            y=self.y[keep],
            group=self.group[keep],
            lines=self.lines[keep],
            flops=None if self.flops is None else self.flops[keep],
            weights=self.weights[keep],
            annealing=None if self.annealing is None else self.annealing[keep],
            # The range is that of these rows: a fit to some of them must know nothing of the others.
            inputs={name: {**about, **_range(self.x[name][keep])} for name, about in self.inputs.items()},
        )


def rows_for(
    table: Table,
    inputs: Iterable[str],
    target: str = "loss",
    *,
    positive_target: bool = True,
    weights: str | None = None,
    drop_bad: bool = False,
) -> Rows:
    """The numbers that a law needs, with an account of the rows that can't be used.

    An empty cell is a measurement that isn't there: its row is left out and counted. A cell with something impossible
    (text, nan, inf, not above zero) raises BadInput, unless `drop_bad` leaves such rows out too, counted by reason.
    `weights` is an expression over the columns, as --map takes; without it every row counts once.
    """
    wanted = list(dict.fromkeys([*inputs, target]))
    if weights is not None:
        table = _with_weights(table, weights)
        wanted.append(WEIGHTS)
    derived = [name for name in wanted if name in DERIVED and not table.has(name)]
    if derived:
        wanted = [n for n in dict.fromkeys(["params", "tokens", *wanted]) if n not in derived]
    notes = [table.notes[name] for name in (*wanted, "run_id") if name in table.notes]
    for name in derived:
        notes.append(f"{name} is not in the table: taken as {' '.join(re.split(r'([*/])', DERIVED[name][1]))}")
    domains = {name: quantity(name).domain for name in wanted} | _of(target, positive_target)
    numbers, out = _usable(table, domains, drop_bad)
    group, grouped = _groups(table)
    if grouped:
        _mark_duplicates(table, numbers, target, group, drop_bad, out)
    annealing = _annealing(table, group, grouped)
    keep = np.ones(len(table.frame), dtype=bool)
    keep[list(out)] = False
    skipped = (*table.skipped, *(Skipped(int(table.lines[row]), why) for row, why in sorted(out.items())))
    numbers = {name: values[keep] for name, values in numbers.items()}
    flops, fallback = _flops(table, numbers, keep)
    notes += fallback
    for name in derived:
        numbers[name] = DERIVED[name][0](numbers["params"], numbers["tokens"])
    if target not in QUANTITIES:
        notes.append(f"the target is column {target!r}")
    return Rows(
        x={name: numbers[name] for name in inputs},
        y=numbers[target],
        group=group[keep],
        grouped=grouped,
        lines=table.lines[keep],
        flops=flops,
        weights=numbers.get(WEIGHTS, np.ones(int(keep.sum()))),
        inputs={name: _describe(table, name, numbers[name], name in derived) for name in inputs},
        read=table.read,
        dropped=dict(Counter(s.why for s in skipped)),
        skipped=skipped,
        notes=tuple(notes),
        name=table.name,
        sha256=table.sha256,
        annealing=None if annealing is None else annealing[keep],
    )


def _usable(table: Table, wanted: Mapping[str, Domain], drop_bad: bool) -> tuple[dict[str, Floats], dict[int, str]]:
    """The columns wanted, by what each may hold, as floats, and {row: why} of the rows that can't be used.

    Raises BadInput, see rows_for.
    """
    numbers: dict[str, Floats] = {}
    out: dict[int, str] = {}
    for name, domain in wanted.items():
        values, text = column_numbers(table, name)
        text |= _truths(table, name)
        bad = _faults(name, values, text, domain)
        if bad and not drop_bad:
            row = min(bad)
            more = f" ({len(bad)} such rows)" if len(bad) > 1 else ""
            raise BadInput(
                bad[row] + more,
                file=table.name,
                line=int(table.lines[row]),
                column=table.columns.get(name, name),
                fix="mend it, select rows with --where, or leave such rows out, counted, with --drop-bad-rows",
            )
        for row in bad:
            out.setdefault(row, f"{name} impossible")
        for row in np.flatnonzero(np.isnan(values)).tolist():
            out.setdefault(row, f"{name} missing")
        numbers[name] = values
    return numbers, out


def _truths(table: Table, name: str) -> dict[int, str]:
    """{row: what stands there} of cells that are true or false, which pandas counts as 1 and 0."""
    if name in table.made:
        return {}
    cells = table.frame[table.columns[name]]
    if cells.dtype.kind not in "bO":
        return {}
    return {row: str(cell) for row, cell in enumerate(cells) if isinstance(cell, (bool, np.bool_))}


WEIGHTS = "--weights"


def _with_weights(table: Table, expression: str) -> Table:
    """The table with its rows' weights as a column, each a number above zero where it is used."""
    values, faults = compute_column(table, WEIGHTS, expression, shown=f"--weights {expression!r}")
    made, made_faults = {**table.made, WEIGHTS: values}, {**table.made_faults, WEIGHTS: faults}
    return replace(
        table, made=made, made_faults=made_faults, notes={**table.notes, WEIGHTS: f"rows are weighted by {expression}"}
    )


# Beyond this, powers and products leave floating point; nothing that is trained or counted comes near.
HUGE = 1e50


def _of(target: str, positive: bool) -> dict[str, Domain]:
    """What a target may hold: only sizes above zero where its logarithm is asked, anything in a column of one's own."""
    if positive:
        return {target: "part" if quantity(target).domain == "share" else "positive"}
    return {} if target in QUANTITIES else {target: "real"}


def _faults(name: str, values: Floats, text: Mapping[int, str], domain: Domain) -> dict[int, str]:
    """{row: fault} of one column: what is not a number, not finite, or outside its domain."""
    found = {row: f"{cell!r} is not a finite number" for row, cell in text.items()}
    for row in np.flatnonzero(np.isfinite(values) & ~allowed(domain, values)):
        percent = f"; if it is in percent, give --map {name}='COLUMN / 100'"
        hint = percent if domain in ("share", "part") and 1 < values[row] <= 100 else ""
        if name == "loss" and values[row] < 0:
            hint = (
                "; one below zero has no logarithm: normalised by a unigram model it is loss_unigram_norm (fit vocab)"
            )
        found[int(row)] = f"{values[row]:g} is not {DOMAINS[domain]}{hint}"
    if domain == "real":
        return found
    for row in np.flatnonzero((values > HUGE) | ((values > 0) & (values < 1 / HUGE))):
        found[int(row)] = f"{values[row]:g} is no size that a measurement has"
    return found


def _groups(table: Table) -> tuple[NDArray[Any], bool]:
    """The run of each row: `run_id` where the table has it, else each row for itself."""
    if not table.has("run_id"):
        return np.arange(len(table.frame)), False
    ids = table.text("run_id")
    # A row without an id is a run of its own, not one of a run called "".
    nameless = [row for row, name in enumerate(ids) if not name.strip()]
    ids[nameless] = [f"row {row}" for row in nameless]
    return ids, True


def _annealing(table: Table, group: NDArray[Any], grouped: bool) -> Floats | None:
    """The learning rate of each row as a share of its peak (n,), NaN where unknown, None where no row tells it.

    The peak is lr_max, or the highest of a run whose rows differ; a rate that is the same in all rows of a run may be
    a setting. A schedule called constant is at its peak.
    """
    share = np.full(len(table.frame), np.nan)
    if table.has("lr") and (table.has("lr_max") or grouped):
        lr, _ = column_numbers(table, "lr")
        if table.has("lr_max"):
            peak, _ = column_numbers(table, "lr_max")
        else:
            _, run = np.unique(group.astype(str), return_inverse=True)
            peak, low = np.full((2, int(run.max(initial=-1)) + 1), [[-np.inf], [np.inf]])
            np.maximum.at(peak, run[np.isfinite(lr)], lr[np.isfinite(lr)])
            np.minimum.at(low, run[np.isfinite(lr)], lr[np.isfinite(lr)])
            peak = np.where(peak > low, peak, np.nan)[run]
        known = np.isfinite(lr) & (lr >= 0) & (peak > 0) & (lr <= peak * (1 + 1e-6))
        share[known] = lr[known] / peak[known]
    if table.has("schedule"):
        named = np.array([name.strip().lower() for name in table.text("schedule")], dtype=object)
        share[np.isnan(share) & (named == "constant")] = 1.0
    return share if np.isfinite(share).any() else None


def _mark_duplicates(
    table: Table, numbers: Mapping[str, Floats], target: str, group: NDArray[Any], drop_bad: bool, out: dict[int, str]
) -> None:
    """Marks rows that repeat a run's measurement; a repeat with another value raises BadInput, or marks all of them."""
    import pandas as pd

    run, _ = pd.factorize(group)
    keys = pd.DataFrame({name: values for name, values in numbers.items() if name != target} | {"run": run})
    keys = keys.drop(index=list(out))
    if not keys.duplicated().any():
        return
    at = keys.groupby(list(keys.columns), sort=False, dropna=False).ngroup()
    rows, codes = at.index.to_numpy(), at.to_numpy()
    y = numbers[target][rows]
    first = np.unique(codes, return_index=True)[1][codes]
    apart = y != y[first]
    if apart.any() and not drop_bad:
        row = int(np.argmax(apart))
        raise BadInput(
            f"run_id {group[rows[row]]!r} stands at line {table.lines[rows[first[row]]]} too, with another {target} "
            f"({y[first[row]]:g} there, {y[row]:g} here)",
            file=table.name,
            line=int(table.lines[rows[row]]),
            column=table.columns.get("run_id", "run_id"),
            fix="give each run an id of its own, or keep one of the two with --where",
        )
    torn = np.isin(codes, codes[apart])
    out |= dict.fromkeys(rows[torn].tolist(), f"{target} differs between rows of one run")
    out |= dict.fromkeys(rows[~torn & (first != np.arange(len(rows)))].tolist(), "duplicate row")


def _flops(table: Table, numbers: Mapping[str, Floats], keep: NDArray[np.bool_]) -> tuple[Floats | None, list[str]]:
    """Compute of the kept rows: the table's own where every row has it, else 6 * params * tokens, else None; a note."""
    if "flops" in numbers:
        return numbers["flops"], []
    notes = []
    if table.has("flops"):
        values, _ = column_numbers(table, "flops")
        usable = np.isfinite(values[keep]) & (values[keep] > 0)
        if usable.all():
            return values[keep], []
        notes = [f"flops can't be used in {np.sum(~usable)} rows: compute is taken as 6 * params * tokens in all"]
    if "params" in numbers and "tokens" in numbers:
        return six_nd(numbers["params"], numbers["tokens"]), notes
    return None, []


def _describe(table: Table, name: str, values: Floats, derived: bool) -> dict[str, Any]:
    column = DERIVED[name][1] if derived else table.columns.get(name, name)
    known = next((q for q in QUANTITIES.values() if column in (q.name, *q.aliases)), None)
    about: dict[str, Any] = {"column": column, "unit": quantity(name).unit}
    if name.startswith("params"):
        about["counts"] = known.counts if known and known.counts else f"as column {column} counts"
    return about | _range(values)


def _range(values: Floats) -> dict[str, float]:
    return {"min": float(values.min()), "max": float(values.max())} if values.size else {}
