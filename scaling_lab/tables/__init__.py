"""Tables of runs, from files or frames, with an account of every row that isn't used."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..quantities import ALIASES
from .curves import FROM_FIRST, Curve, Curves, check_rising, read_curves
from .expressions import select_rows
from .formats import Content, delimiter_of, read_content, table_of, table_of_frame
from .naming import name_columns
from .rows import Rows, rows_for
from .table import NoRows, Skipped, Table, column_numbers

if TYPE_CHECKING:
    import pandas as pd


def read_table(
    source: str | os.PathLike[str] | pd.DataFrame | Table,
    *,
    mapping: Mapping[str, str] | None = None,
    where: str | None = None,
    params_column: str | None = None,
) -> Table:
    """The table of a file, of stdin (`-`) or of a DataFrame, with columns known by their canonical names.

    CSV, TSV, JSONL or Parquet, plain or gzipped. `mapping` goes from canonical names to column names or to arithmetic
    over them; `params_column` names the count that a law's N is taken from. Raises BadInput with file, line, column.
    """
    import pandas as pd

    if isinstance(source, Table):
        table = source
    elif isinstance(source, pd.DataFrame):
        table = table_of_frame(source)
    else:
        table = table_of(read_content(source))
    mapping = {ALIASES.get(name, name): column for name, column in (mapping or {}).items()}
    if params_column is not None:
        mapping["params"] = params_column
    table = name_columns(table, mapping)
    return select_rows(table, where) if where else table


__all__ = [
    "FROM_FIRST",
    "Content",
    "Curve",
    "Curves",
    "NoRows",
    "Rows",
    "Skipped",
    "Table",
    "check_rising",
    "column_numbers",
    "delimiter_of",
    "read_content",
    "read_curves",
    "read_table",
    "rows_for",
    "table_of",
]
