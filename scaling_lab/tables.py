"""Tables of runs, in and out: formats, column names, row selection, and an account of every row that isn't used."""

from __future__ import annotations

import ast
import gzip
import io
import json
import operator
import os
import re
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import BadInput, UsageError, nearest
from .files import sha256_bytes
from .quantities import QUANTITIES, Quantity, parse_number

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Skipped:
    """A row that is not used: the line it stands on (a row number for a DataFrame) and why."""

    line: int
    why: str


@dataclass(frozen=True)
class Table:
    """A table as read: `frame` under its own column names, `columns` from canonical names to those.

    `lines` is each row's place in the source (the header is line 1; for a DataFrame rows count from 0).
    `made` holds columns that --map computes. `skipped` are rows that --where left out. `notes` says for a canonical
    column where it was taken from, if not from a column of that very name.
    """

    frame: pd.DataFrame
    name: str
    sha256: str
    columns: Mapping[str, str]
    lines: NDArray[np.int64]
    read: int
    skipped: tuple[Skipped, ...] = ()
    made: Mapping[str, Floats] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        """Whether the canonical column is there, under any name."""
        return name in self.columns or name in self.made

    def text(self, name: str) -> NDArray[Any]:
        """A column as strings."""
        return self.frame[self.columns[name]].astype(str).to_numpy(dtype=object)


@dataclass(frozen=True)
class Rows:
    """Numbers ready for a law: `x` maps each input to (n,), `y` the target (n,), `group` the run of each row (n,).

    `flops` is the table's compute, or 6 * params * tokens, or None where neither is there. `dropped` counts rows left
    out by reason; `read` = used + dropped.
    """

    x: Mapping[str, Floats]
    y: Floats
    group: NDArray[Any]
    grouped: bool
    lines: NDArray[np.int64]
    flops: Floats | None
    inputs: Mapping[str, Mapping[str, Any]]
    read: int
    dropped: Mapping[str, int]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    name: str
    sha256: str

    @property
    def used(self) -> int:
        """The number of rows."""
        return len(self.y)

    def take(self, keep: NDArray[Any]) -> Rows:
        """The rows of a mask or an index, with nothing said of the others."""
        return replace(
            self,
            x={name: values[keep] for name, values in self.x.items()},
            y=self.y[keep],
            group=self.group[keep],
            lines=self.lines[keep],
            flops=None if self.flops is None else self.flops[keep],
        )


# ---------------------------------------------------------------------------------------------------------- reading


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
        content = source.to_csv(index=False).encode()
        table = Table(source.reset_index(drop=True), "DataFrame", sha256_bytes(content), {}, np.arange(len(source)), 0)
    else:
        name, content = _read_bytes(source)
        frame, lines = _parse(name, content)
        table = Table(frame, name, sha256_bytes(content), {}, lines, 0)
    if table.frame.empty:
        raise BadInput("the table has no rows", file=table.name, fix="give a table with a header and a row for each run")
    mapping = dict(mapping or {})
    if params_column is not None:
        mapping["params"] = params_column
    table = replace(table, read=table.read or len(table.frame))
    table = _name_columns(table, mapping)
    return _select(table, where) if where else table


def _read_bytes(source: str | os.PathLike[str]) -> tuple[str, bytes]:
    if str(source) == "-":
        return "stdin", _gunzip("stdin", sys.stdin.buffer.read())
    path = Path(source)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = nearest(path.name, beside) if 0 < len(beside) <= 200 else "check the path"
        raise BadInput("no such file", file=str(source), fix=hint if "did you" in hint else "check the path") from None
    except IsADirectoryError:
        raise BadInput("is a folder", file=str(source), fix="name a file, or use scaling-lab ingest") from None
    except OSError as fault:
        raise BadInput(f"can't be read ({fault.strerror})", file=str(source)) from None
    return str(source), _gunzip(str(source), content)


def _gunzip(name: str, content: bytes) -> bytes:
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as fault:
        raise BadInput(f"the gzip data is damaged or cut short ({fault})", file=name, fix="copy the file again") from None


def _parse(name: str, content: bytes) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    import pandas as pd

    if content[:4] == b"PAR1":
        try:
            frame = pd.read_parquet(io.BytesIO(content))
        except Exception as fault:
            raise BadInput(f"the Parquet file can't be read ({fault})", file=name, fix="write it again") from None
        return frame, np.arange(1, len(frame) + 1)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = content[: fault.start].count(b"\n") + 1
        raise BadInput("is neither UTF-8 text nor Parquet", file=name, line=line, fix="save the table as CSV") from None
    if "\x00" in text:
        raise BadInput("is binary, not a table", file=name, fix="save the table as CSV, TSV, JSONL or Parquet")
    if not text.strip():
        raise BadInput("is empty", file=name, fix="give a table with a header and a row for each run")
    stem = re.sub(r"\.gz$", "", name.lower())
    if stem.endswith((".jsonl", ".ndjson", ".json")) or text.lstrip().startswith("{"):
        return _parse_jsonl(name, text)
    head = text.lstrip().split("\n", 1)[0]
    tab = stem.endswith(".tsv") or ("\t" in head and "," not in head)
    return _parse_delimited(name, text, "\t" if tab else ",")


def _parse_delimited(name: str, text: str, delimiter: str) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    import csv
    import warnings

    import pandas as pd

    try:
        # index_col=False: without it a row one cell longer than the header silently shifts every column by one.
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                io.StringIO(text),
                sep=delimiter,
                dtype=str,
                keep_default_na=False,
                skip_blank_lines=False,
                index_col=False,
                skipinitialspace=True,
            )
    except pd.errors.ParserWarning:
        header = len(next(csv.reader(io.StringIO(text), delimiter=delimiter)))
        for number, row in enumerate(csv.reader(io.StringIO(text), delimiter=delimiter), 1):
            if len(row) > header:
                raise BadInput(
                    f"{len(row)} cells where the header has {header}", file=name, line=number, fix="mend the row"
                ) from None
        raise
    except (pd.errors.ParserError, csv.Error) as fault:
        line = re.search(r"line (\d+)", str(fault))
        raise BadInput(
            f"not a table ({str(fault).removeprefix('Error tokenizing data. C error: ').strip()})",
            file=name,
            line=int(line[1]) if line else None,
            fix="every row needs as many cells as the header",
        ) from None
    frame.columns = frame.columns.str.strip()
    repeated = [c for c, count in Counter(next(csv.reader([text.split("\n", 1)[0]], delimiter=delimiter))).items() if count > 1]
    if repeated:
        raise BadInput("the header has this column twice", file=name, line=1, column=repeated[0], fix="rename one")
    lines = np.arange(2, len(frame) + 2)
    frame = frame.fillna("")
    blank = (frame == "").all(axis=1).to_numpy()
    return frame[~blank].reset_index(drop=True), lines[~blank]


def _parse_jsonl(name: str, text: str) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    import pandas as pd

    records, lines = [], []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as fault:
            raise BadInput(f"not JSON ({fault})", file=name, line=number, fix="put one object on each line") from None
        if not isinstance(record, dict):
            raise BadInput("not a JSON object", file=name, line=number, fix="put one object on each line")
        records.append(_flatten(record))
        lines.append(number)
    return pd.DataFrame.from_records(records), np.array(lines)


def _flatten(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}/")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


# ---------------------------------------------------------------------------------------------------- column names


def _name_columns(table: Table, mapping: Mapping[str, str]) -> Table:
    """The same table knowing its canonical columns: those mapped, then exact names, then aliases in their order."""
    own = [str(c) for c in table.frame.columns]
    folded = {c.lower(): c for c in reversed(own)}
    columns, made, notes = dict(table.columns), dict(table.made), dict(table.notes)
    for name, quantity in QUANTITIES.items():
        if name in columns or name in mapping:
            continue
        found = [c for c in (name, *quantity.aliases) if c in own]
        found = found or [folded[a.lower()] for a in (name, *quantity.aliases) if len(a) > 1 and a.lower() in folded]
        if found:
            columns[name] = found[0]
            others = f" (not {', '.join(map(repr, found[1:]))}: choose with --map)" if len(found) > 1 else ""
            if found[0] != name or others:
                notes[name] = f"{name} is taken from column {found[0]!r}{others}"
    for name, expression in mapping.items():
        if expression in own:
            columns[name] = expression
        else:
            made[name] = _arithmetic(table, expression, name)
            columns.pop(name, None)
        notes[name] = f"{name} is taken from {expression!r} as asked"
    for column in own:
        columns.setdefault(column, column)
    return replace(table, columns=columns, made=made, notes=notes)


_OPERATORS: dict[type, Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
}


def _arithmetic(table: Table, expression: str, name: str) -> Floats:
    """The value (n,) of arithmetic over columns (+ - * / **, numbers, names), without running any code."""
    own = [str(c) for c in table.frame.columns]

    def value(node: ast.AST) -> Any:
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](value(node.operand))
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
            return float(node.value)
        if isinstance(node, ast.Name) and node.id in own:
            return _numbers(table, node.id)[0]
        if isinstance(node, ast.Name):
            raise UsageError(f"--map {name}={expression}: no column {node.id!r}; {nearest(node.id, own)}")
        raise UsageError(f"--map {name}={expression}: only columns, numbers and + - * / ** are understood")

    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except SyntaxError:
        raise UsageError(f"--map {name}={expression}: no such column; {nearest(expression, own)}") from None
    with np.errstate(all="ignore"):
        return np.broadcast_to(np.asarray(value(tree.body), dtype=float), (len(table.frame),)).copy()


def _numbers(table: Table, column: str) -> tuple[Floats, dict[int, str]]:
    """A column as floats, NaN where the cell is empty, and what stands in the cells that are no finite number."""
    import pandas as pd

    cells = table.frame[column]
    values = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=float, na_value=np.nan).copy()
    faults: dict[int, str] = {}
    for row in np.flatnonzero(~np.isfinite(values)):
        cell = cells.iloc[row]
        if cell is None or cell is pd.NA or (isinstance(cell, float) and np.isnan(cell)) or not str(cell).strip():
            continue
        try:
            values[row] = parse_number(str(cell))
            if not np.isfinite(values[row]):
                raise ValueError
        except ValueError:
            values[row] = np.nan
            faults[int(row)] = str(cell)
    return values, faults


def _select(table: Table, where: str) -> Table:
    """The rows for which the condition holds; it may name a column by its own or its canonical name."""
    import pandas as pd

    frame = {}
    for column in table.frame.columns:
        values, faults = _numbers(table, column)
        frame[column] = table.frame[column] if faults else values
    for name, column in table.columns.items():
        frame[name] = frame[column]
    frame |= table.made
    # 7B and 1.4T are understood here too, outside quotes.
    condition = re.sub(
        r"('[^']*'|\"[^\"]*\"|`[^`]*`)|(?<![\w.])(\d+(?:\.\d+)?[kKmMbBtT])(?!\w)",
        lambda m: m[1] or repr(parse_number(m[2])),
        where,
    )
    try:
        keep = pd.DataFrame(frame).eval(condition, engine="python")
        keep = np.asarray(keep)
        if keep.dtype != bool or keep.shape != (len(table.frame),):
            raise ValueError("it is not a condition on rows")
    except Exception as fault:
        name = re.search(r"name '([^']+)' is not defined", str(fault))
        why = f"no column {name[1]!r}; {nearest(name[1], frame)}" if name else str(fault)
        raise UsageError(f"--where {where!r} in {table.name}: {why}") from None
    if not keep.any():
        raise BadInput(f"--where {where!r} leaves no row of {len(keep)}", file=table.name, fix="widen the condition")
    return replace(
        table,
        frame=table.frame[keep].reset_index(drop=True),
        lines=table.lines[keep],
        made={name: values[keep] for name, values in table.made.items()},
        skipped=(*table.skipped, *(Skipped(int(line), "--where") for line in table.lines[~keep])),
    )


# -------------------------------------------------------------------------------------------------- rows for a law

def column_numbers(table: Table, name: str) -> tuple[Floats, dict[int, str]]:
    """A canonical column as floats (NaN where empty) and {row: what is wrong}; raises BadInput if it isn't there."""
    if name in table.made:
        values = table.made[name]
        return values, {int(row): f"{values[row]:g}" for row in np.flatnonzero(np.isinf(values))}
    if name not in table.columns:
        raise _missing_column(table, name)
    return _numbers(table, table.columns[name])


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


def _faults(table: Table, name: str, values: Floats, text: Mapping[int, str], positive: bool) -> dict[int, str]:
    """{row: fault} of one column: what is not a number, not finite, or impossible for the quantity."""
    found = {row: f"{cell!r} is not a finite number" for row, cell in text.items()}
    domain = QUANTITIES.get(name, Quantity(name, "", "", domain="real")).domain
    if positive or domain == "positive":
        wrong, why = values <= 0, "not above zero"
    elif domain == "nonnegative":
        wrong, why = values < 0, "below zero"
    else:
        return found
    for row in np.flatnonzero(wrong):
        found[int(row)] = f"{values[row]:g} is {why}"
    return found


def rows_for(
    table: Table,
    inputs: Iterable[str],
    target: str = "loss",
    *,
    positive_target: bool = True,
    drop_bad: bool = False,
) -> Rows:
    """The numbers that a law needs, with an account of the rows that can't be used.

    An empty cell is a measurement that isn't there: its row is left out and counted. A cell with something impossible
    (text, nan, inf, not above zero) raises BadInput, unless `drop_bad` leaves such rows out too, counted by reason.
    """
    wanted = list(dict.fromkeys([*inputs, target]))
    derive_flops = "flops" in wanted and not table.has("flops")
    if derive_flops:
        wanted = [n for n in dict.fromkeys(["params", "tokens", *wanted]) if n != "flops"]
    notes = [table.notes[name] for name in (*wanted, "run_id") if name in table.notes]
    if derive_flops:
        notes.append("flops is not in the table: taken as 6 * params * tokens")
    numbers: dict[str, Floats] = {}
    out: dict[int, str] = {}
    for name in wanted:
        values, text = column_numbers(table, name)
        positive = positive_target if name == target else True
        bad = _faults(table, name, values, text, positive)
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
        for row in np.flatnonzero(np.isnan(values)):
            out.setdefault(int(row), f"{name} missing")
        numbers[name] = values
    group, grouped = _groups(table)
    _mark_duplicates(table, numbers, target, group, grouped, out)
    keep = np.ones(len(table.frame), dtype=bool)
    keep[list(out)] = False
    skipped = (*table.skipped, *(Skipped(int(table.lines[row]), why) for row, why in sorted(out.items())))
    numbers = {name: values[keep] for name, values in numbers.items()}
    flops = _flops(table, numbers, keep)
    if derive_flops and flops is not None:
        numbers["flops"] = flops
    if target not in QUANTITIES:
        notes.append(f"the target is column {target!r}")
    return Rows(
        x={name: numbers[name] for name in inputs},
        y=numbers[target],
        group=group[keep],
        grouped=grouped,
        lines=table.lines[keep],
        flops=flops,
        inputs={name: _describe(table, name, numbers[name], derive_flops) for name in inputs},
        read=table.read,
        dropped=dict(Counter(s.why for s in skipped)),
        skipped=skipped,
        notes=tuple(notes),
        name=table.name,
        sha256=table.sha256,
    )


def _groups(table: Table) -> tuple[NDArray[Any], bool]:
    """The run of each row: `run_id` where the table has it, else each row for itself."""
    if table.has("run_id") and "run_id" in table.columns:
        ids = table.text("run_id")
        # A row without an id is a run of its own, not one of a run called "".
        return np.array([i if str(i).strip() else f"row {n}" for n, i in enumerate(ids)], dtype=object), True
    return np.arange(len(table.frame)), False


def _mark_duplicates(
    table: Table, numbers: Mapping[str, Floats], target: str, group: NDArray[Any], grouped: bool, out: dict[int, str]
) -> None:
    """Marks rows that repeat a run's measurement; raises BadInput where the repeat has another value."""
    import pandas as pd

    if not grouped:
        return
    keys = pd.DataFrame({name: values for name, values in numbers.items() if name != target} | {"run": group})
    keys = keys.drop(index=list(out))
    first = keys.groupby(list(keys.columns), sort=False, dropna=False).ngroup()
    for row in keys.index[keys.duplicated()]:
        earlier = int(first.index[first == first[row]][0])
        if numbers[target][earlier] != numbers[target][row]:
            raise BadInput(
                f"run_id {group[row]!r} stands at line {table.lines[earlier]} too, with another {target} "
                f"({numbers[target][earlier]:g} there, {numbers[target][row]:g} here)",
                file=table.name,
                line=int(table.lines[row]),
                column="run_id",
                fix="give each run an id of its own, or keep one of the two with --where",
            )
        out[int(row)] = "duplicate row"


def _flops(table: Table, numbers: Mapping[str, Floats], keep: NDArray[np.bool_]) -> Floats | None:
    """Compute of the kept rows: the table's own where every row has it, else 6 * params * tokens, else None."""
    if "flops" in numbers:
        return numbers["flops"]
    if table.has("flops"):
        values, _ = column_numbers(table, "flops")
        if np.all(np.isfinite(values[keep]) & (values[keep] > 0)):
            return values[keep]
    if "params" in numbers and "tokens" in numbers:
        return 6.0 * numbers["params"] * numbers["tokens"]
    return None


def _describe(table: Table, name: str, values: Floats, derived: bool) -> dict[str, Any]:
    column = "6*params*tokens" if name == "flops" and derived else table.columns.get(name, name)
    known = next((q for q in QUANTITIES.values() if column in (q.name, *q.aliases)), None)
    about: dict[str, Any] = {"column": column, "unit": QUANTITIES[name].unit if name in QUANTITIES else ""}
    if name.startswith("params"):
        about["counts"] = known.counts if known and known.counts else f"as column {column} counts"
    if values.size:
        about |= {"min": float(values.min()), "max": float(values.max())}
    return about
