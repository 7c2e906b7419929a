"""A table as read: columns under their canonical names, cells as text or numbers, the place of every row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput, nearest
from ..quantities import QUANTITIES, parse_number

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]


class NoRows(BadInput):
    """A table that is sound and has no row, or none that --where asks for."""


@dataclass(frozen=True)
class Skipped:
    """A row that is not used: the line it stands on (a row number for a DataFrame) and why."""

    line: int
    why: str


@dataclass(frozen=True)
class Table:
    """A table as read: `frame` under its own column names, `columns` from canonical names to those.

    `lines` is each row's place in the source (the header is line 1; for a DataFrame rows count from 0).
    `made` holds columns that --map computes, `made_faults` their rows without a finite value. `skipped` are rows that
    --where left out. `notes` says for a canonical column where it was taken from, if not from a column of that very
    name.
    """

    frame: pd.DataFrame
    name: str
    sha256: str
    columns: Mapping[str, str]
    lines: NDArray[np.int64]
    read: int
    skipped: tuple[Skipped, ...] = ()
    made: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    made_faults: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        """Whether the canonical column is there, under any name."""
        return name in self.columns or name in self.made

    def text(self, name: str) -> NDArray[Any]:
        """A column as text (n,), an empty cell as ""."""
        if name in self.made:
            return self.made[name].astype(str).astype(object)
        return text_of(self.frame[self.columns[name]])

    def take(self, keep: NDArray[np.bool_], why: str | None = None) -> Table:
        """The rows of a mask (n,); the others are listed as skipped where there is a reason to give."""
        place = np.cumsum(keep) - 1
        gone = () if why is None else tuple(Skipped(int(line), why) for line in self.lines[~keep])
        return replace(
            self,
            frame=self.frame[keep].reset_index(drop=True),
            lines=self.lines[keep],
            made={name: values[keep] for name, values in self.made.items()},
            made_faults={
                name: {int(place[row]): cell for row, cell in faults.items() if keep[row]}
                for name, faults in self.made_faults.items()
            },
            skipped=(*self.skipped, *gone),
        )


# -------------------------------------------------------------------------------------------------- numbers of a column


def column_numbers(table: Table, name: str) -> tuple[Floats, dict[int, str]]:
    """A canonical column as floats (NaN where empty) and {row: what is wrong}; raises BadInput if it isn't there."""
    if name in table.made:
        return table.made[name], dict(table.made_faults.get(name, {}))
    if name not in table.columns:
        raise _missing_column(table, name)
    return own_numbers(table, table.columns[name])


def _missing_column(table: Table, name: str) -> BadInput:
    own = [str(c) for c in table.frame.columns]
    quantity = QUANTITIES.get(name)
    counts = [c for c in own if c.startswith("params_")] if name == "params" else []
    if counts:
        fix = f"its counts are {', '.join(counts)}: say which with --params-column {counts[0]}"
    else:
        close = nearest(name, own)
        close = close if "did you" in close else f"it has {', '.join(own[:12])}{', ...' if len(own) > 12 else ''}"
        fix = f"{close}; name the column with --map {name}=COLUMN"
    meaning = f" ({quantity.meaning})" if quantity else ""
    return BadInput(f"no column {name!r}{meaning}", file=table.name, fix=fix)


# ---------------------------------------------------------------------------------------------------------------- cells


def text_of(cells: pd.Series[Any]) -> NDArray[Any]:
    """A column's cells as text (n,), an empty one as ""."""
    return _written(cells.astype(object).where(cells.notna(), ""))


def _written(cells: pd.Series[Any]) -> NDArray[Any]:
    """Each cell as Python writes it (n,): pandas' own conversion fails on bytes."""
    return np.array([cell if isinstance(cell, str) else str(cell) for cell in cells], dtype=object)


def own_numbers(table: Table, column: str) -> tuple[Floats, dict[int, str]]:
    """A column of the frame as floats (NaN where empty) and {row: what stands there} for cells that are no number."""
    import pandas as pd

    cells = table.frame[column]
    values = _floats(cells)
    odd = np.flatnonzero(~np.isfinite(values))
    odd = odd[~cells.iloc[odd].isna().to_numpy(dtype=bool)]
    if not odd.size:
        return values, {}
    # Each distinct text is read once: a column of a million empty cells, or of 7B and 13B, costs no loop over rows.
    place, distinct = pd.factorize(_written(cells.iloc[odd]))
    read = np.full(len(distinct), np.nan)
    fault = np.zeros(len(distinct), dtype=bool)
    for index, cell in enumerate(distinct):
        try:
            read[index] = parse_number(cell) if cell.strip() else np.nan
        except ValueError:
            fault[index] = True
    values[odd] = read[place]
    return values, {int(odd[i]): distinct[place[i]] for i in np.flatnonzero(fault[place])}


def _floats(cells: pd.Series[Any]) -> Floats:
    """The cells as floats (n,), NaN where they are empty or not plainly numbers."""
    import pandas as pd

    if isinstance(cells.dtype, (pd.CategoricalDtype, pd.PeriodDtype, pd.IntervalDtype)):
        cells = cells.astype(object)
    if cells.dtype.kind in "cmM":  # complex numbers, times and dates
        return np.full(len(cells), np.nan)
    try:
        found = pd.to_numeric(cells, errors="coerce")
    except (OverflowError, TypeError, ValueError):
        # Integers beyond 1e308, which only a Python object can hold.
        cells = cells.map(str)
        found = pd.to_numeric(cells, errors="coerce")
    if found.dtype.kind == "c":
        # Complex numbers among others: as text they are no numbers, where a cast would keep their real part.
        cells = cells.map(str)
        found = pd.to_numeric(cells, errors="coerce")
    values = found.to_numpy(dtype=float, na_value=np.nan).copy()
    if not pd.api.types.is_numeric_dtype(cells):
        # Some pandas read the last digit of a text one too high or low: Python's own float does not.
        plain = np.isfinite(values)
        values[plain] = cells.to_numpy(dtype=object)[plain].astype(float)
    return values
