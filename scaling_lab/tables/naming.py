"""Canonical names for a table's columns: as mapped, else the exact name, else an alias."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from ..errors import UsageError, nearest
from ..quantities import QUANTITIES
from .expressions import compute_column
from .table import Table


def name_columns(table: Table, mapping: Mapping[str, str]) -> Table:
    """The same table knowing its canonical columns: those mapped, then exact names, then aliases in their order."""
    own = list(table.frame.columns)
    folded = {_folded(c): c for c in reversed(own)}
    columns, notes = dict(table.columns), dict(table.notes)
    for name, quantity in QUANTITIES.items():
        if name in columns or name in mapping or name in table.made:
            continue
        found = [c for c in (name, *quantity.aliases) if c in own]
        found = found or [folded[_folded(a)] for a in (name, *quantity.aliases) if len(a) > 1 and _folded(a) in folded]
        found = list(dict.fromkeys(found))
        if found:
            columns[name] = found[0]
            others = f" (not {', '.join(map(repr, found[1:]))}: choose with --map)" if len(found) > 1 else ""
            if found[0] != name or others:
                notes[name] = f"{name} is taken from column {found[0]!r}{others}"
    for column in own:
        if column not in table.made:
            columns.setdefault(column, column)
    named = replace(table, columns=columns, notes=notes)
    for name, expression in mapping.items():
        named = _map_column(named, name, expression)
    return named


def _folded(name: str) -> str:
    """A column name without the differences that people don't mean: case, and spaces or hyphens for underscores."""
    return "_".join(name.lower().replace("-", " ").split())


def _map_column(table: Table, name: str, expression: str) -> Table:
    """The same table with one canonical column taken from a column, from arithmetic, or (text) from columns joined."""
    own = list(table.frame.columns)
    columns, made, faults = dict(table.columns), dict(table.made), dict(table.made_faults)
    made.pop(name, None)
    faults.pop(name, None)
    columns.pop(name, None)
    if expression in own:
        columns[name] = expression
    elif name in QUANTITIES and QUANTITIES[name].domain == "text":
        made[name] = _joined(table, name, expression)
    else:
        made[name], faults[name] = compute_column(table, name, expression)
    notes = {**table.notes, name: f"{name} is taken from {expression!r} as asked"}
    return replace(table, columns=columns, made=made, made_faults=faults, notes=notes)


def _joined(table: Table, name: str, expression: str) -> NDArray[Any]:
    """The texts (n,) of several columns, `model+schedule`, joined with a hyphen: together they may name a run."""
    parts = [part.strip().strip("`") for part in expression.split("+")]
    for part in parts:
        if part not in table.columns:
            raise UsageError(f"--map {name}={expression}: no column {part!r}; {nearest(part, table.frame.columns)}")
    out = table.text(parts[0])
    for part in parts[1:]:
        out = out + "-" + table.text(part)
    return out
